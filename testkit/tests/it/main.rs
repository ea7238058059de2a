//! The kit's own tests, on real servers.

mod cluster;
mod database;
mod oracle;
mod s3;
mod seed;
