//! One run at a time, by a lease in the landing area.

use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use testkit::{Changes, Proxy};

use super::Shore;
use crate::support::{CURSOS_AND_VENTAS, Output};

/// A run that stands before its commit until it may go on.
struct Standing {
    run: Option<Child>,
    go_on: Sender<()>,
    _proxy: Proxy,
}

impl Standing {
    fn of(shore: Shore) -> (Shore, Self) {
        let proxy = Proxy::start(&shore.lake.catalog()).unwrap();
        let shore = shore.at(&proxy.url());
        let (stands, standing) = channel();
        let (go_on, may): (Sender<()>, Receiver<()>) = channel();
        proxy.before("POST", "commit", 0, move || {
            stands.send(()).unwrap();
            may.recv_timeout(Duration::from_mins(2)).ok();
        });
        let run = shore
            .command(&["run"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        standing.recv_timeout(Duration::from_mins(1)).unwrap();
        let run = Some(run);
        (
            shore,
            Self {
                run,
                go_on,
                _proxy: proxy,
            },
        )
    }

    fn id(&self) -> u32 {
        self.run.as_ref().unwrap().id()
    }

    fn finish(&mut self) -> std::process::Output {
        self.go_on.send(()).unwrap();
        self.run.take().unwrap().wait_with_output().unwrap()
    }

    fn kill(&mut self) {
        let mut run = self.run.take().unwrap();
        run.kill().unwrap();
        run.wait().unwrap();
        self.go_on.send(()).unwrap();
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if let Some(run) = &mut self.run {
            run.kill().ok();
            run.wait().ok();
        }
    }
}

/// With one load done and something to load, landing in a folder or in an object store.
fn ready(name: &str, in_s3: bool) -> Shore {
    let shore = Shore::operational(name, 200, CURSOS_AND_VENTAS);
    let shore = if in_s3 { shore.landing_in_s3() } else { shore };
    shore.run(&[]);
    Changes::day(1)
        .apply(&mut shore.source.client().unwrap())
        .unwrap();
    shore
}

#[test]
fn of_two_runs_one_is_refused_and_told_who_runs() {
    for in_s3 in [false, true] {
        let shore = ready("turno", in_s3).with("wait = \"0s\"\n");
        let (shore, mut standing) = Standing::of(shore);
        // Nobody is kept from looking.
        let status = shore.acequia(&["status"]);
        assert_eq!(status.status, Some(0), "{status:?}");
        let refused = shore.acequia(&["run"]);
        assert_eq!(refused.status, Some(1), "{refused:?}");
        let process = format!("process {} on ", standing.id());
        for word in [
            "another run holds the destination lago",
            &process,
            " UTC",
            "wait until it ends",
        ] {
            assert!(refused.stderr.contains(word), "{word}: {refused:?}");
        }
        assert_eq!(
            refused.stderr.contains("remove s3://"),
            in_s3,
            "{refused:?}"
        );
        let first = standing.finish();
        assert!(first.status.success(), "{first:?}");
        shore.run(&[]);
        shore.assert_same("ventas");
        shore.assert_same("cursos");
    }
}

#[test]
fn a_run_waits_for_the_other_to_end() {
    for in_s3 in [false, true] {
        let (shore, mut standing) = Standing::of(ready("turno_espera", in_s3));
        let second = std::thread::scope(|scope| {
            let second = scope.spawn(|| shore.acequia(&["run"]));
            std::thread::sleep(Duration::from_millis(2_500));
            assert!(!second.is_finished());
            assert!(standing.finish().status.success());
            second.join().unwrap()
        });
        assert_eq!(second.status, Some(0), "{second:?}");
        assert!(
            second.stderr.contains("waiting for the destination"),
            "{second:?}"
        );
        shore.assert_same("ventas");
        shore.assert_same("cursos");
    }
}

#[test]
fn who_was_killed_on_this_machine_is_not_waited_for() {
    for in_s3 in [false, true] {
        let shore = ready("turno_muerto", in_s3).with("wait = \"0s\"\n");
        let (shore, mut standing) = Standing::of(shore);
        standing.kill();
        let next: Output = shore.acequia(&["run"]);
        assert_eq!(next.status, Some(0), "{next:?}");
        shore.assert_same("ventas");
        shore.assert_same("cursos");
    }
}

#[test]
fn a_lease_is_neither_a_load_nor_damage() {
    let shore = ready("turno_lista", false);
    let (shore, mut standing) = Standing::of(shore);
    let listed = shore.acequia(&["landing", "list", "--output", "json"]);
    assert_eq!(listed.status, Some(0), "{listed:?}");
    assert!(
        !listed.stdout.contains("lease") && !listed.stderr.contains("lease"),
        "{listed:?}"
    );
    let pruned = shore.acequia(&["landing", "prune", "--older-than", "30d", "--dry-run"]);
    assert_eq!(pruned.status, Some(0), "{pruned:?}");
    standing.finish();
}
