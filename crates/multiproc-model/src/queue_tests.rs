//! Put and get as `multiproc-queue`'s PROTOCOL.md has them, over the real lock and bell.

use loom::cell::UnsafeCell;
use loom::thread;

use crate::bell::Bell;
use crate::door::{AtomicU64, Deadline, Ordering, fence};
use crate::lock::RawLock;
use crate::mortal::{self, check, for_ever, live};
use crate::sleep::Sleeper;

/// A ring with room for one frame: every second put and get has to wait.
#[derive(Default)]
struct Queue {
    tail_lock: RawLock,
    tail: AtomicU64,
    tail_seen: AtomicU64,
    head_lock: RawLock,
    head: AtomicU64,
    head_seen: AtomicU64,
    items: Bell,
    space: Bell,
    /// The frame. The checker reports a writer that is not alone.
    frame: UnsafeCell<u64>,
}

// SAFETY: the frame is written by the holder of the tail lock while the ring is empty and read by that
// of the head lock while it is full, which is what the checker watches; all else is atomic.
unsafe impl Sync for Queue {}

impl Queue {
    fn try_put(&self, item: u64) -> bool {
        let _guard = self.tail_lock.lock(Deadline::NEVER).expect("no deadline");
        let tail = self.tail.load(Ordering::Relaxed);
        if tail != self.tail_seen.load(Ordering::Relaxed) {
            let head = self.head.load(Ordering::Acquire);
            self.tail_seen.store(head, Ordering::Relaxed);
            if tail != head {
                return false;
            }
        }
        if mortal::step() {
            // SAFETY: see `Sync`.
            self.frame.with_mut(|frame| unsafe { *frame = item });
        }
        self.tail.store(tail + 1, Ordering::Release);
        true
    }

    fn put(&self, item: u64) {
        while !self.try_put(item) {
            let armed = self.space.arm();
            let full = self.tail.load(Ordering::Acquire) != self.head.load(Ordering::Acquire);
            if full {
                let _woken = self.space.sleep(armed, &mut Sleeper::new(Deadline::NEVER));
            }
        }
        self.items.ring_after_release();
    }

    fn try_get(&self) -> Option<u64> {
        let _guard = self.head_lock.lock(Deadline::NEVER).expect("no deadline");
        let head = self.head.load(Ordering::Relaxed);
        if self.head_seen.load(Ordering::Relaxed) == head {
            let tail = self.tail.load(Ordering::Acquire);
            self.head_seen.store(tail, Ordering::Relaxed);
            if tail == head {
                return None;
            }
        }
        // SAFETY: see `Sync`.
        let item = mortal::step().then(|| self.frame.with(|frame| unsafe { *frame }));
        self.head.store(head + 1, Ordering::Release);
        item
    }

    fn get(&self) -> u64 {
        loop {
            if let Some(item) = self.try_get() {
                self.space.ring_after_release();
                return item;
            }
            let armed = self.items.arm();
            let empty = self.tail.load(Ordering::Acquire) == self.head.load(Ordering::Acquire);
            if empty {
                let _woken = self.items.sleep(armed, &mut Sleeper::new(Deadline::NEVER));
            }
        }
    }
}

impl Queue {
    /// As somebody who waits for several things: returns when there is an item, and leaves it.
    fn watch(&self) {
        let empty = || self.tail.load(Ordering::Acquire) == self.head.load(Ordering::Acquire);
        while empty() {
            let (word, mark) = self.items.watched();
            let armed = word.fetch_or(mark, Ordering::SeqCst) | mark;
            fence(Ordering::SeqCst);
            if empty() {
                let _woken = Sleeper::new(Deadline::NEVER).on(word, armed);
            }
        }
    }
}

/// Room for one: the second put ends only if the first item was taken, so a wake kept by who takes
/// nothing would leave all of them asleep.
#[test]
fn who_waits_for_several_keeps_no_wake_from_who_takes() {
    check("queue, one waits for several and may die", |last| {
        for_ever(Queue::default(), |queue| {
            let mortal = thread::spawn(move || live(1, last, || queue.watch()));
            let taker = thread::spawn(move || {
                let mut got = 0;
                live(2, None, || got = queue.get());
                got
            });
            live(3, None, || {
                queue.put(1);
                queue.put(2);
            });
            let lived = mortal.join().expect("no panic");
            assert_eq!(taker.join().expect("no panic"), 1);
            lived
        })
    });
}

#[test]
fn nothing_a_producer_had_put_is_lost_with_it_and_nobody_sleeps_beside_an_item() {
    check("queue, a producer may die", |last| {
        for_ever(Queue::default(), |queue| {
            let mortal = thread::spawn(move || {
                live(1, last, || {
                    queue.put(1);
                    queue.put(2);
                })
            });
            let other = thread::spawn(move || {
                let lived = mortal.join().expect("no panic");
                live(2, None, || queue.put(9));
                lived
            });
            let mut got = Vec::new();
            live(3, None, || {
                while got.last() != Some(&9) {
                    got.push(queue.get());
                }
            });
            let lived = other.join().expect("no panic");
            let whole = [vec![1, 2, 9], vec![1, 9], vec![9]];
            assert!(got == whole[0] || !lived && whole.contains(&got), "{got:?}");
            lived
        })
    });
}

#[test]
fn a_consumer_takes_at_most_one_item_along_and_no_wake_for_good() {
    check("queue, a consumer may die", |last| {
        for_ever(Queue::default(), |queue| {
            let mortal = thread::spawn(move || {
                live(1, last, || {
                    queue.get();
                })
            });
            let other = thread::spawn(move || {
                let mut got = 0;
                live(2, None, || got = queue.get());
                got
            });
            live(3, None, || queue.put(1));
            live(3, None, || queue.put(2));
            let lived = mortal.join().expect("no panic");
            let got = other.join().expect("no panic");
            assert!((1..=2).contains(&got), "{got}");
            live(3, None, || {
                let left = queue.try_get();
                // Two were put: the other one is here, or with the mortal, who took one at most.
                assert!(left.is_none() || !lived && left == Some(2) && got == 1);
            });
            lived
        })
    });
}
