//! Who waits to be notified, and the lock each will have again then. The core moves them between the
//! two, since both are objects of their own.

use crate::desk::{Caller, Line};

/// What a waiter needs to go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) lock: u64,
    pub(crate) thread: u64,
    /// How often it had acquired the lock.
    pub(crate) depth: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Condition {
    waiting: Line<Waiter>,
}

impl Condition {
    pub(crate) fn push(&mut self, caller: Caller, waiter: Waiter) {
        self.waiting.push(caller, waiter);
    }

    /// Up to `count` waiters, to be woken.
    pub(crate) fn take(&mut self, count: u64) -> Vec<(Caller, Waiter)> {
        let count = count.min(self.waiting.len() as u64);
        (0..count).map_while(|_| self.waiting.pop()).collect()
    }

    /// One whose patience is over, if it still waits.
    pub(crate) fn take_one(&mut self, caller: Caller) -> Option<Waiter> {
        self.waiting.take(caller)
    }

    pub(super) fn forget(&mut self, client: u64) {
        self.waiting.forget(client);
    }
}
