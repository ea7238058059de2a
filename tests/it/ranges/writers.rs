//! A range beside writers: all of it is of one moment of the source.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{ALL, RANGE, counts, project};

/// Writers move amounts between rows, and rows between the range and elsewhere, without touching the sum. Rows that lie elsewhere
/// when a range is read are of the same moment as those in it, so the table's sum never differs.
#[test]
fn rows_that_move_meanwhile_are_neither_lost_nor_of_another_moment() {
    let project = project("range_writers", "");
    let sum = "SELECT CAST(sum(n) AS bigint) || ' ' || count(*) FROM replica.t";
    let expected = project.value(sum);
    for round in 0..4 {
        // All rows are where they were.
        project
            .source
            .batch(
                "UPDATE t SET n = id, c = timestamptz '2024-01-01 00:00Z' + id * interval '1 hour'",
            )
            .unwrap();
        project.run(&ALL);
        assert_eq!(project.value(sum), expected);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..2 {
                let mut client = project.source.client().unwrap();
                let stop = &stop;
                scope.spawn(move || {
                    let mut i: i32 = writer;
                    while !stop.load(Ordering::Relaxed) {
                        i += 2;
                        let (one, other) = (240 + i * 7 % 240, 240 + i * 11 % 240);
                        // One row moves below the range or beyond the position, another stays: both change.
                        let to = ["2023-06-01", "2025-06-01", "2024-01-15"]
                            [i.unsigned_abs() as usize % 3];
                        let moved = client.batch_execute(&format!(
                            "BEGIN; UPDATE t SET n = n + 5, c = '{to}' WHERE id = {one}; \
                             UPDATE t SET n = n - 5 WHERE id = {other}; COMMIT"
                        ));
                        // Two may wait for one another.
                        if moved.is_err() {
                            client.batch_execute("ROLLBACK").unwrap();
                        }
                    }
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            let run = project.run(&RANGE);
            assert!(counts(&run).2 > 0, "the writers did nothing");
            assert_eq!(project.value(sum), expected, "round {round}: {run}");
            stop.store(true, Ordering::Relaxed);
        });
    }
    project.run(&[]);
    project.run(&ALL);
    project.assert_same("t");
}

#[test]
fn somebody_who_alters_the_table_meanwhile_is_waited_for() {
    let project = project("range_altered", "");
    let mut client = project.source.client().unwrap();
    let mut transaction = client.transaction().unwrap();
    transaction
        .batch_execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE; UPDATE t SET n = -1 WHERE id = 300")
        .unwrap();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| project.run(&RANGE));
        std::thread::sleep(std::time::Duration::from_secs(1));
        transaction.commit().unwrap();
        assert_eq!(counts(&running.join().unwrap()).2, 1);
    });
}
