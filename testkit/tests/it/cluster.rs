use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use postgres::{Client, NoTls};
use testkit::listens;
use testkit::{Cluster, PASSWORD_ROLE};

/// Where a server can be seen from outside.
struct Traces {
    port: u16,
    postmaster: u32,
    folder: PathBuf,
}

impl Traces {
    fn of(cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            port: cluster.port(),
            postmaster: cluster.postmaster_pid().context("the server is down")?,
            folder: cluster.data_dir().parent().context("no parent")?.to_owned(),
        })
    }

    fn parse(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        let mut next = || {
            words
                .next()
                .with_context(|| format!("too few words: {line}"))
        };
        Ok(Self {
            port: next()?.parse()?,
            postmaster: next()?.parse()?,
            folder: next()?.into(),
        })
    }

    fn all_there(&self) -> bool {
        listens(self.port) && runs(self.postmaster) && self.folder.exists()
    }

    fn all_gone(&self) -> bool {
        !listens(self.port) && !runs(self.postmaster) && !self.folder.exists()
    }

    fn wait_until_gone(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.all_gone() {
            if Instant::now() > deadline {
                bail!(
                    "still there: port {}, process {}, folder {}",
                    listens(self.port),
                    runs(self.postmaster),
                    self.folder.exists()
                );
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn runs(pid: u32) -> bool {
    Command::new("kill")
        .args(["-0", &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_dropped_cluster_leaves_no_port_process_or_folder() -> Result<()> {
    let cluster = Cluster::start()?;
    let traces = Traces::of(&cluster)?;
    ensure!(traces.all_there());
    drop(cluster);
    ensure!(traces.all_gone(), "something is left");
    Ok(())
}

/// Not a test of its own: the child process of the tests below.
#[test]
#[ignore = "run by the tests below, in a process of its own"]
fn child_that_shares_a_cluster() -> Result<()> {
    if std::env::var_os("TESTKIT_CHILD").is_some() {
        let cluster = Cluster::shared()?;
        let traces = Traces::of(cluster)?;
        let line = format!(
            "TRACES {} {} {}",
            traces.port,
            traces.postmaster,
            traces.folder.display()
        );
        writeln!(std::io::stdout(), "\n{line}")?;
        // Ends when the parent closes the pipe, by the return of this test and no destructor.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    }
    Ok(())
}

/// The child, its output (which it must not find closed), and its server's traces.
fn child() -> Result<(Child, impl Sized, Traces)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "cluster::child_that_shares_a_cluster",
            "--ignored",
            "--nocapture",
        ])
        .env("TESTKIT_CHILD", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = BufReader::new(child.stdout.take().context("no pipe")?);
    let mut line = String::new();
    while output.read_line(&mut line)? > 0 {
        if let Some(traces) = line.strip_prefix("TRACES ") {
            let traces = Traces::parse(traces)?;
            return Ok((child, output, traces));
        }
        line.clear();
    }
    bail!("the child said nothing")
}

#[test]
fn a_shared_cluster_is_gone_after_its_process_was_killed() -> Result<()> {
    let (mut child, _output, traces) = child()?;
    ensure!(traces.all_there());
    child.kill()?;
    child.wait()?;
    traces.wait_until_gone()
}

#[test]
fn nothing_is_left_of_a_cluster_whose_start_was_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )?;
    let left = || -> Result<usize> { Ok(fs::read_dir(folder.path())?.count()) };
    for wait in [0, 100, 200, 400, 700, 1000] {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_testkit"))
            .args(["serve", "--ventas", "100"])
            .env("TMPDIR", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        while left()? == 0 {
            sleep(Duration::from_millis(1));
        }
        // From the start of initdb on, which takes a few milliseconds to come.
        sleep(Duration::from_millis(50 + wait));
        serve.kill()?;
        serve.wait()?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while left()? > 0 {
            ensure!(
                Instant::now() < deadline,
                "killed after {wait} ms: a folder is left"
            );
            sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

#[test]
fn a_shared_cluster_is_gone_after_its_process_ended() -> Result<()> {
    let (mut child, _output, traces) = child()?;
    ensure!(traces.all_there());
    drop(child.stdin.take());
    ensure!(child.wait()?.success());
    traces.wait_until_gone()
}

#[test]
fn the_shared_cluster_is_one() -> Result<()> {
    ensure!(Cluster::shared()?.port() == Cluster::shared()?.port());
    Ok(())
}

#[test]
fn a_password_is_asked_for_and_checked() -> Result<()> {
    let db = Cluster::shared()?.database("clave")?;
    Client::connect(db.password_url(), NoTls)?;
    let wrong = Cluster::shared()?.url_as(db.name(), PASSWORD_ROLE, "otra");
    let error = Client::connect(&wrong, NoTls)
        .err()
        .context("any password does")?;
    ensure!(
        error.code() == Some(&postgres::error::SqlState::INVALID_PASSWORD),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_server_taken_down_comes_back_with_its_data() -> Result<()> {
    let mut cluster = Cluster::start()?;
    cluster
        .admin()?
        .batch_execute("CREATE TABLE prueba AS SELECT 1 AS a")?;
    let port = cluster.port();
    cluster.take_down()?;
    ensure!(!listens(port) && cluster.postmaster_pid().is_none());
    cluster.bring_up()?;
    ensure!(cluster.port() == port);
    let row = cluster.admin()?.query_one("SELECT a FROM prueba", &[])?;
    ensure!(row.try_get::<_, i32>(0)? == 1);
    let traces = Traces::of(&cluster)?;
    drop(cluster);
    ensure!(traces.all_gone());
    Ok(())
}

#[test]
fn a_data_folder_of_the_callers_stays() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The server's account must be able to get in.
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let data = folder.path().join("datos");
    let first = Cluster::options().data_dir(&data).start()?;
    first
        .admin()?
        .batch_execute("CREATE TABLE prueba AS SELECT 1 AS a")?;
    drop(first);
    let second = Cluster::options().data_dir(&data).start()?;
    second.admin()?.batch_execute("SELECT a FROM prueba")?;
    drop(second);
    ensure!(data.join("PG_VERSION").exists());
    Ok(())
}

#[test]
fn a_setting_wins_over_the_usual_one() -> Result<()> {
    let cluster = Cluster::options()
        .setting("wal_level", "replica")
        .setting("application_name", "d'agua")
        .start()?;
    let row = cluster
        .admin()?
        .query_one("SELECT current_setting('wal_level')", &[])?;
    ensure!(row.try_get::<_, String>(0)? == "replica");
    Ok(())
}

#[test]
fn a_failed_start_shows_the_end_of_the_log() -> Result<()> {
    let error = Cluster::options()
        .setting("shared_buffers", "nada")
        .start()
        .err()
        .context("it started")?;
    let text = format!("{error:#}");
    ensure!(
        text.contains("invalid value for parameter \"shared_buffers\""),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_port_asked_for_and_taken_is_an_error() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let error = Cluster::options()
        .port(listener.local_addr()?.port())
        .start()
        .err()
        .context("it started")?;
    ensure!(format!("{error:#}").contains("could not bind"), "{error:#}");
    Ok(())
}

#[test]
fn tls_is_on_where_asked_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (certificate, key) = (folder.path().join("crt.pem"), folder.path().join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .context("the openssl command is not installed")?;
    ensure!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let cluster = Cluster::options()
        .ssl(&certificate, &key)
        .hba("hostnossl all solo_tls 127.0.0.1/32 reject")
        .start()?;
    let mut admin = cluster.admin()?;
    let row = admin.query_one("SELECT current_setting('ssl')", &[])?;
    ensure!(row.try_get::<_, String>(0)? == "on");
    admin.batch_execute("CREATE ROLE solo_tls LOGIN")?;
    let refused = Client::connect(&cluster.url_as("postgres", "solo_tls", "x"), NoTls);
    ensure!(refused.is_err(), "let in without TLS");
    Ok(())
}

#[test]
fn serve_prints_a_url_and_ends_with_its_input() -> Result<()> {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_testkit"))
        .args(["serve", "--ventas", "100"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut url = String::new();
    BufReader::new(serve.stdout.take().context("no pipe")?).read_line(&mut url)?;
    let row = Client::connect(url.trim(), NoTls)?.query_one(
        "SELECT count(*), current_setting('data_directory') FROM ventas",
        &[],
    )?;
    ensure!(row.try_get::<_, i64>(0)? == 100);
    let changes = Command::new(env!("CARGO_BIN_EXE_testkit"))
        .args(["changes", "--url", url.trim()])
        .output()?;
    ensure!(String::from_utf8_lossy(&changes.stdout).contains("inserted_ventas: 25"));
    let data: String = row.try_get(1)?;
    drop(serve.stdin.take());
    ensure!(serve.wait()?.success());
    ensure!(!Path::new(&data).exists());
    Ok(())
}
