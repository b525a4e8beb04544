//! Who collects: one turn among the threads that wait.
//!
//! The turn is either free, or it belongs to exactly one thread, which is collecting or will be as
//! soon as it runs. It is handed from thread to thread directly, so it never lies with nobody while
//! somebody waits. Which shared memory is read during a turn is not known here.

use std::collections::VecDeque;
use std::sync::Arc;

use multiproc_sys::clock::Deadline;
use parking_lot::{Condvar, Mutex};

/// The turn of one pool.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    queue: VecDeque<Arc<Waiter>>,
}

/// A thread that waits for a job while another one collects.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    wake: Mutex<Wake>,
    changed: Condvar,
}

/// Why a waiting thread should look up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wake {
    /// It must collect now. Stays until it gives the turn away.
    pub(crate) turn: bool,
    /// Its job has come further.
    pub(crate) poked: bool,
}

/// The answer to a thread that wants to wait.
#[must_use = "whoever has the turn must collect, or hand it on"]
pub(crate) enum Place {
    /// Collect.
    Yours,
    /// Somebody else collects; wait here.
    Queue(Arc<Waiter>),
}

impl Turn {
    /// The turn, if it is free, and otherwise a place in the queue. `taking` runs before anybody
    /// else can give or take it.
    pub(crate) fn take_or_queue(&self, taking: impl FnOnce()) -> Place {
        let mut state = self.state.lock();
        if !state.taken {
            state.taken = true;
            taking();
            return Place::Yours;
        }
        let waiter = Arc::new(Waiter::default());
        state.queue.push_back(Arc::clone(&waiter));
        Place::Queue(waiter)
    }

    /// Hands the turn to the thread that has waited longest. Nobody waits: it is free, and `freeing`
    /// runs before anybody can take it.
    pub(crate) fn pass(&self, freeing: impl FnOnce()) {
        let mut state = self.state.lock();
        match state.queue.pop_front() {
            Some(next) => next.wake(|wake| wake.turn = true),
            None => {
                state.taken = false;
                freeing();
            }
        }
    }

    /// Leaves the queue. `false`: the turn has been handed to `waiter` meanwhile.
    #[must_use = "a turn that was handed over must be handed on"]
    pub(crate) fn leave(&self, waiter: &Arc<Waiter>) -> bool {
        let mut state = self.state.lock();
        let place = state
            .queue
            .iter()
            .position(|other| Arc::ptr_eq(other, waiter));
        place.map(|place| state.queue.remove(place)).is_some()
    }

    /// Whether nobody collects.
    pub(crate) fn is_free(&self) -> bool {
        !self.state.lock().taken
    }
}

impl Waiter {
    /// Tells the thread to look at its job.
    pub(crate) fn poke(&self) {
        self.wake(|wake| wake.poked = true);
    }

    fn wake(&self, change: impl FnOnce(&mut Wake)) {
        change(&mut self.wake.lock());
        self.changed.notify_one();
    }

    /// Sleeps until told, or until `deadline`.
    pub(crate) fn park(&self, deadline: Deadline) -> Wake {
        let mut wake = self.wake.lock();
        while !wake.turn && !wake.poked {
            match deadline.remaining() {
                None => self.changed.wait(&mut wake),
                Some(left) if left.is_zero() => break,
                Some(left) => {
                    self.changed.wait_for(&mut wake, left);
                }
            }
        }
        let why = *wake;
        wake.poked = false;
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(turn: &Turn) -> Arc<Waiter> {
        match turn.take_or_queue(|| ()) {
            Place::Queue(waiter) => waiter,
            Place::Yours => panic!("the turn was free"),
        }
    }

    fn take(turn: &Turn) {
        assert!(matches!(turn.take_or_queue(|| ()), Place::Yours));
    }

    #[test]
    fn the_longest_waiting_thread_is_next() {
        let turn = Turn::default();
        take(&turn);
        let (first, second) = (queued(&turn), queued(&turn));
        turn.pass(|| unreachable!("somebody waits"));
        assert!(first.park(Deadline::NOW).turn);
        assert!(!second.park(Deadline::NOW).turn);
    }

    #[test]
    fn the_turn_is_free_when_nobody_waits() {
        let turn = Turn::default();
        take(&turn);
        assert!(!turn.is_free());
        let mut freed = false;
        turn.pass(|| freed = true);
        assert!(freed && turn.is_free());
    }

    #[test]
    fn a_waiter_that_leaves_too_late_is_told() {
        let turn = Turn::default();
        take(&turn);
        let (gone, late) = (queued(&turn), queued(&turn));
        assert!(turn.leave(&gone), "it was still in the queue");
        turn.pass(|| unreachable!("somebody waits"));
        assert!(!turn.leave(&late), "it has the turn");
        assert!(!turn.is_free());
        turn.pass(|| ());
        assert!(turn.is_free());
    }

    #[test]
    fn a_poke_wakes_once() {
        let waiter = Waiter::default();
        waiter.poke();
        assert!(waiter.park(Deadline::NEVER).poked);
        assert!(!waiter.park(Deadline::NOW).poked);
    }
}
