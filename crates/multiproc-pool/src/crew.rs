//! The workers of a pool: who is in which slot, since when, and who is being stopped.
//!
//! Owns the rule that a slot's words belong to one worker at a time: a slot is filled only from a gap,
//! and becomes one only when its worker is gone and buried. Workers are stopped under the same lock,
//! so that a signal never reaches the successor of the one that was meant.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use multiproc_process::{ExitStatus, Process, StartMethod};
use multiproc_sys::clock::Deadline;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::BrokenCause;
use crate::hub::Hub;
use crate::stderr::LastWords;
use crate::terms::Terms;
use crate::words::{Board, Claim};
use crate::worker::{self, Seat};

/// A slot's workers are started at least this far apart, unless they retire.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(10);

/// How workers are to be made, and treated.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) workers: usize,
    pub(crate) terms: Terms,
    pub(crate) method: StartMethod,
    /// How long a worker may take until its first task.
    pub(crate) start_timeout: Option<Duration>,
    /// How long a worker that was asked to end may take before it is killed.
    pub(crate) grace: Duration,
    /// Whether the last of a worker's standard error is kept.
    pub(crate) keeps_stderr: bool,
}

/// The workers of one pool.
pub(crate) struct Crew {
    pub(crate) plan: Plan,
    slots: Mutex<Slots>,
    pub(crate) exits: Exits,
    over: Mutex<bool>,
    changed: Condvar,
    pub(crate) thread: Mutex<Option<JoinHandle<()>>>,
    /// When the supervisor will look again by itself, in nanoseconds; 0: it is looking.
    looks_at: AtomicU64,
}

pub(crate) struct Slots {
    pub(crate) of: Vec<Slot>,
    /// When starts failed, and why, since one came up.
    pub(crate) failures: Vec<(Instant, BrokenCause)>,
    /// When some worker was last seen to be ready. A start before that proves nothing.
    pub(crate) ready_seen: Option<Instant>,
}

/// One place for a worker.
pub(crate) struct Slot {
    pub(crate) place: Place,
    /// How many workers it has had.
    pub(crate) starts: u32,
}

pub(crate) enum Place {
    Up(Up),
    /// To be filled again, not before this moment.
    Gap(Instant),
    /// Stays empty: the pool ends.
    Gone,
}

/// A worker that is there.
pub(crate) struct Up {
    worker: Worker,
    pub(crate) born: Instant,
    /// It was asked to end; when it is killed.
    ending: Option<Instant>,
    /// It took too long until its first task.
    pub(crate) too_slow: bool,
}

enum Worker {
    Process {
        process: Process<Result<(), String>>,
        stderr: Option<Arc<LastWords>>,
    },
    /// A thread can be asked, and not be made, to end.
    Thread,
}

/// Workers that have ended and are not yet buried. Written on the thread that reaps, which must not
/// wait.
type Exits = Arc<Mutex<Vec<Exit>>>;

pub(crate) struct Exit {
    pub(crate) slot: usize,
    pub(crate) pid: u32,
    pub(crate) status: ExitStatus,
    /// How a thread ended; of a process its result tells.
    ended: Option<Ending>,
}

impl Exit {
    pub(crate) fn of_process(slot: usize, pid: u32, status: ExitStatus) -> Exit {
        Exit {
            slot,
            pid,
            status,
            ended: None,
        }
    }
}

/// How a worker came to its end.
pub(crate) enum Ending {
    /// By itself: it retired, or was let go.
    Left,
    /// Before its first task, saying why.
    Unready(String),
    /// All else.
    Died,
}

impl Crew {
    pub(crate) fn new(plan: Plan) -> Crew {
        let now = Instant::now();
        let empty = || Slot {
            place: Place::Gap(now),
            starts: 0,
        };
        Crew {
            slots: Mutex::new(Slots {
                of: (0..plan.workers).map(|_| empty()).collect(),
                failures: Vec::new(),
                ready_seen: None,
            }),
            plan,
            exits: Arc::default(),
            over: Mutex::default(),
            changed: Condvar::new(),
            thread: Mutex::default(),
            looks_at: AtomicU64::new(0),
        }
    }

    /// What the workers are called, without their number.
    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// Whether the workers are processes rather than threads.
    pub(crate) fn has_processes(&self) -> bool {
        self.plan.terms.own_process
    }

    pub(crate) fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock()
    }

    /// The processes that work now.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.slots.lock().of.iter().filter_map(Slot::pid).collect()
    }

    /// Says when the supervisor looks again by itself; before it looks whether it should be earlier.
    pub(crate) fn looks_at(&self, nanos: u64) {
        // SYNC POINT limit: the supervisor stores this, then reads the book's limit.
        self.looks_at.store(nanos, Ordering::SeqCst);
    }

    /// Whether the supervisor sleeps past this moment.
    pub(crate) fn sleeps_past(&self, nanos: u64) -> bool {
        // SYNC POINT limit: the limit was stored in the book, then this is read.
        self.looks_at.load(Ordering::SeqCst) > nanos
    }

    /// Has the worker of a slot begin nothing after what `claim` says, and asks it to end; it is
    /// killed after the grace. `false`: it has gone on already.
    #[must_use = "a worker that has gone on must be left alone"]
    pub(crate) fn stop(&self, board: &Board, slot: usize, claim: Claim) -> bool {
        let mut slots = self.slots.lock();
        let stopped = board.claim(slot).stop(claim);
        if stopped && let Place::Up(up) = &mut slots.of[slot].place {
            up.end(self.plan.grace);
        }
        stopped
    }

    /// Kills those that were asked to end and did not, and those that take too long to be ready. When
    /// the next is due.
    pub(crate) fn kill_overdue(&self, board: &Board) -> Deadline {
        let mut next = Deadline::NEVER;
        for (slot, of) in self.slots.lock().of.iter_mut().enumerate() {
            let Place::Up(up) = &mut of.place else {
                continue;
            };
            let unready = self
                .plan
                .start_timeout
                .filter(|_| !up.too_slow && !board.is_ready(slot))
                .map(|limit| up.born + limit);
            for (due, is_start) in [(unready, true), (up.ending, false)] {
                let Some(due) = due.map(Deadline::at) else {
                    continue;
                };
                if due.has_passed() {
                    up.too_slow |= is_start;
                    up.ending = None;
                    up.kill();
                } else {
                    next = next.earlier(due);
                }
            }
        }
        next
    }

    /// Ends every worker now; empty slots stay empty.
    pub(crate) fn end_all(&self) {
        for slot in &mut self.slots.lock().of {
            match &mut slot.place {
                Place::Up(up) => up.kill(),
                empty => *empty = Place::Gone,
            }
        }
    }

    pub(crate) fn set_over(&self) {
        *self.over.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until the last worker is gone. `false`: the deadline came first.
    #[must_use = "the deadline may have come first"]
    pub(crate) fn wait_until_over(&self, deadline: Deadline) -> bool {
        let mut over = self.over.lock();
        while !*over {
            match deadline.remaining() {
                None => self.changed.wait(&mut over),
                Some(left) if left.is_zero() => return false,
                Some(left) => {
                    self.changed.wait_for(&mut over, left);
                }
            }
        }
        drop(over);
        // The thread has nothing left to do but to end.
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
        true
    }
}

impl Slot {
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.place {
            Place::Up(Up {
                worker: Worker::Process { process, .. },
                ..
            }) => Some(process.pid()),
            _ => None,
        }
    }

    /// The last that the worker of this slot, now dead, wrote to its standard error.
    pub(crate) fn last_words(&self) -> Option<Arc<LastWords>> {
        match &self.place {
            Place::Up(Up {
                worker: Worker::Process { stderr, .. },
                ..
            }) => stderr.clone(),
            _ => None,
        }
    }

    /// How the worker that `exit` tells of came to its end.
    pub(crate) fn ending(&self, exit: &mut Exit) -> Ending {
        if let Some(ended) = exit.ended.take() {
            return ended;
        }
        match &self.place {
            Place::Up(Up {
                worker: Worker::Process { process, .. },
                ..
            }) => match process.try_join() {
                Ok(Ok(())) => Ending::Left,
                Ok(Err(text)) => Ending::Unready(text),
                Err(_) => Ending::Died,
            },
            _ => Ending::Died,
        }
    }
}

impl Up {
    /// Asks it to end, and has it killed after `grace`.
    fn end(&mut self, grace: Duration) {
        if let (Worker::Process { process, .. }, None) = (&self.worker, self.ending) {
            // One that cannot be signalled is gone already.
            let _ = process.terminate();
            self.ending = Some(Instant::now() + grace);
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    fn kill(&self) {
        if let Worker::Process { process, .. } = &self.worker {
            // As in `end`.
            let _ = process.kill();
        }
    }
}

impl Hub {
    /// Starts the worker of an empty slot: never a second one, since a slot's words are one worker's. Not if
    /// the pool needs none any more.
    pub(crate) fn start_worker(self: &Arc<Hub>, slot: usize) -> Result<(), BrokenCause> {
        let mut slots = self.crew.slots();
        if !matches!(slots.of[slot].place, Place::Gap(_)) {
            return Ok(());
        }
        if self.takes_no_more_workers() {
            slots.of[slot].place = Place::Gone;
            return Ok(());
        }
        let born = Instant::now();
        slots.of[slot].place = Place::Gap(born + BACK_OFF);
        self.board.set_ready(slot, false);
        let results = self.new_results(slot).map_err(BrokenCause::Create)?;
        let seat = Seat {
            board: self.board.object().clone(),
            tasks: self.tasks.object().clone(),
            results: results.object().clone(),
            slot: slot as u32,
            terms: self.crew.plan.terms.clone(),
        };
        let worker = if self.crew.has_processes() {
            self.start_process(slot, seat)?
        } else {
            self.start_thread(slot, seat)?
        };
        slots.of[slot].starts += 1;
        slots.of[slot].place = Place::Up(Up {
            worker,
            born,
            ending: None,
            too_slow: false,
        });
        Ok(())
    }

    fn start_process(self: &Arc<Hub>, slot: usize, seat: Seat) -> Result<Worker, BrokenCause> {
        let mut builder = Process::new(worker::work, seat)
            .name(self.worker_name(slot))
            .daemon(true)
            .start_method(self.crew.plan.method);
        let mut stderr = None;
        if self.crew.plan.keeps_stderr {
            // Without a descriptor for it, its last words are not kept; it works all the same.
            if let Ok((reader, writer)) = LastWords::new() {
                builder = builder.stderr(OwnedFd::from(writer));
                stderr = Some(reader);
            }
        }
        let process = builder.start().map_err(BrokenCause::Start)?;
        if let Some(stderr) = stderr.clone() {
            let process = process.clone();
            let relay = std::thread::Builder::new().name(format!("{} stderr", process.name()));
            // Without a thread for it, what it writes is shown when it has ended.
            let _ = relay.spawn(move || stderr.relay(process.sentinel()));
        }
        let (report, pid) = (self.reporter(), process.pid());
        process.on_exit(Box::new(move |status| {
            report(Exit::of_process(slot, pid, status));
        }));
        Ok(Worker::Process { process, stderr })
    }

    fn start_thread(self: &Arc<Hub>, slot: usize, seat: Seat) -> Result<Worker, BrokenCause> {
        let report = self.reporter();
        let work = move || {
            let ended = match std::panic::catch_unwind(|| worker::work(seat)) {
                Ok(Ok(())) => Ending::Left,
                Ok(Err(text)) => Ending::Unready(text),
                Err(_) => Ending::Died,
            };
            report(Exit {
                slot,
                pid: std::process::id(),
                status: ExitStatus::Unknown,
                ended: Some(ended),
            });
        };
        let started = std::thread::Builder::new()
            .name(self.worker_name(slot))
            .spawn(work);
        started
            .map(|_| Worker::Thread)
            .map_err(|error| BrokenCause::Thread(Arc::new(error)))
    }

    fn worker_name(&self, slot: usize) -> String {
        format!("{}-{}", self.crew.name(), slot + 1)
    }

    /// Tells the supervisor of an exit, on whatever thread sees it.
    ///
    /// It must not be the one that drops the hub and so takes shared locks: the supervisor, which holds
    /// it, cannot end before it has seen this exit, and cannot see it before this reference is gone.
    fn reporter(self: &Arc<Hub>) -> impl FnOnce(Exit) + Send + use<> {
        let (hub, exits) = (Arc::downgrade(self), Arc::clone(&self.crew.exits));
        move |exit| {
            let mut exits = exits.lock();
            exits.push(exit);
            if let Some(hub) = hub.upgrade() {
                hub.board.watch().ring();
            }
        }
    }
}
