//! Changes of several words that happen wholly or not at all.
//!
//! A transaction collects (offset, value) pairs, writes them to the log, commits with one store of
//! the count, applies them and clears the count, all under the arena lock. The values are absolute,
//! so applying them again is harmless.
//!
//! | `count` | meaning | who changes it |
//! |---|---|---|
//! | 0 | nothing to do | whoever has applied the pairs |
//! | n | the first n pairs are committed, perhaps not all applied | the committer |
//!
//! # Killed here: survivors see
//!
//! | step | the next holder of the arena lock sees |
//! |---|---|
//! | while collecting or writing pairs | count 0: nothing happened |
//! | after the store of the count | count n: applies all pairs, it happened |
//! | while replaying another's | count n still: applies all pairs again |

use crate::arena::{Arena, Locked};
use crate::door::{AtomicU64, Ordering, compiler_fence};

/// More pairs than any transaction needs: the largest, an object freed while its holder's message
/// is taken, has 10.
const PAIRS: usize = 24;

#[derive(Default)]
#[repr(C)]
pub(crate) struct Log {
    count: AtomicU64,
    pairs: [Pair; PAIRS],
}

#[derive(Default)]
#[repr(C)]
struct Pair {
    offset: AtomicU64,
    value: AtomicU64,
}

/// A transaction being collected. Dropped without [`Transaction::commit`], nothing has happened.
#[must_use = "nothing happens before `commit`"]
pub(crate) struct Transaction<'a> {
    locked: &'a Locked<'a>,
    pairs: [(u64, u64); PAIRS],
    len: usize,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(locked: &'a Locked<'a>) -> Transaction<'a> {
        Transaction {
            locked,
            pairs: [(0, 0); PAIRS],
            len: 0,
        }
    }

    /// The arena it is about.
    pub(crate) fn arena(&self) -> &'static Arena {
        self.locked.arena()
    }

    /// The word at `offset` as it will be.
    pub(crate) fn get(&self, offset: u64) -> u64 {
        self.pairs[..self.len]
            .iter()
            .rev()
            .find(|pair| pair.0 == offset)
            .map_or_else(
                || self.arena().word(offset).load(Ordering::Relaxed),
                |pair| pair.1,
            )
    }

    /// Sets the word at `offset`, once committed.
    pub(crate) fn set(&mut self, offset: u64, value: u64) {
        match self.pairs[..self.len]
            .iter_mut()
            .find(|pair| pair.0 == offset)
        {
            Some(pair) => pair.1 = value,
            None => {
                self.pairs[self.len] = (offset, value);
                self.len += 1;
            }
        }
    }

    /// Changes the word at `offset`, once committed.
    pub(crate) fn update(&mut self, offset: u64, change: impl FnOnce(u64) -> u64) {
        let value = change(self.get(offset));
        self.set(offset, value);
    }

    /// Makes all changes happen.
    pub(crate) fn commit(self) {
        let arena = self.arena();
        let log = &arena.header().log;
        if self.len > 1 {
            for (pair, &(offset, value)) in log.pairs.iter().zip(&self.pairs[..self.len]) {
                pair.offset.store(offset, Ordering::Relaxed);
                pair.value.store(value, Ordering::Relaxed);
            }
            // SYNC POINT log: a replayer, who has the lock by the kernel's hand, reads the pairs
            // only when it sees this count.
            log.count.store(self.len as u64, Ordering::Release);
            compiler_fence(Ordering::SeqCst);
        }
        for &(offset, value) in &self.pairs[..self.len] {
            // Release: a queue's cursor is read outside the arena lock, and the frame before it
            // must be there.
            arena.word(offset).store(value, Ordering::Release);
        }
        if self.len > 1 {
            compiler_fence(Ordering::SeqCst);
            log.count.store(0, Ordering::Release);
        }
    }
}

/// Finishes what a dead holder of the arena lock had committed. Called with the lock held.
pub(crate) fn replay(arena: &'static Arena) {
    let log = &arena.header().log;
    // SYNC POINT log
    let count = log.count.load(Ordering::Acquire) as usize;
    for pair in log.pairs.iter().take(count) {
        let offset = pair.offset.load(Ordering::Relaxed);
        if arena.holds_word(offset) {
            arena
                .word(offset)
                .store(pair.value.load(Ordering::Relaxed), Ordering::Release);
        }
    }
    compiler_fence(Ordering::SeqCst);
    log.count.store(0, Ordering::Release);
}
