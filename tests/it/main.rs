//! acequia as its users have it: the real binary, real PostgreSQL, real DuckDB.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    clippy::format_push_string
)]

mod ahead;
mod analysis;
mod bad_input;
mod cdc;
mod columns;
mod commands;
mod cursors;
mod discover;
mod docs;
mod entry_columns;
mod evolution;
mod frozen;
mod full;
mod hidden;
mod holding;
mod hostile_role;
mod hubspot;
mod incremental;
mod json;
mod lake;
mod landing_keep;
mod landing_trust;
mod layers;
mod library;
mod many_tables;
mod masks;
mod memory;
mod missing;
mod models;
mod notices;
mod observability;
mod order;
mod password_command;
mod pending;
mod ranges;
mod reconfigured;
mod recovery;
mod refusals;
mod remote_landing;
mod replay;
mod report;
mod screens;
mod strange_server;
mod support;
mod text_format;
mod tls;
mod types;
mod verify;
mod versions;
mod waiting;
mod warehouse;
