//! The pool's own shared words, in one plain object: the *board*.
//!
//! | half word | values | written by | read by |
//! |---|---|---|---|
//! | `bell` | where the collecting thread sleeps: see [`Alarm`] | it, and whoever rings | workers, threads of the parent |
//! | `watch` | the same for the supervisor | likewise | likewise |
//! | `unattended` | 1: nobody has the turn, so the supervisor must hear of results | the parent, under the turn's lock | workers |
//! | `refill` | n: ring when fewer than n frames are in the task ring | the parent sets, a worker clears | workers |
//!
//! then the *withdrawn* tickets, a bit for each of the last 16,384:
//!
//! | bit `ticket % 16384` | values | written by | read by |
//! |---|---|---|---|
//! | withdrawn | 1: whoever takes this chunk passes over it | the parent: sets it, and clears it before it pushes another chunk with that bit | the worker that has just claimed the ticket |
//!
//! and for each slot, 64 bytes apart:
//!
//! | word | values | written by | read by |
//! |---|---|---|---|
//! | `claim` | 0: none; else [`Claim`], perhaps with `STOP` | the worker, by compare-exchange from what it stored last: whole under the head lock, its low bits before each call. The parent, by compare-exchange: adds `STOP`. The head lock's next owner after a death, and the supervisor once the worker is dead: to 0 | supervisor, head lock's owner after a death |
//! | `ready` | 1: the worker has reached its loop | the worker; the parent zeroes it before a start | supervisor |
//!
//! A worker that finds `STOP` begins nothing more: it leaves. So whoever has set it on an item knows
//! that no other item will be begun there, and may send a signal without hitting an innocent one.
//!
//! Nobody else reads the bits. Which order of steps makes them true is in [`protocol`](crate::protocol).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use multiproc_shm::{CreateError, Kind, Object, OpenError, Sleeper};
use multiproc_sys::futex;

/// `b"pool"`
const TAG: u32 = u32::from_le_bytes(*b"pool");

const BELL: usize = 0;
const WATCH: usize = 1;
const UNATTENDED: usize = 2;
const REFILL: usize = 3;

/// More tickets than there can be frames in the task ring.
const WITHDRAWN: usize = 1 << 14;

/// Words before the withdrawn tickets, and words of one slot.
const STRIDE: usize = 8;
/// Words before the first slot.
const FIRST: usize = STRIDE + WITHDRAWN / 64;
const CLAIM: usize = 0;
const READY: usize = 1;

/// The shared words of one pool.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    object: Object,
    slots: usize,
}

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

impl Board {
    pub(crate) fn create(slots: usize) -> Result<Board, CreateError> {
        let object = Object::create(Kind::Plain, TAG, (FIRST + slots * STRIDE) * 8, |_| ())?;
        Ok(Board { object, slots })
    }

    pub(crate) fn open(object: Object) -> Result<Board, OpenError> {
        let object = object.expect_tag(TAG, "a pool's board")?;
        let slots = (object.len() / 8).saturating_sub(FIRST) / STRIDE;
        Ok(Board { object, slots })
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// Where the collecting thread sleeps.
    pub(crate) fn bell(&self) -> Alarm<'_> {
        Alarm(self.half(BELL))
    }

    /// Where the supervisor sleeps.
    pub(crate) fn watch(&self) -> Alarm<'_> {
        Alarm(self.half(WATCH))
    }

    /// Says whether the supervisor must hear of results. Followed by a fence: whoever leaves results
    /// to the supervisor looks at the rings once more.
    pub(crate) fn set_unattended(&self, unattended: bool) {
        self.half(UNATTENDED)
            .store(u32::from(unattended), Ordering::Relaxed);
        // SYNC POINT turn: the worker pushes, fences, then reads this.
        fence(Ordering::SeqCst);
    }

    /// After a push: wakes the collecting thread if it sleeps. `false`: nobody collects, which matters
    /// only where room or tasks run out.
    pub(crate) fn announce_to_collector(&self) -> bool {
        // SYNC POINT bell, SYNC POINT turn
        fence(Ordering::SeqCst);
        self.bell().ring_after_fence() || self.half(UNATTENDED).load(Ordering::Relaxed) == 0
    }

    /// After a push: wakes the collecting thread if it sleeps, or the supervisor if nobody collects.
    pub(crate) fn announce(&self) {
        if !self.announce_to_collector() {
            self.watch().ring_after_fence();
        }
    }

    /// Asks for a bell when fewer than `frames` frames are in the task ring.
    pub(crate) fn ask_refill(&self, frames: usize) {
        let frames = u32::try_from(frames).unwrap_or(u32::MAX);
        self.half(REFILL).store(frames, Ordering::Relaxed);
        // SYNC POINT refill
        fence(Ordering::SeqCst);
    }

    /// Whether the parent asked for a bell at `frames` frames. Says so once.
    pub(crate) fn wants_refill(&self, frames: usize) -> bool {
        // SYNC POINT refill: the parent stores its wish, fences, and looks at the ring.
        fence(Ordering::SeqCst);
        let refill = self.half(REFILL);
        frames < refill.load(Ordering::Relaxed) as usize && refill.swap(0, Ordering::Relaxed) != 0
    }

    /// Stores a claim on the frame at the head. Under the head lock, before the head moves. `false`:
    /// this worker is to leave.
    #[must_use = "a worker that is to leave begins nothing"]
    pub(crate) fn claim(&self, slot: usize, held: &mut Held, ticket: u32) -> bool {
        // Whoever sees the head moved must see the claim: that store releases.
        self.move_claim(slot, held, Claim { ticket, begun: 0 })
    }

    /// Says that item `item` of the claimed chunk is about to run. `false`: this worker is to leave.
    #[must_use = "a worker that is to leave begins nothing"]
    pub(crate) fn begin(&self, slot: usize, held: &mut Held, ticket: u32, item: u32) -> bool {
        let claim = Claim {
            ticket,
            begun: item + 1,
        };
        self.move_claim(slot, held, claim)
    }

    fn move_claim(&self, slot: usize, held: &mut Held, claim: Claim) -> bool {
        let (word, next) = (self.slot(slot, CLAIM), claim.to_word());
        // SYNC POINT withdraw: the claim is stored, then the bit is read.
        let moved = word.compare_exchange(held.0, next, Ordering::SeqCst, Ordering::Relaxed);
        if moved.is_ok() {
            held.0 = next;
        }
        moved.is_ok()
    }

    /// Takes back a claim whose frame was not taken, by a worker that leaves.
    pub(crate) fn unclaim(&self, slot: usize) {
        self.slot(slot, CLAIM).store(0, Ordering::Release);
    }

    /// What a worker holds now.
    pub(crate) fn claim_of(&self, slot: usize) -> Option<Claim> {
        Claim::from_word(self.slot(slot, CLAIM).load(Ordering::SeqCst))
    }

    /// Has a worker begin nothing after what `claim` says. `false`: it has gone on already.
    #[must_use = "a worker that has gone on must be left alone"]
    pub(crate) fn stop(&self, slot: usize, claim: Claim) -> bool {
        let (word, held) = (self.slot(slot, CLAIM), claim.to_word());
        let stop = held | Claim::STOP;
        let stopped = word.compare_exchange(held, stop, Ordering::SeqCst, Ordering::Relaxed);
        stopped == Ok(held) || stopped == Err(stop)
    }

    /// Has whoever takes this ticket pass over it. One who has taken it before is seen by
    /// [`Board::claim_of`] after this.
    pub(crate) fn withdraw(&self, ticket: u32) {
        let (word, bit) = self.withdrawn(ticket);
        // SYNC POINT withdraw: the bit is set, then the claims are read.
        word.fetch_or(bit, Ordering::SeqCst);
    }

    /// Before a push: the bit may be left from an older ticket.
    pub(crate) fn renew(&self, ticket: u32) {
        let (word, bit) = self.withdrawn(ticket);
        if word.load(Ordering::Relaxed) & bit != 0 {
            word.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    /// Whether the ticket just claimed was withdrawn.
    pub(crate) fn is_withdrawn(&self, ticket: u32) -> bool {
        let (word, bit) = self.withdrawn(ticket);
        word.load(Ordering::SeqCst) & bit != 0
    }

    fn withdrawn(&self, ticket: u32) -> (&AtomicU64, u64) {
        let index = ticket as usize % WITHDRAWN;
        let word = &self.object.words()[STRIDE + index / 64];
        (word, 1 << (index % 64))
    }

    /// After a death under the head lock: a claim on the frame at the head was stored, but the head
    /// was not moved, so the chunk is still everybody's. Under the head lock.
    pub(crate) fn repair(&self, head: u32) {
        for slot in 0..self.slots {
            let word = self.slot(slot, CLAIM);
            if Claim::from_word(word.load(Ordering::Acquire)).is_some_and(|it| it.ticket == head) {
                word.store(0, Ordering::Release);
            }
        }
    }

    /// What a dead worker had taken; nobody has it after this. Under the head lock, repaired.
    pub(crate) fn take_claim(&self, slot: usize) -> Option<Claim> {
        Claim::from_word(self.slot(slot, CLAIM).swap(0, Ordering::AcqRel))
    }

    pub(crate) fn set_ready(&self, slot: usize, ready: bool) {
        self.slot(slot, READY)
            .store(u64::from(ready), Ordering::Release);
    }

    pub(crate) fn is_ready(&self, slot: usize) -> bool {
        self.slot(slot, READY).load(Ordering::Acquire) != 0
    }

    fn half(&self, index: usize) -> &AtomicU32 {
        &self.object.half_words()[index]
    }

    fn slot(&self, slot: usize, word: usize) -> &AtomicU64 {
        &self.object.words()[FIRST + slot * STRIDE + word]
    }
}

/// A place where one thread sleeps until rung.
///
/// | state | meaning | leaves to |
/// |---|---|---|
/// | 0 | awake, and not rung since it last looked | `ASLEEP` by [`Alarm::arm`], `RUNG` by a ringer |
/// | `ASLEEP` | asleep, or about to | `RUNG` by a ringer, who wakes it; 0 by its own waking up |
/// | `RUNG` | rung since it last looked | 0 by [`Alarm::arm`], which then refuses |
///
/// Sleeper: look at everything, [`Alarm::arm`], [`Alarm::sleep`]. Ringer: change something, then
/// [`Alarm::ring`]. A ring while the sleeper looks is not lost: arming is refused. A ringer killed
/// between its store and the wake leaves a sleeper whom that death wakes.
#[derive(Clone, Copy)]
pub(crate) struct Alarm<'a>(&'a AtomicU32);

const ASLEEP: u32 = 1;
const RUNG: u32 = 2;

impl Alarm<'_> {
    /// About to sleep. `false`: it was rung; look again instead.
    #[must_use = "whoever was rung must look again"]
    pub(crate) fn arm(self) -> bool {
        // SYNC POINT bell: whoever rings after this sees `ASLEEP`, whoever rang before left `RUNG`.
        let armed = self
            .0
            .compare_exchange(0, ASLEEP, Ordering::SeqCst, Ordering::SeqCst);
        if armed.is_err() {
            self.disarm();
        }
        armed.is_ok()
    }

    /// Awake, and about to look at everything.
    pub(crate) fn disarm(self) {
        self.0.swap(0, Ordering::SeqCst);
    }

    /// Sleeps until rung after [`Alarm::arm`]. Returns early, too: then `false`.
    pub(crate) fn sleep(self, sleeper: &mut Sleeper) -> bool {
        let _ = sleeper.on(self.0, ASLEEP);
        self.0.swap(0, Ordering::SeqCst) == RUNG
    }

    /// Wakes the sleeper, or has it look again before it sleeps.
    pub(crate) fn ring(self) {
        // SYNC POINT bell
        fence(Ordering::SeqCst);
        self.ring_after_fence();
    }

    /// Whether there was a sleeper.
    fn ring_after_fence(self) -> bool {
        if self.0.load(Ordering::Relaxed) == RUNG {
            return false;
        }
        let slept = self.0.swap(RUNG, Ordering::SeqCst) == ASLEEP;
        if slept {
            futex::wake(self.0, 1);
        }
        slept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(ticket: u32, begun: u32) -> Claim {
        Claim { ticket, begun }
    }

    #[test]
    fn a_claim_is_taken_back_once() {
        let (board, mut held) = (Board::create(2).unwrap(), Held::default());
        assert_eq!(board.take_claim(1), None);
        assert!(board.claim(1, &mut held, 0));
        assert_eq!(board.take_claim(1), Some(claim(0, 0)));
        assert_eq!(board.take_claim(1), None);
        let mut held = Held::default();
        assert!(board.claim(1, &mut held, u32::MAX));
        assert!(board.begin(1, &mut held, u32::MAX, 65_534));
        assert_eq!(board.take_claim(1), Some(claim(u32::MAX, 65_535)));
        assert_eq!(board.take_claim(0), None);
    }

    #[test]
    fn repair_clears_only_the_claim_at_the_head() {
        let board = Board::create(3).unwrap();
        assert!(board.claim(0, &mut Held::default(), 4));
        assert!(board.claim(2, &mut Held::default(), 5));
        board.repair(5);
        assert_eq!(board.take_claim(0), Some(claim(4, 0)));
        assert_eq!(board.take_claim(2), None);
    }

    #[test]
    fn who_is_stopped_begins_nothing_more() {
        let (board, mut held) = (Board::create(1).unwrap(), Held::default());
        assert!(board.claim(0, &mut held, 7));
        assert!(board.begin(0, &mut held, 7, 0));
        assert!(!board.stop(0, claim(7, 0)), "it has gone on");
        assert!(board.stop(0, claim(7, 1)));
        assert!(!board.begin(0, &mut held, 7, 1));
        assert!(!board.claim(0, &mut held, 8));
        assert_eq!(board.take_claim(0), Some(claim(7, 1)));
    }

    #[test]
    fn a_withdrawn_ticket_is_renewed_by_the_next_with_its_bit() {
        let board = Board::create(1).unwrap();
        board.withdraw(5);
        assert!(board.is_withdrawn(5) && !board.is_withdrawn(6));
        board.renew(5 + WITHDRAWN as u32);
        assert!(!board.is_withdrawn(5));
    }

    #[test]
    fn a_refill_is_asked_for_once() {
        let board = Board::create(1).unwrap();
        assert!(!board.wants_refill(0));
        board.ask_refill(10);
        assert!(!board.wants_refill(10));
        assert!(board.wants_refill(9));
        assert!(!board.wants_refill(0));
    }

    #[test]
    fn a_rung_alarm_does_not_sleep() {
        let board = Board::create(1).unwrap();
        let bell = board.bell();
        assert!(bell.arm());
        assert!(board.announce_to_collector(), "somebody was there");
        let mut sleeper = Sleeper::new(multiproc_sys::clock::Deadline::NEVER);
        assert!(bell.sleep(&mut sleeper), "it was rung before");
        bell.ring();
        assert!(!bell.arm(), "it was rung while it looked");
        assert!(bell.arm(), "and has looked again");
    }

    #[test]
    fn the_supervisor_hears_of_results_only_when_nobody_collects() {
        let board = Board::create(1).unwrap();
        let rung = || board.half(WATCH).load(Ordering::Relaxed) == RUNG;
        assert!(board.watch().arm());
        board.announce();
        assert!(!rung(), "somebody collects");
        board.set_unattended(true);
        assert!(!board.announce_to_collector());
        assert!(!rung(), "that can wait");
        board.announce();
        assert!(rung());
    }
}
