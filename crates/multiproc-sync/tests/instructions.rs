//! Members killed at every instruction of what they do with a lock or a value: the survivors find it
//! free, or are told, and go on.
//!
//! See `multiproc_shm::testing::instructions` for `CHAOS=n`, `SEED=n` and `STEP=n`.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use multiproc_shm::testing::instructions::{kill_at_each, place};
use multiproc_shm::testing::{self, Forked};
use multiproc_shm::{Kind, Object};
use multiproc_sync::{Lock, Value};
use multiproc_sys::testing::steps::{self, Reached};

const LIMIT: Duration = Duration::from_secs(20);
static TURN: Mutex<()> = Mutex::new(());

fn alone(test: impl FnOnce()) {
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    test();
    assert!(testing::settle(LIMIT), "members are left");
    testing::audit().expect("nothing contradicts itself");
}

fn member<R>(operation: impl FnOnce() -> R) -> Forked {
    testing::fork(|| {
        steps::begin();
        let held = operation();
        steps::end();
        drop(held);
    })
}

/// Takes the lock as somebody does who knows what to do after a death. True if there was one.
fn recovered(lock: &Lock, reached: Reached) -> bool {
    let told = match lock.acquire_timeout(LIMIT) {
        Ok(_guard) => false,
        Err(error) if error.is_owner_died() => {
            // Everybody is told until somebody recovers.
            let again = lock.try_acquire().expect_err("not recovered");
            assert!(again.is_owner_died(), "{again}");
            drop(lock.recover().expect("free"));
            true
        }
        Err(error) => panic!("killed {}: {error}", place(reached)),
    };
    for _ in 0..20 {
        drop(lock.acquire_timeout(LIMIT).expect("sound"));
    }
    assert!(!lock.is_locked());
    told
}

#[test]
fn killed_at_any_instruction_of_an_acquire_and_release() {
    alone(|| {
        let lock = Lock::new().expect("a lock");
        let shared = Object::create(Kind::Plain, 1, 16, |_| {}).expect("an object");
        let change = || {
            let _guard = lock.acquire_timeout(LIMIT).expect("free");
            shared.words()[0].fetch_add(1, Ordering::Relaxed);
            shared.words()[1].fetch_add(1, Ordering::Relaxed);
        };
        let start = || member(change);
        kill_at_each("acquire and release a lock", start, |reached| {
            let told = recovered(&lock, reached);
            let [first, second] = [0, 1].map(|index| shared.words()[index].load(Ordering::Relaxed));
            let where_ = place(reached);
            assert!(told || first == second, "nobody was told, killed {where_}");
            shared.words()[1].store(first, Ordering::Relaxed);
        });
        let hold = || lock.acquire_timeout(LIMIT).expect("free");
        let start = || member(hold);
        kill_at_each("acquire a lock", start, |reached| {
            let told = recovered(&lock, reached);
            assert!(told || reached != Reached::End);
        });
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
            member(|| drop(lock.recover().expect("free")))
        };
        kill_at_each("recover a lock", start, |reached| {
            let told = recovered(&lock, reached);
            assert!(!told || reached != Reached::End);
        });
    });
}

#[test]
fn killed_at_any_instruction_of_making_a_lock() {
    alone(|| {
        let start = || member(|| Lock::new().expect("a lock"));
        kill_at_each("make a lock", start, |reached| {
            let lock = Lock::new().expect("a lock");
            assert!(!recovered(&lock, reached), "a new lock is sound");
        });
    });
}

#[test]
fn killed_at_any_instruction_of_an_update() {
    alone(|| {
        let value = Value::new([0u64; 4]).expect("a value");
        let update = || value.update(|numbers| numbers.iter_mut().for_each(|number| *number += 1));
        let start = || member(update);
        kill_at_each("update a value", start, |reached| {
            let now = value.get();
            let whole = now.iter().all(|number| *number == now[0]);
            assert!(whole, "{now:?}, killed {}", place(reached));
            for _ in 0..20 {
                update();
            }
            assert_eq!(value.get(), now.map(|number| number + 20));
        });
    });
}
