//! One owner word in shared memory that the kernel releases when its owner dies.
//!
//! The word is a futex that holds the owner's thread id and is linked into the *thread's* robust
//! list, the one the C library has registered with the kernel: there is room for one list only, so
//! ours share it. That works because [`Word`] keeps the geometry of a process-shared robust
//! `pthread_mutex_t` (word 32 bytes before the list node, back pointer 8 bytes before it), which
//! glibc has frozen in its ABI; the first use in each thread checks the registered offset.
//!
//! # The word
//!
//! | state | meaning | leaves by |
//! |---|---|---|
//! | `0` | free | [`Word::try_acquire`] by anyone |
//! | `tid` | held by thread `tid`, nobody sleeps | [`Word::release`] by the owner, the kernel at its death |
//! | `tid \| WAITERS` | held, somebody sleeps or is about to | as above, and the release wakes one |
//! | `OWNER_DIED` (`\| WAITERS`) | the owner died; free but *suspect* | [`Word::take_over`] by anyone |
//! | anything that names no possible thread | damaged; as suspect | as above |
//!
//! Who sets what: `tid` and `0` the owner; `WAITERS` whoever is about to sleep; `OWNER_DIED` the
//! kernel alone, keeping `WAITERS` and waking one sleeper if it was set. Someone sleeps ⇒ `WAITERS`
//! is set, from before the sleep until the word is next released.
//!
//! # Killed here: survivors see
//!
//! | step of the owner | survivors see |
//! |---|---|
//! | before the compare-exchange | the word untouched |
//! | after it, before the node is linked | `OWNER_DIED`: the pending pointer was set first |
//! | linked | `OWNER_DIED` |
//! | unlinked, word not yet stored | `OWNER_DIED`: pending again names the word |
//! | word stored 0, sleeper not yet woken | free, and the kernel wakes a sleeper (pending, word 0) |
//! | sleeper woken, pending not yet cleared | free; at worst a wake too many |
//!
//! The list belongs to the *thread*: a thread that ends while it holds a word leaves it
//! `OWNER_DIED` just as a killed process does.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, compiler_fence};

use crate::{forkmark, futex};

const WAITERS: u32 = libc::FUTEX_WAITERS;
const OWNER_DIED: u32 = libc::FUTEX_OWNER_DIED;
const TID: u32 = libc::FUTEX_TID_MASK;

/// How many words a thread may hold. The kernel walks at most 2,048 entries; beyond, the oldest would
/// stay locked for ever.
pub const MOST_HELD: u32 = 2_000;

/// The same for what must always be possible, such as finishing what a dead process has begun.
pub const MOST_HELD_INSIDE: u32 = 2_020;

/// The largest thread id there can be (`PID_MAX_LIMIT`).
const MOST_TID: u32 = 1 << 22;

/// Where the futex lies, seen from the list node, in the C library we know.
const FUTEX_FROM_NODE: isize = -32;

/// An owner word. See the [module](self) for its states.
///
/// All zero is a free word, so fresh shared memory needs no initialisation.
#[repr(C, align(8))]
#[derive(Debug, Default)]
pub struct Word {
    state: AtomicU32,
    _unused: u32,
    /// Who holds it, in the terms of the layer above. Written by the owner only.
    owner: AtomicU64,
    _unused2: u64,
    prev: AtomicPtr<Node>,
    /// The list node is this field: the kernel and the C library point here.
    node: Node,
}

#[derive(Debug, Default)]
#[repr(transparent)]
struct Node(AtomicPtr<Node>);

const _: () = {
    assert!(size_of::<Word>() == 40);
    assert!(std::mem::offset_of!(Word, node) as isize == -FUTEX_FROM_NODE);
    assert!(std::mem::offset_of!(Word, prev) == std::mem::offset_of!(Word, node) - 8);
};

/// The head of a thread's list, as the kernel defines it.
#[repr(C)]
struct Head {
    list: AtomicPtr<Node>,
    futex_offset: isize,
    pending: AtomicPtr<Node>,
}

/// What [`Word::try_acquire`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "only `Acquired` means that the word is held"]
pub enum Attempt {
    /// The word is ours.
    Acquired,
    /// Somebody holds it.
    Busy(Seen),
    /// Its owner died and nobody has taken it over yet.
    Suspect(Seen),
    /// This thread cannot hold another word.
    Refused(Refusal),
}

/// A value the word had a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(u32);

impl Seen {
    /// The thread that held the word.
    pub fn tid(self) -> u32 {
        self.0 & TID
    }
}

/// Why a thread cannot take a word at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It holds 2,000 already; the kernel would not release more at its death.
    TooMany,
    /// The C library registers another list layout than the one this code knows.
    Layout,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refusal::TooMany => {
                "this thread holds 2000 locks already, the most the kernel releases if it dies"
            }
            Refusal::Layout => {
                "the C library's robust list has an unknown layout; multiproc needs glibc"
            }
        })
    }
}

/// What one thread knows of itself. Valid while `stamp` is the process's [`forkmark`].
struct Thread {
    stamp: Cell<u64>,
    head: Cell<*const Head>,
    tid: Cell<u32>,
    held: Cell<u32>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread { stamp: Cell::new(0), head: Cell::new(ptr::null()), tid: Cell::new(0), held: Cell::new(0) }
    };
}

/// The kernel's id of the calling thread.
#[inline]
pub fn tid() -> u32 {
    let me = Thread::here();
    me.know();
    me.tid.get()
}

/// How many words the calling thread holds.
pub fn held() -> u32 {
    let me = Thread::here();
    me.know();
    me.held.get()
}

impl Thread {
    /// The calling thread's. For use within one function: a closure around all of a lock's code would not be
    /// inlined, which costs as much as the rest of an uncontended lock.
    #[inline]
    fn here<'a>() -> &'a Thread {
        let here = THREAD.with(ptr::from_ref);
        // SAFETY: a thread-local without a destructor lives until its thread has ended; `Thread` is not `Sync`,
        // so the reference stays on the thread, and all its callers drop it before they return.
        unsafe { &*here }
    }

    /// Makes `head` and `tid` true of this thread. One load and compare when they are.
    #[inline]
    fn know(&self) {
        let stamp = forkmark::stamp();
        if stamp == 0 || self.stamp.get() != stamp {
            self.learn();
        }
    }

    #[cold]
    fn learn(&self) {
        let mut head: *const Head = ptr::null();
        let mut len: usize = 0;
        // SAFETY: pid 0 asks for the calling thread; both results are writable locals of the sizes
        // the call expects.
        let refused =
            unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
        // SAFETY: gettid takes nothing and cannot fail.
        self.tid.set(unsafe { libc::gettid() } as u32);
        // SAFETY: where the call succeeded and the length is that of the structure, `head` points to
        // this thread's registered head, which lives as long as the thread.
        let known = refused == 0
            && !head.is_null()
            && len == size_of::<Head>()
            && unsafe { (*head).futex_offset } == FUTEX_FROM_NODE;
        self.head.set(if known { head } else { ptr::null() });
        self.held.set(0);
        self.stamp.set(match forkmark::stamp() {
            0 => forkmark::renew(),
            stamp => stamp,
        });
    }

    #[inline]
    fn head(&self, most: u32) -> Result<&Head, Refusal> {
        self.know();
        // SAFETY: null, or this thread's registered head (see `learn`), which outlives the borrow of
        // a thread-local of the same thread.
        let head = unsafe { self.head.get().as_ref() };
        match head {
            None => Err(Refusal::Layout),
            Some(_) if self.held.get() >= most => Err(Refusal::TooMany),
            Some(head) => Ok(head),
        }
    }
}

impl Word {
    /// A free word.
    pub const fn new() -> Word {
        Word {
            state: AtomicU32::new(0),
            _unused: 0,
            owner: AtomicU64::new(0),
            _unused2: 0,
            prev: AtomicPtr::new(ptr::null_mut()),
            node: Node(AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// Takes the word if it is free and the thread holds fewer than `most`. `contended` keeps the
    /// `WAITERS` bit set, which whoever has slept here must do, as others may sleep still.
    ///
    /// # Safety
    ///
    /// The word stays mapped at this address, and its memory is used for nothing else, until it is
    /// released or the thread has ended: the kernel and the C library follow pointers to it.
    #[inline]
    pub unsafe fn try_acquire(&self, contended: bool, most: u32) -> Attempt {
        let wanted = if contended { WAITERS } else { 0 };
        // SAFETY: passed on.
        unsafe { self.exchange(0, wanted, most) }
    }

    /// Takes a suspect word whose value was `seen`; what it guards is for the new owner to repair.
    ///
    /// # Safety
    ///
    /// As [`Word::try_acquire`].
    pub unsafe fn take_over(&self, seen: Seen, most: u32) -> Attempt {
        if !has_no_owner(seen.0) {
            return classify(seen.0);
        }
        // SAFETY: passed on.
        unsafe { self.exchange(seen.0, seen.0 & WAITERS, most) }
    }

    #[inline]
    unsafe fn exchange(&self, from: u32, flags: u32, most: u32) -> Attempt {
        let me = Thread::here();
        let head = match me.head(most) {
            Ok(head) => head,
            Err(refusal) => return Attempt::Refused(refusal),
        };
        let node = self.node_ptr();
        // Named before it can be ours: killed after the exchange, the kernel finds it here.
        head.pending.store(node, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let to = me.tid.get() | flags;
        let answer = self
            .state
            .compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed);
        let attempt = match answer {
            Ok(_) => {
                self.link(head, node);
                me.held.set(me.held.get() + 1);
                Attempt::Acquired
            }
            Err(seen) => classify(seen),
        };
        compiler_fence(Ordering::SeqCst);
        head.pending.store(ptr::null_mut(), Ordering::Relaxed);
        attempt
    }

    /// Says in the word that somebody is about to sleep, and returns the value to sleep on; `None`
    /// if the word changed meanwhile, or nobody held it.
    pub fn announce_waiter(&self, seen: Seen) -> Option<u32> {
        if seen.tid() == 0 {
            // Nobody would wake the sleeper.
            return None;
        }
        let waited = seen.0 | WAITERS;
        if seen.0 == waited {
            return Some(waited);
        }
        self.state
            .compare_exchange(seen.0, waited, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
            .then_some(waited)
    }

    /// Gives the word back and wakes one sleeper if there is one. Does nothing, and says so, unless the
    /// calling thread holds it: a guard may outlive a release by hand, or arrive in a fork.
    #[inline]
    pub fn release(&self) -> bool {
        let me = Thread::here();
        me.know();
        if self.state.load(Ordering::Relaxed) & TID != me.tid.get() {
            return false;
        }
        // SAFETY: the thread holds a word, so its head is not null and lives as long as it.
        let head = unsafe { &*me.head.get() };
        head.pending.store(self.node_ptr(), Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.unlink();
        me.held.set(me.held.get().saturating_sub(1));
        compiler_fence(Ordering::SeqCst);
        if self.state.swap(0, Ordering::Release) & WAITERS != 0 {
            futex::wake(&self.state, 1);
        }
        compiler_fence(Ordering::SeqCst);
        head.pending.store(ptr::null_mut(), Ordering::Relaxed);
        true
    }

    /// Whether a thread of this process holds the word.
    pub fn is_held_here(&self) -> bool {
        let tid = self.holder();
        // SAFETY: signal 0 is never delivered; the call only looks whether the thread is ours.
        tid != 0 && unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, 0) } == 0
    }

    /// What the word shows now.
    pub fn look(&self) -> Attempt {
        match self.state.load(Ordering::Acquire) {
            0 => Attempt::Acquired,
            seen => classify(seen),
        }
    }

    /// Whether a thread holds the word.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.state.load(Ordering::Relaxed) & TID != 0
    }

    /// Whether its owner died and nobody has taken it over.
    #[inline]
    pub fn is_suspect(&self) -> bool {
        let value = self.state.load(Ordering::Relaxed);
        value & OWNER_DIED != 0 || has_no_owner(value)
    }

    /// The thread that holds the word, 0 if none does.
    pub fn holder(&self) -> u32 {
        self.state.load(Ordering::Relaxed) & TID
    }

    /// Whether the calling thread holds the word.
    #[inline]
    pub fn is_mine(&self) -> bool {
        self.state.load(Ordering::Relaxed) & TID == tid()
    }

    /// The futex to sleep on, with the value from [`Word::announce_waiter`].
    pub fn futex(&self) -> &AtomicU32 {
        &self.state
    }

    /// Who holds the word, in the terms of the layer above; kept after the owner's death.
    #[inline]
    pub fn owner(&self) -> &AtomicU64 {
        &self.owner
    }

    #[inline]
    fn node_ptr(&self) -> *mut Node {
        (&raw const self.node).cast_mut()
    }

    /// Puts the node in front of the list, as the C library does for its own.
    #[inline]
    fn link(&self, head: &Head, node: *mut Node) {
        let next = head.list.load(Ordering::Relaxed);
        self.node.0.store(next, Ordering::Relaxed);
        self.prev
            .store((&raw const head.list).cast_mut().cast(), Ordering::Relaxed);
        // SAFETY: `next` is the head itself or the node of a word this thread holds; either has its
        // back pointer 8 bytes before (checked layout), and is mapped while it is in the list.
        unsafe { (*back_pointer(next)).store(node, Ordering::Relaxed) };
        compiler_fence(Ordering::SeqCst);
        head.list.store(node, Ordering::Relaxed);
    }

    #[inline]
    fn unlink(&self) {
        let next = self.node.0.load(Ordering::Relaxed);
        let prev = self.prev.load(Ordering::Relaxed);
        // SAFETY: this word is in the list (the caller holds it), so both neighbours are the head or
        // nodes of words this thread holds, mapped, with the checked layout.
        unsafe {
            (*back_pointer(next)).store(prev, Ordering::Relaxed);
            (*untagged(prev)).0.store(next, Ordering::Relaxed);
        }
    }
}

/// The C library marks priority-inheriting mutexes in the lowest bit of list pointers.
#[inline]
fn untagged(node: *mut Node) -> *mut Node {
    node.map_addr(|address| address & !1)
}

#[inline]
fn back_pointer(node: *mut Node) -> *const AtomicPtr<Node> {
    untagged(node)
        .cast::<AtomicPtr<Node>>()
        .wrapping_sub(1)
        .cast_const()
}

/// Whether nobody can hold a word of that value, though it is not free: its owner died, or it was damaged
/// and names a thread that cannot be. Neither is waited for.
#[inline]
fn has_no_owner(value: u32) -> bool {
    value != 0 && !(1..=MOST_TID).contains(&(value & TID))
}

fn classify(seen: u32) -> Attempt {
    if has_no_owner(seen) {
        Attempt::Suspect(Seen(seen))
    } else {
        Attempt::Busy(Seen(seen))
    }
}

#[cfg(test)]
mod tests;
