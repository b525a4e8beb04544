//! Locks of all kinds: after a death they are free, and sound unless somebody is told.

use multiproc_shm::testing::instructions::{kill_at_each, place, stepped, stepped_after};
use multiproc_shm::testing::{self, Counters, LIMIT, alone};
use multiproc_sync::{AcquireError, Lock, Mutex, RLock, RwLock};
use multiproc_sys::testing::steps::Reached;

use crate::{OFTEN, SHORT, Waiter};

/// What somebody does who knows what to do after a death: `ask` takes the lock and gives it back.
/// True if there was one.
fn told(
    reached: Reached,
    ask: impl Fn() -> Result<(), AcquireError>,
    recover: impl FnOnce(),
) -> bool {
    let told = match ask() {
        Ok(()) => false,
        Err(error) if error.is_owner_died() => {
            let again = ask().expect_err("not recovered");
            assert!(again.is_owner_died(), "{again}");
            recover();
            true
        }
        Err(error) => panic!("killed {}: {error}", place(reached)),
    };
    (0..OFTEN).for_each(|_| ask().expect("sound"));
    told
}

fn lock_told(lock: &Lock, reached: Reached) -> bool {
    let ask = || lock.acquire_timeout(LIMIT).map(drop);
    let told = told(reached, ask, || drop(lock.recover().expect("free")));
    assert!(!lock.is_locked());
    told
}

/// Two numbers that differ only where somebody was killed between them.
fn change(pair: &Counters) {
    pair.add(0);
    pair.add(1);
}

fn half_changed(pair: &Counters) -> bool {
    let (first, second) = (pair.get(0), pair.get(1));
    pair.set(1, first);
    first != second
}

#[test]
fn killed_at_any_instruction_of_an_acquire_and_release() {
    alone(|| {
        let (lock, pair) = (Lock::new().expect("a lock"), Counters::new(2));
        let both = || {
            let _guard = lock.acquire_timeout(LIMIT).expect("free");
            change(&pair);
        };
        kill_at_each(
            "acquire and release a lock",
            || stepped(both),
            |reached| {
                let (told, half) = (lock_told(&lock, reached), half_changed(&pair));
                assert!(told || !half, "nobody was told, killed {}", place(reached));
            },
        );
        let hold = || lock.acquire_timeout(LIMIT).expect("free");
        kill_at_each(
            "acquire a lock",
            || stepped(hold),
            |reached| {
                let told = lock_told(&lock, reached);
                assert!(told || reached != Reached::End);
                half_changed(&pair);
            },
        );
    });
}

#[test]
fn killed_at_any_instruction_of_a_wait_for_a_lock_and_of_a_release_to_a_waiter() {
    alone(|| {
        let lock = Lock::new().expect("a lock");
        let in_vain = || lock.acquire_timeout(SHORT).map(drop);
        let start = || {
            lock.acquire_timeout(LIMIT).expect("free").leak();
            stepped(in_vain)
        };
        kill_at_each("wait for a lock in vain", start, |reached| {
            lock.release().expect("ours");
            assert!(!lock_told(&lock, reached), "the dead did not hold it");
        });

        let waiter = Waiter::none();
        let start = || {
            let child = stepped_after(|| lock.acquire_timeout(LIMIT).expect("free"), drop);
            let theirs = lock.clone();
            waiter.start(move || theirs.acquire_timeout(LIMIT).map(drop));
            child
        };
        kill_at_each(
            "release a lock somebody waits for",
            start,
            |reached| match waiter.end() {
                Ok(()) => assert!(!lock_told(&lock, reached)),
                Err(error) => {
                    assert!(error.is_owner_died() && reached != Reached::End, "{error}");
                    assert!(lock_told(&lock, reached), "all are told");
                }
            },
        );
    });
}

#[test]
fn killed_at_any_instruction_of_a_recovery() {
    alone(|| {
        let lock = Lock::new().expect("a lock");
        let start = || {
            let holds = lock.clone();
            let holder = testing::fork(move || holds.acquire_timeout(LIMIT).expect("free").leak());
            assert!(holder.join());
            stepped(|| drop(lock.recover().expect("free")))
        };
        kill_at_each("recover a lock", start, |reached| {
            let told = lock_told(&lock, reached);
            assert!(!told || reached != Reached::End);
        });
    });
}

#[test]
fn killed_at_any_instruction_of_making_a_lock() {
    alone(|| {
        let start = || stepped(|| Lock::new().expect("a lock"));
        kill_at_each("make a lock", start, |reached| {
            let lock = Lock::new().expect("a lock");
            assert!(!lock_told(&lock, reached), "a new lock is sound");
        });
    });
}

#[test]
fn killed_at_any_instruction_of_an_rlocks_two_levels() {
    alone(|| {
        let (lock, pair) = (RLock::new().expect("a lock"), Counters::new(2));
        let both = || {
            let _outer = lock.acquire_timeout(LIMIT).expect("free");
            pair.add(0);
            let _inner = lock.acquire_timeout(LIMIT).expect("ours");
            pair.add(1);
        };
        let ask = || {
            let _outer = lock.acquire_timeout(LIMIT)?;
            let _inner = lock.acquire_timeout(LIMIT).expect("ours");
            assert_eq!(lock.depth(), 2, "a depth was left behind");
            Ok(())
        };
        let recover = || {
            let _guard = lock.recover().expect("free");
            assert_eq!(lock.depth(), 1, "a depth was left behind");
        };
        kill_at_each(
            "acquire and release an rlock twice",
            || stepped(both),
            |reached| {
                let (told, half) = (told(reached, ask, recover), half_changed(&pair));
                assert!(told || !half, "nobody was told, killed {}", place(reached));
            },
        );
    });
}

type Numbers = [u64; 4];

fn up(numbers: &mut Numbers) {
    numbers.iter_mut().for_each(|number| *number += 1);
}

fn whole(numbers: &Numbers, reached: Reached) {
    let at = place(reached);
    let whole = numbers.iter().all(|&number| number == numbers[0]);
    assert!(whole, "{numbers:?}, killed {at}");
}

#[test]
fn killed_at_any_instruction_of_a_mutexs_change() {
    alone(|| {
        let mutex = Mutex::new(Numbers::default()).expect("a mutex");
        let work = || up(&mut mutex.lock_timeout(LIMIT).expect("free"));
        let ask = || mutex.lock_timeout(LIMIT).map(|mut guard| up(&mut guard));
        kill_at_each(
            "lock, change and unlock a mutex",
            || stepped(work),
            |reached| {
                let recover = || whole(&mutex.recover().expect("free"), reached);
                let told = told(reached, ask, recover);
                assert!(!told || reached != Reached::End);
                whole(&mutex.lock_timeout(LIMIT).expect("sound"), reached);
            },
        );
    });
}

fn rwlock_told(lock: &RwLock<Numbers>, reached: Reached) -> bool {
    let ask = || {
        lock.read_timeout(LIMIT)
            .map(|numbers| whole(&numbers, reached))?;
        lock.write_timeout(LIMIT)
            .map(|mut numbers| up(&mut numbers))
    };
    let recover = || whole(&lock.recover().expect("nobody else"), reached);
    told(reached, ask, recover)
}

#[test]
fn killed_at_any_instruction_of_reading_and_of_writing() {
    alone(|| {
        let lock = RwLock::new(Numbers::default()).expect("a lock");
        let read = || drop(lock.read_timeout(LIMIT).expect("nobody writes"));
        kill_at_each(
            "read under an rwlock",
            || stepped(read),
            |reached| assert!(!rwlock_told(&lock, reached), "a dead reader is forgotten"),
        );
        let write = || up(&mut lock.write_timeout(LIMIT).expect("nobody else"));
        kill_at_each(
            "write under an rwlock",
            || stepped(write),
            |reached| {
                let told = rwlock_told(&lock, reached);
                assert!(!told || reached != Reached::End);
            },
        );
    });
}

#[test]
fn killed_at_any_instruction_of_a_wait_to_read_or_to_write() {
    alone(|| {
        let lock = RwLock::new(Numbers::default()).expect("a lock");
        let mine = std::cell::RefCell::new(None);
        let start = || {
            *mine.borrow_mut() = Some(lock.read_timeout(LIMIT).expect("nobody writes"));
            stepped(|| lock.write_timeout(SHORT).map(drop))
        };
        kill_at_each("wait to write in vain", start, |reached| {
            let also = lock.read_timeout(LIMIT).expect("the dead keeps nobody out");
            drop((also, mine.take()));
            assert!(!rwlock_told(&lock, reached), "the dead was not inside");
        });

        let mine = std::cell::RefCell::new(None);
        let start = || {
            *mine.borrow_mut() = Some(lock.write_timeout(LIMIT).expect("nobody else"));
            stepped(|| lock.read_timeout(SHORT).map(drop))
        };
        kill_at_each("wait to read in vain", start, |reached| {
            drop(mine.take());
            assert!(!rwlock_told(&lock, reached), "the dead was not inside");
        });

        let waiter = Waiter::none();
        let start = || {
            let child = stepped_after(|| lock.read_timeout(LIMIT).expect("nobody writes"), drop);
            let theirs = lock.clone();
            waiter.start(move || theirs.write_timeout(LIMIT).map(drop));
            child
        };
        kill_at_each("leave before a waiting writer", start, |reached| {
            assert_eq!(waiter.end(), Ok(()), "killed {}", place(reached));
            assert!(!rwlock_told(&lock, reached));
        });
    });
}
