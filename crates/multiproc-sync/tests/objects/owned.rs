//! What the locks with one owner promise beside `Lock`: `Mutex`, `RLock`, `Once`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use multiproc_shm::testing::{self, Counters, LIMIT, until};
use multiproc_sync::{AcquireError, Condition, Mutex, Once, RLock, ReleaseError};

use crate::common::{child_that, hold, killed_at_any_moment};

#[test]
fn a_mutex_keeps_others_out_and_shows_what_was_written() {
    let mutex = Mutex::new([1u64; 40]).expect("a mutex");
    let other = mutex.clone();
    let mut guard = mutex.lock().expect("free");
    guard[39] = 7;
    assert_eq!(
        other.try_lock().expect_err("held"),
        AcquireError::WouldBlock
    );
    let late = other.lock_timeout(Duration::from_millis(5));
    assert!(late.expect_err("held").is_timed_out());
    drop(guard);
    assert_eq!(other.try_lock().expect("free")[39], 7);
}

#[test]
fn a_mutex_counts_right_between_processes() {
    let mutex = Mutex::new(0u64).expect("a mutex");
    let children: Vec<_> = (0..3)
        .map(|_| {
            let mutex = mutex.clone();
            testing::fork(move || {
                for _ in 0..10_000 {
                    *mutex.lock().expect("sound") += 1;
                }
            })
        })
        .collect();
    assert!(children.into_iter().all(testing::Forked::join));
    assert_eq!(*mutex.lock().expect("sound"), 30_000);
}

#[test]
fn a_panic_leaves_the_value_as_it_was_and_the_mutex_sound() {
    let mutex = Mutex::new(1u32).expect("a mutex");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        *mutex.lock().expect("free") = 2;
        let mut guard = mutex.lock().expect("free");
        *guard = 3;
        panic!("in the middle");
    }));
    assert!(panicked.is_err());
    assert_eq!(*mutex.lock().expect("sound"), 2);
}

#[test]
fn a_killed_owner_of_a_mutex_is_named_until_somebody_recovers() {
    let mutex = Mutex::new(5i32).expect("a mutex");
    let child = child_that(|| {
        let mut guard = mutex.lock().expect("free");
        *guard = 6;
        std::mem::forget(guard);
    });
    let pid = child.pid;
    assert!(format!("{mutex:?}").contains(&pid.to_string()), "{mutex:?}");
    child.kill();
    for _ in 0..3 {
        let error = mutex.lock().expect_err("suspect");
        assert!(matches!(error, AcquireError::OwnerDied { pid: named, .. } if named == pid));
    }
    assert_eq!(*mutex.recover().expect("free"), 5);
    assert_eq!(*mutex.lock().expect("sound again"), 5);
}

#[test]
fn an_rlock_nests_on_its_thread_and_keeps_others_out() {
    let lock = RLock::new().expect("a lock");
    let outer = lock.acquire().expect("free");
    let inner = lock.try_acquire().expect("ours");
    assert_eq!(lock.depth(), 2);
    drop(outer);
    let elsewhere = |lock: &RLock| {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let busy = lock.try_acquire().map(drop);
                (busy, lock.release(), lock.depth())
            });
            other.join().expect("no panic")
        })
    };
    let refused = (
        Err(AcquireError::WouldBlock),
        Err(ReleaseError::NotOwner),
        0,
    );
    assert_eq!(elsewhere(&lock), refused);
    drop(inner);
    assert_eq!(elsewhere(&lock), (Ok(()), Err(ReleaseError::NotHeld), 0));
    assert_eq!(lock.release(), Err(ReleaseError::NotHeld));
}

#[test]
fn an_rlock_is_released_as_often_as_it_was_acquired() {
    let lock = RLock::new().expect("a lock");
    lock.acquire().expect("free").leak();
    let owned = lock.acquire_owned().expect("ours");
    lock.recover().expect("ours").leak();
    assert_eq!((lock.depth(), lock.release()), (3, Ok(())));
    drop(owned);
    assert!(lock.is_locked());
    assert_eq!((lock.release(), lock.is_locked()), (Ok(()), false));
}

#[test]
fn a_killed_owner_of_an_rlock_leaves_no_depth_behind() {
    let lock = RLock::new().expect("a lock");
    let child = child_that(|| {
        for _ in 0..3 {
            lock.acquire().expect("free").leak();
        }
    });
    child.kill();
    assert!(lock.acquire().expect_err("suspect").is_owner_died());
    let guard = lock.recover().expect("free");
    assert_eq!(lock.depth(), 1);
    drop(guard);
    assert!(!lock.is_locked());
}

#[test]
fn a_condition_waits_with_a_mutex_and_with_an_rlock_at_any_depth() {
    let (mutex, changed) = (
        Mutex::new(0u32).expect("a mutex"),
        Condition::new().expect("a condition"),
    );
    let lock = RLock::new().expect("a lock");
    let child = testing::fork(|| {
        let mut number = mutex.lock().expect("sound");
        while *number == 0 {
            changed.wait_timeout(&mut number, LIMIT).expect("sound");
        }
        *number += 1;
        drop(number);
        let _outer = lock.acquire().expect("sound");
        let mut inner = lock.acquire().expect("ours");
        while *mutex.lock().expect("sound") < 3 {
            changed.wait_timeout(&mut inner, LIMIT).expect("sound");
        }
        assert_eq!(lock.depth(), 2);
    });
    for (from, to) in [(0, 1), (2, 3)] {
        until(|| *mutex.lock().expect("sound") == from, "its turn");
        let _guard = lock.acquire_timeout(LIMIT).expect("let go of");
        *mutex.lock().expect("sound") = to;
        changed.notify_all();
    }
    assert!(child.join());
}

#[test]
fn once_is_once_for_threads_and_processes() {
    let (once, runs) = (Once::new().expect("a once"), Counters::new(2));
    let call = || {
        once.call_once(|| {
            let so_far = runs.get(0);
            std::thread::yield_now();
            runs.set(0, so_far + 1);
        })
        .expect("few locks");
        assert!(once.is_completed() && runs.get(0) == 1);
    };
    let children: Vec<_> = (0..4).map(|_| testing::fork(call)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(call);
        }
    });
    assert!(children.into_iter().all(testing::Forked::join));
    assert_eq!(once.call_once(|| panic!("again")), Ok(false));
}

#[test]
fn what_panicked_or_died_is_not_done_and_the_next_does_it() {
    let once = Once::new().expect("a once");
    assert!(catch_unwind(AssertUnwindSafe(|| once.call_once(|| panic!("no")))).is_err());
    assert!(!once.is_completed());

    let stage = Counters::new(2);
    let child = testing::fork(|| {
        let _ = once.call_once(|| {
            stage.set(0, 1);
            loop {
                std::thread::park();
            }
        });
    });
    stage.reached(0, 1);
    assert_eq!(
        once.try_call_once(|| ()).expect_err("being done"),
        AcquireError::WouldBlock
    );
    assert!(
        once.call_once_timeout(|| (), Duration::from_millis(5))
            .expect_err("being done")
            .is_timed_out()
    );
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| once.call_once_timeout(|| stage.set(0, 2), LIMIT));
        child.kill();
        assert_eq!(waiter.join().expect("no panic"), Ok(true));
    });
    assert_eq!(stage.get(0), 2);
}

#[test]
#[should_panic(expected = "within its own function")]
fn a_once_within_itself_is_refused() {
    let once = Once::new().expect("a once");
    let _ = once.call_once(|| drop(once.call_once(|| ())));
}

#[test]
fn a_mutex_survives_kills_at_any_moment() {
    let (mutex, told) = (Mutex::new([0u64; 6]).expect("a mutex"), Counters::new(2));
    let work = || {
        let guard = match mutex.lock_timeout(LIMIT) {
            Err(error) if error.is_owner_died() => {
                told.add(0);
                mutex.recover()
            }
            other => other,
        };
        let mut guard = guard.expect("nobody holds it for long");
        let numbers = *guard;
        assert!(numbers.iter().all(|n| *n == numbers[0]), "{numbers:?}");
        guard.iter_mut().for_each(|number| *number += 1);
        hold();
    };
    killed_at_any_moment(&work, &mut || work());
    println!("told {} times", told.get(0));
}

#[test]
fn an_rlock_survives_kills_at_any_moment() {
    let (lock, shared) = (RLock::new().expect("a lock"), Counters::new(2));
    let work = || {
        let (_outer, died) = match lock.acquire_timeout(LIMIT) {
            Err(error) if error.is_owner_died() => (lock.recover().expect("free"), true),
            other => (other.expect("nobody holds it for long"), false),
        };
        let _inner = lock.acquire().expect("ours");
        assert_eq!(lock.depth(), 2);
        let [first, second] = [shared.get(0), shared.get(1)];
        assert!(died || first == second, "half changed, and nobody was told");
        for index in [0, 1] {
            shared.set(index, first + 1);
            hold();
        }
    };
    killed_at_any_moment(&work, &mut || work());
}

#[test]
fn a_once_survives_kills_at_any_moment() {
    // Each is its own object; the child does the newest.
    let onces: Vec<_> = (0..64).map(|_| Once::new().expect("a once")).collect();
    let (newest, done) = (Counters::new(2), Counters::new(2));
    let work = || {
        let once = &onces[newest.get(0) as usize % onces.len()];
        let act = || {
            hold();
            done.add(0);
        };
        once.call_once_timeout(act, LIMIT).expect("nobody stays");
    };
    let mut round = 0;
    killed_at_any_moment(&work, &mut || {
        work();
        assert!(onces[round % onces.len()].is_completed());
        round = (round + 1) % onces.len();
        newest.set(0, round as u64);
    });
    until(|| done.get(0) >= onces.len() as u64, "what must come");
}
