//! Values that are never half changed, permits that return, and what is done once.

use multiproc_shm::testing::instructions::{kill_at_each, place, stepped, stepped_after};
use multiproc_shm::testing::{Counters, LIMIT, alone};
use multiproc_sync::{Array, Once, Semaphore, Value};
use multiproc_sys::testing::steps::Reached;

use crate::{OFTEN, SHORT, Waiter};

#[test]
fn killed_at_any_instruction_of_an_update() {
    alone(|| {
        let value = Value::new([0u64; 4]).expect("a value");
        let update = || value.update(|numbers| numbers.iter_mut().for_each(|number| *number += 1));
        kill_at_each(
            "update a value",
            || stepped(update),
            |reached| {
                let now = value.get();
                let whole = now.iter().all(|number| *number == now[0]);
                assert!(whole, "{now:?}, killed {}", place(reached));
                (0..OFTEN).for_each(|_| update());
                assert_eq!(value.get(), now.map(|number| number + OFTEN as u64));
            },
        );
        let array = Array::from_slice(&[[0u64; 3]; 2]).expect("an array");
        let update = || array.update(1, |numbers| *numbers = numbers.map(|number| number + 1));
        kill_at_each(
            "update an array's element",
            || stepped(update),
            |reached| {
                let now = array.get(1);
                let whole = now.iter().all(|number| *number == now[0]);
                assert!(whole, "{now:?}, killed {}", place(reached));
                (0..OFTEN).for_each(|_| update());
                assert_eq!(array.get(1), now.map(|number| number + OFTEN as u64));
                assert_eq!(array.get(0), [0; 3]);
            },
        );
    });
}

/// There are as many permits as before, and no more.
fn permits(seats: &Semaphore, count: u32, reached: Reached) {
    let at = place(reached);
    assert_eq!(seats.value(), count, "killed {at}");
    for _ in 0..OFTEN {
        let held: Vec<_> = (0..count)
            .map(|_| seats.acquire_timeout(LIMIT).expect("free"))
            .collect();
        assert!(seats.try_acquire().is_err(), "one too many, killed {at}");
        drop(held);
    }
    assert_eq!(seats.value(), count, "killed {at}");
}

#[test]
fn killed_at_any_instruction_of_taking_a_permit_and_giving_it_back() {
    alone(|| {
        let seats = Semaphore::new(2).expect("a semaphore");
        let both = || drop(seats.acquire_timeout(LIMIT).expect("free"));
        kill_at_each(
            "acquire and release a permit",
            || stepped(both),
            |reached| permits(&seats, 2, reached),
        );
        let take = || seats.acquire_timeout(LIMIT).expect("free");
        kill_at_each(
            "acquire a permit",
            || stepped(take),
            |reached| permits(&seats, 2, reached),
        );
    });
}

#[test]
fn killed_at_any_instruction_of_a_wait_for_a_permit_and_of_a_release_to_a_waiter() {
    alone(|| {
        let seats = Semaphore::new(1).expect("a semaphore");
        let start = || {
            seats.acquire_timeout(LIMIT).expect("free").leak();
            stepped(|| seats.acquire_timeout(SHORT).map(drop))
        };
        kill_at_each("wait for a permit in vain", start, |reached| {
            seats.release().expect("ours");
            permits(&seats, 1, reached);
        });

        let waiter = Waiter::none();
        let start = || {
            let child = stepped_after(|| seats.acquire_timeout(LIMIT).expect("free"), drop);
            let theirs = seats.clone();
            waiter.start(move || theirs.acquire_timeout(LIMIT).map(drop));
            child
        };
        kill_at_each("release a permit somebody waits for", start, |reached| {
            assert_eq!(waiter.end(), Ok(()), "killed {}", place(reached));
            permits(&seats, 1, reached);
        });
    });
}

#[test]
fn killed_at_any_instruction_of_a_bare_release() {
    alone(|| {
        let known = std::cell::RefCell::new(None);
        let start = || {
            let seats = Semaphore::new(1).expect("a semaphore");
            *known.borrow_mut() = Some(seats.clone());
            stepped(|| seats.release().expect("below the bound"))
        };
        kill_at_each("release a permit nobody holds", start, |reached| {
            let seats = known.take().expect("one for each kill");
            let now = seats.value();
            let right = if reached == Reached::End {
                2..=2
            } else {
                1..=2
            };
            assert!(right.contains(&now), "{now}, killed {}", place(reached));
            permits(&seats, now, reached);
        });
    });
}

#[test]
fn killed_at_any_instruction_of_a_once() {
    alone(|| {
        let known = std::cell::RefCell::new(None);
        let start = || {
            let (once, runs) = (Once::new().expect("a once"), Counters::new(2));
            *known.borrow_mut() = Some((once.clone(), runs.clone()));
            stepped(move || {
                let run = || {
                    runs.add(0);
                    runs.add(1);
                };
                once.call_once(run).expect("it has no deadline")
            })
        };
        kill_at_each("call a once", start, |reached| {
            let (once, runs) = known.take().expect("one for each kill");
            let done = once.is_completed();
            assert!(done || reached != Reached::End);
            for _ in 0..OFTEN {
                let run = || {
                    assert!(!done, "done twice, killed {}", place(reached));
                    runs.add(1);
                };
                once.call_once_timeout(run, LIMIT).expect("nobody does it");
            }
            let ended = runs.get(1);
            let again = u64::from(!done);
            assert!(once.is_completed() && (1..=1 + again).contains(&ended));
        });
    });
}
