//! Real servers and seeded data for acequia's tests, benches and demo.
//!
//! Nothing here is a double: [`Cluster`] is a PostgreSQL of one's own, [`S3Server`] answers S3 requests from a
//! folder, [`HubSpotServer`] is a CRM with state, [`Lake`] is an Iceberg catalog with its object storage, and [`oracle`] lets
//! PostgreSQL itself say what a destination must hold. All of it is thrown away when dropped, and also when the process that
//! started it is killed. [`Proxy`] stands between a client and any of the HTTP services, and loses answers.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use testkit::{Cluster, Seed};
//!
//! let db = Cluster::shared()?.database("ventas")?;
//! db.apply_schema()?;
//! Seed::new(42, 10_000).apply(&mut db.client()?)?;
//! println!("{}", db.url());
//! # Ok(())
//! # }
//! ```

pub mod changes;
pub mod cluster;
pub mod database;
mod host;
pub mod hubspot;
pub mod lake;
mod loopback;
pub mod oracle;
pub mod proxy;
mod receiver;
pub mod s3;
pub mod seed;
mod standby;

pub use changes::{Changed, Changes};
pub use cluster::{Cluster, ClusterOptions, PASSWORD, PASSWORD_ROLE};
pub use database::{SCHEMA, TestDb};
pub use host::listens;
pub use hubspot::{HUBSPOT_TOKEN, HubSpotServer};
pub use lake::{Lake, Sail, Spark};
pub use proxy::Proxy;
pub use receiver::{Received, Receiver};
pub use s3::S3Server;
pub use seed::{Seed, Seeded};
pub use standby::Standby;
