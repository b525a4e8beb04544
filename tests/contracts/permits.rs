//! Semaphores: how many permits there are, whoever takes them and however they end.

use std::thread;

use multiproc::Process;

use crate::kit::{EventLike, Kit, LONG, SHORT, SemaphoreLike, ValueLike, soon};

fn sit<S: SemaphoreLike, V: ValueLike>((seats, came, left): (S, V, V)) {
    for _ in 0..50 {
        let _seat = seats.acquire().expect("a seat");
        // Who left is counted first, so there may seem to be more seated than are, but for the third.
        let gone = left.get();
        assert!(
            came.add(1) - gone <= 2 + left.get() - gone,
            "more than 2 seats are taken"
        );
        left.add(1);
    }
}

pub(crate) fn permits_are_counted<K: Kit>(kit: &K) {
    let seats = kit.semaphore(2);
    let values = (kit.value(0), kit.value(0));
    let start = |()| {
        let argument = (seats.clone(), values.0.clone(), values.1.clone());
        let guest = Process::new(sit::<K::Semaphore, K::Value>, argument);
        guest.start().expect("started")
    };
    let guests = [(); 4].map(start);
    for guest in guests {
        guest.join_timeout(LONG).expect("no panic");
    }
    assert_eq!((values.0.get(), values.1.get()), (200, 200));
    assert_eq!(seats.value(), 2);
}

pub(crate) fn permits_are_refused_in_three_ways(kit: &impl Kit) {
    let seats = kit.semaphore(1);
    let seat = seats.acquire().expect("free");
    assert_eq!(seats.value(), 0);
    let refused = seats.try_acquire().expect_err("taken");
    assert!(refused.is_busy() && !refused.is_timed_out());
    assert!(
        seats
            .acquire_timeout(SHORT)
            .expect_err("taken")
            .is_timed_out()
    );
    assert!(
        seats
            .acquire_deadline(soon())
            .expect_err("taken")
            .is_timed_out()
    );
    thread::scope(|scope| {
        let waits = scope.spawn(|| seats.acquire().map(drop));
        drop(seat);
        waits.join().expect("no panic").expect("it came back");
    });
    assert_eq!(seats.value(), 1);
}

pub(crate) fn a_release_by_anybody_is_one_more<K: Kit>(kit: &K) {
    let seats = kit.semaphore(0);
    seats.release().expect("one more");
    assert_eq!(seats.value(), 1);
    K::Semaphore::leak(seats.try_acquire().expect("free"));
    thread::scope(|scope| {
        let other = scope.spawn(|| seats.release());
        other.join().expect("no panic").expect("given back");
    });
    assert_eq!(seats.value(), 1);
}

pub(crate) fn a_bounded_semaphore_has_never_more<K: Kit>(kit: &K) {
    let seats = kit.bounded_semaphore(1);
    assert!(seats.release().expect_err("all are free").is_above_bound());
    K::Bounded::leak(seats.acquire().expect("free"));
    seats.release().expect("given back");
    assert!(seats.release().expect_err("all are free").is_above_bound());
    assert_eq!(seats.value(), 1);
}

fn sit_until_killed<S: SemaphoreLike, E: EventLike>((seats, sits): (S, E)) {
    S::leak(seats.acquire().expect("free"));
    S::leak(seats.acquire().expect("free"));
    sits.set();
    loop {
        thread::park();
    }
}

pub(crate) fn a_dead_holders_permits_come_back<K: Kit>(kit: &K) {
    let (seats, sits) = (kit.bounded_semaphore(2), kit.event());
    let argument = (seats.clone(), sits.clone());
    let guest = Process::new(sit_until_killed::<K::Bounded, K::Event>, argument);
    let guest = guest.daemon(true).start().expect("started");
    assert!(sits.wait_timeout(LONG));
    assert!(seats.try_acquire().expect_err("taken").is_busy());
    guest.kill().expect("killed");
    let both = (
        seats.acquire_timeout(LONG).expect("come back"),
        seats.acquire_timeout(LONG).expect("come back"),
    );
    drop(both);
    assert_eq!(seats.value(), 2);
}
