//! Which process on which machine: for people, and to know of one on this machine that it has ended.

use std::fmt::{Display, Formatter};
use std::fs;

use serde::{Deserialize, Serialize};

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    host: String,
    pid: u32,
    /// Tells it from every other of the same number, where the system can (Linux).
    identity: Option<Identity>,
}

/// What no other process has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    /// The machine since it was started.
    boot: String,
    /// In which of its namespaces the number counts: containers have their own.
    namespace: String,
    /// When the process began, in ticks since then.
    began: u64,
}

impl Process {
    /// This one.
    pub(super) fn this() -> Self {
        Self::of(std::process::id())
    }

    /// One of this machine.
    pub(super) fn of(pid: u32) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname");
        Self {
            host: host.map_or_else(|_| "?".to_owned(), |host| host.trim().to_owned()),
            pid,
            identity: Identity::of(pid),
        }
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.pid
    }

    /// Whether it certainly has ended: it was of this machine and of this namespace, and is no more.
    pub(super) fn has_ended(&self) -> bool {
        let (Some(it), Some(this)) = (&self.identity, Identity::of(std::process::id())) else {
            return false;
        };
        it.boot == this.boot
            && it.namespace == this.namespace
            && others_are_seen()
            && Identity::of(self.pid).is_none_or(|now| now.began != it.began)
    }
}

impl Display for Process {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

impl Identity {
    fn of(pid: u32) -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a name in brackets, which may hold anything; the time is the 22nd (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(')')?;
        // One that has ended and was not waited for is still listed.
        if matches!(fields.trim_start().chars().next(), Some('Z' | 'X')) {
            return None;
        }
        Some(Self {
            boot: boot.trim().to_owned(),
            namespace: namespace.to_str()?.to_owned(),
            began: fields.split_whitespace().nth(19)?.parse().ok()?,
        })
    }
}

/// Whether the processes of other users are listed at all (`hidepid`): the first one always runs.
fn others_are_seen() -> bool {
    fs::read_to_string("/proc/1/stat").is_ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A process that has just ended.
    fn ended() -> Process {
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let it = Process::of(child.id());
        assert!(it.identity.is_some() && !it.has_ended());
        child.kill().unwrap();
        child.wait().unwrap();
        it
    }

    #[test]
    fn a_process_has_ended_when_it_has() {
        assert!(!Process::this().has_ended());
        assert!(ended().has_ended());
    }

    #[test]
    fn a_number_that_was_given_anew_is_another_process() {
        let mut then = Process::this();
        then.identity.as_mut().unwrap().began -= 1;
        assert!(then.has_ended());
    }

    #[test]
    fn of_other_machines_and_containers_nothing_is_known() {
        let ended = ended();
        let identity = ended.identity.clone().unwrap();
        for elsewhere in [
            Identity {
                boot: "otra".to_owned(),
                ..identity.clone()
            },
            Identity {
                namespace: "pid:[1]".to_owned(),
                ..identity.clone()
            },
        ] {
            let other = Process {
                identity: Some(elsewhere),
                ..ended.clone()
            };
            assert!(!other.has_ended(), "{other:?}");
        }
        let unknown = Process {
            identity: None,
            ..ended
        };
        assert!(!unknown.has_ended());
    }
}
