//! A streaming standby of a cluster, made of a copy of its data folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::cluster::{Cluster, ClusterOptions};
use crate::host::User;

/// What a copy of a running server's data folder leaves out (manual, section 26.3.4.3).
const LEFT_OUT: [&str; 7] = [
    "postmaster.pid",
    "postmaster.opts",
    "pg_wal",
    "pg_replslot",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_notify",
];
const CATCH_UP_LIMIT: Duration = Duration::from_secs(30);

/// A standby that streams from a cluster. Its folder goes with it.
#[derive(Debug)]
pub struct Standby {
    // Dropped in this order.
    cluster: Cluster,
    _folder: TempDir,
}

impl Cluster {
    /// Makes a standby of this cluster, with these settings besides its own, and waits until it takes connections.
    ///
    /// # Errors
    /// When the data folder cannot be copied, or the standby does not start.
    pub fn standby(&self, settings: &[(&str, &str)]) -> Result<Standby> {
        let folder = tempfile::Builder::new()
            .prefix("testkit-standby-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let data = folder.path().join("data");
        let mut admin = self.admin()?;
        let version: i32 = admin
            .query_one("SELECT current_setting('server_version_num')::int4", &[])?
            .get(0);
        let (start, stop) = if version >= 150_000 {
            ("pg_backup_start('standby', true)", "pg_backup_stop(false)")
        } else {
            (
                "pg_start_backup('standby', true, false)",
                "pg_stop_backup(false, false)",
            )
        };
        admin.batch_execute(&format!("SELECT {start}"))?;
        copy(self.data_dir(), &data, self.user)?;
        let label: String = admin
            .query_one(&format!("SELECT labelfile FROM {stop}"), &[])?
            .get(0);
        for (name, text) in [("backup_label", label.as_str()), ("standby.signal", "")] {
            let file = data.join(name);
            fs::write(&file, text)?;
            own(&file, self.user)?;
        }
        if let Some(User { uid, gid }) = self.user {
            chown(folder.path(), Some(uid), Some(gid))?;
        }
        let primary = format!("host=127.0.0.1 port={} user=postgres", self.port());
        let mut options = ClusterOptions::default()
            .data_dir(&data)
            .setting("primary_conninfo", &primary);
        for (name, value) in settings {
            options = options.setting(name, value);
        }
        Ok(Standby {
            cluster: options.start()?,
            _folder: folder,
        })
    }
}

impl Standby {
    /// The standby as a server.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Waits until it has replayed what its primary has written.
    ///
    /// # Errors
    /// When it does not within half a minute, or one of them cannot be reached.
    pub fn catch_up(&self, primary: &Cluster) -> Result<()> {
        let end: String = primary
            .admin()?
            .query_one("SELECT pg_current_wal_flush_lsn()::text", &[])?
            .get(0);
        let mut client = self.cluster.admin()?;
        let deadline = Instant::now() + CATCH_UP_LIMIT;
        loop {
            let reached: bool = client
                .query_one(
                    "SELECT COALESCE(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)",
                    &[&end],
                )?
                .get(0);
            if reached {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the standby did not replay up to {end}");
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Makes it a primary, on a timeline of its own.
    ///
    /// # Errors
    /// When it cannot be reached, or does not become one.
    pub fn promote(&self) -> Result<()> {
        let promoted: bool = self
            .cluster
            .admin()?
            .query_one("SELECT pg_promote()", &[])?
            .get(0);
        if !promoted {
            bail!("the standby was not promoted");
        }
        Ok(())
    }
}

/// Copies a folder; what vanishes meanwhile is not missed, as replay makes it anew.
fn copy(from: &Path, to: &Path, user: Option<User>) -> Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    own(to, user)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let left_out = LEFT_OUT.iter().any(|name| entry.file_name() == *name);
        if path.is_dir() {
            if left_out {
                fs::create_dir_all(&target)?;
                own(&target, user)?;
            } else {
                copy(&path, &target, user)?;
            }
        } else if !left_out && fs::copy(&path, &target).is_ok() {
            own(&target, user)?;
        }
    }
    Ok(())
}

fn own(path: &Path, user: Option<User>) -> Result<()> {
    if let Some(User { uid, gid }) = user {
        chown(path, Some(uid), Some(gid))?;
    }
    Ok(())
}
