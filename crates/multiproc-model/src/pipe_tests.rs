//! One direction of a pipe: the real lock that one thread may have to itself, the real bell without a
//! fence, and between them push and pop as `multiproc-shm`'s `ring/quick.rs` has them.
//!
//! Every taker of a side gets it to itself at once, and every ring that finds nobody is light from then
//! on, so that short runs meet all of it.

use loom::cell::UnsafeCell;
use loom::thread;

use crate::alone::AloneLock;
use crate::bell::{Bell, Quiet};
use crate::door::{AtomicU64, Deadline, Ordering};
use crate::mortal::{self, check, for_ever, live};
use crate::sleep::Sleeper;

/// A value that the checker reports if two are at it at once.
#[derive(Default)]
struct Guarded {
    lock: AloneLock,
    value: UnsafeCell<u64>,
}

// SAFETY: the value is used by the holder of the lock only, which is what the checker watches.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn add(&self) {
        let _guard = self.lock.lock_often(Deadline::NEVER).expect("no deadline");
        if mortal::step() {
            // SAFETY: see `Sync`.
            self.value.with_mut(|value| unsafe { *value += 1 });
        }
    }

    fn add_quickly(&self) {
        let add = || {
            if mortal::step() {
                // SAFETY: see `Sync`.
                self.value.with_mut(|value| unsafe { *value += 1 });
            }
        };
        if self.lock.if_alone(add).is_none() {
            self.add();
        }
    }
}

#[test]
fn never_two_inside_and_nobody_waits_for_the_dead() {
    check("lock to itself, one may die", |last| {
        for_ever(Guarded::default(), |it| {
            let mortal = thread::spawn(move || {
                live(1, last, || {
                    it.add();
                    it.add_quickly();
                })
            });
            live(2, None, || {
                it.add();
                it.add_quickly();
            });
            let lived = mortal.join().expect("no panic");
            live(3, None, || it.add());
            // SAFETY: the others have ended.
            let sum = it.value.with(|value| unsafe { *value });
            assert!(
                if lived {
                    sum == 5
                } else {
                    (3..=5).contains(&sum)
                },
                "{sum}"
            );
            lived
        })
    });
}

/// Room for one frame: every second push and pop has to wait.
#[derive(Default)]
struct Direction {
    tail_lock: AloneLock,
    tail: AtomicU64,
    head_lock: AloneLock,
    head: AtomicU64,
    items: Bell,
    space: Bell,
    frame: UnsafeCell<u64>,
}

// SAFETY: the frame is written by the holder of the tail lock while the ring is empty and read by that
// of the head lock while it is full, which is what the checker watches; all else is atomic.
unsafe impl Sync for Direction {}

impl Direction {
    fn try_push(&self, item: u64) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        if tail != self.head.load(Ordering::Acquire) {
            return false;
        }
        if mortal::step() {
            // SAFETY: see `Sync`.
            self.frame.with_mut(|frame| unsafe { *frame = item });
        }
        self.tail.store(tail + 1, Ordering::Release);
        true
    }

    fn send(&self, item: u64, quiet: &Quiet) {
        loop {
            let quickly = || {
                self.try_push(item) && {
                    self.items.ring_lightly(quiet);
                    true
                }
            };
            if self.tail_lock.if_alone(quickly) == Some(true) {
                return;
            }
            let guard = self
                .tail_lock
                .lock_often(Deadline::NEVER)
                .expect("no deadline");
            if self.try_push(item) {
                return end_and_ring(guard, &self.items, quiet);
            }
            drop(guard);
            let armed = self.space.arm();
            if self.tail.load(Ordering::Acquire) != self.head.load(Ordering::Acquire) {
                let _woken = self.space.sleep(armed, &mut Sleeper::new(Deadline::NEVER));
            }
        }
    }

    fn try_pop(&self) -> Option<u64> {
        let head = self.head.load(Ordering::Relaxed);
        if head == self.tail.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: see `Sync`.
        let item = mortal::step().then(|| self.frame.with(|frame| unsafe { *frame }));
        self.head.store(head + 1, Ordering::Release);
        item
    }

    fn recv(&self, quiet: &Quiet) -> u64 {
        loop {
            let quickly = || self.try_pop().inspect(|_| self.space.ring_lightly(quiet));
            if let Some(Some(item)) = self.head_lock.if_alone(quickly) {
                return item;
            }
            let guard = self
                .head_lock
                .lock_often(Deadline::NEVER)
                .expect("no deadline");
            if let Some(item) = self.try_pop() {
                end_and_ring(guard, &self.space, quiet);
                return item;
            }
            drop(guard);
            let armed = self.items.arm();
            if self.tail.load(Ordering::Acquire) == self.head.load(Ordering::Acquire) {
                let _woken = self.items.sleep(armed, &mut Sleeper::new(Deadline::NEVER));
            }
        }
    }
}

fn end_and_ring(guard: crate::alone::AloneGuard<'_>, bell: &Bell, quiet: &Quiet) {
    if guard.is_alone() {
        bell.ring_lightly(quiet);
    } else {
        drop(guard);
        bell.ring_after_release();
    }
}

#[test]
fn nobody_sleeps_beside_a_message_though_nobody_makes_a_fence() {
    check("pipe, its sender may die", |last| {
        for_ever(Direction::default(), |pipe| {
            let mortal = thread::spawn(move || {
                let quiet = Quiet::default();
                live(1, last, || (1..=2).for_each(|item| pipe.send(item, &quiet)))
            });
            let other = thread::spawn(move || {
                let lived = mortal.join().expect("no panic");
                live(2, None, || pipe.send(9, &Quiet::default()));
                lived
            });
            let (mut got, quiet) = (Vec::new(), Quiet::default());
            live(3, None, || {
                while got.last() != Some(&9) {
                    got.push(pipe.recv(&quiet));
                }
            });
            let lived = other.join().expect("no panic");
            let sent = got.len() - 1;
            let in_order = got[..sent].iter().copied().eq(1..=sent as u64);
            assert!(in_order && (sent == 2 || !lived), "{got:?}");
            lived
        })
    });
}

#[test]
fn a_receiver_takes_one_message_along_at_most_and_its_side_is_free() {
    check("pipe, its receiver may die", |last| {
        for_ever(Direction::default(), |pipe| {
            let mortal = thread::spawn(move || {
                live(1, last, || {
                    pipe.recv(&Quiet::default());
                })
            });
            let quiet = Quiet::default();
            live(3, None, || pipe.send(1, &quiet));
            let lived = mortal.join().expect("no panic");
            live(3, None, || {
                if pipe.tail.load(Ordering::Acquire) != pipe.head.load(Ordering::Acquire) {
                    assert!(!lived);
                    assert_eq!(pipe.recv(&quiet), 1);
                }
                pipe.send(2, &quiet);
                assert_eq!(pipe.recv(&quiet), 2);
            });
            lived
        })
    });
}
