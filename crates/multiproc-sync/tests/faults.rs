//! Rows 31, 32 and 38 of the fault matrix: deaths of those who hold something, and forks by others.
//!
//! `CHAOS=n` runs twenty times as many kills. The seed is printed.

use std::sync::Mutex as StdMutex;
use std::thread;
use std::time::{Duration, Instant};

use multiproc_shm::testing::{self, Chance, Counters, LIMIT, alone, kills, until};
use multiproc_shm::{CreateError, family};
use multiproc_sync::{
    AcquireError, Array, Barrier, BarrierError, BrokenWhy, Condition, Lock, Mutex, RLock, RwLock,
    Semaphore, Value,
};
use multiproc_sys::testing as raw;

/// A child that has done `hold` when this returns, and then only waits to be killed.
fn holder(hold: impl FnOnce()) -> testing::Forked {
    let stage = Counters::new(1);
    let child = testing::fork(|| {
        hold();
        stage.set(0, 1);
        loop {
            thread::park();
        }
    });
    stage.reached(0, 1);
    child
}

/// What the survivors of one kind do about a dead holder.
struct Kind<'a> {
    name: &'static str,
    /// Takes it, and never gives it back.
    hold: &'a (dyn Fn() + Sync),
    /// Takes it and gives it back.
    ask: &'a (dyn Fn() -> Result<(), AcquireError> + Sync),
    recover: &'a (dyn Fn() + Sync),
}

/// Kills holders of each kind. One waits for it all along, one comes after the death: both are told
/// who died. Returns how long after the kill the one who waited knew.
fn kill_holders(kind: &Kind<'_>, count: usize, chance: &mut Chance) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..count {
        let child = holder(kind.hold);
        let pid = child.pid;
        let told = |end: Result<(), AcquireError>| match end {
            Err(AcquireError::OwnerDied { pid: named, name }) => {
                assert_eq!((named, name.as_str()), (pid, "forked"), "{}", kind.name);
            }
            end => panic!("{}: {end:?}", kind.name),
        };
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                told((kind.ask)());
                Instant::now()
            });
            chance.moment(Duration::from_micros(300));
            let killed = Instant::now();
            child.kill();
            let knew = waiter.join().expect("told");
            times.push(knew.saturating_duration_since(killed));
        });
        told((kind.ask)());
        (kind.recover)();
        assert_eq!((kind.ask)(), Ok(()), "{} after the recovery", kind.name);
    }
    times
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let place = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!(
        "{what}: {} kills, known after {:?} (median), {:?} (p99), {:?} (most)",
        times.len(),
        place(0.5),
        place(0.99),
        place(1.0)
    );
}

#[test]
fn fault_31_everybody_is_told_who_died_with_a_lock_until_somebody_recovers() {
    alone(|| {
        let lock = Lock::new().expect("a lock");
        let rlock = RLock::new().expect("a lock");
        let mutex = Mutex::new(0u64).expect("a mutex");
        let rwlock = RwLock::new(0u64).expect("a lock");
        let kinds = [
            Kind {
                name: "lock",
                hold: &|| lock.acquire().expect("free").leak(),
                ask: &|| lock.acquire().map(drop),
                recover: &|| drop(lock.recover().expect("free")),
            },
            Kind {
                name: "rlock",
                hold: &|| (0..3).for_each(|_| rlock.acquire().expect("free").leak()),
                ask: &|| rlock.acquire().map(drop),
                recover: &|| drop(rlock.recover().expect("free")),
            },
            Kind {
                name: "mutex",
                hold: &|| std::mem::forget(mutex.lock().expect("free")),
                ask: &|| mutex.lock().map(drop),
                recover: &|| drop(mutex.recover().expect("free")),
            },
            Kind {
                name: "rwlock, read after a writer",
                hold: &|| std::mem::forget(rwlock.write().expect("free")),
                ask: &|| rwlock.read().map(drop),
                recover: &|| drop(rwlock.recover().expect("free")),
            },
            Kind {
                name: "rwlock, write after a writer",
                hold: &|| std::mem::forget(rwlock.write().expect("free")),
                ask: &|| rwlock.write().map(drop),
                recover: &|| drop(rwlock.recover().expect("free")),
            },
        ];
        let mut chance = Chance::new();
        for kind in &kinds {
            let times = kill_holders(kind, kills(30), &mut chance);
            report(kind.name, times);
        }
    });
}

#[test]
fn fault_32_a_dead_holders_permit_returns() {
    alone(|| {
        let seats = Semaphore::new(1).expect("a semaphore");
        let mut chance = Chance::new();
        let mut times = Vec::new();
        for _ in 0..kills(30) {
            let child = holder(|| seats.acquire().expect("free").leak());
            thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    drop(seats.acquire().expect("it returns"));
                    Instant::now()
                });
                chance.moment(Duration::from_micros(300));
                let killed = Instant::now();
                child.kill();
                let knew = waiter.join().expect("it returns");
                times.push(knew.saturating_duration_since(killed));
            });
            assert_eq!(seats.value(), 1);
        }
        report("semaphore", times);
    });
}

#[test]
fn fault_32_a_dead_waiter_takes_no_notification_along() {
    alone(|| {
        let (lock, condition) = (
            Lock::new().expect("a lock"),
            Condition::new().expect("a condition"),
        );
        let counters = Counters::new(2);
        let mut chance = Chance::new();
        let rounds = kills(30);
        for round in 1..=rounds as u64 {
            let until_round = || {
                // Who died may have had the lock.
                let recovered = || lock.recover().expect("free");
                let mut guard = lock.acquire().unwrap_or_else(|_| recovered());
                counters.add(1);
                while counters.get(0) < round {
                    match condition.wait_timeout(&mut guard, LIMIT) {
                        Ok(notified) => assert!(notified, "a notification was lost"),
                        Err(_) => guard = recovered(),
                    }
                }
            };
            thread::scope(|scope| {
                let dying = testing::fork(until_round);
                let waiter = scope.spawn(until_round);
                counters.reached(1, 2 * round);
                counters.set(0, round);
                condition.notify_one();
                chance.moment(Duration::from_micros(100));
                dying.kill();
                // To whoever came to wait only now.
                condition.notify_one();
                waiter.join().expect("it goes on");
            });
        }
        println!("condition: {rounds} kills");
    });
}

#[test]
fn fault_32_a_dead_participant_breaks_the_barrier() {
    alone(|| {
        let barrier = Barrier::new(3).expect("a barrier");
        let mut chance = Chance::new();
        let died = Err(BarrierError::Broken {
            why: BrokenWhy::Died,
        });
        let mut times = Vec::new();
        for _ in 0..kills(30) {
            let child = testing::fork(|| {
                let _never_returns = barrier.wait();
            });
            until(|| barrier.waiting() == 1, "the child's arrival");
            thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    let end = barrier.wait();
                    (end, Instant::now())
                });
                chance.moment(Duration::from_micros(300));
                let killed = Instant::now();
                child.kill();
                let (end, knew) = waiter.join().expect("no panic");
                assert_eq!(end, died);
                times.push(knew.saturating_duration_since(killed));
            });
            assert_eq!(barrier.wait(), died, "until a reset");
            barrier.reset();
            assert!(!barrier.is_broken() && barrier.waiting() == 0);
        }
        report("barrier", times);
    });
}

/// Runs `in_fork` in a child that this library knows nothing of.
fn foreign_fork(in_fork: impl FnOnce()) {
    match raw::fork().expect("fork") {
        0 => {
            let run = std::panic::AssertUnwindSafe(in_fork);
            raw::exit_now(i32::from(std::panic::catch_unwind(run).is_err()))
        }
        pid => assert_eq!(raw::wait(pid), Ok(true), "the fork was not content"),
    }
}

/// The fork has a copy of every guard. It drops them, and nothing happens.
#[test]
fn fault_38_a_fork_by_others_unlocks_nothing_and_changes_nothing() {
    alone(|| {
        let lock = Lock::new().expect("a lock");
        let rlock = RLock::new().expect("a lock");
        let mutex = Mutex::new(1u64).expect("a mutex");
        let value = Value::new(1u64).expect("a value");
        let array = Array::from_slice(&[[1u64; 2]; 2]).expect("an array");
        let (read, written) = (RwLock::new(1u64), RwLock::new(1u64));
        let (read, written) = (read.expect("a lock"), written.expect("a lock"));
        let seats = Semaphore::new(1).expect("a semaphore");
        // Forked in the midst of it, and the copy drops all, whose changes are not finished.
        let held = StdMutex::new(None);
        let mut mine = (mutex.lock().expect("free"), value.lock(), array.lock());
        (*mine.0, *mine.1, mine.2[1]) = (2, 2, [2; 2]);
        let mut writing = written.write().expect("free");
        *writing = 2;
        let others = (
            lock.acquire().expect("free"),
            rlock.acquire().expect("free"),
            read.read().expect("free"),
            seats.acquire().expect("free"),
        );
        *held.lock().expect("ours") = Some((mine, writing, others));
        foreign_fork(|| drop(held.lock().expect("ours").take()));

        let pid = format!("pid: {}", std::process::id());
        for text in [
            format!("{lock:?}"),
            format!("{rlock:?}"),
            format!("{mutex:?}"),
            format!("{written:?}"),
        ] {
            assert!(text.contains(&pid), "the owner's name is gone: {text}");
        }
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                lock.try_acquire().is_err()
                    && rlock.try_acquire().is_err()
                    && mutex.try_lock().is_err()
                    && written.try_read().is_err()
                    && read.try_write().is_err()
                    && seats.try_acquire().is_err()
                    && format!("{value:?}") == "Value(<locked>)"
            });
            assert!(other.join().expect("no panic"), "something was unlocked");
        });
        // Unchanged as well, which shows where the owner's own change never comes.
        let all = held.lock().expect("ours").take();
        let ((mutex_guard, value_guard, array_guard), writing, others) = all.expect("ours");
        drop((mutex_guard, value_guard, array_guard, writing, others));
        assert_eq!((*mutex.lock().expect("free"), value.get()), (2, 2));
        assert_eq!(array.to_vec(), [[1; 2], [2; 2]]);
        assert_eq!(*written.read().expect("free"), 2);
        drop(read.write().expect("free"));
        drop((lock.acquire().expect("free"), rlock.acquire()));
        assert_eq!(seats.value(), 1);
    });
}

/// A fork within `update` and `call_once` returns twice; the copy's return does not count.
#[test]
fn fault_38_a_fork_by_others_in_the_midst_of_a_change_makes_none() {
    alone(|| {
        let value = Value::new(1u64).expect("a value");
        let array = Array::from_slice(&[[1u64; 2]]).expect("an array");
        let pair = Counters::new(2);
        let fork_here = |child: &mut u32| *child = raw::fork().expect("fork");
        let both = [0, 1].map(|which| {
            let mut child = 0;
            let change = |number: &mut u64| {
                fork_here(&mut child);
                *number = if child == 0 { 66 } else { 2 };
            };
            match which {
                0 => value.update(change),
                _ => array.update(0, |element| element.iter_mut().take(1).for_each(change)),
            }
            if child == 0 {
                raw::exit_now(0);
            }
            // The copy may be about to write; after its end it has not.
            pair.set(which, u64::from(child));
            raw::wait(child)
        });
        assert_eq!(both, [Ok(true), Ok(true)]);
        assert_eq!((value.get(), array.get(0)), (2, [2, 1]));
    });
}

#[test]
fn fault_38_a_fork_by_others_is_no_member_and_takes_no_handle_along() {
    alone(|| {
        let (lock, value) = (
            Lock::new().expect("a lock"),
            Value::new(7u64).expect("a value"),
        );
        let handles = StdMutex::new(Some((lock.clone(), value.clone())));
        foreign_fork(|| {
            assert_eq!(family::me(), None);
            let refused = Lock::new().expect_err("no member");
            assert_eq!(refused, CreateError::ForeignFork);
            assert!(refused.to_string().contains("multiproc::Process"));
            // What it inherited works: it is one more that takes turns.
            assert_eq!(value.get(), 7);
            value.update(|number| *number += 1);
            drop(lock.acquire_timeout(LIMIT).expect("free"));
            drop(handles.lock().expect("ours").take());
        });
        assert_eq!(value.get(), 8);
        drop(lock.acquire().expect("free"));
        // Killed with the lock: nobody knows its name, and everybody is told.
        match raw::fork().expect("fork") {
            0 => {
                lock.acquire().expect("free").leak();
                raw::exit_now(0)
            }
            pid => assert_eq!(raw::wait(pid), Ok(true)),
        }
        let error = lock.acquire().expect_err("its owner died");
        assert!(matches!(error, AcquireError::OwnerDied { pid: 0, .. }));
        drop(lock.recover().expect("free"));
    });
}
