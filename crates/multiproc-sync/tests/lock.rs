//! What a lock promises, between threads and between processes, whoever dies.
//!
//! `CHAOS=n` runs twenty times as many kills. The seed is printed.

use std::time::{Duration, Instant};

use multiproc_shm::testing::{self, Chance, Counters, LIMIT, kills};
use multiproc_shm::{Kind, Object};
use multiproc_sync::{AcquireError, Lock, ReleaseError, Value};
use multiproc_sys::testing as raw;
use std::sync::atomic::Ordering;

fn lock() -> Lock {
    Lock::new().expect("a lock")
}

/// A child that holds the lock and does not end by itself.
fn holder(lock: &Lock) -> testing::Forked {
    let (stage, theirs) = (Counters::new(1), lock.clone());
    let reached = stage.clone();
    let child = testing::fork(move || {
        theirs.acquire().expect("free").leak();
        reached.set(0, 1);
        loop {
            std::thread::park();
        }
    });
    stage.reached(0, 1);
    child
}

#[test]
fn a_held_lock_is_refused_at_once_or_after_the_deadline() {
    let lock = lock();
    let _guard = lock.acquire().expect("free");
    assert_eq!(
        lock.try_acquire().expect_err("held"),
        AcquireError::WouldBlock
    );
    assert_eq!(
        lock.acquire_timeout(Duration::ZERO).expect_err("held"),
        AcquireError::TimedOut
    );
    let begin = Instant::now();
    let error = lock
        .acquire_timeout(Duration::from_millis(20))
        .expect_err("held");
    assert!(error.is_timed_out() && begin.elapsed() >= Duration::from_millis(20));
    let past = Instant::now();
    assert_eq!(
        lock.acquire_deadline(past).expect_err("held"),
        AcquireError::TimedOut
    );
}

#[test]
fn threads_take_turns() {
    let (lock, counter) = (lock(), Counters::new(1));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (lock, counter) = (lock.clone(), counter.clone());
            std::thread::spawn(move || {
                for _ in 0..10_000 {
                    let _guard = lock.acquire().expect("sound");
                    let word = counter.word(0);
                    word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(counter.word(0).load(Ordering::Relaxed), 40_000);
}

#[test]
fn processes_take_turns() {
    let (lock, counter) = (lock(), Counters::new(1));
    let children: Vec<_> = (0..3)
        .map(|_| {
            let (lock, counter) = (lock.clone(), counter.clone());
            testing::fork(move || {
                for _ in 0..10_000 {
                    let _guard = lock.acquire().expect("sound");
                    let word = counter.word(0);
                    word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    assert!(children.into_iter().all(testing::Forked::join));
    assert_eq!(counter.word(0).load(Ordering::Relaxed), 30_000);
}

#[test]
fn a_killed_holder_is_named_until_somebody_recovers() {
    let lock = lock();
    let child = holder(&lock);
    let pid = child.pid;
    assert!(format!("{lock:?}").contains(&pid.to_string()), "{lock:?}");
    child.kill();
    for _ in 0..3 {
        let error = lock.acquire().expect_err("suspect");
        let AcquireError::OwnerDied { pid: named, name } = &error else {
            panic!("{error}")
        };
        assert_eq!((*named, name.as_str()), (pid, "forked"));
        assert!(error.to_string().contains("recover()"), "{error}");
    }
    assert!(lock.try_acquire().expect_err("suspect").is_owner_died());
    drop(lock.recover().expect("free"));
    drop(lock.acquire().expect("sound again"));
}

#[test]
fn every_waiter_is_told_of_the_death() {
    let lock = lock();
    let child = holder(&lock);
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let lock = lock.clone();
            std::thread::spawn(move || lock.acquire_timeout(LIMIT).map(drop))
        })
        .collect();
    raw::kill(child.pid).expect("it runs");
    for waiter in waiters {
        let told = waiter
            .join()
            .expect("no panic")
            .expect_err("the owner died");
        assert!(told.is_owner_died(), "{told}");
    }
    child.join();
}

#[test]
fn a_thread_that_ends_with_the_lock_counts_as_dead() {
    let lock = lock();
    let theirs = lock.clone();
    let thread = std::thread::spawn(move || theirs.acquire().expect("free").leak());
    thread.join().expect("no panic");
    let until = Instant::now() + LIMIT;
    while !lock.try_acquire().is_err_and(|error| error.is_owner_died()) {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    lock.recover().expect("free").leak();
    lock.release().expect("ours");
}

#[test]
fn a_stopped_holder_is_waited_for_and_not_dead() {
    let lock = lock();
    let child = holder(&lock);
    raw::stop(child.pid, true).expect("it runs");
    let error = lock
        .acquire_timeout(Duration::from_millis(30))
        .expect_err("held");
    assert!(error.is_timed_out(), "{error}");
    raw::stop(child.pid, false).expect("it runs");
    child.kill();
}

#[test]
fn only_the_owner_releases() {
    let lock = lock();
    assert_eq!(lock.release(), Err(ReleaseError::NotHeld));
    lock.acquire().expect("free").leak();
    let theirs = lock.clone();
    let other = std::thread::spawn(move || theirs.release());
    assert_eq!(other.join().expect("no panic"), Err(ReleaseError::NotOwner));
    assert!(lock.is_locked());
    lock.release().expect("ours");
    assert_eq!(lock.release(), Err(ReleaseError::NotHeld));
}

#[test]
fn a_guard_whose_lock_was_released_by_hand_releases_nothing_else() {
    let (first, second) = (lock(), lock());
    let stale = first.acquire().expect("free");
    first.release().expect("ours");
    let other = second.acquire().expect("free");
    drop(stale);
    assert!(second.is_locked());
    let theirs = first.clone();
    let holder = std::thread::spawn(move || {
        theirs.acquire().expect("free").leak();
        theirs.release().expect("ours");
    });
    holder.join().expect("no panic");
    drop(other);
    assert!(!first.is_locked() && !second.is_locked());
}

/// The kernel follows a list through all locks of a thread: one that is forgotten with its last
/// handle must not lead it astray.
#[test]
fn a_lock_forgotten_while_held_does_not_hide_others_from_the_kernel() {
    let shared = lock();
    let (theirs, stage) = (shared.clone(), Counters::new(1));
    let reached = stage.clone();
    let child = testing::fork(move || {
        theirs.acquire().expect("free").leak();
        let forgotten = lock();
        forgotten.acquire().expect("free").leak();
        drop(forgotten);
        // Whatever is created now must not lie where the forgotten lock still is.
        let fresh: Vec<Lock> = (0..100).map(|_| lock()).collect();
        assert!(fresh.iter().all(|lock| !lock.is_locked()));
        reached.set(0, 1);
        loop {
            std::thread::park();
        }
    });
    stage.reached(0, 1);
    child.kill();
    let error = shared.acquire_timeout(LIMIT).expect_err("its owner died");
    assert!(error.is_owner_died(), "{error}");
}

#[test]
fn a_thread_with_too_many_locks_is_told_so_even_by_a_suspect_one() {
    let suspect = lock();
    holder(&suspect).kill();
    let all: Vec<Lock> = (0..2_000).map(|_| lock()).collect();
    let guards: Vec<_> = all
        .iter()
        .map(|lock| lock.acquire().expect("free"))
        .collect();
    assert_eq!(
        suspect.recover().expect_err("too many"),
        AcquireError::TooMany
    );
    assert_eq!(
        lock().acquire().expect_err("too many"),
        AcquireError::TooMany
    );
    drop(guards);
    drop(suspect.recover().expect("free"));
}

#[test]
fn an_owned_guard_outlives_its_handle() {
    let lock = lock();
    let other = lock.clone();
    let guard = lock.acquire_owned().expect("free");
    drop(lock);
    assert!(other.is_locked());
    drop(guard);
    assert!(!other.is_locked());
}

#[test]
fn a_lock_does_not_travel_outside_our_channels() {
    use serde::Serialize;
    // `fmt::Formatter` is the one serializer that serde itself has.
    struct Elsewhere(Lock);
    impl std::fmt::Display for Elsewhere {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.serialize(f)
        }
    }
    use std::fmt::Write;
    let mut text = String::new();
    assert!(write!(text, "{}", Elsewhere(lock())).is_err());
}

#[test]
fn a_value_changes_wholly_or_not_at_all() {
    let value = Value::new([0u64; 8]).expect("a value");
    let theirs = value.clone();
    let mut chance = Chance::new();
    for _ in 0..kills(100) {
        let theirs = theirs.clone();
        let child = testing::fork(move || {
            loop {
                theirs.update(|numbers| numbers.iter_mut().for_each(|number| *number += 1));
            }
        });
        let before = value.get();
        let until = Instant::now() + LIMIT;
        while value.get() == before {
            assert!(Instant::now() < until);
        }
        for _ in 0..chance.below(2_000) {
            std::hint::spin_loop();
        }
        child.kill();
        let now = value.get();
        assert!(now.iter().all(|number| *number == now[0]), "{now:?}");
    }
    value.set([7; 8]);
    value.lock()[3] += 1;
    assert_eq!(value.get(), [7, 7, 7, 8, 7, 7, 7, 7]);
}

/// Processes that are killed anywhere in acquire, hold and release: nobody hangs, everybody is told,
/// and two numbers under the lock differ only where somebody was told.
#[test]
fn killed_at_any_moment_the_others_go_on() {
    let lock = lock();
    let shared = Object::create(Kind::Plain, 1, 16, |_| {}).expect("an object");
    let mut chance = Chance::new();
    let work = |lock: &Lock, shared: &Object| {
        let _guard = match lock.acquire_timeout(LIMIT) {
            Ok(guard) => guard,
            Err(error) if error.is_owner_died() => {
                let guard = lock.recover().expect("free");
                let first = shared.words()[0].load(Ordering::Relaxed);
                shared.words()[1].store(first, Ordering::Relaxed);
                guard
            }
            Err(error) => panic!("{error}"),
        };
        let [first, second] = [0, 1].map(|index| shared.words()[index].load(Ordering::Relaxed));
        assert_eq!(first, second, "half changed, and nobody was told");
        shared.words()[0].store(first + 1, Ordering::Relaxed);
        shared.words()[1].store(first + 1, Ordering::Relaxed);
    };
    for _ in 0..kills(150) {
        let (theirs, counter) = (lock.clone(), shared.clone());
        let child = testing::fork(move || {
            loop {
                work(&theirs, &counter);
            }
        });
        for _ in 0..chance.below(3_000) {
            std::hint::spin_loop();
        }
        work(&lock, &shared);
        child.kill();
        work(&lock, &shared);
    }
}
