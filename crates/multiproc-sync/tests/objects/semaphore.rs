//! What semaphores promise, between threads and between processes, whoever dies.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use multiproc_shm::testing::{self, Counters, LIMIT, until};
use multiproc_sync::{AcquireError, BoundedSemaphore, ReleaseError, Semaphore};

use crate::common::{child_that, hold, killed_at_any_moment};

fn semaphore(permits: u32) -> Semaphore {
    Semaphore::new(permits).expect("a semaphore")
}

#[test]
fn so_many_get_in_and_the_next_is_refused() {
    let seats = semaphore(2);
    let (first, second) = (seats.acquire().expect("free"), seats.acquire_owned());
    assert_eq!(seats.value(), 0);
    assert_eq!(
        seats.try_acquire().expect_err("none"),
        AcquireError::WouldBlock
    );
    let none = seats.acquire_timeout(Duration::ZERO).expect_err("none");
    assert!(none.is_timed_out());
    let begin = Instant::now();
    let none = seats.acquire_timeout(Duration::from_millis(20));
    assert!(none.expect_err("none").is_timed_out());
    assert!(begin.elapsed() >= Duration::from_millis(20));
    drop(first);
    assert_eq!(seats.value(), 1);
    drop(second.expect("free"));
    assert_eq!(seats.value(), 2);
}

#[test]
fn a_permit_goes_back_on_any_thread() {
    let seats = semaphore(1);
    let permit = seats.acquire_owned().expect("free");
    let other = std::thread::spawn(move || drop(permit));
    other.join().expect("no panic");
    assert_eq!(seats.value(), 1);
}

#[test]
fn never_more_inside_than_permits() {
    let (seats, inside) = (semaphore(2), Counters::new(2));
    let work = || {
        for _ in 0..5_000 {
            let _permit = seats.acquire_timeout(LIMIT).expect("nobody stays");
            let others = inside.add(0);
            inside.word(1).fetch_max(others + 1, Ordering::SeqCst);
            inside.word(0).fetch_sub(1, Ordering::SeqCst);
        }
    };
    let children: Vec<_> = (0..3).map(|_| testing::fork(work)).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    assert!(children.into_iter().all(testing::Forked::join));
    assert!((1..=2).contains(&inside.get(1)), "{}", inside.get(1));
    assert_eq!(seats.value(), 2);
}

#[test]
fn a_bare_release_takes_ones_own_then_anybodys_then_adds_one() {
    let seats = semaphore(2);
    let mine = seats.acquire().expect("free");
    let child = child_that(|| seats.acquire().expect("free").leak());
    assert_eq!(seats.value(), 0);
    seats.release().expect("mine");
    drop(mine);
    assert_eq!(seats.value(), 1, "a permit goes back once");
    seats.release().expect("the child's");
    assert_eq!(seats.value(), 2);
    child.kill();
    assert_eq!(seats.value(), 2, "a dead holder has nothing any more");
    seats.release().expect("a new one");
    assert_eq!(seats.value(), 3);
}

#[test]
fn a_bounded_semaphore_refuses_a_release_too_many() {
    let seats = BoundedSemaphore::new(1).expect("a semaphore");
    assert_eq!(seats.release(), Err(ReleaseError::AboveBound));
    assert_eq!(seats.value(), 1);
    seats.acquire().expect("free").leak();
    assert_eq!(seats.release(), Ok(()));
    assert_eq!(seats.release(), Err(ReleaseError::AboveBound));
    assert_eq!((seats.value(), seats.clone().value()), (1, 1));
    let full = semaphore(u32::MAX);
    assert_eq!(full.release(), Err(ReleaseError::AboveBound));
    assert_eq!(full.value(), u32::MAX);
}

#[test]
fn a_new_semaphore_knows_nothing_of_what_lay_there_before() {
    for _ in 0..10 {
        drop(multiproc_sync::Array::<u64>::from_slice(&[!0; 120]).expect("an array"));
        let seats = BoundedSemaphore::new(3).expect("a semaphore");
        assert_eq!(seats.value(), 3);
        assert_eq!(seats.release(), Err(ReleaseError::AboveBound));
    }
}

#[test]
fn a_signal_wakes_one_waiter_for_each_permit() {
    let (ready, woken) = (semaphore(0), Counters::new(2));
    let children: Vec<_> = (0..3)
        .map(|_| {
            testing::fork(|| {
                ready.acquire_timeout(LIMIT).expect("a signal").leak();
                woken.add(0);
            })
        })
        .collect();
    for signals in 1..=3 {
        ready.release().expect("no bound");
        until(|| woken.get(0) >= signals, "what must come");
        assert!(woken.get(0) <= 3);
    }
    assert!(children.into_iter().all(testing::Forked::join));
}

#[test]
fn a_killed_holders_permits_return() {
    let seats = BoundedSemaphore::new(3).expect("a semaphore");
    let child = child_that(|| (0..3).for_each(|_| seats.acquire().expect("free").leak()));
    assert_eq!(seats.value(), 0);
    child.kill();
    assert_eq!(seats.value(), 3);
    assert_eq!(seats.release(), Err(ReleaseError::AboveBound));
}

#[test]
fn waiters_get_a_killed_holders_permits() {
    let seats = semaphore(2);
    let child = child_that(|| (0..2).for_each(|_| seats.acquire().expect("free").leak()));
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| seats.acquire_timeout(LIMIT).map(drop)))
            .collect();
        let begin = Instant::now();
        child.kill();
        for waiter in waiters {
            waiter.join().expect("no panic").expect("a permit");
        }
        println!("told after {:?}", begin.elapsed());
    });
    assert_eq!(seats.value(), 2);
}

#[test]
fn permits_of_more_processes_than_rows_are_counted_all_the_same() {
    let seats = semaphore(0);
    let processes = 70;
    (0..processes).for_each(|_| seats.release().expect("no bound"));
    let children: Vec<_> = (0..processes)
        .map(|_| child_that(|| seats.acquire_timeout(LIMIT).expect("one each").leak()))
        .collect();
    assert_eq!(seats.value(), 0);
    seats.release().expect("somebody's");
    assert_eq!(seats.value(), 1);
    children.into_iter().for_each(testing::Forked::kill);
    assert!(seats.value() >= 64, "{}", seats.value());
}

#[test]
fn permits_survive_kills_at_any_moment() {
    let seats = BoundedSemaphore::new(3).expect("a semaphore");
    let work = || {
        let _first = seats.acquire_timeout(LIMIT).expect("nobody stays");
        let _second = seats.try_acquire();
        let _third = seats.try_acquire();
        hold();
    };
    killed_at_any_moment(&work, &mut || {
        work();
        let all: Vec<_> = (0..3).map(|_| seats.acquire_timeout(LIMIT)).collect();
        assert!(all.iter().all(Result::is_ok), "{all:?}");
    });
    assert_eq!(seats.value(), 3);
}
