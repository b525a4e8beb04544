//! Members killed at every instruction of waiting for several things, and of what ends such a wait:
//! nobody else misses anything.
//!
//! See `multiproc_shm::testing::instructions` for `CHAOS=n`, `SEED=n` and `STEP=n`.

use std::cell::RefCell;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use multiproc_shm::testing::instructions::{kill_at_each, place, stepped};
use multiproc_shm::testing::{LIMIT, alone};
use multiproc_sync::{Event, Semaphore, try_wait, wait};
use multiproc_sys::testing::steps::Reached;

/// One who waits for either, and says what was ready.
fn waiter(event: &Event, seats: &Semaphore) -> JoinHandle<Vec<usize>> {
    let (event, seats) = (event.clone(), seats.clone());
    thread::spawn(move || wait(&[&event, &seats], LIMIT).expect("nothing fails"))
}

/// One who takes a permit.
fn taker(seats: &Semaphore) -> JoinHandle<()> {
    let seats = seats.clone();
    thread::spawn(move || seats.acquire_timeout(LIMIT).expect("there is one").leak())
}

/// Both objects still tell those who wait for several things, and those who take.
fn still_told(event: &Event, seats: &Semaphore) {
    let (first, second) = (waiter(event, seats), taker(seats));
    seats.release().expect("below the bound");
    second.join().expect("it was told");
    // It may have come too late to see the permit.
    event.set();
    let ready = first.join().expect("no panic");
    assert!(ready.contains(&0) || ready == [1], "{ready:?}");
    event.clear();
    assert_eq!(try_wait(&[event, seats]), Ok(vec![]));
}

#[test]
fn killed_at_any_instruction_of_a_wait() {
    alone(|| {
        let (event, seats) = (
            Event::new().expect("an event"),
            Semaphore::new(0).expect("a semaphore"),
        );
        // Too short for anything but one sleep.
        let wait = || drop(wait(&[&event, &seats], Duration::from_micros(20)));
        let start = || stepped(wait);
        kill_at_each("wait for two things in vain", start, |_| {
            still_told(&event, &seats);
        });
        event.set();
        let start = || stepped(wait);
        kill_at_each("wait for two things, one ready", start, |_| {
            event.clear();
            still_told(&event, &seats);
            event.set();
        });
    });
}

#[test]
fn a_waiter_is_told_whatever_instruction_kills_who_makes_it_ready() {
    alone(|| {
        let (event, seats) = (
            Event::new().expect("an event"),
            Semaphore::new(0).expect("a semaphore"),
        );
        let asleep = RefCell::new(None);
        let told = |reached: Reached| {
            let waiter: JoinHandle<Vec<usize>> = asleep.take().expect("started with the member");
            let ready = waiter.join().expect("no panic");
            assert!(!ready.is_empty(), "not told, killed {}", place(reached));
        };

        let start = || {
            *asleep.borrow_mut() = Some(waiter(&event, &seats));
            stepped(|| event.set())
        };
        kill_at_each("set an event somebody waits for", start, |reached| {
            if !event.is_set() {
                assert!(reached != Reached::End);
                event.set();
            }
            told(reached);
            event.clear();
            still_told(&event, &seats);
        });

        let start = || {
            *asleep.borrow_mut() = Some(waiter(&event, &seats));
            stepped(|| seats.release().expect("below the bound"))
        };
        kill_at_each("release a permit somebody waits for", start, |reached| {
            if seats.value() == 0 {
                assert!(reached != Reached::End);
                seats.release().expect("below the bound");
            }
            told(reached);
            seats.acquire_timeout(LIMIT).expect("there is one").leak();
            still_told(&event, &seats);
        });
    });
}
