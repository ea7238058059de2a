//! The kit's own tests, on real servers.

mod cluster;
mod database;
mod lake;
mod oracle;
mod proxy;
mod s3;
mod seed;
mod story;
