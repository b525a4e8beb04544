//! The processes of this machine, as `/proc` tells of them. A process may end while it is looked
//! at: what cannot be read is simply not there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// One process at one moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Its id, which another process may have later.
    pub pid: u32,
    /// When it started, in clock ticks since boot: with the id this names it for ever.
    pub started: u64,
    /// Who started it, or who inherited it.
    pub parent: u32,
    /// `R`unning, `S`leeping, `Z`ombie, ..
    pub state: char,
    /// The first bytes of its name.
    pub name: String,
}

impl Seen {
    /// What is known of `pid` now.
    #[must_use]
    pub fn look(pid: u32) -> Option<Seen> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may contain some itself.
        let (head, tail) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        Some(Seen {
            pid,
            started: fields.get(19)?.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            state: fields.first()?.chars().next()?,
            name,
        })
    }

    /// Whether this very process still runs: not gone, not a zombie, no other with its id.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Seen::look(self.pid).is_some_and(|now| now.started == self.started && now.state != 'Z')
    }
}

/// All processes.
#[must_use]
pub fn all() -> Vec<Seen> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Seen::look).collect()
}

/// The children of `pid`, their children, and so on.
#[must_use]
pub fn descendants(pid: u32) -> Vec<Seen> {
    let all = all();
    let mut family = BTreeSet::from([pid]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for process in &all {
            if family.contains(&process.parent) && family.insert(process.pid) {
                found.push(process.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// The processes that run this program file, zombies excepted (they run nothing).
#[must_use]
pub fn running(program: &Path) -> Vec<Seen> {
    let runs = |process: &Seen| {
        fs::read_link(format!("/proc/{}/exe", process.pid)).is_ok_and(|exe| exe == program)
    };
    all().into_iter().filter(runs).collect()
}

/// Kills it, the hard way. `false`: there is no such process.
pub fn kill(pid: u32) -> bool {
    let pid = Pid::from_raw(pid.try_into().expect("a pid fits"));
    nix::sys::signal::kill(pid, Signal::SIGKILL).is_ok()
}

/// Where each thread of our descendants, and of this process, stands.
#[must_use]
pub fn dump() -> String {
    let own = std::process::id();
    let mut text = String::new();
    for process in Seen::look(own).into_iter().chain(descendants(own)) {
        writeln!(text, "{process:?}").expect("a String takes every text");
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", process.pid)) else {
            continue;
        };
        for thread in threads.flatten() {
            let read = |file: &str| {
                fs::read_to_string(thread.path().join(file))
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            };
            let id = thread.file_name();
            // `syscall` begins with the number of the call it sleeps in and its arguments.
            let (name, wait, call) = (read("comm"), read("wchan"), read("syscall"));
            writeln!(text, "    thread {id:?} {name:?} in {wait} ({call})")
                .expect("a String takes every text");
        }
    }
    text
}
