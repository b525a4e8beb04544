//! What a condition promises, with each kind of guard, whoever dies.

use std::time::{Duration, Instant};

use multiproc_shm::testing::{self, Chance, Counters, LIMIT, kills};
use multiproc_sync::{Condition, Lock, RwLock, Value};

fn both() -> (Lock, Condition) {
    let lock = Lock::new().expect("a lock");
    (lock, Condition::new().expect("a condition"))
}

/// A child that waits, under the lock, until the first counter exceeds `than`, then adds one to the
/// second.
fn waiter(lock: &Lock, condition: &Condition, shared: &Counters, than: u64) -> testing::Forked {
    let (lock, condition, shared) = (lock.clone(), condition.clone(), shared.clone());
    testing::fork(move || {
        let mut guard = lock.acquire().expect("sound");
        shared.add(2);
        let seen = condition.wait_for_timeout(&mut guard, |_| shared.get(0) > than, LIMIT);
        assert!(seen.expect("sound"), "a notification was lost");
        shared.add(1);
    })
}

/// Waits until so many have waited: they hold the lock from the count until they sleep.
fn asleep(lock: &Lock, shared: &Counters, count: u64) {
    shared.reached(2, count);
    drop(lock.acquire().expect("sound"));
}

#[test]
fn a_timed_wait_takes_its_time_and_holds_the_lock_after() {
    let (lock, condition) = both();
    let mut guard = lock.acquire().expect("free");
    let short = Duration::from_millis(20);
    let begin = Instant::now();
    assert_eq!(condition.wait_timeout(&mut guard, short), Ok(false));
    assert!(begin.elapsed() >= short);
    assert_eq!(
        condition.wait_timeout(&mut guard, Duration::ZERO),
        Ok(false)
    );
    assert_eq!(condition.wait_deadline(&mut guard, begin), Ok(false));
    assert!(lock.is_locked());
    drop(guard);
    assert!(!lock.is_locked());
}

#[test]
fn the_predicate_is_asked_once_more_at_the_deadline() {
    let (lock, condition) = both();
    let mut guard = lock.acquire_owned().expect("free");
    let mut asked = 0;
    let short = Duration::from_millis(10);
    let twice = |_: &mut _| {
        asked += 1;
        asked == 2
    };
    let held = condition.wait_for_timeout(&mut guard, twice, short);
    assert_eq!((held, asked), (Ok(true), 2));
    let held = condition.wait_for_timeout(&mut guard, |_| false, Duration::ZERO);
    assert_eq!(held, Ok(false));
}

#[test]
fn notify_n_wakes_so_many_and_zero_none() {
    let (lock, condition) = both();
    let shared = Counters::new(3);
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let (lock, condition, shared) = (lock.clone(), condition.clone(), shared.clone());
            testing::fork(move || {
                let mut guard = lock.acquire().expect("sound");
                shared.add(2);
                let woken = condition.wait_timeout(&mut guard, LIMIT);
                assert!(woken.expect("sound"), "a notification was lost");
                shared.add(1);
            })
        })
        .collect();
    asleep(&lock, &shared, 4);
    condition.notify_n(0);
    condition.notify_n(3);
    shared.reached(1, 3);
    condition.notify_one();
    shared.reached(1, 4);
    condition.notify_all();
    assert!(waiters.into_iter().all(testing::Forked::join));
}

#[test]
fn notify_waits_for_no_stopped_and_no_dead_waiter() {
    let (lock, condition) = both();
    let shared = Counters::new(3);
    let stopped = waiter(&lock, &condition, &shared, 0);
    let dead = waiter(&lock, &condition, &shared, 0);
    asleep(&lock, &shared, 2);
    multiproc_sys::testing::stop(stopped.pid, true).expect("it runs");
    dead.kill();
    let begin = Instant::now();
    shared.set(0, 1);
    (0..100).for_each(|_| condition.notify_all());
    assert!(begin.elapsed() < LIMIT / 4, "notify waited");
    multiproc_sys::testing::stop(stopped.pid, false).expect("it runs");
    assert!(stopped.join());
}

#[test]
fn a_wake_taken_by_a_waiter_that_dies_reaches_the_others() {
    let (lock, condition) = both();
    let shared = Counters::new(3);
    for round in 0..20 {
        let first = waiter(&lock, &condition, &shared, round);
        asleep(&lock, &shared, 2 * round + 1);
        let second = waiter(&lock, &condition, &shared, round);
        asleep(&lock, &shared, 2 * round + 2);
        // Stopped, it receives the wake and does nothing with it.
        multiproc_sys::testing::stop(first.pid, true).expect("it runs");
        shared.set(0, round + 1);
        condition.notify_one();
        let begin = Instant::now();
        first.kill();
        assert!(second.join());
        assert!(begin.elapsed() < LIMIT / 4);
    }
}

#[test]
fn a_holder_that_dies_is_named_to_the_waiter() {
    let (lock, condition) = both();
    let shared = Counters::new(1);
    let mut guard = lock.acquire().expect("free");
    let (theirs, notice) = (lock.clone(), condition.clone());
    let stage = shared.clone();
    let child = testing::fork(move || {
        theirs.acquire().expect("free").leak();
        notice.notify_all();
        stage.add(0);
        loop {
            std::thread::park();
        }
    });
    let pid = child.pid;
    let killer = std::thread::spawn(move || {
        shared.reached(0, 1);
        child.kill();
    });
    let error = condition.wait(&mut guard).expect_err("the holder died");
    assert!(error.to_string().contains(&pid.to_string()), "{error}");
    drop(guard);
    drop(lock.recover().expect("free"));
    drop(lock.acquire().expect("sound again"));
    killer.join().expect("no panic");
}

#[test]
fn a_locked_value_is_seen_as_the_others_left_it() {
    let (value, condition) = (Value::new(1u64).expect("a value"), both().1);
    let (theirs, notice) = (value.clone(), condition.clone());
    let mut guard = value.lock();
    *guard = 2;
    let child = testing::fork(move || {
        theirs.update(|number| *number *= 10);
        notice.notify_all();
    });
    let grown = condition.wait_for_timeout(&mut guard, |number| *number > 2, LIMIT);
    assert_eq!((grown, *guard), (Ok(true), 20));
    assert!(child.join());
}

/// Waiters and notifiers are killed anywhere. One waiter lives on, and sees every change.
#[test]
fn a_guard_that_writes_lets_go_and_sees_what_others_wrote() {
    let (table, changed) = (
        RwLock::new([0u64; 2]).expect("a lock"),
        Condition::new().expect("a condition"),
    );
    let (theirs, notice) = (table.clone(), changed.clone());
    let mut guard = table.write().expect("sound");
    guard[0] = 1;
    let child = testing::fork(move || {
        // Only once the waiter has let go.
        let mut guard = theirs.write().expect("sound");
        assert_eq!(*guard, [1, 0]);
        guard[1] = 2;
        drop(guard);
        notice.notify_all();
    });
    let seen = changed.wait_for_timeout(&mut guard, |table| table[1] == 2, LIMIT);
    assert_eq!(seen, Ok(true));
    assert_eq!(*guard, [1, 2]);
    assert!(table.try_read().is_err(), "the guard holds it again");
    guard[0] = 3;
    let end = Instant::now() + Duration::from_millis(5);
    let seen = changed.wait_for_deadline(&mut guard, |table| table[1] == 9, end);
    assert_eq!(seen, Ok(false));
    assert!(Instant::now() >= end);
    drop(guard);
    assert_eq!(*table.read().expect("sound"), [3, 2]);
    assert!(child.join());
}

#[test]
fn a_writer_that_dies_is_named_to_the_waiter_with_a_guard_that_writes() {
    let (table, changed) = (
        RwLock::new(0u64).expect("a lock"),
        Condition::new().expect("a condition"),
    );
    let mut guard = table.write().expect("sound");
    let (theirs, notice) = (table.clone(), changed.clone());
    let child = testing::fork(move || {
        std::mem::forget(theirs.write().expect("sound"));
        notice.notify_all();
    });
    let error = changed.wait(&mut guard).expect_err("its owner died");
    assert!(error.is_owner_died(), "{error}");
    // It holds nothing, so dropping it opens nothing.
    drop(guard);
    assert!(table.try_read().is_err_and(|error| error.is_owner_died()));
    drop(table.recover().expect("free"));
    assert_eq!(*table.read().expect("sound"), 0);
    assert!(child.join());
}

#[test]
fn killed_at_any_moment_the_waiters_go_on() {
    let (lock, condition) = both();
    let shared = Counters::new(3);
    let mut chance = Chance::new();
    let hold = |lock: &Lock| match lock.acquire_timeout(LIMIT) {
        Ok(guard) => guard.leak(),
        Err(error) if error.is_owner_died() => lock.recover().expect("free").leak(),
        Err(error) => panic!("{error}"),
    };
    let work = move |lock: &Lock, condition: &Condition, shared: &Counters| {
        hold(lock);
        shared.add(0);
        lock.release().expect("ours");
        condition.notify_one();
        hold(lock);
        lock.release().expect("ours");
    };
    for _ in 0..kills(150) {
        let before = shared.get(0);
        let (lock2, condition2, shared2) = (lock.clone(), condition.clone(), shared.clone());
        let waiter = std::thread::spawn(move || {
            while shared2.get(0) == before {
                match lock2.acquire() {
                    Ok(mut guard) => {
                        let seen = condition2.wait_for_timeout(
                            &mut guard,
                            |_| shared2.get(0) > before,
                            LIMIT,
                        );
                        assert_ne!(seen, Ok(false), "a notification was lost");
                    }
                    Err(_) => drop(lock2.recover().expect("free")),
                }
            }
        });
        let (lock3, condition3, shared3) = (lock.clone(), condition.clone(), shared.clone());
        let child = testing::fork(move || {
            loop {
                if let Ok(mut guard) = lock3.acquire() {
                    let _ = condition3.wait_timeout(&mut guard, Duration::from_micros(20));
                }
                work(&lock3, &condition3, &shared3);
            }
        });
        chance.moment(Duration::from_micros(50));
        child.kill();
        work(&lock, &condition, &shared);
        waiter.join().expect("no panic");
    }
}
