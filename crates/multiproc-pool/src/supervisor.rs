//! The supervisor: hears of deaths, settles them, replaces the dead, and collects when nobody waits.
//!
//! One thread per pool. It runs no user code. Processes are started here (and by the builder), under
//! the crew's lock, so that a pool that ends can kill every worker there is.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use multiproc_process::{ExitStatus, Process};
use multiproc_shm::Sleeper;
use multiproc_sys::clock::Deadline;
use parking_lot::{Condvar, Mutex};

use crate::book::Phase;
use crate::error::{BrokenCause, TaskErrorKind};
use crate::hub::Hub;
use crate::worker::{self, Seat};

/// A slot's workers are started at least this far apart.
const BACK_OFF: Duration = Duration::from_millis(10);

/// The same where the system had no room for a process.
const BACK_OFF_AT_LIMIT: Duration = Duration::from_millis(100);

/// So many failed starts within this time break the pool.
const FAILURES: usize = 3;
const FAILURES_WITHIN: Duration = Duration::from_secs(5);

/// The workers of one pool.
pub(crate) struct Crew {
    name: String,
    slots: Mutex<Slots>,
    exits: Exits,
    over: Mutex<bool>,
    changed: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Slots {
    of: Vec<Slot>,
    /// When starts failed, and why, since one came up.
    failures: Vec<(Instant, BrokenCause)>,
    /// When some worker was last seen to be ready. A start before that proves nothing.
    ready_seen: Option<Instant>,
}

enum Slot {
    Up {
        process: Process<()>,
        born: Instant,
    },
    /// To be filled again, not before this moment.
    Gap(Instant),
    /// Stays empty: the pool ends.
    Gone,
}

/// Deaths not yet settled. Written on the thread that reaps, which must not wait.
type Exits = Arc<Mutex<Vec<Exit>>>;

struct Exit {
    slot: usize,
    pid: u32,
    status: ExitStatus,
}

impl Crew {
    pub(crate) fn new(name: String, workers: usize) -> Crew {
        let now = Instant::now();
        Crew {
            name,
            slots: Mutex::new(Slots {
                of: (0..workers).map(|_| Slot::Gap(now)).collect(),
                failures: Vec::new(),
                ready_seen: None,
            }),
            exits: Arc::default(),
            over: Mutex::default(),
            changed: Condvar::new(),
            thread: Mutex::default(),
        }
    }

    /// What the workers are called, without their number.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The processes that work now.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let slots = self.slots.lock();
        let pid = |slot: &Slot| match slot {
            Slot::Up { process, .. } => Some(process.pid()),
            _ => None,
        };
        slots.of.iter().filter_map(pid).collect()
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

impl Hub {
    /// Starts the supervisor.
    pub(crate) fn supervise(self: &Arc<Hub>) -> std::io::Result<()> {
        let hub = Arc::clone(self);
        let name = format!("{} supervisor", self.crew.name);
        self.board.set_unattended(true);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || hub.supervision())?;
        *self.crew.thread.lock() = Some(thread);
        Ok(())
    }

    fn supervision(self: Arc<Hub>) {
        loop {
            self.bury_the_dead();
            let next = self.fill_gaps();
            if self.turn.is_free() {
                self.drain();
                self.flush();
                self.board.bell().ring();
            }
            self.let_go_if_done();
            if self.is_over() {
                break;
            }
            if !self.board.watch().arm() {
                continue;
            }
            if self.has_work() {
                self.board.watch().disarm();
                continue;
            }
            let _ = self.board.watch().sleep(&mut Sleeper::new(next));
        }
        *self.crew.over.lock() = true;
        self.crew.changed.notify_all();
    }

    fn has_work(&self) -> bool {
        let unheard = || self.turn.is_free() && self.has_results() && self.cannot_wait();
        !self.crew.exits.lock().is_empty() || unheard() || self.may_let_go()
    }

    fn bury_the_dead(&self) {
        let exits = std::mem::take(&mut *self.crew.exits.lock());
        for Exit { slot, pid, status } in exits {
            self.bury(slot, pid, status);
            let ends = self.takes_no_more_workers();
            let mut slots = self.crew.slots.lock();
            let failures = self.count_failures(&mut slots);
            let was_ready = self.board.is_ready(slot);
            let pause = if was_ready {
                BACK_OFF
            } else {
                back_off(failures)
            };
            let proves = match slots.of[slot] {
                Slot::Up { born, .. } => slots.ready_seen.is_none_or(|seen| born > seen),
                _ => true,
            };
            slots.of[slot] = match slots.of[slot] {
                _ if ends => Slot::Gone,
                Slot::Up { born, .. } => Slot::Gap(born + pause),
                _ => Slot::Gap(Instant::now() + pause),
            };
            drop(slots);
            if proves && !was_ready && !ends {
                self.start_failed(BrokenCause::Died(status));
            }
        }
    }

    fn takes_no_more_workers(&self) -> bool {
        self.is_letting_go() || matches!(self.phase(), Phase::Over(_))
    }

    /// Starts workers where there are none. When to look again.
    fn fill_gaps(self: &Arc<Hub>) -> Deadline {
        let mut again = Deadline::NEVER;
        for slot in 0..self.workers() {
            let due = match self.crew.slots.lock().of[slot] {
                Slot::Gap(due) => due,
                _ => continue,
            };
            let deadline = Deadline::at(due);
            if !deadline.has_passed() && !self.takes_no_more_workers() {
                again = again.earlier(deadline);
                continue;
            }
            if let Err(cause) = self.start_worker(slot) {
                again = again.earlier(Deadline::after(self.not_started(slot, cause)));
            }
        }
        again
    }

    /// Starts the worker of an empty slot: never a second one, since a slot's words are one worker's. Not if
    /// the pool needs none any more.
    pub(crate) fn start_worker(self: &Arc<Hub>, slot: usize) -> Result<(), BrokenCause> {
        let mut slots = self.crew.slots.lock();
        if !matches!(slots.of[slot], Slot::Gap(_)) {
            return Ok(());
        }
        if self.takes_no_more_workers() {
            slots.of[slot] = Slot::Gone;
            return Ok(());
        }
        let born = Instant::now();
        slots.of[slot] = Slot::Gap(born + BACK_OFF);
        self.board.set_ready(slot, false);
        let results = self.new_results(slot).map_err(BrokenCause::Create)?;
        let seat = Seat {
            board: self.board.object().clone(),
            tasks: self.tasks.object().clone(),
            results: results.object().clone(),
            slot: slot as u32,
        };
        let process = Process::new(worker::work, seat)
            .name(format!("{}-{}", self.crew.name, slot + 1))
            .daemon(true)
            .start()
            .map_err(BrokenCause::Start)?;
        let (hub, exits) = (Arc::downgrade(self), Arc::clone(&self.crew.exits));
        let pid = process.pid();
        process.on_exit(Box::new(move |status| {
            report(&hub, &exits, Exit { slot, pid, status })
        }));
        slots.of[slot] = Slot::Up { process, born };
        Ok(())
    }

    /// Whether the failure counts, and when to try again.
    fn not_started(&self, slot: usize, cause: BrokenCause) -> Duration {
        let at_limit = matches!(&cause, BrokenCause::Start(error) if error.is_limit());
        if !at_limit {
            self.start_failed(cause);
            return BACK_OFF;
        }
        // The others go on meanwhile. With no others, nobody would ever answer.
        self.crew.slots.lock().of[slot] = Slot::Gap(Instant::now() + BACK_OFF_AT_LIMIT);
        if self.crew.pids().is_empty() {
            self.start_failed(cause);
        }
        BACK_OFF_AT_LIMIT
    }

    fn start_failed(&self, cause: BrokenCause) {
        let mut slots = self.crew.slots.lock();
        self.count_failures(&mut slots);
        slots.failures.push((Instant::now(), cause));
        if slots.failures.len() < FAILURES {
            return;
        }
        let (_, cause) = slots.failures.swap_remove(0);
        drop(slots);
        self.finish(TaskErrorKind::Broken { cause });
    }

    /// How many starts have failed lately. None that counts, if some worker is ready, or was until it
    /// was buried just now: then it is not the starting that fails.
    fn count_failures(&self, slots: &mut Slots) -> usize {
        let is_ready =
            |(slot, of): (usize, &Slot)| matches!(of, Slot::Up { .. }) && self.board.is_ready(slot);
        if slots.of.iter().enumerate().any(is_ready) {
            slots.failures.clear();
            slots.ready_seen = Some(Instant::now());
        }
        let is_recent = |when: &Instant| when.elapsed() < FAILURES_WITHIN;
        slots.failures.retain(|(when, _)| is_recent(when));
        slots.failures.len()
    }

    /// Ends the pool now: workers are killed, open items answered with `kind`.
    pub(crate) fn finish(&self, kind: TaskErrorKind) {
        self.end(kind);
        for slot in &mut self.crew.slots.lock().of {
            match slot {
                // One that cannot be signalled is gone already.
                Slot::Up { process, .. } => drop(process.kill()),
                empty => *empty = Slot::Gone,
            }
        }
        self.answer_all();
        self.board.watch().ring();
    }

    /// Whether the pool has ended and every worker is gone.
    fn is_over(&self) -> bool {
        let slots = self.crew.slots.lock();
        self.takes_no_more_workers() && slots.of.iter().all(|slot| matches!(slot, Slot::Gone))
    }
}

/// How long a slot stays empty after so many failed starts.
fn back_off(failures: usize) -> Duration {
    BACK_OFF * (failures as u32 + 1)
}

/// On the thread that reaps.
///
/// It must not be the one that drops the hub and so takes shared locks: the supervisor, which holds
/// it, cannot end before it has seen this exit, and cannot see it before this reference is gone.
fn report(hub: &Weak<Hub>, exits: &Mutex<Vec<Exit>>, exit: Exit) {
    let mut exits = exits.lock();
    exits.push(exit);
    if let Some(hub) = hub.upgrade() {
        hub.board.watch().ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pool;

    fn died() -> BrokenCause {
        BrokenCause::Died(ExitStatus::Code(7))
    }

    fn abort((): ()) {
        std::process::abort()
    }

    #[test]
    fn fault_18_three_failed_starts_break_the_pool() {
        let pool = Pool::new(1).expect("it starts");
        let nap = pool.apply_async(|()| std::thread::sleep(Duration::from_secs(60)), ());
        while !pool.hub().board.is_ready(0) {
            std::thread::yield_now();
        }
        pool.hub().start_failed(died());
        // As if the only worker did not come up, either.
        pool.hub().board.set_ready(0, false);
        for _ in 1..FAILURES {
            assert!(nap.try_get().is_err_and(|error| error.is_timed_out()));
            pool.hub().start_failed(died());
        }
        let error = nap.get().expect_err("its worker was killed");
        assert!(error.is_broken(), "{error}");
        assert!(error.to_string().contains("exited with code 7"), "{error}");
        assert!(
            pool.apply(|n: u8| n, 1)
                .expect_err("it is broken")
                .is_broken()
        );
        assert!(pool.join().expect_err("it is broken").is_broken());
        assert_eq!(pool.worker_pids(), []);
    }

    #[test]
    fn a_worker_that_came_up_makes_good_for_earlier_failures() {
        let pool = Pool::new(1).expect("it starts");
        for _ in 0..FAILURES * 2 {
            pool.hub().start_failed(died());
            // Its successor was born after the failure.
            let lost = pool.apply(abort, ()).expect_err("it aborts");
            assert!(lost.is_worker_lost(), "{lost}");
            assert_eq!(pool.apply(|n: u8| n, 1).expect("there is a new one"), 1);
        }
    }
}
