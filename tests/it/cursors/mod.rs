//! Cursors of every kind: rows that are committed late, or lie below the position for another reason, arrive all the same;
//! and where none could tell, the run says so.

mod clocks;
mod identity;
mod row_security;
mod soak;
mod standby;
mod writers;

use postgres::Client;
use serde_json::Value;

use crate::support::{Project, stream_report};

/// A stream of a table `t`, read by its column `c`.
pub fn stream(more: &str) -> String {
    format!(
        r#"
[streams.t]
source = "operativa"
table = "public.t"
mode = "incremental"
cursor = "c"
{more}
"#
    )
}

/// A project of such a stream, whose table has `id` and a column `c` that is declared so.
pub fn project(name: &str, declared: &str) -> Project {
    let project = Project::new(name, &stream(""));
    project
        .source
        .batch(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, c {declared})"
        ))
        .unwrap();
    project
}

/// The warnings of the stream `t` in a run's report.
pub fn warnings(report: &Value) -> Vec<String> {
    let warnings = stream_report(report, "t")["warnings"].clone();
    serde_json::from_value(warnings).unwrap()
}

/// Inserts a row as the session's settings have it.
pub fn insert(client: &mut Client, id: i32) {
    client.execute("INSERT INTO t VALUES ($1)", &[&id]).unwrap();
}

/// A client of the project's source.
pub fn client(project: &Project) -> Client {
    project.source.client().unwrap()
}
