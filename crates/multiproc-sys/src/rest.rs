//! The library's own threads, and moments in which all of them are at rest.
//!
//! A copy of a process (`fork`) has the memory of all its threads, but only the thread that made it:
//! a lock that another one held at that moment, the allocator's among them, is held for ever. So a
//! process is only copied while its other threads are known to hold nothing. Of threads of ours that
//! is known: each [`register`]s, and blocks only by [`Resident::rest`], whose closure is one system
//! call and holds, takes and allocates nothing. Other threads are refused.
//!
//! # The words
//!
//! | word | states | who changes it |
//! |---|---|---|
//! | `FORKING` | 0 no, 1 a copy is about to be made: nobody leaves its rest | the thread that forks, under `RESIDENTS` |
//! | `Seat::resting` | 0 works, 1 rests | the resident |
//!
//! A resident that leaves its rest says "works" and *then* looks at `FORKING`; the thread that forks
//! says so and *then* looks who rests (both sequentially consistent): one of them sees the other. The
//! resident gives way.
//!
//! Both are of one process: a copy begins with no residents. Killed anywhere, nobody is left to see.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use crate::clock::Deadline;
use crate::{futex, robust};

/// A thread that has been joined is in the process's list for a moment yet.
const LEAVING: Duration = Duration::from_millis(200);

static FORKING: AtomicU32 = AtomicU32::new(0);
static RESIDENTS: Mutex<Vec<Arc<Seat>>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Seat {
    tid: u32,
    resting: AtomicU32,
}

/// A thread's registration as one of the library's own. Dropped before the thread ends.
#[derive(Debug)]
pub struct Resident(Arc<Seat>);

/// Registers the calling thread, which from now on blocks only in [`Resident::rest`], or for a time
/// that is short and not up to anybody else.
pub fn register() -> Resident {
    let seat = Arc::new(Seat {
        tid: robust::tid(),
        resting: AtomicU32::new(0),
    });
    residents().push(Arc::clone(&seat));
    Resident(seat)
}

fn residents() -> MutexGuard<'static, Vec<Arc<Seat>>> {
    RESIDENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Resident {
    /// Calls `wait`, during which the process may be copied. It makes one system call that blocks, and
    /// neither allocates nor holds a lock.
    pub fn rest<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.0.set(1);
        let value = wait();
        loop {
            self.0.set(0);
            if FORKING.load(Ordering::SeqCst) == 0 {
                return value;
            }
            self.0.set(1);
            let _ = futex::wait(&FORKING, 1, Deadline::NEVER);
        }
    }
}

impl Seat {
    fn set(&self, resting: u32) {
        self.resting.store(resting, Ordering::SeqCst);
        if FORKING.load(Ordering::SeqCst) != 0 {
            futex::wake_all(&self.resting);
        }
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        // Whoever forks meanwhile has the list; waiting for it is a rest.
        self.0.set(1);
        residents().retain(|seat| !Arc::ptr_eq(seat, &self.0));
    }
}

/// Why this process cannot be copied now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restless {
    /// Threads run that are not the library's. Their names.
    Threads(Vec<String>),
    /// The system does not tell.
    Os(Errno),
}

/// While it lives, the calling thread is the only one of the process that does anything.
#[derive(Debug)]
pub struct Rest {
    residents: MutexGuard<'static, Vec<Arc<Seat>>>,
}

/// Waits until all other threads rest, and keeps them there.
///
/// # Errors
///
/// [`Restless`] if there are others than those of the library, or `/proc` is not there.
pub fn all_at_rest() -> Result<Rest, Restless> {
    let until = Deadline::after(LEAVING);
    loop {
        let rest = Rest::begin();
        let others = rest.others().map_err(Restless::Os)?;
        if others.is_empty() {
            return Ok(rest);
        }
        drop(rest);
        if until.has_passed() {
            return Err(Restless::Threads(others));
        }
        std::thread::yield_now();
    }
}

impl Rest {
    fn begin() -> Rest {
        let residents = residents();
        FORKING.store(1, Ordering::SeqCst);
        for seat in &*residents {
            while seat.resting.load(Ordering::SeqCst) == 0 {
                let _ = futex::wait(&seat.resting, 0, Deadline::NEVER);
            }
        }
        Rest { residents }
    }

    /// The names of the threads that are neither this one nor the library's.
    fn others(&self) -> Result<Vec<String>, Errno> {
        let me = robust::tid();
        let threads = threads()?
            .into_iter()
            .filter(|&(tid, _)| tid != me && !self.residents.iter().any(|seat| seat.tid == tid));
        Ok(threads.map(|(_, name)| name).collect())
    }

    /// In the copy: there are no other threads.
    pub fn over_in_copy(mut self) {
        self.residents.clear();
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        FORKING.store(0, Ordering::SeqCst);
        futex::wake_all(&FORKING);
    }
}

/// The threads of this process: number and name.
///
/// # Errors
///
/// `ENOENT` without a mounted `/proc`, `EMFILE`, `ENFILE`.
pub fn threads() -> Result<Vec<(u32, String)>, Errno> {
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task").map_err(errno)? {
        let entry = entry.map_err(errno)?;
        let Some(tid) = entry.file_name().to_str().and_then(|tid| tid.parse().ok()) else {
            continue;
        };
        // It may have ended since; then it is nobody.
        if let Ok(name) = std::fs::read_to_string(entry.path().join("comm")) {
            found.push((tid, name.trim_end().to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn other_threads_are_named() {
        let stop = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("somebody".into());
        let thread = thread.spawn(move || {
            while theirs.load(Ordering::SeqCst) == 0 {
                let _ = futex::wait(&theirs, 0, Deadline::NEVER);
            }
        });
        let thread = thread.expect("a thread");
        let Err(Restless::Threads(names)) = all_at_rest() else {
            panic!("the test harness and a thread run");
        };
        assert!(names.iter().any(|name| name == "somebody"), "{names:?}");
        stop.store(1, Ordering::SeqCst);
        futex::wake_all(&stop);
        thread.join().expect("no panic");
    }

    #[test]
    fn nobody_leaves_its_rest_during_a_fork() {
        let over = Arc::new(AtomicBool::new(false));
        let working = Arc::new(AtomicU32::new(0));
        let (end, busy) = (Arc::clone(&over), Arc::clone(&working));
        let thread = std::thread::spawn(move || {
            let me = register();
            while !end.load(Ordering::SeqCst) {
                busy.fetch_add(1, Ordering::SeqCst);
                busy.fetch_add(1, Ordering::SeqCst);
                me.rest(std::thread::yield_now);
            }
        });
        let until = Deadline::after(Duration::from_secs(30));
        while working.load(Ordering::SeqCst) < 1000 && !until.has_passed() {
            let rest = Rest::begin();
            let before = working.load(Ordering::SeqCst);
            std::thread::yield_now();
            assert_eq!(before % 2, 0, "it rests in the middle of its work");
            assert_eq!(before, working.load(Ordering::SeqCst), "it works");
            drop(rest);
            std::thread::yield_now();
        }
        over.store(true, Ordering::SeqCst);
        thread.join().expect("no panic");
        assert!(working.load(Ordering::SeqCst) >= 1000);
    }
}
