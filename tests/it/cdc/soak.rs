//! pgbench's own tables and script, replicated while the process is killed at random, again and again: one that runs to
//! the end of the log, and in turn with it one that follows.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::project;
use crate::support::{Random, counts};

/// How often the process is killed.
const KILLS: u32 = 20;

fn pgbench() -> PathBuf {
    let output = Command::new("pg_config").arg("--bindir").output().unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()).join("pgbench")
}

#[test]
fn pgbench_is_replicated_while_the_process_is_killed_at_random() {
    let tables = [
        "pgbench_accounts",
        "pgbench_branches",
        "pgbench_tellers",
        "pgbench_history",
    ];
    let project = project("soak", "SELECT 1", &tables, "");
    let url = project.source.url().to_owned();
    let bench = |arguments: &[&str]| {
        let mut command = Command::new(pgbench());
        command
            .args(arguments)
            .arg(&url)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    assert!(
        bench(&["--initialize", "--scale", "2", "--quiet"])
            .status()
            .unwrap()
            .success()
    );
    // The history has no key.
    project
        .source
        .batch("ALTER TABLE pgbench_history REPLICA IDENTITY FULL")
        .unwrap();
    let mut load = bench(&[
        "--client",
        "3",
        "--jobs",
        "1",
        "--time",
        "600",
        "--rate",
        "300",
        "--no-vacuum",
    ])
    .spawn()
    .unwrap();
    let mut numbers = Random(0x2545_f491_4f6c_dd1d);
    let mut random = |below: u64| numbers.below(below);
    let mut kills = 0;
    let mut ended = 0;
    while kills < KILLS {
        let run: &[&str] = if kills % 2 == 0 {
            &["run"]
        } else {
            &["run", "--follow"]
        };
        let mut child = project
            .command(run)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let patience = Duration::from_millis(random(1200));
        let began = Instant::now();
        while began.elapsed() < patience && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        if child.try_wait().unwrap().is_some() {
            ended += 1;
            assert!(ended < 200, "the process ends before it can be killed");
            continue;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    load.kill().unwrap();
    load.wait().unwrap();
    let report = project.run(&[]);
    for table in tables {
        project.assert_same(table);
        counts(&report, table);
    }
    assert!(
        project
            .source_value("SELECT count(*) FROM pgbench_history")
            .parse::<u64>()
            .unwrap()
            > 500
    );
}
