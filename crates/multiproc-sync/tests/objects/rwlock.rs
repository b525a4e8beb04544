//! What a reader-writer lock promises, between threads and between processes, whoever dies.

use std::time::Duration;

use multiproc_shm::testing::{self, Counters, LIMIT, until};
use multiproc_sync::{AcquireError, RwLock};

use crate::common::{child_that, hold, killed_at_any_moment};

fn lock() -> RwLock<[u64; 4]> {
    RwLock::new([0; 4]).expect("a lock")
}

#[test]
fn readers_share_and_writers_do_not() {
    let lock = lock();
    let (one, two) = (lock.read().expect("free"), lock.read().expect("shared"));
    assert_eq!(
        lock.try_write().expect_err("read"),
        AcquireError::WouldBlock
    );
    let late = lock.write_timeout(Duration::from_millis(5));
    assert!(late.expect_err("read").is_timed_out());
    assert_eq!(*one, *two);
    drop((one, two));
    let writer = lock.write().expect("free");
    assert_eq!(
        lock.try_read().expect_err("written"),
        AcquireError::WouldBlock
    );
    let late = lock.read_timeout(Duration::from_millis(5));
    assert!(late.expect_err("written").is_timed_out());
    drop(writer);
    assert_eq!(*lock.try_read().expect("free"), [0; 4]);
}

#[test]
fn a_reader_in_another_process_keeps_writers_out_until_it_leaves_or_dies() {
    let lock = lock();
    let child = child_that(|| std::mem::forget(lock.read().expect("free")));
    assert!(lock.try_write().is_err_and(|error| error.is_busy()));
    assert!(lock.try_read().is_ok());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| lock.write_timeout(LIMIT).map(|mut value| value[0] = 1));
        child.kill();
        assert_eq!(writer.join().expect("no panic"), Ok(()));
    });
    assert_eq!(lock.read().expect("sound")[0], 1);
}

#[test]
fn nobody_sees_half_a_change() {
    let lock = lock();
    let read = || {
        for _ in 0..5_000 {
            let value = lock.read_timeout(LIMIT).expect("sound");
            assert!(value.iter().all(|n| *n == value[0]), "{:?}", *value);
        }
    };
    let write = || {
        for _ in 0..5_000 {
            let mut value = lock.write_timeout(LIMIT).expect("sound");
            value.iter_mut().for_each(|number| *number += 1);
        }
    };
    let children = [
        testing::fork(write),
        testing::fork(read),
        testing::fork(read),
    ];
    std::thread::scope(|scope| {
        scope.spawn(read);
        scope.spawn(write);
    });
    assert!(children.into_iter().all(testing::Forked::join));
    assert_eq!(*lock.read().expect("sound"), [10_000; 4]);
}

#[test]
fn a_waiting_writer_keeps_new_readers_out() {
    let lock = lock();
    let first = lock.read().expect("free");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| lock.write_timeout(LIMIT).map(|mut value| value[0] = 1));
        until(|| lock.try_read().is_err(), "what must come");
        let late = scope.spawn(|| lock.read_timeout(LIMIT).map(|value| value[0]));
        drop(first);
        assert_eq!(writer.join().expect("no panic"), Ok(()));
        assert_eq!(late.join().expect("no panic"), Ok(1));
    });
}

#[test]
fn readers_without_pause_do_not_starve_a_writer() {
    let (lock, stop) = (lock(), Counters::new(2));
    let read = || {
        while stop.get(0) == 0 {
            drop(lock.read_timeout(LIMIT).expect("sound"));
        }
    };
    let children: Vec<_> = (0..3).map(|_| testing::fork(read)).collect();
    for _ in 0..200 {
        lock.write_timeout(LIMIT).expect("a turn")[0] += 1;
    }
    stop.set(0, 1);
    assert!(children.into_iter().all(testing::Forked::join));
    assert_eq!(lock.read().expect("sound")[0], 200);
}

#[test]
fn a_killed_writer_is_named_to_all_until_somebody_recovers() {
    let lock = lock();
    let child = child_that(|| {
        let mut guard = lock.write().expect("free");
        guard[0] = 9;
        std::mem::forget(guard);
    });
    let pid = child.pid;
    std::thread::scope(|scope| {
        let waiters = [
            scope.spawn(|| lock.read_timeout(LIMIT).map(drop)),
            scope.spawn(|| lock.write_timeout(LIMIT).map(drop)),
        ];
        child.kill();
        for waiter in waiters {
            let told = waiter.join().expect("no panic").expect_err("died");
            assert!(told.is_owner_died(), "{told}");
        }
    });
    for _ in 0..2 {
        let error = lock.read().expect_err("died");
        assert!(matches!(error, AcquireError::OwnerDied { pid: named, .. } if named == pid));
        assert!(lock.try_write().expect_err("died").is_owner_died());
    }
    assert!(format!("{lock:?}").contains("died"), "{lock:?}");
    assert_eq!(*lock.recover().expect("free"), [0; 4]);
    assert_eq!(*lock.read().expect("sound again"), [0; 4]);
}

#[test]
fn a_writer_killed_while_it_waits_harms_nobody() {
    let lock = lock();
    let reader = lock.read().expect("free");
    let child = testing::fork(|| drop(lock.write()));
    until(|| lock.try_read().is_err(), "what must come");
    child.kill();
    assert!(lock.read_timeout(LIMIT).is_ok());
    drop(reader);
    lock.write_timeout(LIMIT).expect("sound")[0] = 1;
}

#[test]
fn a_panic_leaves_the_value_as_it_was() {
    let lock = lock();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        lock.write().expect("free")[0] = 1;
        let mut guard = lock.write().expect("free");
        guard[0] = 2;
        panic!("in the middle");
    }));
    assert!(panicked.is_err());
    assert_eq!(lock.read().expect("sound")[0], 1);
}

#[test]
fn more_processes_than_rows_read_in_turns() {
    let (lock, read) = (lock(), Counters::new(2));
    let staying: Vec<_> = (0..32)
        .map(|_| child_that(|| std::mem::forget(lock.read().expect("free"))))
        .collect();
    let beyond: Vec<_> = (0..3)
        .map(|_| {
            testing::fork(|| {
                let _value = lock.read_timeout(LIMIT).expect("a turn");
                read.add(0);
            })
        })
        .collect();
    assert!(beyond.into_iter().all(testing::Forked::join));
    assert_eq!(read.get(0), 3);
    assert!(lock.try_write().is_err_and(|error| error.is_busy()));
    staying.into_iter().for_each(testing::Forked::kill);
    assert!(lock.write_timeout(LIMIT).is_ok());
}

#[test]
fn readers_and_writers_survive_kills_at_any_moment() {
    let (lock, told) = (lock(), Counters::new(2));
    let work = || {
        match lock.read_timeout(LIMIT) {
            Ok(value) => assert!(value.iter().all(|n| *n == value[0]), "{:?}", *value),
            Err(error) => assert!(error.is_owner_died(), "{error}"),
        }
        let guard = match lock.write_timeout(LIMIT) {
            Err(error) if error.is_owner_died() => {
                told.add(0);
                lock.recover()
            }
            other => other,
        };
        let mut guard = guard.expect("nobody stays");
        assert!(guard.iter().all(|n| *n == guard[0]), "{:?}", *guard);
        guard.iter_mut().for_each(|number| *number += 1);
        hold();
    };
    killed_at_any_moment(&work, &mut || work());
    println!("told {} times", told.get(0));
}
