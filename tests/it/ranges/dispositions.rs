//! What a range replaces, by how the stream's loads go into their table.

use super::{ALL, RANGE, counts, project};
use crate::support::Project;

#[test]
fn appended_rows_are_replaced_and_the_next_run_adds_none_twice() {
    let keys = "disposition = \"append\"\n";
    let project = project("range_append", keys);
    let into = ["--destination", "almacen"];
    project.run(&into);
    // The log of versions that appending keeps is replaced in the range by what the source has there.
    project
        .source
        .batch(
            "UPDATE t SET n = -1 WHERE id = 300; DELETE FROM t WHERE id = 310; UPDATE t SET c = '2024-01-02' WHERE id = 320;
             UPDATE t SET c = '2025-01-01' WHERE id = 321",
        )
        .unwrap();
    project.run(&[]);
    project.run(&into);
    for arguments in [&[][..], &into] {
        let run = project.run(&[&RANGE[..], arguments].concat());
        assert_eq!(counts(&run), (237, 237, 0, 240), "{run}");
        assert_eq!(counts(&project.run(arguments)), (0, 0, 0, 0));
    }
    let rows = "SELECT count(*) || ' ' || count(DISTINCT id) FROM replica.t";
    // The row that moved down lies in no range that was read since; the one that moved up was appended.
    assert_eq!(project.value(rows).as_deref(), Some("958 958"));
    assert_eq!(
        project.warehouse().value(rows).unwrap().as_deref(),
        Some("958 958")
    );
    let run = project.run(&["--to", "2024-01-11T00:00:00Z"]);
    assert_eq!(counts(&run).1, 241);
    project.assert_same("t");
    project.verify(&["--against", "landing"]);
}

#[test]
fn a_row_that_is_committed_late_is_appended_once_by_whichever_comes_first() {
    let project = project("range_late", "disposition = \"append\"\n");
    let mut late = project.source.client().unwrap();
    project
        .source
        .batch("INSERT INTO t VALUES (5000, 1, NULL, now() - interval '1 minute')")
        .unwrap();
    let mut transaction = late.transaction().unwrap();
    transaction
        .batch_execute("INSERT INTO t VALUES (5001, 1, NULL, now())")
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    project
        .source
        .batch("INSERT INTO t VALUES (5002, 1, NULL, now())")
        .unwrap();
    project.run(&[]);
    transaction.commit().unwrap();
    let run = project.run(&["--from", "2024-02-01T00:00:00Z"]);
    assert_eq!((counts(&run).1, counts(&run).3), (219, 218), "{run}");
    assert_eq!(counts(&project.run(&[])).1, 0);
    project.assert_same("t");
}

#[test]
fn rows_that_stay_as_they_first_came_are_only_added() {
    let project = project("range_insert_only", "disposition = \"insert_only\"\n");
    project
        .source
        .batch(
            "UPDATE t SET n = -1 WHERE id = 300; DELETE FROM t WHERE id = 310;
             INSERT INTO t VALUES (5000, 1, NULL, '2024-01-15'), (5001, 1, NULL, '2024-01-25')",
        )
        .unwrap();
    let run = project.run(&RANGE);
    assert_eq!(counts(&run), (240, 1, 0, 0), "{run}");
    let seen = "SELECT count(*) || ' ' || min(n) FROM replica.t";
    assert_eq!(project.value(seen).as_deref(), Some("961 0"));
}

#[test]
fn of_rows_with_versions_the_current_ones_are_replaced() {
    let project = project("range_scd2", "disposition = \"scd2\"\n");
    project
        .source
        .batch(
            "UPDATE t SET n = -1 WHERE id IN (300, 100); DELETE FROM t WHERE id IN (310, 110);
             UPDATE t SET c = '2023-01-01' WHERE id = 320; INSERT INTO t VALUES (5000, 1, NULL, '2024-01-15')",
        )
        .unwrap();
    let run = project.run(&RANGE);
    assert_eq!(counts(&run), (240, 1, 2, 1), "{run}");
    let versions = |of: &str| {
        project.value(&format!(
            "SELECT string_agg(concat_ws(' ', id, n, _acequia_valid_to IS NULL), ', ' ORDER BY id, _acequia_valid_from) \
             FROM replica.t WHERE id IN ({of})"
        ))
    };
    assert_eq!(
        versions("300, 310, 5000").as_deref(),
        Some("300 300 false, 300 -1 true, 310 310 false, 5000 1 true")
    );
    assert_eq!(
        versions("320").as_deref(),
        Some("320 320 false, 320 320 true")
    );
    assert_eq!(
        versions("100, 110").as_deref(),
        Some("100 100 true, 110 110 true")
    );
    assert_eq!(counts(&project.run(&RANGE)), (239, 0, 0, 0));
    assert_eq!(counts(&project.run(&[])), (0, 0, 0, 0));
    project.run(&ALL);
    project.verify(&[]);
    project.verify(&["--against", "landing"]);
}

#[test]
fn rows_that_are_gone_are_marked_where_the_stream_marks_them() {
    let project = project("range_soft", "delete_missing = \"soft\"\n");
    let marked = |project: &Project| {
        project.value("SELECT string_agg(id, ' ' ORDER BY id) FROM replica.t WHERE _acequia_deleted_at IS NOT NULL")
    };
    project
        .source
        .batch("CREATE TABLE antes AS SELECT * FROM t WHERE id IN (310, 311); DELETE FROM t WHERE id IN (310, 311, 500)")
        .unwrap();
    assert_eq!(counts(&project.run(&RANGE)), (238, 0, 0, 2));
    assert_eq!(marked(&project).as_deref(), Some("310 311"));
    assert_eq!(counts(&project.run(&RANGE)), (238, 0, 0, 0));
    project
        .source
        .batch("INSERT INTO t SELECT * FROM antes WHERE id = 310")
        .unwrap();
    assert_eq!(counts(&project.run(&RANGE)), (239, 0, 1, 0));
    assert_eq!(marked(&project).as_deref(), Some("311"));
    assert_eq!(counts(&project.run(&["--delete-missing"])).3, 1);
    project.verify(&[]);
}
