//! Tasks out and outcomes back as `multiproc-pool`'s PROTOCOL.md has them, over the pool's own words
//! and the real lock and bell.
//!
//! A result ring is a bit for each record, with one writer and one store for each; a frame is a word.
//! The parent's books are its own, so the model keeps them as plain values.

use loom::thread;

use crate::bell::Bell;
use crate::door::{AtomicU32, AtomicU64, Deadline, Ordering};
use crate::lock::RawLock;
use crate::mortal::{check, for_ever, live};
use crate::pool_alarm::Alarm;
use crate::pool_claim::{Claim, ClaimWord, Held, Withdrawn};
use crate::pool_seek::SeekWord;
use crate::pool_state::EndWord;
use crate::sleep::Sleeper;

/// Items of all chunks together.
const ITEMS: usize = 3;
/// Pushes of one run.
const FRAMES: usize = 4;
const WORKERS: usize = 2;

/// What all processes of a pool share.
#[derive(Default)]
struct Board {
    head_lock: RawLock,
    head: AtomicU64,
    tail: AtomicU64,
    /// The first item of a chunk, and the one after its last.
    frames: [AtomicU64; FRAMES],
    items: Bell,
    end: AtomicU32,
    seeker: AtomicU32,
    bell: AtomicU32,
    withdrawn: AtomicU64,
    claims: [AtomicU64; WORKERS],
    /// A bit for each item whose record is there.
    results: [AtomicU64; WORKERS],
    /// How often each item was begun. No word of the pool's: the model's own count.
    begun: [std::sync::atomic::AtomicU32; ITEMS],
}

impl Board {
    fn claim(&self, slot: usize) -> ClaimWord<'_> {
        ClaimWord(&self.claims[slot])
    }

    fn withdrawn(&self, ticket: u32) -> Withdrawn<'_> {
        Withdrawn(&self.withdrawn, 1 << ticket)
    }

    fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) == self.tail.load(Ordering::Acquire)
    }

    fn begun(&self, item: u64) -> u32 {
        self.begun[item as usize].load(Ordering::Relaxed)
    }

    fn lock_head(&self) -> crate::lock::RawGuard<'_> {
        let guard = self.head_lock.lock(Deadline::NEVER).expect("no deadline");
        if guard.taken().is_after_death() {
            let head = self.head.load(Ordering::Relaxed) as u32;
            (0..WORKERS).for_each(|slot| self.claim(slot).repair(head));
        }
        guard
    }
}

/// A worker, in one slot.
struct Worker {
    board: &'static Board,
    slot: usize,
    held: Held,
}

enum Popped {
    Nothing,
    Chunk { ticket: u32, items: [u64; 2] },
}

impl Worker {
    fn new(board: &'static Board, slot: usize) -> Worker {
        let held = Held::default();
        Worker { board, slot, held }
    }

    /// Steps 4 to 7. `None`: it is to leave.
    fn pop(&mut self) -> Option<Popped> {
        let board = self.board;
        if board.is_empty() {
            return Some(Popped::Nothing);
        }
        let _head = board.lock_head();
        let head = board.head.load(Ordering::Relaxed);
        if board.tail.load(Ordering::Acquire) == head {
            return Some(Popped::Nothing);
        }
        let ticket = head as u32;
        if !board.claim(self.slot).claim(&mut self.held, ticket) {
            return None;
        }
        let frame = board.frames[head as usize].load(Ordering::Relaxed);
        board.head.store(head + 1, Ordering::Release);
        let items = [frame >> 8, frame & 0xFF];
        Some(Popped::Chunk { ticket, items })
    }

    /// Steps 8 to 11. `false`: it is to leave.
    fn run(&mut self, ticket: u32, [first, end]: [u64; 2]) -> bool {
        let board = self.board;
        if board.withdrawn(ticket).is_set() {
            return true;
        }
        for (place, item) in (first..end).enumerate() {
            let word = board.claim(self.slot);
            if !word.begin(&mut self.held, ticket, place as u32) {
                return false;
            }
            board.begun[item as usize].fetch_add(1, Ordering::Relaxed);
            let results = &board.results[self.slot];
            let there = results.load(Ordering::Relaxed);
            results.store(there | 1 << item, Ordering::Release);
        }
        true
    }

    /// Looks once, awake, as the one that does.
    fn seek(&self) {
        let (board, seeker) = (self.board, SeekWord(&self.board.seeker));
        if !seeker.begin(self.slot) {
            return;
        }
        let found = !board.is_empty();
        seeker.end();
        let left = board.tail.load(Ordering::Acquire) - board.head.load(Ordering::Acquire);
        if found && left > 1 {
            board.items.ring();
        }
    }

    /// Looks as the seeker, then once for a task, and retires.
    fn seek_and_work(&mut self) {
        self.seek();
        self.work_a_little();
        // Who pushed may have counted on it.
        self.board.items.ring();
    }

    /// Looks for a task once, and retires.
    fn work_a_little(&mut self) {
        if let Some(Popped::Chunk { ticket, items }) = self.pop() {
            self.run(ticket, items);
        }
    }

    /// Until it has run something, or is let go.
    fn work_once(&mut self) {
        let board = self.board;
        while let Some(popped) = self.pop() {
            if let Popped::Chunk { ticket, items } = popped {
                self.run(ticket, items);
                return;
            }
            let said = EndWord(&board.end).get();
            if said.leave_when_idle() {
                return;
            }
            let armed = board.items.arm();
            if board.is_empty() && EndWord(&board.end).get() == said {
                let _woken = board.items.sleep(armed, &mut Sleeper::new(Deadline::NEVER));
            }
        }
    }
}

/// How an item ended, as its caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Value,
    Lost,
    Cancelled,
}

/// The parent: its own books.
struct Parent {
    board: &'static Board,
    /// The chunk of each ticket: its items, and how many are answered.
    chunks: Vec<Option<([u64; 2], u64)>>,
    answers: [Option<Answer>; ITEMS],
}

impl Parent {
    fn new(board: &'static Board) -> Parent {
        Parent {
            board,
            chunks: Vec::new(),
            answers: [None; ITEMS],
        }
    }

    /// Steps 2 and 3.
    fn push(&mut self, [first, end]: [u64; 2]) -> u32 {
        let board = self.board;
        let ticket = self.chunks.len();
        board.frames[ticket].store(first << 8 | end, Ordering::Relaxed);
        board.tail.store(ticket as u64 + 1, Ordering::Release);
        if !SeekWord(&board.seeker).is_there() {
            board.items.ring();
        }
        self.chunks.push(Some(([first, end], 0)));
        ticket as u32
    }

    fn answer(&mut self, item: u64, answer: Answer) {
        // A record of an item that was answered without it is passed over.
        let place = &mut self.answers[item as usize];
        if place.is_some() {
            assert_eq!(*place, Some(Answer::Cancelled), "a second answer");
            return;
        }
        *place = Some(answer);
        let mut chunks = self.chunks.iter_mut().flatten();
        let (items, next) = chunks
            .find(|([first, end], _)| (*first..*end).contains(&item))
            .expect("an item without an answer is in a chunk");
        assert_eq!(items[0] + *next, item, "in order");
        *next += 1;
    }

    /// Step 12.
    fn drain(&mut self, slot: usize) {
        let there = self.board.results[slot].load(Ordering::Acquire);
        for item in (0..ITEMS as u64).filter(|item| there >> item & 1 == 1) {
            if self.answers[item as usize] != Some(Answer::Value) {
                self.answer(item, Answer::Value);
            }
        }
    }

    /// What is left by a worker that is gone.
    fn bury(&mut self, slot: usize) {
        self.drain(slot);
        let claim = {
            let _head = self.board.lock_head();
            self.board.claim(slot).take()
        };
        if SeekWord(&self.board.seeker).bury(slot) {
            self.board.items.ring_all();
        }
        let Some(Claim { ticket, begun }) = claim else {
            return;
        };
        let Some(([first, end], next)) = self.chunks[ticket as usize] else {
            return;
        };
        if u64::from(begun) > next {
            self.answer(first + next, Answer::Lost);
        }
        let (_, next) = self.chunks[ticket as usize].take().expect("as above");
        if first + next < end {
            self.push([first + next, end]);
        }
    }

    fn let_go(&self) {
        if EndWord(&self.board.end).let_go() {
            self.board.items.ring_all();
        }
    }
}

/// A worker stops for ever anywhere, beside another. Each item is answered once and begun at most once; what
/// was lost had been begun.
#[test]
fn a_worker_takes_at_most_the_item_it_had_begun_along() {
    check("pool, a worker may die", |last| {
        for_ever(Board::default(), |board| {
            let mut parent = Parent::new(board);
            live(3, None, || {
                parent.push([0, 2]);
            });
            let mortal =
                thread::spawn(move || live(1, last, || Worker::new(board, 0).work_a_little()));
            let mut other = Worker::new(board, 1);
            live(2, None, || other.work_a_little());
            let lived = mortal.join().expect("no panic");
            live(3, None, || parent.bury(0));
            live(2, None, || other.work_a_little());
            live(3, None, || (0..WORKERS).for_each(|slot| parent.drain(slot)));
            let is_lost = |item: &usize| parent.answers[*item] == Some(Answer::Lost);
            assert!((0..2).filter(is_lost).count() <= usize::from(!lived));
            for item in 0..2 {
                assert!(parent.answers[item].is_some(), "no answer");
                assert_eq!(board.begun(item as u64), 1, "not begun, or twice");
            }
            lived
        })
    });
}

/// Whoever marks a worker's claim for an item knows that nothing else is begun there, and answers the
/// item; one that has gone on is left alone.
#[test]
fn who_is_stopped_begins_nothing_more() {
    check("pool, an item is stopped, its worker may die", |last| {
        for_ever(Board::default(), |board| {
            let mut parent = Parent::new(board);
            live(3, None, || {
                parent.push([0, 2]);
            });
            let mortal =
                thread::spawn(move || live(1, last, || Worker::new(board, 0).work_a_little()));
            let mut stopped = false;
            live(3, None, || {
                parent.drain(0);
                let claim = board.claim(0).get();
                let running = claim.filter(|claim| claim.begun == 1);
                if let Some(claim) = running.filter(|_| parent.answers[0].is_none()) {
                    stopped = board.claim(0).stop(claim);
                }
                if stopped {
                    parent.drain(0);
                    if parent.answers[0].is_none() {
                        parent.answer(0, Answer::Cancelled);
                    }
                }
            });
            let lived = mortal.join().expect("no panic");
            assert!(!stopped || board.begun(1) == 0, "begun after the mark");
            live(3, None, || {
                parent.bury(0);
                // What was not begun is in the ring again; nothing is lost but what was begun.
                let waits = parent
                    .chunks
                    .iter()
                    .flatten()
                    .any(|(items, _)| items[1] == 2);
                let done = parent.answers[1].is_some();
                assert!(
                    done != (waits && board.begun(1) == 0),
                    "{:?}",
                    parent.answers
                );
            });
            lived
        })
    });
}

/// Whoever withdraws a ticket sees every worker that may yet begin it.
#[test]
fn a_chunk_that_was_withdrawn_is_begun_by_nobody_unseen() {
    check("pool, a chunk is withdrawn, a worker may die", |last| {
        for_ever(Board::default(), |board| {
            let mut parent = Parent::new(board);
            live(3, None, || {
                parent.push([0, 1]);
            });
            let mortal =
                thread::spawn(move || live(1, last, || Worker::new(board, 0).work_a_little()));
            let mut cancelled = false;
            live(3, None, || {
                board.withdrawn(0).set();
                cancelled = match board.claim(0).get().filter(|claim| claim.ticket == 0) {
                    // Nobody has it, and whoever claims it from now on sees the bit.
                    None => true,
                    Some(claim) if claim.begun == 0 => board.claim(0).stop(claim),
                    Some(_) => false,
                };
            });
            let lived = mortal.join().expect("no panic");
            assert!(
                !cancelled || board.begun(0) == 0,
                "begun after it was cancelled"
            );
            lived
        })
    });
}

/// The pool is closed, its last answer comes, and it is terminated, all at once.
#[test]
fn the_end_never_goes_back() {
    check("pool, close and terminate at once, one may stop", |last| {
        for_ever(Board::default(), |board| {
            let end = EndWord(&board.end);
            let mortal = thread::spawn(move || live(1, last, || EndWord(&board.end).close()));
            let other = thread::spawn(move || {
                let mut first = false;
                live(2, None, || first = EndWord(&board.end).let_go());
                first
            });
            let mut again = true;
            live(3, None, || {
                end.dismiss();
                assert!(end.is_over() && end.get().leave_when_idle());
                again = end.let_go();
                assert!(end.is_over() && !end.get().is_closing());
            });
            let lived = mortal.join().expect("no panic");
            other.join().expect("no panic");
            assert!(!again, "it was over");
            live(3, None, || assert!(end.is_over()));
            lived
        })
    });
}

/// A ring while the sleeper looks is kept, and one that died with its ringer is made good by the death.
#[test]
fn no_ring_is_slept_through() {
    check("pool, who rings may die", |last| {
        for_ever(Board::default(), |board| {
            let ring = move |bit: u64| {
                board.withdrawn.fetch_or(bit, Ordering::Relaxed);
                Alarm(&board.bell).ring();
            };
            let mortal = thread::spawn(move || live(1, last, || ring(1)));
            let other = thread::spawn(move || live(2, None, || ring(2)));
            live(3, None, || {
                let bell = Alarm(&board.bell);
                let there = || board.withdrawn.load(Ordering::Relaxed) & 2 != 0;
                while !there() {
                    if !bell.arm() {
                        continue;
                    }
                    if there() {
                        bell.disarm();
                        continue;
                    }
                    bell.sleep(&mut Sleeper::new(Deadline::NEVER));
                }
            });
            other.join().expect("no panic");
            mortal.join().expect("no panic")
        })
    });
}

/// A task that is pushed while a worker looks wakes nobody else, and is run all the same: by the one that
/// looks, or, if that one stops for ever, by the one that sleeps.
#[test]
fn a_task_pushed_beside_a_seeker_is_found() {
    check("pool, who looks for tasks may die", |last| {
        for_ever(Board::default(), |board| {
            let mortal =
                thread::spawn(move || live(1, last, || Worker::new(board, 0).seek_and_work()));
            let other = thread::spawn(move || {
                live(2, None, || Worker::new(board, 1).work_once());
            });
            let mut parent = Parent::new(board);
            live(3, None, || {
                parent.push([0, 1]);
            });
            let lived = mortal.join().expect("no panic");
            live(3, None, || {
                parent.bury(0);
                if parent.answers[0].is_some() {
                    parent.let_go();
                }
            });
            // It sleeps for ever if nobody wakes it for the task.
            other.join().expect("no panic");
            live(3, None, || parent.drain(1));
            assert!(parent.answers[0].is_some() && board.begun(0) == 1);
            lived
        })
    });
}
