//! Row-level security must not pass a subset off as the whole.

use super::{project, stream};
use crate::support::{Project, counts};

fn secured(name: &str) -> Project {
    let mut project = project(name, "timestamptz DEFAULT now()");
    let role = project.as_newcomer();
    project
        .source
        .batch(&format!(
            "INSERT INTO t SELECT generate_series(1, 10);
             CREATE VIEW v AS SELECT * FROM t;
             ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;
             CREATE POLICY algunas ON t USING (id <= 3);
             CREATE ROLE dueno_{name_of} NOLOGIN; ALTER VIEW v OWNER TO dueno_{name_of};
             ALTER ROLE {role} REPLICATION;
             CREATE PUBLICATION acequia_formacion FOR TABLE t WITH (publish_via_partition_root = true);
             GRANT SELECT ON t, v TO {role}, dueno_{name_of}",
            name_of = project.source.name(),
        ))
        .unwrap();
    project
}

#[test]
fn a_subset_is_refused_in_every_mode_and_read_where_it_is_asked_for() {
    let project = secured("rls");
    let full = "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"full\"\n";
    let streams = [
        stream(""),
        full.to_owned(),
        full.replace("\"full\"", "\"cdc\""),
        full.replace("public.t", "public.v"),
        full.replace("table = \"public.t\"", "query = \"SELECT id FROM t\""),
    ];
    for streams in &streams {
        project.streams(streams);
        for command in ["run", "check"] {
            let output = project.acequia(&[command]);
            let text = format!("{}{}", output.stdout, output.stderr);
            assert_eq!(output.status, Some(1), "{streams}: {text}");
            assert!(text.contains("row-level security"), "{streams}: {text}");
            assert!(text.contains("BYPASSRLS"), "{streams}: {text}");
        }
    }
    project.streams(&format!("{full}row_security = true\n"));
    assert_eq!(counts(&project.run(&[]), "t").0, 3);
}

#[test]
fn one_whom_it_does_not_concern_reads_all() {
    let mut project = secured("rls_owner");
    let url = project.source.url().to_owned();
    project.set("OPERATIVA_URL", &url);
    assert_eq!(counts(&project.run(&[]), "t").0, 10);
    project.assert_same("t");
}
