//! What a pool is doing now.

use crate::crew::Place;
use crate::hub::Hub;
use multiproc_sys::usage::private_memory;

/// What a pool is doing: from [`PoolHandle::stats`](crate::PoolHandle::stats). A snapshot: by the time it is read,
/// the workers have gone on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// One for each place for a worker, in the order of their numbers.
    pub workers: Vec<WorkerStats>,
    /// Chunks that are with the workers, or lie ready for them.
    pub handed_out: usize,
    /// Chunks that wait for room.
    pub waiting: usize,
}

/// One place for a worker, and whoever is there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its process; `None` for a thread, and where nobody is.
    pub pid: Option<u32>,
    /// What it is at.
    pub state: WorkerState,
    /// How many tasks were answered from this place, by all who worked here.
    pub tasks_done: u64,
    /// The task it is running: its place among the items of its call.
    pub current_task: Option<usize>,
    /// How often a worker was replaced here.
    pub restarts: u32,
    /// How many bytes of memory only it uses; `None` for a thread, and where nobody is.
    pub memory: Option<u64>,
}

/// What a worker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// On its way to its first task.
    Starting,
    /// Waiting for a task.
    Idle,
    /// Running one.
    Busy,
    /// Asked to end, since its task took too long or was cancelled.
    Stopping,
    /// Gone; another one comes, unless the pool ends.
    Gone,
}

impl Hub {
    pub(crate) fn stats(&self) -> PoolStats {
        self.drain();
        self.board.bell().ring();
        let workers = (0..self.workers()).map(|slot| self.worker_stats(slot));
        let workers = workers.collect();
        let book = self.book();
        PoolStats {
            workers,
            handed_out: book.pushed(),
            waiting: book.backlog(),
        }
    }

    fn worker_stats(&self, slot: usize) -> WorkerStats {
        let claim = self.board.claim(slot).get();
        let running = claim.and_then(|claim| self.book().running(claim));
        let slots = self.crew.slots();
        let of = &slots.of[slot];
        let state = match &of.place {
            Place::Up(up) if up.is_ending() => WorkerState::Stopping,
            Place::Up(_) if !self.board.is_ready(slot) => WorkerState::Starting,
            Place::Up(_) if running.is_some() => WorkerState::Busy,
            Place::Up(_) => WorkerState::Idle,
            Place::Gap(_) | Place::Gone => WorkerState::Gone,
        };
        let (pid, restarts) = (of.pid(), of.starts.saturating_sub(1));
        drop(slots);
        let current = running.filter(|_| state == WorkerState::Busy);
        WorkerStats {
            pid,
            state,
            tasks_done: self.done(slot),
            current_task: current.map(|running| running.item),
            restarts,
            memory: pid.and_then(private_memory),
        }
    }
}
