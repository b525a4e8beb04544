//! A test that hangs becomes a failure that says where each process stands.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::processes;

/// Runs `body` on this thread. If it takes longer than `limit` the state of every process of ours
/// is printed and this one is aborted: nothing less ends a thread that sleeps in the kernel.
pub fn within<T>(limit: Duration, body: impl FnOnce() -> T) -> T {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let (done, finished) = channel::<()>();
    let guard = thread::spawn(move || {
        if finished.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{test}: not over after {limit:?}\n{}", processes::dump());
            std::process::abort();
        }
    });
    // Dropped, also when `body` panics: the receiver then sees the end and not the limit.
    let ended = Ended {
        done: Some(done),
        guard: Some(guard),
    };
    let value = body();
    drop(ended);
    value
}

/// Takes the guard's thread with it, so that it does not count among those left over.
struct Ended {
    done: Option<std::sync::mpsc::Sender<()>>,
    guard: Option<thread::JoinHandle<()>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(guard) = self.guard.take() {
            drop(guard.join());
        }
    }
}
