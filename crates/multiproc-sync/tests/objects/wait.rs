//! Waiting for the first of many: words alone, descriptors alone, and both together.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::child_that;
use multiproc_shm::testing::{self, Chance, Counters, LIMIT, kills, until};
use multiproc_sync::{BoundedSemaphore, Event, Fd, Semaphore, Waitable};
use multiproc_sync::{try_wait, wait, wait_deadline};

const SHORT: Duration = Duration::from_millis(5);

fn event() -> Event {
    Event::new().expect("an event")
}

fn semaphore() -> Semaphore {
    Semaphore::new(0).expect("a semaphore")
}

/// Both ends of a pipe, the one to be waited for first.
fn pipe() -> (Fd<std::io::PipeReader>, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (Fd(reader), writer)
}

/// What is ready, which something is within the limit.
fn waited(things: &[&dyn Waitable]) -> Vec<usize> {
    let ready = wait(things, LIMIT).expect("nothing fails");
    assert!(!ready.is_empty(), "nothing was ready in time");
    ready
}

/// Does `act` on another thread, somewhat later.
fn later<'a>(scope: &'a thread::Scope<'a, '_>, act: impl FnOnce() + Send + 'a) {
    scope.spawn(|| {
        thread::sleep(SHORT);
        act();
    });
}

#[test]
fn all_that_is_ready_is_named_in_order_and_stays_ready() {
    let (event, seats, (reader, mut writer)) = (event(), semaphore(), pipe());
    let things: [&dyn Waitable; 5] = [&reader, &event, &seats, &event, &reader];
    assert_eq!(try_wait(&things), Ok(vec![]));
    event.set();
    assert_eq!(waited(&things), [1, 3]);
    assert_eq!(waited(&things), [1, 3]);
    writer.write_all(b"x").expect("written");
    seats.release().expect("below the bound");
    assert_eq!(waited(&things), [0, 1, 2, 3, 4]);
    drop(seats.acquire().expect("it is ready"));
    assert_eq!(try_wait(&things), Ok(vec![0, 1, 2, 3, 4]));
    seats.acquire().expect("it is ready").leak();
    event.clear();
    (&*reader).read_exact(&mut [0]).expect("it is ready");
    assert_eq!(try_wait(&things), Ok(vec![]));
    drop(writer);
    assert_eq!(waited(&things), [0, 4]);
}

#[test]
fn a_deadline_ends_it_with_an_empty_answer_and_not_earlier() {
    let (event, (reader, _writer)) = (event(), pipe());
    let lists: [&[&dyn Waitable]; 3] = [&[&event, &event], &[&reader], &[&event, &reader]];
    for things in lists {
        assert_eq!(try_wait(things), Ok(vec![]));
        assert_eq!(wait(things, Duration::ZERO), Ok(vec![]));
        assert_eq!(wait_deadline(things, Instant::now()), Ok(vec![]));
        let begin = Instant::now();
        assert_eq!(wait(things, SHORT), Ok(vec![]));
        assert!(begin.elapsed() >= SHORT);
        let end = Instant::now() + SHORT;
        assert_eq!(wait_deadline(things, end), Ok(vec![]));
        assert!(Instant::now() >= end);
    }
    assert_eq!(wait(&[], None), Ok(vec![]));
    assert_eq!(wait(&[], SHORT), Ok(vec![]));
}

#[test]
fn each_kind_of_sleep_ends_with_each_thing_it_waits_for() {
    let (event, seats) = (event(), BoundedSemaphore::new(1).expect("a semaphore"));
    let (reader, mut writer) = pipe();
    let words: [&dyn Waitable; 2] = [&event, &seats];
    let all: [&dyn Waitable; 3] = [&event, &seats, &reader];
    for things in [&words[..], &all[..]] {
        seats.acquire().expect("it is free").leak();
        thread::scope(|scope| {
            later(scope, || event.set());
            assert_eq!(wait(things, None), Ok(vec![0]));
            event.clear();
        });
        thread::scope(|scope| {
            later(scope, || seats.release().expect("one is taken"));
            assert_eq!(wait(things, None), Ok(vec![1]));
        });
    }
    seats.acquire().expect("it is free").leak();
    for things in [&all[..], &all[2..]] {
        let index = things.len() - 1;
        thread::scope(|scope| {
            later(scope, || writer.write_all(b"x").expect("written"));
            assert_eq!(wait(things, None), Ok(vec![index]));
        });
        (&*reader).read_exact(&mut [0]).expect("it is ready");
    }
}

#[test]
fn a_thousand_things_are_waited_for_at_once() {
    let events: Vec<Event> = (0..500).map(|_| event()).collect();
    let seats: Vec<Semaphore> = (0..500).map(|_| semaphore()).collect();
    let (reader, _writer) = pipe();
    let mut things: Vec<&dyn Waitable> = Vec::new();
    for (event, seats) in events.iter().zip(&seats) {
        things.extend([event as &dyn Waitable, seats]);
    }
    things.push(&reader);
    for (things, index) in [(&things[..1000], 700), (&things[..], 998), (&things[..], 0)] {
        let event = &events[index / 2];
        thread::scope(|scope| {
            later(scope, || event.set());
            assert_eq!(waited(things), [index]);
        });
        event.clear();
        assert_eq!(try_wait(things), Ok(vec![]));
    }
}

#[test]
fn many_threads_wait_for_the_same_things() {
    let (go, seats, (reader, _writer)) = (event(), semaphore(), pipe());
    let came = AtomicU64::new(0);
    thread::scope(|scope| {
        for index in 0..8 {
            let (go, seats, reader, came) = (&go, &seats, &reader, &came);
            // Half of them need no doorbell.
            scope.spawn(move || {
                let things: [&dyn Waitable; 3] = [go, seats, reader];
                assert_eq!(waited(&things[..2 + index % 2]), [0]);
                came.fetch_add(1, Ordering::Relaxed);
            });
        }
        thread::sleep(SHORT);
        assert_eq!(came.load(Ordering::Relaxed), 0);
        go.set();
    });
    assert_eq!(came.load(Ordering::Relaxed), 8);
}

/// Every permit is taken, beside others who only wait. That none is taken late, by the bounded look
/// alone, is for the model to say.
#[test]
fn who_waits_for_several_takes_no_wake_from_who_takes() {
    const ROUNDS: u64 = 500;
    let (seats, (reader, _writer), over) = (semaphore(), pipe(), event());
    let (taken, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                seats.acquire_timeout(LIMIT).expect("released").leak();
                taken.fetch_add(1, Ordering::Release);
            }
        });
        for len in [2, 2, 3] {
            let (seats, over, reader, stop) = (&seats, &over, &reader, &stop);
            scope.spawn(move || {
                let things: [&dyn Waitable; 3] = [seats, over, reader];
                while !stop.load(Ordering::Relaxed) {
                    waited(&things[..len]);
                    thread::yield_now();
                }
            });
        }
        let end = Instant::now() + LIMIT;
        for round in 1..=ROUNDS {
            seats.release().expect("below the bound");
            while taken.load(Ordering::Acquire) < round {
                assert!(
                    Instant::now() < end,
                    "round {round}: a permit is there, and not taken"
                );
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        over.set();
    });
}

#[test]
fn a_death_makes_a_semaphore_ready() {
    let seats = Semaphore::new(1).expect("a semaphore");
    let (never, (reader, _writer)) = (event(), pipe());
    let lists: [&[&dyn Waitable]; 2] = [&[&never, &seats], &[&never, &seats, &reader]];
    for things in lists {
        let holder = child_that(|| seats.acquire().expect("it is free").leak());
        assert_eq!(try_wait(things), Ok(vec![]));
        thread::scope(|scope| {
            later(scope, || holder.kill());
            assert_eq!(waited(things), [1]);
        });
        drop(seats.try_acquire().expect("it came back"));
    }
}

#[test]
fn a_forked_child_has_a_doorbell_of_its_own() {
    let (event, (reader, mut writer)) = (event(), pipe());
    let things: [&dyn Waitable; 2] = [&event, &reader];
    // This process has one now.
    assert_eq!(wait(&things, Duration::from_millis(1)), Ok(vec![]));
    let (theirs, came) = (Event::new().expect("an event"), Counters::new(1));
    let child = testing::fork(|| {
        let things: [&dyn Waitable; 2] = [&theirs, &reader];
        came.set(0, 1);
        assert_eq!(wait(&things, LIMIT), Ok(vec![0]));
    });
    came.reached(0, 1);
    thread::sleep(SHORT);
    theirs.set();
    assert!(child.join(), "the child was not content");
    writer.write_all(b"x").expect("written");
    assert_eq!(waited(&things), [1]);
}

/// Children wait for all sorts of things, and are killed at any moment: nobody else misses anything.
#[test]
fn waiters_killed_at_any_moment_harm_nobody() {
    let (event, seats, over) = (event(), semaphore(), event());
    let (reader, _writer) = pipe();
    let (mut chance, kills) = (Chance::new(), kills(60));
    let rounds = AtomicU64::new(0);
    thread::scope(|scope| {
        // Each change is waited for by somebody who lives, with and without a doorbell.
        scope.spawn(|| {
            let all: [&dyn Waitable; 4] = [&over, &event, &seats, &reader];
            for round in 0.. {
                let ready = waited(&all[..3 + round % 2]);
                if ready.contains(&0) {
                    return;
                }
                event.clear();
                while let Ok(permit) = seats.try_acquire() {
                    permit.leak();
                }
                rounds.fetch_add(1, Ordering::Release);
            }
        });
        for kill in 0..kills {
            let child = testing::fork(|| {
                let all: [&dyn Waitable; 3] = [&event, &seats, &reader];
                for round in 0.. {
                    let _ready = wait(&all[..2 + round % 2], SHORT);
                }
            });
            chance.moment(Duration::from_millis(1));
            let before = rounds.load(Ordering::Acquire);
            if kill % 2 == 0 {
                event.set();
            } else {
                seats.release().expect("below the bound");
            }
            until(
                || rounds.load(Ordering::Acquire) > before,
                "the change was seen",
            );
            chance.moment(Duration::from_millis(1));
            child.kill();
        }
        over.set();
    });
    println!("{kills} kills");
}
