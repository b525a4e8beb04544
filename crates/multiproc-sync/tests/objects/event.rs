//! What an event promises, between threads and between processes, whoever dies.

use std::time::{Duration, Instant};

use multiproc_shm::testing::{self, Chance, Counters, LIMIT, kills, until};
use multiproc_sync::Event;

fn event() -> Event {
    Event::new().expect("an event")
}

#[test]
fn it_is_set_until_it_is_cleared() {
    let event = event();
    assert!(!event.is_set());
    event.set();
    event.set();
    assert!(event.is_set());
    event.wait();
    assert!(event.wait_timeout(Duration::ZERO));
    event.clear();
    assert!(!event.is_set());
    assert_eq!(format!("{event:?}"), "Event { set: false }");
}

#[test]
fn a_timed_wait_says_whether_it_was_set() {
    let event = event();
    assert!(!event.wait_timeout(Duration::ZERO));
    assert!(!event.wait_deadline(Instant::now()));
    let begin = Instant::now();
    assert!(!event.wait_timeout(Duration::from_millis(20)));
    assert!(begin.elapsed() >= Duration::from_millis(20));
    event.set();
    assert!(event.wait_timeout(Duration::MAX));
}

#[test]
fn everybody_who_waits_is_woken_though_it_is_cleared_at_once() {
    let event = event();
    let shared = Counters::new(2);
    let children: Vec<_> = (0..4)
        .map(|_| {
            let (event, shared) = (event.clone(), shared.clone());
            testing::fork(move || {
                shared.add(0);
                assert!(event.wait_timeout(LIMIT));
                shared.add(1);
            })
        })
        .collect();
    shared.reached(0, 4);
    // Until it is found asleep, a child may not have begun to wait: then it needs the next one.
    until(
        || {
            event.set();
            event.clear();
            shared.get(1) == 4
        },
        "the end of all waits",
    );
    assert!(children.into_iter().all(testing::Forked::join));
}

#[test]
fn two_processes_hand_the_turn_to_each_other() {
    let (ping, pong) = (event(), event());
    let (theirs, answer) = (ping.clone(), pong.clone());
    let child = testing::fork(move || {
        for _ in 0..2_000 {
            assert!(theirs.wait_timeout(LIMIT));
            theirs.clear();
            answer.set();
        }
    });
    for _ in 0..2_000 {
        ping.set();
        assert!(pong.wait_timeout(LIMIT), "a wake was lost");
        pong.clear();
    }
    assert!(child.join());
}

/// Setters and waiters are killed anywhere; whoever waits for an event that is set returns.
#[test]
fn killed_at_any_moment_no_wake_is_lost() {
    let (event, shared) = (event(), Counters::new(2));
    let mut chance = Chance::new();
    let (theirs, count) = (event.clone(), shared.clone());
    let waiter = testing::fork(move || {
        while count.get(1) == 0 {
            assert!(theirs.wait_timeout(LIMIT), "a wake was lost");
            // Before the count: whoever has seen that sets it for the next wait.
            theirs.clear();
            count.add(0);
        }
    });
    for kill in 0..kills(150) {
        let theirs = event.clone();
        let child = testing::fork(move || {
            loop {
                if kill % 2 == 0 {
                    theirs.set();
                } else {
                    theirs.wait();
                }
            }
        });
        chance.moment(Duration::from_micros(50));
        let before = shared.get(0);
        child.kill();
        event.set();
        until(|| shared.get(0) > before, "the next wait");
    }
    shared.set(1, 1);
    event.set();
    assert!(waiter.join());
}
