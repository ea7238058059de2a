//! A disk that a load fills: the load is undone, and what it took of the disk is given back.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Project, files_below};

/// A small file system of its own, until this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where this user may not mount.
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir(folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(folder.to_owned()))
    }

    fn used(&self) -> u64 {
        let files = files_below(&self.0);
        files
            .iter()
            .map(|file| file.metadata().unwrap().len())
            .sum()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_load_that_fills_the_disk_of_duckdb_gives_its_room_back() {
    let project = Project::new(
        "full_disk",
        "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"incremental\"\ncursor = \"id\"\nlag = 0\n",
    );
    let Some(disk) = SmallDisk::mount(&project.path("disco"), "30m") else {
        eprintln!("skipped: this user may not mount a small file system");
        return;
    };
    let path = project.path("acequia.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("formacion.duckdb", "disco/formacion.duckdb"),
    )
    .unwrap();
    let insert = |first: u32, last: u32| {
        let sql = format!(
            "INSERT INTO t SELECT i, md5(i::text) || md5((i + 1)::text) FROM generate_series({first}, {last}) AS i"
        );
        project.source.batch(&sql).unwrap();
    };
    project
        .source
        .batch("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .unwrap();
    insert(1, 10_000);
    project.run(&[]);
    let before = disk.used();
    insert(10_001, 900_000);
    for _ in 0..2 {
        let output = project.acequia(&["run"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        assert!(output.stdout.contains("space"), "{output:?}");
        let after = disk.used();
        assert!(
            after < before + (4 << 20),
            "{before} bytes before, {after} after: {output:?}"
        );
    }
    // What there is room for is loaded again.
    project
        .source
        .batch("DELETE FROM t WHERE id > 20000")
        .unwrap();
    project.run(&["--full-refresh"]);
    let connection = duckdb::Connection::open(project.path("disco/formacion.duckdb")).unwrap();
    let rows: i64 = connection
        .query_row("SELECT count(*) FROM replica.t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 20_000);
    drop(connection);
    drop(disk);
}
