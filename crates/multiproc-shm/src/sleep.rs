//! Sleeping so that no death is slept through.
//!
//! A wake can die with the process that was to send it, or with the one that received it. So every
//! sleeper publishes the word it sleeps on in its *thread slot*, whoever learns of a death wakes all
//! published words, and every sleep is bounded: 100 ms at first, doubling to 2 s, then the caller
//! looks at its condition again.
//!
//! Who sleeps on several words needs no slot: one of them is the family's count of deaths, read before
//! the last look.
//!
//! # The thread slot
//!
//! | word | meaning | who writes |
//! |---|---|---|
//! | `holder` | the member whose thread has the slot, 0 = free | the thread under the arena lock; 0 by itself at its end or by the sweep after its member's death |
//! | `word` | offset of the word it sleeps on, 0 = awake | the thread |
//! | `inside` | which of the locks that it has to itself it is inside of: see `alone.rs` | the thread; 0 for the next one with the slot |
//! | `tid`, `edge`, `turn` | which lock it waits for: see `deadlock` | the thread |

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::futex::{self, Woken};
use multiproc_sys::{Errno, forkmark, poll, robust};

use crate::arena::{self, Arena};
use crate::layout::{PAGE, THREADS, THREADS_AT};
use crate::member::{self, MemberId};
use crate::own;
use crate::presence::{self, Me};
use crate::waitable::Armed;

const FIRST_CHECK: Duration = Duration::from_millis(100);
const LAST_CHECK: Duration = Duration::from_secs(2);

#[repr(C, align(64))]
pub(crate) struct ThreadSlot {
    holder: AtomicU64,
    word: AtomicU64,
    tid: AtomicU64,
    pub(crate) edge: AtomicU64,
    pub(crate) turn: AtomicU64,
    inside: AtomicU64,
    _room: [u64; 2],
}

/// One wait, which may take several sleeps.
#[derive(Debug)]
pub struct Sleeper {
    deadline: Deadline,
    check: Duration,
}

impl Sleeper {
    /// A wait until `deadline`.
    #[inline]
    pub fn new(deadline: Deadline) -> Sleeper {
        Sleeper {
            deadline,
            check: FIRST_CHECK,
        }
    }

    /// The same wait, with another end.
    pub fn until(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// When the wait ends.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Sleeps while `word` holds `expected`. Returns early, too: look at the condition again, and
    /// stop only on [`Woken::TimedOut`], which is never early.
    ///
    /// # If a process dies
    ///
    /// Any member's death ends the sleep of a word in the arena; at the latest the next check does.
    pub fn on(&mut self, word: &AtomicU32, expected: u32) -> Woken {
        let published = publish(word);
        let woken = futex::wait(word, expected, self.next_look());
        if let Some(slot) = published {
            slot.word.store(0, Ordering::Release);
        }
        self.slept(woken, published.is_some())
    }

    /// Sleeps while each word holds its value: what [`Sources::arm`](crate::Sources::arm) gave, which
    /// has the family's count of deaths among them.
    ///
    /// # Panics
    ///
    /// As [`futex::wait_any`].
    pub fn on_any(&mut self, armed: &[Armed<'_>]) -> Woken {
        let (woken, _) = futex::wait_any(armed, self.next_look());
        self.slept(woken, true)
    }

    /// Sleeps until one of `fds` is readable, beside words that somebody else sleeps on.
    ///
    /// # Errors
    ///
    /// As [`poll::any_readable`].
    pub fn until_readable(&mut self, fds: &[BorrowedFd<'_>]) -> Result<Woken, Errno> {
        let readable = poll::any_readable(fds, self.next_look())?;
        let woken = if readable.is_empty() {
            Woken::TimedOut
        } else {
            Woken::Woken
        };
        Ok(self.slept(woken, true))
    }

    fn next_look(&self) -> Deadline {
        self.deadline.earlier(Deadline::after(self.check))
    }

    /// What a sleep was for the caller. `told`: a death would have ended it.
    fn slept(&mut self, woken: Woken, told: bool) -> Woken {
        match woken {
            Woken::TimedOut if self.deadline.has_passed() => Woken::TimedOut,
            Woken::TimedOut => {
                if told {
                    self.check = (self.check * 2).min(LAST_CHECK);
                }
                Woken::Woken
            }
            woken => woken,
        }
    }
}

/// Puts `word` into this thread's slot. `None` where it has none: then the bounded check alone is the
/// net, and stays short.
fn publish(word: &AtomicU32) -> Option<&'static ThreadSlot> {
    let arena = arena::existing()?;
    let offset = arena.offset_of(word)?;
    let slot = if offset == arena.offset_of(arena.header().lock.futex())? {
        // Whoever waits for the arena lock cannot take it to find a slot.
        SLOT.try_with(MySlot::get).ok().flatten()?
    } else {
        my_slot(arena)?
    };
    slot.word.store(offset, Ordering::SeqCst);
    Some(slot)
}

/// This thread's slot, if there is one to be had.
pub(crate) fn my_slot(arena: &'static Arena) -> Option<&'static ThreadSlot> {
    SLOT.try_with(|mine| mine.get_or_claim(arena))
        .ok()
        .flatten()
}

/// The slot of a thread, if it has slept yet.
pub(crate) fn find_slot(
    arena: &'static Arena,
    member: MemberId,
    tid: u32,
) -> Option<&'static ThreadSlot> {
    let used = arena.header().threads.load(Ordering::Acquire);
    let slots = (0..used.min(u64::from(THREADS))).map(|index| slot(arena, index));
    let mut theirs = slots.filter(|slot| slot.holder.load(Ordering::Acquire) == member.bits());
    theirs.find(|slot| slot.tid.load(Ordering::Relaxed) == u64::from(tid))
}

/// Wakes every published sleeper: somebody died, and may have taken a wake along.
pub(crate) fn wake_published(arena: &'static Arena) {
    let used = arena
        .header()
        .threads
        .load(Ordering::Acquire)
        .min(u64::from(THREADS));
    for index in 0..used {
        let offset = slot(arena, index).word.load(Ordering::SeqCst);
        // A word is 4-byte aligned; a torn or forged offset must not lead outside.
        if offset != 0 && offset.is_multiple_of(4) && offset <= arena.len() - 4 {
            // SAFETY: inside the mapping and aligned; a published word lies in an object its
            // sleeper holds, so its page is reserved; the kernel uses only the address.
            futex::wake_all(unsafe { arena.view::<AtomicU32>(offset) });
        }
    }
}

/// Frees the slots of a dead member's threads. Called with the arena lock held.
pub(crate) fn forget_threads(arena: &'static Arena, dead: MemberId) {
    let used = arena
        .header()
        .threads
        .load(Ordering::Acquire)
        .min(u64::from(THREADS));
    for index in 0..used {
        let slot = slot(arena, index);
        if slot.holder.load(Ordering::Relaxed) == dead.bits() {
            slot.word.store(0, Ordering::Relaxed);
            slot.holder.store(0, Ordering::Release);
        }
    }
}

fn slot(arena: &'static Arena, index: u64) -> &'static ThreadSlot {
    let offset = THREADS_AT + index * size_of::<ThreadSlot>() as u64;
    // SAFETY: callers keep `index` below the number of slots ever used, whose pages are reserved;
    // the region holds nothing but thread slots, which are made of atomics.
    unsafe { arena.view(offset) }
}

/// This thread's slot, given back when the thread ends.
struct MySlot {
    slot: Cell<Option<&'static ThreadSlot>>,
    member: Cell<u64>,
    /// The mark of the process that `me` was found in, 0 before.
    stamp: Cell<u64>,
    me: Cell<Option<Me>>,
}

thread_local! {
    static SLOT: MySlot = const {
        MySlot { slot: Cell::new(None), member: Cell::new(0), stamp: Cell::new(0), me: Cell::new(None) }
    };
}

impl MySlot {
    /// The slot, if the thread has one. A child made by fork inherits the cell, but the slot is its
    /// parent's.
    fn get(&self) -> Option<&'static ThreadSlot> {
        let me = member::me().ok()?;
        self.slot.get().filter(|_| self.member.get() == me.bits())
    }

    fn get_or_claim(&self, arena: &'static Arena) -> Option<&'static ThreadSlot> {
        if let Some(slot) = self.get() {
            return Some(slot);
        }
        let me = member::me().ok()?;
        let slot = claim(arena, me)?;
        self.slot.set(Some(slot));
        self.member.set(me.bits());
        Some(slot)
    }
}

/// What this thread needs to have a lock to itself.
#[inline]
pub(crate) fn presence() -> Option<Me> {
    let known = |mine: &MySlot| match mine.stamp.get() {
        stamp if stamp != 0 && stamp == forkmark::stamp() => mine.me.get(),
        _ => mine.appear(),
    };
    SLOT.try_with(known).ok().flatten()
}

/// What the thread in a slot says it is inside of, 0 for nothing, or if the slot is no longer the member's.
pub(crate) fn inside_of(arena: &'static Arena, index: u32, member: Option<MemberId>) -> u64 {
    let used = arena.header().threads.load(Ordering::Acquire);
    let is_used = u64::from(index) < used.min(u64::from(THREADS));
    let Some(member) = member.filter(|_| is_used) else {
        return 0;
    };
    let slot = slot(arena, u64::from(index));
    let inside = slot.inside.load(Ordering::Acquire);
    match slot.holder.load(Ordering::Acquire) == member.bits() {
        true => inside,
        false => 0,
    }
}

impl MySlot {
    #[cold]
    fn appear(&self) -> Option<Me> {
        let arena = arena::existing()?;
        let member = member::me().ok()?;
        let slot = self.get_or_claim(arena)?;
        let index = (arena.offset_of(slot)? - THREADS_AT) / size_of::<ThreadSlot>() as u64;
        let me = presence::new_token(member).map(|token| Me {
            token,
            slot: index as u32,
            inside: &slot.inside,
        });
        self.me.set(me);
        self.stamp.set(own::stamp());
        me
    }
}

impl Drop for MySlot {
    fn drop(&mut self) {
        let mine = member::me().is_ok_and(|me| me.bits() == self.member.get());
        if let (Some(slot), true) = (self.slot.get(), mine) {
            slot.holder.store(0, Ordering::Release);
        }
    }
}

#[cold]
fn claim(arena: &'static Arena, me: MemberId) -> Option<&'static ThreadSlot> {
    let locked = arena.lock(Deadline::after(FIRST_CHECK)).ok()?;
    let used = locked.header().threads.load(Ordering::Relaxed);
    let used = used.min(u64::from(THREADS));
    let free = (0..used).find(|&index| slot(arena, index).holder.load(Ordering::Acquire) == 0);
    let index = match free {
        Some(index) => index,
        None if used < u64::from(THREADS) => {
            let size = size_of::<ThreadSlot>() as u64;
            let at = THREADS_AT + used * size;
            if at.is_multiple_of(PAGE) {
                arena.reserve(at, PAGE).ok()?;
            }
            let mut change = locked.begin();
            change.set(locked.offset(&locked.header().threads), used + 1);
            change.commit();
            used
        }
        None => return None,
    };
    let slot = slot(arena, index);
    slot.word.store(0, Ordering::Relaxed);
    slot.inside.store(0, Ordering::Relaxed);
    slot.tid.store(u64::from(robust::tid()), Ordering::Relaxed);
    // Odd if the thread before was killed in a wait.
    let turn = slot.turn.load(Ordering::Relaxed);
    slot.turn.store(turn.next_multiple_of(2), Ordering::Relaxed);
    slot.holder.store(me.bits(), Ordering::Release);
    Some(slot)
}
