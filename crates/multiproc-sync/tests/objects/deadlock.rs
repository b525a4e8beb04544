//! That waits in a circle are named, and nothing else is.

use std::time::{Duration, Instant};

use multiproc_shm::testing::{self, Chance, Counters, LIMIT, until};
use multiproc_sync::{AcquireError, DeadlockLink, Lock, Mutex, RLock};

fn locks(count: usize) -> Vec<Lock> {
    let new = |_| Lock::new().expect("a lock");
    (0..count).map(new).collect()
}

fn cycle(error: AcquireError) -> Vec<DeadlockLink> {
    let AcquireError::Deadlock { cycle } = error else {
        panic!("{error}")
    };
    cycle
}

#[test]
fn a_thread_that_would_wait_for_itself_is_told() {
    let lock = &locks(1)[0];
    let guard = lock.acquire().expect("free");
    let error = lock.acquire().expect_err("ours");
    assert!(error.is_deadlock(), "{error}");
    assert_eq!(cycle(error)[0].pid, std::process::id());
    let short = lock.acquire_timeout(Duration::from_millis(1));
    assert!(short.expect_err("ours").is_timed_out());
    drop(guard);
    drop(lock.acquire().expect("free"));
}

/// Processes in a ring, each with its own lock, want their neighbour's.
fn ring(count: usize) {
    let (locks, shared) = (locks(count), Counters::new(4));
    let children: Vec<_> = (0..count)
        .map(|index| {
            let (locks, shared) = (locks.clone(), shared.clone());
            testing::fork(move || {
                let _mine = locks[index].acquire().expect("free");
                shared.add(0);
                shared.reached(0, count as u64);
                match locks[(index + 1) % count].acquire() {
                    Ok(_theirs) => {}
                    Err(error) => {
                        let text = error.to_string();
                        let cycle = cycle(error);
                        assert_eq!(cycle.len(), count);
                        assert_eq!(cycle[0].pid, std::process::id());
                        for link in &cycle {
                            assert!(text.contains(&format!("'forked' (pid {})", link.pid)));
                            shared.add(2);
                        }
                        shared.add(1);
                    }
                }
            })
        })
        .collect();
    assert!(children.into_iter().all(testing::Forked::join));
    assert!(shared.get(1) >= 1, "nobody was told");
    assert_eq!(shared.get(2), shared.get(1) * count as u64);
}

#[test]
fn two_processes_with_two_locks_are_told() {
    (0..20).for_each(|_| ring(2));
}

#[test]
fn three_and_five_in_a_ring_are_told() {
    (0..10).for_each(|_| ring(3));
    (0..5).for_each(|_| ring(5));
}

/// Three in a ring: one holds an [`RLock`] twice and wants a [`Mutex`], whose owner wants a [`Lock`].
#[test]
fn a_ring_through_an_rlock_and_a_mutex_is_told() {
    for _ in 0..10 {
        let (rlock, mutex) = (RLock::new().expect("a lock"), Mutex::new(1u8));
        let (mutex, lock) = (mutex.expect("a mutex"), &locks(1)[0]);
        let shared = Counters::new(2);
        let hold: [&dyn Fn(); 3] = [
            &|| (0..2).for_each(|_| rlock.acquire().expect("free").leak()),
            &|| std::mem::forget(mutex.lock().expect("free")),
            &|| lock.acquire().expect("free").leak(),
        ];
        let want: [&dyn Fn() -> Result<(), AcquireError>; 3] = [
            &|| mutex.lock().map(drop),
            &|| lock.acquire().map(drop),
            &|| rlock.acquire().map(drop),
        ];
        let children: Vec<_> = (0..3)
            .map(|index| {
                testing::fork(|| {
                    hold[index]();
                    shared.add(0);
                    shared.reached(0, 3);
                    // Whoever is not told is told of a death: its neighbour ends with what it holds.
                    match want[index]().expect_err("a ring") {
                        AcquireError::OwnerDied { .. } => {}
                        error => {
                            assert_eq!(cycle(error).len(), 3);
                            shared.add(1);
                        }
                    }
                })
            })
            .collect();
        assert!(children.into_iter().all(testing::Forked::join));
        assert!(shared.get(1) >= 1, "nobody was told");
    }
}

#[test]
fn a_wait_with_a_deadline_is_no_part_of_a_deadlock() {
    let (locks, shared) = (locks(2), Counters::new(1));
    let (theirs, stage) = (locks.clone(), shared.clone());
    let _mine = locks[0].acquire().expect("free");
    let child = testing::fork(move || {
        let _mine = theirs[1].acquire().expect("free");
        stage.add(0);
        let end = theirs[0].acquire_timeout(Duration::from_millis(50));
        assert!(end.expect_err("held").is_timed_out());
    });
    shared.reached(0, 1);
    drop(locks[1].acquire().expect("the other one gives up"));
    assert!(child.join());
}

/// Many take several locks, always in one order: no alarm is right. `CHAOS` makes it ten minutes.
#[test]
fn ordered_locking_raises_no_alarm() {
    let long = std::env::var_os("CHAOS").is_some();
    let time = Duration::from_secs(if long { 600 } else { 2 });
    let (locks, shared) = (locks(4), Counters::new(1));
    let work = move |locks: Vec<Lock>, shared: Counters| {
        let (mut chance, begin) = (Chance::new(), Instant::now());
        while begin.elapsed() < time {
            let chosen = chance.below(16);
            let wanted = (0..4).filter(|bit| chosen >> bit & 1 == 1);
            let held: Vec<_> = wanted
                .map(|index| locks[index].acquire().expect("no false alarm"))
                .collect();
            shared.add(0);
            chance.moment(Duration::from_micros(3));
            drop(held);
        }
    };
    let children: Vec<_> = (0..3)
        .map(|_| {
            let (locks, shared) = (locks.clone(), shared.clone());
            testing::fork(move || work(locks, shared))
        })
        .collect();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (locks, shared) = (locks.clone(), shared.clone());
            std::thread::spawn(move || work(locks, shared))
        })
        .collect();
    for thread in threads {
        thread.join().expect("no false alarm");
    }
    assert!(children.into_iter().all(testing::Forked::join));
    println!("{} turns", shared.get(0));
}

/// The other half of a circle is killed: its locks come back, and the wait ends.
#[test]
fn a_death_in_the_circle_ends_the_wait() {
    let (locks, shared) = (locks(2), Counters::new(1));
    let (theirs, stage) = (locks.clone(), shared.clone());
    let child = testing::fork(move || {
        theirs[1].acquire().expect("free").leak();
        stage.add(0);
        loop {
            std::thread::park();
        }
    });
    shared.reached(0, 1);
    let _mine = locks[0].acquire().expect("free");
    let pid = child.pid;
    let killer = std::thread::spawn(move || {
        multiproc_sys::testing::kill(pid).expect("it runs");
        child.join();
    });
    let begin = Instant::now();
    let error = locks[1].acquire().expect_err("its owner died");
    assert!(error.is_owner_died() && begin.elapsed() < LIMIT, "{error}");
    killer.join().expect("no panic");
    until(|| locks[1].recover().is_ok(), "the recovery");
}
