//! The model's door, for the files of `multiproc-shm` and of `multiproc-sync`: atomics, futex, robust
//! word and deadline as the checker wants them.

pub(crate) use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::mortal::{self, step};

pub(crate) use crate::bell::Bell;
pub(crate) use crate::deadlock::{DeadlockLink, take_cycle};
pub(crate) use crate::family::{self, MemberId};
pub(crate) use crate::lock::{LockError, RawGuard, RawLock, spin_limit};
pub(crate) use crate::object::{CreateError, Kind, Object};
pub(crate) use crate::sleep::Sleeper;
pub(crate) use futex::Woken;
pub(crate) use loom::sync::atomic::fence;

/// Nothing: the checker keeps each thread's order, which is what the kernel sees of a dead one.
pub(crate) fn compiler_fence(_order: Ordering) {}

/// The checker takes sequentially consistent accesses for releases and acquires, but knows the fence.
pub(crate) fn between_consistent_accesses() {
    fence(Ordering::SeqCst);
}

/// Each taker of a side gets it to itself at once, and each ring that finds nobody counts for many.
pub(crate) const TURNS: u32 = 1;
pub(crate) const QUIET: u32 = 1;

pub(crate) mod asymmetric {
    //! The kernel's interrupt makes a full fence of what was none: so both sides have one.

    use super::{Ordering, fence};

    pub(crate) fn ready() -> bool {
        true
    }

    pub(crate) fn light() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
    }
}

/// One, so that nobody spins: a look more is no other behaviour.
pub(crate) fn processors() -> usize {
    1
}

macro_rules! atomic {
    ($name:ident, $of:ty) => {
        /// A shared word; each operation is a step of its thread.
        #[derive(Debug, Default)]
        pub(crate) struct $name(pub(crate) loom::sync::atomic::$name);

        #[allow(dead_code, reason = "not every width needs every operation")]
        impl $name {
            pub(crate) fn load(&self, order: Ordering) -> $of {
                if step() { self.0.load(order) } else { 0 }
            }

            pub(crate) fn store(&self, value: $of, order: Ordering) {
                if step() {
                    self.0.store(value, order);
                }
            }

            pub(crate) fn swap(&self, value: $of, order: Ordering) -> $of {
                if step() { self.0.swap(value, order) } else { 0 }
            }

            pub(crate) fn fetch_or(&self, bits: $of, order: Ordering) -> $of {
                if step() {
                    self.0.fetch_or(bits, order)
                } else {
                    0
                }
            }

            pub(crate) fn fetch_and(&self, bits: $of, order: Ordering) -> $of {
                if step() {
                    self.0.fetch_and(bits, order)
                } else {
                    0
                }
            }

            pub(crate) fn fetch_max(&self, value: $of, order: Ordering) -> $of {
                if step() {
                    self.0.fetch_max(value, order)
                } else {
                    0
                }
            }

            pub(crate) fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut next: impl FnMut($of) -> Option<$of>,
            ) -> Result<$of, $of> {
                let mut now = self.load(fetch);
                while let Some(wanted) = next(now) {
                    match self.compare_exchange(now, wanted, set, fetch) {
                        Ok(before) => return Ok(before),
                        // The dead see nothing, and must not look for ever.
                        Err(_) if mortal::is_dead() => break,
                        Err(seen) => now = seen,
                    }
                }
                Err(now)
            }

            pub(crate) fn fetch_add(&self, value: $of, order: Ordering) -> $of {
                if step() {
                    self.0.fetch_add(value, order)
                } else {
                    0
                }
            }

            pub(crate) fn compare_exchange(
                &self,
                from: $of,
                to: $of,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$of, $of> {
                if step() {
                    self.0.compare_exchange(from, to, success, failure)
                } else {
                    Err(0)
                }
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

/// There is no time: a wait is for ever, or not at all. Those for ever end early where the family is
/// told of a death.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadline {
    Now,
    Never,
}

impl Deadline {
    pub(crate) const NOW: Deadline = Deadline::Now;
    pub(crate) const NEVER: Deadline = Deadline::Never;

    pub(crate) fn after(_timeout: Duration) -> Deadline {
        Deadline::Never
    }

    pub(crate) fn remaining(self) -> Option<Duration> {
        self.has_passed().then_some(Duration::ZERO)
    }

    pub(crate) fn has_passed(self) -> bool {
        matches!(self, Deadline::Now)
    }

    pub(crate) fn is_never(self) -> bool {
        !self.has_passed()
    }
}

pub(crate) mod futex {
    //! The kernel's sleepers. Looking at the word and lying down is one step, as in the kernel.
    //!
    //! The family's bounded re-check is a switch: from the first death on, nobody sleeps through.
    //! Until then a sleep without its wake is a deadlock, which the checker reports.

    use super::{AtomicU32, Ordering, step};
    use loom::sync::{Condvar, Mutex};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[expect(clippy::enum_variant_names, reason = "the real one's names")]
    pub(crate) enum Woken {
        Woken,
        Changed,
        TimedOut,
    }

    #[derive(Default)]
    struct Sleepers {
        /// The word and the ticket of each, first come, first woken.
        asleep: Vec<(usize, u32)>,
        next: u32,
        somebody_died: bool,
    }

    loom::lazy_static! {
        static ref SLEEPERS: Mutex<Sleepers> = Mutex::new(Sleepers::default());
        static ref WAKES: Condvar = Condvar::new();
    }

    fn address(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word).addr()
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32) -> Woken {
        if !step() {
            return Woken::Woken;
        }
        let mut sleepers = SLEEPERS.lock().expect("no panic in here");
        if word.0.load(Ordering::SeqCst) != expected {
            return Woken::Changed;
        }
        if sleepers.somebody_died {
            drop(sleepers);
            loom::thread::yield_now();
            return Woken::Woken;
        }
        let ticket = sleepers.next;
        sleepers.next += 1;
        sleepers.asleep.push((address(word), ticket));
        while sleepers.asleep.iter().any(|sleeper| sleeper.1 == ticket) {
            sleepers = WAKES.wait(sleepers).expect("no panic in here");
        }
        Woken::Woken
    }

    pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
        if step() {
            wake_by_kernel(word, count)
        } else {
            0
        }
    }

    pub(crate) fn wake_all(word: &AtomicU32) -> u32 {
        wake(word, u32::MAX)
    }

    pub(crate) fn wake_by_kernel(word: &AtomicU32, count: u32) -> u32 {
        let mut sleepers = SLEEPERS.lock().expect("no panic in here");
        let mut woken = 0;
        sleepers.asleep.retain(|sleeper| {
            let wakes = sleeper.0 == address(word) && woken < count;
            woken += u32::from(wakes);
            !wakes
        });
        if woken > 0 {
            WAKES.notify_all();
        }
        woken
    }

    /// After a death: the published sleepers are woken, and the bounded re-check does the rest.
    pub(crate) fn everybody_looks_again() {
        let mut sleepers = SLEEPERS.lock().expect("no panic in here");
        sleepers.somebody_died = true;
        sleepers.asleep.clear();
        WAKES.notify_all();
    }
}

pub(crate) mod robust {
    //! `multiproc_sys::robust` step by step, with a list that is the thread's own.

    use super::{AtomicU32, AtomicU64, Ordering, fence, futex, step};
    use crate::mortal;

    const WAITERS: u32 = 1 << 31;
    const OWNER_DIED: u32 = 1 << 30;
    const TID: u32 = OWNER_DIED - 1;

    #[derive(Debug, Default)]
    pub(crate) struct Word {
        state: AtomicU32,
        owner: AtomicU64,
    }

    pub(crate) const MOST_HELD: u32 = 2_000;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Attempt {
        Acquired,
        Busy(Seen),
        Suspect(Seen),
        #[expect(dead_code, reason = "nobody holds 2,000 locks here")]
        Refused(Refusal),
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Seen(u32);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Refusal;

    impl std::fmt::Display for Refusal {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("refused")
        }
    }

    fn classify(seen: u32) -> Attempt {
        if seen & OWNER_DIED != 0 && seen & TID == 0 {
            Attempt::Suspect(Seen(seen))
        } else {
            Attempt::Busy(Seen(seen))
        }
    }

    impl Word {
        /// # Safety
        ///
        /// The word lives as long as the run.
        pub(crate) unsafe fn try_acquire(&self, contended: bool, _most: u32) -> Attempt {
            self.exchange(0, if contended { WAITERS } else { 0 })
        }

        /// # Safety
        ///
        /// As [`Word::try_acquire`].
        pub(crate) unsafe fn take_over(&self, seen: Seen, _most: u32) -> Attempt {
            if seen.0 & OWNER_DIED == 0 {
                return classify(seen.0);
            }
            self.exchange(seen.0, seen.0 & WAITERS)
        }

        fn exchange(&self, from: u32, flags: u32) -> Attempt {
            let this = self.for_the_list();
            let tid = mortal::with(|me| {
                me.pending.set(Some(this));
                me.tid.get()
            });
            let answer = self.state.compare_exchange(
                from,
                tid | flags,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            step();
            let attempt = match answer {
                Ok(_) => {
                    mortal::with(|me| me.held.borrow_mut().push(this));
                    Attempt::Acquired
                }
                Err(seen) => classify(seen),
            };
            step();
            mortal::with(|me| me.pending.set(None));
            attempt
        }

        fn for_the_list(&self) -> &'static Word {
            // SAFETY: words of a run live until all its threads are joined (`for_ever`), and a thread's
            // list is used by that thread only.
            unsafe { &*std::ptr::from_ref(self) }
        }

        pub(crate) fn announce_waiter(&self, seen: Seen) -> Option<u32> {
            let waited = seen.0 | WAITERS;
            if seen.0 == waited {
                return Some(waited);
            }
            self.state
                .compare_exchange(seen.0, waited, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
                .then_some(waited)
        }

        pub(crate) fn release(&self) -> bool {
            let mine = mortal::with(|me| me.tid.get());
            if !step() || self.holder() != mine {
                return false;
            }
            let this = self.for_the_list();
            mortal::with(|me| me.pending.set(Some(this)));
            step();
            mortal::with(|me| {
                let mut held = me.held.borrow_mut();
                held.retain(|held| !std::ptr::eq(*held, this));
            });
            let was = self.state.swap(0, Ordering::Release);
            // What an x86 exchange is, and what `Bell::ring_after_release` counts on there.
            if cfg!(target_arch = "x86_64") {
                fence(Ordering::SeqCst);
            }
            if was & WAITERS != 0 {
                futex::wake(&self.state, 1);
            }
            step();
            mortal::with(|me| me.pending.set(None));
            true
        }

        pub(crate) fn is_held_here(&self) -> bool {
            self.holder() != 0
        }

        pub(crate) fn look(&self) -> Attempt {
            match self.state.load(Ordering::Acquire) {
                0 => Attempt::Acquired,
                seen => classify(seen),
            }
        }

        pub(crate) fn is_held(&self) -> bool {
            self.holder() != 0
        }

        pub(crate) fn is_suspect(&self) -> bool {
            self.state.load(Ordering::Relaxed) & OWNER_DIED != 0
        }

        pub(crate) fn holder(&self) -> u32 {
            self.state.load(Ordering::Relaxed) & TID
        }

        pub(crate) fn is_mine(&self) -> bool {
            self.holder() == mortal::with(|me| me.tid.get())
        }

        pub(crate) fn futex(&self) -> &AtomicU32 {
            &self.state
        }

        pub(crate) fn owner(&self) -> &AtomicU64 {
            &self.owner
        }

        /// `handle_futex_death` of the kernel.
        pub(crate) fn owner_died(&self, tid: u32, pending: bool) {
            let mut seen = self.state.0.load(Ordering::Relaxed);
            loop {
                if pending && seen == 0 {
                    futex::wake_by_kernel(&self.state, 1);
                    return;
                }
                if seen & TID != tid {
                    return;
                }
                let marked = seen & WAITERS | OWNER_DIED;
                let answer = self.state.0.compare_exchange(
                    seen,
                    marked,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                match answer {
                    Ok(_) => break,
                    Err(now) => seen = now,
                }
            }
            if seen & WAITERS != 0 {
                futex::wake_by_kernel(&self.state, 1);
            }
        }
    }
}
