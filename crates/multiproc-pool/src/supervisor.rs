//! The supervisor: hears of deaths, settles them, replaces the dead, stops what takes too long, and
//! collects when nobody waits.
//!
//! One thread per pool. It runs no user code. Processes are started here (and by the builder), under
//! the crew's lock, so that a pool that ends can kill every worker there is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use multiproc_shm::Sleeper;
use multiproc_sys::clock::Deadline;

use crate::book::Phase;
use crate::crew::{BACK_OFF, Ending, Exit, Place, Slots};
use crate::error::{BrokenCause, TaskErrorKind};
use crate::hub::Hub;
use crate::limits::Watched;

/// The least time between two starts in a slot where the system had no room for a process.
const BACK_OFF_AT_LIMIT: Duration = Duration::from_millis(100);

/// So many failed starts within this time break the pool.
const FAILURES: usize = 3;
const FAILURES_WITHIN: Duration = Duration::from_secs(5);

impl Hub {
    /// Starts the supervisor.
    pub(crate) fn supervise(self: &Arc<Hub>) -> std::io::Result<()> {
        let hub = Arc::clone(self);
        let name = format!("{} supervisor", self.crew.name());
        self.board.set_unattended(true);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || hub.supervision())?;
        *self.crew.thread.lock() = Some(thread);
        Ok(())
    }

    fn supervision(self: Arc<Hub>) {
        let mut watched = Watched::new(self.workers());
        // One wait until somebody rings, so that an idle pool looks ever more seldom.
        let mut sleeper = Sleeper::new(Deadline::NEVER);
        loop {
            self.crew.looks_at(0);
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
            let next = next
                .earlier(self.enforce_limits(&mut watched))
                .earlier(self.crew.kill_overdue(&self.board));
            self.crew.looks_at(nanos(next));
            if !self.board.watch().arm() {
                continue;
            }
            if self.has_work() || self.looks_too_late() {
                self.board.watch().disarm();
                continue;
            }
            sleeper.until(next);
            if self.board.watch().sleep(&mut sleeper) {
                sleeper = Sleeper::new(Deadline::NEVER);
            }
        }
        self.crew.set_over();
    }

    fn has_work(&self) -> bool {
        let unheard = || self.turn.is_free() && self.has_results() && self.cannot_wait();
        !self.crew.exits.lock().is_empty() || unheard() || self.may_let_go()
    }

    fn bury_the_dead(&self) {
        let exits = std::mem::take(&mut *self.crew.exits.lock());
        for mut exit in exits {
            let ending = self.crew.slots().of[exit.slot].ending(&mut exit);
            self.bury(&exit);
            self.leave_gap(&exit, ending);
        }
    }

    fn leave_gap(&self, exit: &Exit, ending: Ending) {
        let ends = self.takes_no_more_workers();
        let mut slots = self.crew.slots();
        let failures = self.count_failures(&mut slots);
        let was_ready = self.board.is_ready(exit.slot);
        let pause = match (was_ready, &ending) {
            (true, Ending::Left) => Duration::ZERO,
            (true, _) => BACK_OFF,
            (false, _) => back_off(failures),
        };
        let place = &mut slots.of[exit.slot].place;
        let (born, too_slow) = match place {
            Place::Up(up) => (Some(up.born), up.too_slow),
            _ => (None, false),
        };
        *place = match born {
            _ if ends => Place::Gone,
            Some(born) => Place::Gap(born + pause),
            None => Place::Gap(Instant::now() + pause),
        };
        let proves = slots
            .ready_seen
            .is_none_or(|seen| born.is_none_or(|born| born > seen));
        drop(slots);
        if proves && !was_ready && !ends {
            self.start_failed(match ending {
                _ if too_slow => BrokenCause::Prepare(self.too_slow()),
                Ending::Unready(text) => BrokenCause::Prepare(text),
                Ending::Left | Ending::Died => BrokenCause::Died(exit.status),
            });
        }
    }

    fn too_slow(&self) -> String {
        let limit = self.crew.plan.start_timeout.unwrap_or_default();
        format!("one was not ready for its first task within {limit:?}")
    }

    pub(crate) fn takes_no_more_workers(&self) -> bool {
        self.is_letting_go() || matches!(self.phase(), Phase::Over(_))
    }

    /// Starts workers where there are none. When to look again.
    fn fill_gaps(self: &Arc<Hub>) -> Deadline {
        let mut again = Deadline::NEVER;
        for slot in 0..self.workers() {
            let due = match self.crew.slots().of[slot].place {
                Place::Gap(due) => due,
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

    /// Whether the failure counts, and when to try again.
    fn not_started(&self, slot: usize, cause: BrokenCause) -> Duration {
        let at_limit = matches!(&cause, BrokenCause::Start(error) if error.is_limit());
        if !at_limit {
            self.start_failed(cause);
            return BACK_OFF;
        }
        // The others go on meanwhile. With no others, nobody would ever answer.
        self.crew.slots().of[slot].place = Place::Gap(Instant::now() + BACK_OFF_AT_LIMIT);
        if self.crew.pids().is_empty() {
            self.start_failed(cause);
        }
        BACK_OFF_AT_LIMIT
    }

    pub(crate) fn start_failed(&self, cause: BrokenCause) {
        let mut slots = self.crew.slots();
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
        let mut places = slots.of.iter().map(|slot| &slot.place).enumerate();
        let is_ready = |(slot, place): (usize, &Place)| {
            matches!(place, Place::Up(_)) && self.board.is_ready(slot)
        };
        if places.any(is_ready) {
            slots.failures.clear();
            slots.ready_seen = Some(Instant::now());
        }
        let lasts = FAILURES_WITHIN.max(self.crew.plan.start_timeout.unwrap_or_default() * 4);
        let is_recent = |when: &Instant| when.elapsed() < lasts;
        slots.failures.retain(|(when, _)| is_recent(when));
        slots.failures.len()
    }

    /// Ends the pool now: workers are killed, open items answered with `kind`.
    pub(crate) fn finish(&self, kind: TaskErrorKind) {
        self.end(kind);
        self.dismiss();
        self.crew.end_all();
        self.answer_all();
        self.board.watch().ring();
    }

    /// Whether the pool has ended and every worker is gone.
    fn is_over(&self) -> bool {
        let slots = self.crew.slots();
        let gone = |slot: &crate::crew::Slot| matches!(slot.place, Place::Gone);
        self.takes_no_more_workers() && slots.of.iter().all(gone)
    }
}

/// How long a slot stays empty after so many failed starts.
fn back_off(failures: usize) -> Duration {
    BACK_OFF * (failures as u32 + 1)
}

/// The deadline on the clock all share; the end of time for none.
fn nanos(deadline: Deadline) -> u64 {
    deadline.remaining().map_or(u64::MAX, |left| {
        multiproc_sys::clock::monotonic_nanos() + left.as_nanos() as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pool;
    use multiproc_process::ExitStatus;

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
        assert!(pool.worker_pids().is_empty());
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
