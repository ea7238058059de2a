//! What a server needs of the machine it is to run on: binaries, an account, a port; and what ends its processes.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const SUPERVISOR: &str = include_str!("supervise.sh");
const LOG_TAIL: usize = 3000;

/// The account the server runs as when this process is root, which PostgreSQL refuses to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The folder of `initdb` and `postgres`: the one that `TESTKIT_POSTGRES` names, else that of the `pg_config` on the path, else
/// where Debian keeps them.
pub(crate) fn binaries() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("TESTKIT_POSTGRES").map(PathBuf::from) {
        return Some(folder)
            .filter(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
            .context("TESTKIT_POSTGRES names a folder without PostgreSQL server binaries (initdb, postgres)");
    }
    let by_pg_config = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()
        .filter(|run| run.status.success())
        .map(|run| PathBuf::from(String::from_utf8_lossy(&run.stdout).trim()));
    let mut by_version: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    by_version.sort();
    by_pg_config
        .into_iter()
        .chain(by_version.into_iter().rev().map(|(_, folder)| folder))
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .context("no PostgreSQL server binaries (initdb, postgres) found by pg_config --bindir; run scripts/setup.sh")
}

/// The account to run the server as: none in particular unless we are root, whom `own` (just made) then belongs to.
pub(crate) fn unprivileged_user(own: &Path) -> Result<Option<User>> {
    if fs::metadata(own)?.uid() != 0 {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let find = |wanted: &str| {
        accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            (name == wanted && uid != 0).then_some(User { uid, gid })
        })
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .map(Some)
        .context("PostgreSQL does not run as root, and there is no account postgres or nobody to run it as")
}

pub(crate) fn free_port() -> Result<u16> {
    let [port] = free_ports()?;
    Ok(port)
}

/// So many free loopback ports, all of them different.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // Held until all are known, or the same one could be given twice.
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Runs a program under a small `sh` (`supervise.sh`) that watches a pipe from this process: at the pipe's end the program is
/// stopped at once and `folder` removed. `shell` is a command for `sh` in whatever surroundings the program is to have.
pub(crate) fn supervise(
    mut shell: Command,
    folder: &Path,
    log: &Path,
    program: &Path,
    arguments: &[OsString],
) -> Result<Child> {
    shell
        .args(["-c", SUPERVISOR, "supervise"])
        .arg(log)
        .arg(folder.join("ending"))
        .arg(folder)
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Of its own group, so that Ctrl-C in a terminal does not end it before it has cleaned up.
        .process_group(0)
        .spawn()
        .context("cannot run sh")
}

/// The end of a server's log.
pub(crate) fn log_tail(path: &Path) -> String {
    let log = match fs::read(path) {
        Ok(log) => log,
        Err(error) if error.kind() == ErrorKind::NotFound => return "(no log)".to_owned(),
        Err(error) => return format!("(cannot read the log: {error})"),
    };
    let start = log.len().saturating_sub(LOG_TAIL);
    String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
}

/// Sends a signal to one process of ours.
pub(crate) fn signal(name: &str, pid: u32) -> Result<()> {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .context("cannot run kill")?;
    if !status.success() {
        bail!("cannot send SIG{name} to process {pid}");
    }
    Ok(())
}

pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            bail!("process {} did not end within {limit:?}", child.id());
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Whether something listens on this loopback port.
#[must_use]
pub fn listens(port: u16) -> bool {
    TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), Duration::from_secs(1)).is_ok()
}
