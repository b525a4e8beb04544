//! Every verb that waits comes in four forms: for ever, not at all, for a time, until a moment.

use std::time::{Duration, Instant};

use crate::common::child_that;
use multiproc_sync::{AcquireError, Array, Lock, Mutex, RLock, RwLock, Semaphore, Value};

const SHORT: Duration = Duration::from_millis(3);

fn soon() -> Instant {
    Instant::now() + SHORT
}

/// Whether the forms that do not wait for ever say that somebody has it.
fn refused<T>(
    at_once: Result<T, AcquireError>,
    timeout: impl FnOnce() -> Result<T, AcquireError>,
    deadline: impl FnOnce() -> Result<T, AcquireError>,
) -> bool {
    let begin = Instant::now();
    at_once.is_err_and(|error| error.is_would_block())
        && timeout().is_err_and(|error| error.is_timed_out())
        && begin.elapsed() >= SHORT
        && deadline().is_err_and(|error| error.is_timed_out())
}

#[test]
fn owned_guards_are_had_in_four_ways() {
    let lock = Lock::new().expect("a lock");
    drop(lock.try_acquire_owned().expect("free"));
    drop(lock.acquire_owned_timeout(SHORT).expect("free"));
    drop(lock.acquire_owned_deadline(soon()).expect("free"));
    let rlock = RLock::new().expect("a lock");
    drop(rlock.try_acquire_owned().expect("free"));
    drop(rlock.acquire_owned_timeout(SHORT).expect("free"));
    drop(rlock.acquire_owned_deadline(soon()).expect("free"));
    let seats = Semaphore::new(1).expect("a semaphore");
    drop(seats.try_acquire_owned().expect("free"));
    drop(seats.acquire_owned_timeout(SHORT).expect("free"));
    drop(seats.acquire_owned_deadline(soon()).expect("free"));
    assert!(!lock.is_locked() && !rlock.is_locked() && seats.value() == 1);

    let holder = child_that(|| {
        lock.acquire().expect("free").leak();
        rlock.acquire().expect("free").leak();
        seats.acquire().expect("free").leak();
    });
    assert!(refused(
        lock.try_acquire_owned(),
        || lock.acquire_owned_timeout(SHORT),
        || lock.acquire_owned_deadline(soon()),
    ));
    assert!(refused(
        rlock.try_acquire_owned(),
        || rlock.acquire_owned_timeout(SHORT),
        || rlock.acquire_owned_deadline(soon()),
    ));
    assert!(refused(
        seats.try_acquire_owned(),
        || seats.acquire_owned_timeout(SHORT),
        || seats.acquire_owned_deadline(soon()),
    ));
    holder.kill();
    let told = lock
        .acquire_owned_timeout(SHORT)
        .expect_err("not recovered");
    assert!(told.is_owner_died());
    drop(seats.try_acquire_owned().expect("it came back"));
}

#[test]
fn values_and_arrays_are_locked_in_four_ways() {
    let value = Value::new(1u64).expect("a value");
    let array = Array::from_slice(&[1u64, 2]).expect("an array");
    *value.try_lock().expect("free") += 1;
    *value.lock_timeout(SHORT).expect("free") += 1;
    *value.lock_deadline(soon()).expect("free") += 1;
    array.try_lock().expect("free")[0] += 1;
    array.lock_timeout(SHORT).expect("free")[0] += 1;
    array.lock_deadline(soon()).expect("free")[0] += 1;
    assert_eq!((value.get(), array.to_vec()), (4, vec![4, 2]));

    let holder = child_that(|| {
        std::mem::forget((value.lock(), array.lock()));
    });
    assert!(refused(
        value.try_lock(),
        || value.lock_timeout(SHORT),
        || value.lock_deadline(soon()),
    ));
    assert!(refused(
        array.try_lock(),
        || array.lock_timeout(SHORT),
        || array.lock_deadline(soon()),
    ));
    holder.kill();
    assert_eq!(*value.lock(), 4);
    assert_eq!(*array.lock(), [4, 2]);
}

/// A lock that a member holds, or has died with.
macro_rules! recovers_in_four_ways {
    ($lock:ident, $hold:expr) => {{
        let holder = child_that(|| std::mem::forget($hold));
        assert!(refused(
            $lock.try_recover(),
            || $lock.recover_timeout(SHORT),
            || $lock.recover_deadline(soon()),
        ));
        holder.kill();
        drop($lock.try_recover().expect("its owner is dead"));
        let hold = || std::mem::forget($hold);
        child_that(hold).kill();
        drop($lock.recover_timeout(SHORT).expect("its owner is dead"));
        child_that(hold).kill();
        drop($lock.recover_deadline(soon()).expect("its owner is dead"));
        child_that(hold).kill();
        drop($lock.recover().expect("its owner is dead"));
        // It is sound now.
        drop($hold);
    }};
}

#[test]
fn suspect_locks_are_recovered_in_four_ways() {
    let lock = Lock::new().expect("a lock");
    recovers_in_four_ways!(lock, lock.acquire().expect("sound"));
    let lock = RLock::new().expect("a lock");
    recovers_in_four_ways!(lock, lock.acquire().expect("sound"));
    let mutex = Mutex::new(1u8).expect("a mutex");
    recovers_in_four_ways!(mutex, mutex.lock().expect("sound"));
    let lock = RwLock::new(1u8).expect("a lock");
    recovers_in_four_ways!(lock, lock.write().expect("sound"));
}
