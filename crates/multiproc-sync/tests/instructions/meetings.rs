//! Events, conditions and barriers: nobody waits for the dead, and no wake is lost with them.

use std::thread;

use multiproc_shm::testing::instructions::{kill_at_each, place, stepped, stepped_after};
use multiproc_shm::testing::{Counters, Forked, LIMIT, alone, until};
use multiproc_sync::{Barrier, BarrierError, BrokenWhy, Condition, Event, Lock};
use multiproc_sys::testing::steps::Reached;

use crate::{OFTEN, SHORT, Waiter};

/// It is heard by others, once and again.
fn still_heard(event: &Event) {
    let (there, back) = (event.clone(), Event::new().expect("an event"));
    event.clear();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..OFTEN / 2 {
                assert!(there.wait_timeout(LIMIT), "a wake was lost");
                there.clear();
                back.set();
            }
        });
        for _ in 0..OFTEN / 2 {
            event.set();
            assert!(back.wait_timeout(LIMIT), "a wake was lost");
            back.clear();
        }
    });
    assert!(!event.is_set());
}

#[test]
fn killed_at_any_instruction_of_an_event() {
    alone(|| {
        let event = Event::new().expect("an event");
        let in_vain = || event.wait_timeout(SHORT);
        kill_at_each(
            "wait for an event in vain",
            || stepped(in_vain),
            |_| still_heard(&event),
        );
        let start = || {
            event.set();
            stepped(|| event.clear())
        };
        kill_at_each("clear an event", start, |_| still_heard(&event));

        let waiter = Waiter::none();
        let start = || {
            let theirs = event.clone();
            waiter.start(move || theirs.wait_timeout(LIMIT));
            stepped(|| event.set())
        };
        kill_at_each("set an event somebody waits for", start, |reached| {
            let is_set = event.is_set();
            assert!(is_set || reached != Reached::End);
            if !is_set {
                event.set();
            }
            assert!(waiter.end(), "not woken, killed {}", place(reached));
            still_heard(&event);
        });
    });
}

#[derive(Clone)]
struct Changes {
    lock: Lock,
    condition: Condition,
    count: Counters,
}

impl Changes {
    fn new() -> Changes {
        Changes {
            lock: Lock::new().expect("a lock"),
            condition: Condition::new().expect("a condition"),
            count: Counters::new(1),
        }
    }

    /// Waits until the count is as wanted; then adds one, and says so.
    fn after(&self, wanted: u64) {
        let mut guard = self.lock.acquire_timeout(LIMIT).expect("sound");
        let seen =
            self.condition
                .wait_for_timeout(&mut guard, |_| self.count.get(0) == wanted, LIMIT);
        assert_eq!(seen, Ok(true), "a notification was lost");
        self.count.add(0);
        drop(guard);
        self.condition.notify_all();
    }

    /// Whoever died may have held the lock. Then two take turns.
    fn still_heard(&self) {
        match self.lock.acquire_timeout(LIMIT).map(drop) {
            Err(error) if error.is_owner_died() => drop(self.lock.recover().expect("free")),
            answer => answer.expect("free"),
        }
        let begin = self.count.get(0);
        let turns = |first: u64| {
            for turn in 0..OFTEN as u64 / 2 {
                self.after(begin + first + 2 * turn);
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| turns(1));
            turns(0);
        });
    }
}

#[test]
fn killed_at_any_instruction_of_a_condition() {
    alone(|| {
        let changes = Changes::new();
        let wait = || {
            let mut guard = changes.lock.acquire_timeout(LIMIT).expect("free");
            changes.condition.wait_timeout(&mut guard, SHORT)
        };
        kill_at_each(
            "wait for a condition in vain",
            || stepped(wait),
            |_| changes.still_heard(),
        );

        let waiter = Waiter::none();
        let start = || {
            let (theirs, now) = (changes.clone(), changes.count.get(0));
            waiter.start(move || {
                let Ok(mut guard) = theirs.lock.acquire_timeout(LIMIT) else {
                    return true;
                };
                let moved = |_: &mut _| theirs.count.get(0) > now;
                let seen = theirs.condition.wait_for_timeout(&mut guard, moved, LIMIT);
                // Or the one who was to notify died with the lock.
                seen.unwrap_or(true)
            });
            stepped(|| {
                let guard = changes.lock.acquire_timeout(LIMIT).expect("sound");
                changes.count.add(0);
                drop(guard);
                changes.condition.notify_one();
            })
        };
        kill_at_each("change and notify a condition", start, |reached| {
            // What the dead did not come to do.
            changes.count.add(0);
            changes.condition.notify_all();
            assert!(waiter.end(), "not notified, killed {}", place(reached));
            changes.still_heard();
        });
    });
}

/// A new cycle of the barrier comes through, and the next.
fn still_meet(barrier: &Barrier) {
    let rounds = || {
        for _ in 0..OFTEN / 2 {
            barrier.wait_timeout(LIMIT).expect("both come");
        }
    };
    thread::scope(|scope| {
        scope.spawn(rounds);
        rounds();
    });
    assert!(!barrier.is_broken() && barrier.waiting() == 0);
}

#[test]
fn killed_at_any_instruction_of_waiting_at_a_barrier() {
    alone(|| {
        let barrier = Barrier::new(2).expect("a barrier");
        let in_vain = || barrier.wait_timeout(SHORT).map(drop);
        kill_at_each(
            "wait at a barrier in vain",
            || stepped(in_vain),
            |_| {
                // Broken by its time or by its death, or not reached at all.
                if barrier.is_broken() {
                    barrier.reset();
                }
                still_meet(&barrier);
            },
        );
    });
}

/// One waits at the barrier; who is killed comes as the second.
fn second_of(barrier: &Barrier, waiter: &Waiter<Result<usize, BarrierError>>) -> Forked {
    let theirs = barrier.clone();
    waiter.start(move || theirs.wait_timeout(LIMIT).map(|place| place.index()));
    until(|| barrier.waiting() == 1, "the waiter's arrival");
    stepped_after(|| (), |()| barrier.wait_timeout(LIMIT).map(drop))
}

/// What the waiter sees of the second's death.
fn both_or_told(barrier: &Barrier, waiter: &Waiter<Result<usize, BarrierError>>, reached: Reached) {
    if barrier.waiting() == 1 {
        // The dead has not come: somebody else does.
        barrier.wait_timeout(LIMIT).expect("the second");
    }
    let at = place(reached);
    match waiter.end() {
        Ok(index) => assert_eq!((index, barrier.is_broken()), (0, false), "killed {at}"),
        Err(error) => {
            let died = BarrierError::Broken {
                why: BrokenWhy::Died,
            };
            assert!(
                error == died && reached != Reached::End,
                "{error}, killed {at}"
            );
            assert!(barrier.is_broken(), "until a reset");
            barrier.reset();
        }
    }
}

#[test]
fn killed_at_any_instruction_of_coming_last_to_a_barrier() {
    alone(|| {
        let (barrier, waiter) = (Barrier::new(2).expect("a barrier"), Waiter::none());
        kill_at_each(
            "come last to a barrier",
            || second_of(&barrier, &waiter),
            |reached| {
                both_or_told(&barrier, &waiter, reached);
                still_meet(&barrier);
            },
        );
    });
}

#[test]
fn killed_at_any_instruction_of_a_barriers_action() {
    alone(|| {
        let count = multiproc_sync::Value::new(0u64).expect("a value");
        let add = |count: multiproc_sync::Value<u64>| count.update(|count| *count += 1);
        let barrier = Barrier::with_action(2, add, count.clone()).expect("a barrier");
        let waiter = Waiter::none();
        kill_at_each(
            "run a barrier's action",
            || {
                count.set(0);
                second_of(&barrier, &waiter)
            },
            |reached| {
                both_or_told(&barrier, &waiter, reached);
                let ran = count.get();
                let least = u64::from(reached == Reached::End);
                assert!((least..=1).contains(&ran), "ran {ran} times");
                still_meet(&barrier);
                assert_eq!(count.get(), ran + OFTEN as u64 / 2);
            },
        );
    });
}
