//! How a process ended, and what this process does about its children when it ends itself.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use multiproc_sys::child::{Exit, Signal, flush, lifetime};
use multiproc_sys::clock::Deadline;
use multiproc_sys::{Errno, forkmark};
use serde::{Deserialize, Serialize};

use crate::builder::Lifetime;
use crate::child;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It ended itself. The operating system keeps the lowest 8 bits of the code: 0 to 255.
    Code(i32),
    /// A signal killed it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether a core dump was written.
        core_dumped: bool,
    },
    /// It ended, and something else in this process took the status: a `waitpid` for any child, or
    /// `SIGCHLD` is ignored.
    Unknown,
}

impl ExitStatus {
    /// Whether it ended itself with code 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    /// The code, if it ended itself.
    pub fn code(self) -> Option<i32> {
        match self {
            ExitStatus::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The signal, if one killed it.
    pub fn signal(self) -> Option<i32> {
        match self {
            ExitStatus::Signal { signal, .. } => Some(signal),
            _ => None,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitStatus::Code(code) => write!(f, "exited with code {code}"),
            ExitStatus::Signal {
                signal,
                core_dumped,
            } => {
                match lifetime::signal_name(signal) {
                    Some(name) => write!(f, "killed by signal {signal} ({name})")?,
                    None => write!(f, "killed by signal {signal}")?,
                }
                if core_dumped {
                    f.write_str(", core dumped")?;
                }
                if lifetime::is_segmentation_fault(signal) {
                    f.write_str(", possibly a stack overflow")?;
                }
                Ok(())
            }
            ExitStatus::Unknown => f.write_str("ended, and its exit status was taken by others"),
        }
    }
}

impl From<Exit> for ExitStatus {
    fn from(exit: Exit) -> ExitStatus {
        match exit {
            Exit::Code(code) => ExitStatus::Code(code),
            Exit::Signal { number, core } => ExitStatus::Signal {
                signal: number,
                core_dumped: core,
            },
        }
    }
}

/// The mark of the process that has registered [`end_children`]; a fork that we did not make inherits
/// the registration, but not the children.
static REGISTERED: AtomicU64 = AtomicU64::new(0);

/// Sees to it that a normal end of this process ends or awaits its children.
pub(crate) fn watch_own_end() -> Result<(), Errno> {
    let stamp = match forkmark::stamp() {
        0 => forkmark::renew(),
        stamp => stamp,
    };
    if REGISTERED.swap(stamp, Ordering::Relaxed) == stamp {
        return Ok(());
    }
    lifetime::at_exit(end_children)
}

/// How long the streams of a child may take to be written out when it may be another thread of it
/// that keeps them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Ends this process, a child whose task is done: its own children as at a normal end, then what was
/// written and not yet flushed. Exit handlers and destructors of libraries do not run: they would
/// cost a quarter of the time a start takes, and they are for the program that this process is not.
pub(crate) fn end(code: i32) -> ! {
    end_children();
    if lifetime::has_one_thread() {
        flush();
    } else {
        // Another thread may have a stream locked for ever, in the middle of a write to a full pipe.
        let (say, flushed) = mpsc::channel();
        let flusher = thread::Builder::new().spawn(move || {
            flush();
            let _ = say.send(());
        });
        if flusher.is_ok() {
            let _ = flushed.recv_timeout(PATIENCE);
        }
    }
    lifetime::exit_now(code)
}

/// Daemons are killed first, then the others awaited: they may wait for what a daemon holds.
extern "C" fn end_children() {
    let stamp = forkmark::stamp();
    if stamp == 0 || stamp != REGISTERED.load(Ordering::Relaxed) {
        return;
    }
    // Until none is left: another thread may still be starting some.
    loop {
        let of = |lifetime| {
            child::all()
                .into_iter()
                .filter(move |c| c.lifetime() == lifetime)
        };
        for daemon in of(Lifetime::Daemon) {
            // One that may not be signalled any more dies by its parent-death signal.
            let _ = daemon.signal(Signal::Kill);
        }
        let Some(child) = of(Lifetime::Joined).chain(of(Lifetime::Daemon)).next() else {
            return;
        };
        child.wait(Deadline::NEVER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_say_what_happened() {
        let text = |signal| {
            ExitStatus::Signal {
                signal,
                core_dumped: false,
            }
            .to_string()
        };
        assert_eq!(ExitStatus::Code(3).to_string(), "exited with code 3");
        assert_eq!(text(9), "killed by signal 9 (SIGKILL)");
        assert_eq!(
            text(11),
            "killed by signal 11 (SIGSEGV), possibly a stack overflow"
        );
        assert_eq!(text(40), "killed by signal 40");
    }
}
