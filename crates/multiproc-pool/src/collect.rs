//! Waiting for a job: whoever waits drains.
//!
//! The rules of the turn are in [`turn`](crate::turn), its races in [`protocol`](crate::protocol).

use std::sync::Arc;

use multiproc_shm::Sleeper;
use multiproc_sys::clock::Deadline;

use crate::hub::Hub;
use crate::job::Job;
use crate::turn::{Place, Waiter};

/// Looks at the rings before that, where a processor has nothing better to do: about a microsecond.
const SPINS: u32 = 100;

/// What a waiting thread will do next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Go on with its results.
    Nothing,
    /// Hand in more, so it should hear of workers that run out of tasks.
    Feed,
}

/// What a thread waits for.
pub(crate) trait Goal {
    fn is_reached(&self) -> bool;
    /// Has `waiter` poked when it is reached. `false`: it is already.
    #[must_use = "nobody pokes a waiter whose goal is reached"]
    fn subscribe(&self, waiter: &Arc<Waiter>) -> bool;
    /// Forgets `waiter`.
    fn unsubscribe(&self, waiter: &Arc<Waiter>);
}

/// So many answered items of a job.
struct Answers<'a>(&'a Job, usize);

impl Goal for Answers<'_> {
    fn is_reached(&self) -> bool {
        self.0.has_reached(self.1)
    }

    fn subscribe(&self, waiter: &Arc<Waiter>) -> bool {
        self.0.lock().subscribe(self.1, waiter)
    }

    fn unsubscribe(&self, waiter: &Arc<Waiter>) {
        self.0.lock().unsubscribe(waiter);
    }
}

impl Hub {
    /// Waits until `target` items of `job` are answered. `false`: the deadline came first.
    #[must_use = "the deadline may have come first"]
    pub(crate) fn wait(&self, job: &Job, target: usize, then: Then, deadline: Deadline) -> bool {
        self.wait_for(&Answers(job, target), then, deadline)
    }

    /// Waits until `goal` is reached. `false`: the deadline came first.
    #[must_use = "the deadline may have come first"]
    pub(crate) fn wait_for(&self, goal: &impl Goal, then: Then, deadline: Deadline) -> bool {
        if goal.is_reached() {
            return true;
        }
        match self.turn.take_or_queue(|| self.board.set_unattended(false)) {
            Place::Yours => self.collect(goal, then, deadline),
            Place::Queue(waiter) => self.queue(&waiter, goal, then, deadline),
        }
    }

    /// With the turn.
    fn collect(&self, goal: &impl Goal, then: Then, deadline: Deadline) -> bool {
        let _turn = Collecting(self);
        let mut sleeper = Sleeper::new(deadline);
        loop {
            self.drain();
            self.flush();
            if goal.is_reached() {
                return true;
            }
            if deadline.has_passed() {
                return false;
            }
            if self.something_comes() {
                continue;
            }
            if then == Then::Feed {
                self.ask_refill();
            }
            if !self.board.bell().arm() {
                continue;
            }
            if self.has_results() || goal.is_reached() {
                self.board.bell().disarm();
                continue;
            }
            let _ = self.board.bell().sleep(&mut sleeper);
        }
    }

    /// Lets the workers run for a moment; whether a result came.
    fn something_comes(&self) -> bool {
        for _ in 0..self.spins() {
            if self.has_results() {
                return true;
            }
            std::hint::spin_loop();
        }
        self.hope.stay_awake(|| self.has_results())
    }

    fn spins(&self) -> u32 {
        if self.has_free_cpus { SPINS } else { 0 }
    }

    /// Without the turn: another thread collects, and tells this one.
    fn queue(
        &self,
        waiter: &Arc<Waiter>,
        goal: &impl Goal,
        then: Then,
        deadline: Deadline,
    ) -> bool {
        let mut waits = goal.subscribe(waiter);
        while waits {
            let wake = waiter.park(deadline);
            if wake.turn {
                goal.unsubscribe(waiter);
                return self.collect(goal, then, deadline);
            }
            waits = !goal.is_reached() && !deadline.has_passed();
        }
        goal.unsubscribe(waiter);
        if !self.turn.leave(waiter) {
            // The turn came at the last moment.
            drop(Collecting(self));
        }
        goal.is_reached()
    }
}

/// The turn, handed on when dropped.
struct Collecting<'a>(&'a Hub);

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        let hub = self.0;
        hub.turn.pass(|| hub.board.set_unattended(true));
        // Nobody waits for what lies in the rings now: the next who waits takes it out.
        if hub.cannot_wait() {
            hub.board.watch().ring();
        }
    }
}
