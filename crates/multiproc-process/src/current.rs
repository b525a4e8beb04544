//! Who this process is, and who its parent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use multiproc_sys::clock::Deadline;

use crate::child;

/// What the root of a family is called.
const ROOT: &str = "main";

/// Set in a child, before its task runs. A copy of this process replaces it by its own.
static CHILD: RwLock<Option<Arc<Origin>>> = RwLock::new(None);

/// The number in the next child's name, if it is not given one.
static NEXT: AtomicU64 = AtomicU64::new(1);

#[derive(Debug)]
struct Origin {
    name: String,
    daemon: bool,
    parent: ParentProcess,
}

/// This process. See [`current_process`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentProcess {
    pid: u32,
    name: String,
    daemon: bool,
}

/// The process that started this one. See [`parent_process`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentProcess {
    pid: u32,
    name: String,
}

/// This process: its number, its name, and whether it is a daemon.
///
/// The program that was not started by this library is called `main`.
pub fn current_process() -> CurrentProcess {
    CurrentProcess {
        pid: std::process::id(),
        name: name(),
        daemon: origin().is_some_and(|origin| origin.daemon),
    }
}

fn origin() -> Option<Arc<Origin>> {
    // A panic cannot leave one pointer half written.
    CHILD.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// This process's name.
pub(crate) fn name() -> String {
    origin().map_or_else(|| ROOT.to_owned(), |origin| origin.name.clone())
}

/// The process that started this one, or `None` in the program that was not started by this library.
pub fn parent_process() -> Option<ParentProcess> {
    origin().map(|origin| origin.parent.clone())
}

/// The processes started by this one that have not been seen to end, in the order of their start.
///
/// Those that have ended by now are reaped first.
pub fn active_children() -> Vec<child::ActiveChild> {
    let mut children = child::all();
    children.retain(|child| child.wait(Deadline::NOW).is_none());
    children.into_iter().map(child::ActiveChild::new).collect()
}

/// How many processors this process may use: its affinity and the quota of its control group count.
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Makes this process the child it was started to be.
pub(crate) fn become_child(name: String, daemon: bool, parent: u32, parent_name: String) {
    let parent = ParentProcess {
        pid: parent,
        name: parent_name,
    };
    let origin = Origin {
        name,
        daemon,
        parent,
    };
    *CHILD.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(origin));
    NEXT.store(1, Ordering::Relaxed);
}

/// A name for a child that is not given one: `Process-1`, and in a child `Process-1:1`.
pub(crate) fn next_name() -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    match origin() {
        None => format!("Process-{number}"),
        Some(origin) => format!("{}:{number}", origin.name),
    }
}

impl CurrentProcess {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The name it was started with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it ends with its parent.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }
}

impl ParentProcess {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        // A process whose parent ends is given another one.
        std::os::unix::process::parent_id() == self.pid
    }
}
