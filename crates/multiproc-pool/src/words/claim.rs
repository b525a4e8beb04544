//! What a worker has taken and how far it came, in one word; and the chunks nobody is to begin.
//!
//! | word | values | written by | read by |
//! |---|---|---|---|
//! | claim | 0: none; else [`Claim`], perhaps with `STOP` | the worker, by compare-exchange from what it stored last: whole under the head lock, its low bits before each call. The parent, by compare-exchange: adds `STOP`. The head lock's next owner after a death, and the supervisor once the worker is dead: to 0 | supervisor, head lock's owner after a death |
//! | withdrawn, a bit for each ticket | 1: whoever takes this chunk passes over it | the parent: sets it, and clears it before it pushes another chunk with that bit | the worker that has just claimed the ticket |
//!
//! # Killed here: survivors see
//!
//! | the worker dies | the word says |
//! |---|---|
//! | before the claim | what it had before, which is answered |
//! | after the claim, before the head moves | the ticket at the head: whoever takes the lock next puts 0 |
//! | after the head has moved | its chunk, and how many of its items were begun |
//! | marked `STOP` | the item that was meant; none after it is begun |

use crate::door::{AtomicU64, Ordering, between_consistent_accesses};

/// What a worker has taken, and how far it came.
///
/// `1 << 63 | stop << 62 | ticket << 16 | items begun`: one word, so that it is never half changed. `items begun`
/// counts from the first item of the chunk's body; 0 when none was begun in this push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) ticket: u32,
    pub(crate) begun: u32,
}

/// What a worker stored last in its claim. Its own, and forgotten with it.
#[derive(Debug, Default)]
pub(crate) struct Held(u64);

impl Claim {
    const TAKEN: u64 = 1 << 63;
    const STOP: u64 = 1 << 62;

    fn to_word(self) -> u64 {
        Claim::TAKEN | u64::from(self.ticket) << 16 | u64::from(self.begun)
    }

    fn from_word(word: u64) -> Option<Claim> {
        (word & Claim::TAKEN != 0).then_some(Claim {
            ticket: (word >> 16) as u32,
            begun: word as u16 as u32,
        })
    }
}

/// The word of one slot.
#[derive(Clone, Copy)]
pub(crate) struct ClaimWord<'a>(pub(crate) &'a AtomicU64);

impl ClaimWord<'_> {
    /// Stores a claim on the frame at the head. Under the head lock, before the head moves. `false`:
    /// this worker is to leave.
    #[must_use = "a worker that is to leave begins nothing"]
    pub(crate) fn claim(self, held: &mut Held, ticket: u32) -> bool {
        // Whoever sees the head moved must see the claim: that store releases.
        self.step(held, Claim { ticket, begun: 0 })
    }

    /// Says that item `item` of the claimed chunk is about to run. `false`: this worker is to leave.
    #[must_use = "a worker that is to leave begins nothing"]
    pub(crate) fn begin(self, held: &mut Held, ticket: u32, item: u32) -> bool {
        let begun = item + 1;
        self.step(held, Claim { ticket, begun })
    }

    fn step(self, held: &mut Held, claim: Claim) -> bool {
        let next = claim.to_word();
        // SYNC POINT withdraw: the claim is stored, then the bit is read.
        let moved = self
            .0
            .compare_exchange(held.0, next, Ordering::SeqCst, Ordering::Relaxed);
        if moved.is_ok() {
            held.0 = next;
        }
        moved.is_ok()
    }

    /// Takes back a claim whose frame was not taken, by a worker that leaves.
    pub(crate) fn unclaim(self) {
        self.0.store(0, Ordering::Release);
    }

    /// What the worker holds now.
    pub(crate) fn get(self) -> Option<Claim> {
        between_consistent_accesses();
        Claim::from_word(self.0.load(Ordering::SeqCst))
    }

    /// Has the worker begin nothing after what `claim` says. `false`: it has gone on already.
    #[must_use = "a worker that has gone on must be left alone"]
    pub(crate) fn stop(self, claim: Claim) -> bool {
        let held = claim.to_word();
        let stop = held | Claim::STOP;
        let stopped = self
            .0
            .compare_exchange(held, stop, Ordering::SeqCst, Ordering::Relaxed);
        stopped == Ok(held) || stopped == Err(stop)
    }

    /// After a death under the head lock: a claim on the frame at the head was stored, but the head
    /// was not moved, so the chunk is still everybody's. Under the head lock.
    pub(crate) fn repair(self, head: u32) {
        let claim = Claim::from_word(self.0.load(Ordering::Acquire));
        if claim.is_some_and(|claim| claim.ticket == head) {
            self.0.store(0, Ordering::Release);
        }
    }

    /// What a dead worker had taken; nobody has it after this. Under the head lock, repaired.
    pub(crate) fn take(self) -> Option<Claim> {
        Claim::from_word(self.0.swap(0, Ordering::AcqRel))
    }
}

/// The bit of one ticket.
#[derive(Clone, Copy)]
pub(crate) struct Withdrawn<'a>(pub(crate) &'a AtomicU64, pub(crate) u64);

impl Withdrawn<'_> {
    /// Has whoever takes this ticket pass over it. One who has taken it before is seen by
    /// [`ClaimWord::get`] after this.
    pub(crate) fn set(self) {
        // SYNC POINT withdraw: the bit is set, then the claims are read.
        self.0.fetch_or(self.1, Ordering::SeqCst);
    }

    /// Before a push: the bit may be left from an older ticket.
    pub(crate) fn renew(self) {
        if self.0.load(Ordering::Relaxed) & self.1 != 0 {
            self.0.fetch_and(!self.1, Ordering::SeqCst);
        }
    }

    /// Whether the ticket just claimed was withdrawn.
    pub(crate) fn is_set(self) -> bool {
        between_consistent_accesses();
        self.0.load(Ordering::SeqCst) & self.1 != 0
    }
}
