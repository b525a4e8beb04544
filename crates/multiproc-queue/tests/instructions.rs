//! Producers and consumers killed at every instruction of a put and a get: at most the one item that
//! was being moved is lost or in, nothing leaks, and the survivors go on.
//!
//! See `multiproc_shm::testing::instructions` for `CHAOS=n`, `SEED=n` and `STEP=n`.

use std::sync::Mutex;
use std::time::Duration;

use multiproc_queue::{FinishError, GetError, JoinableQueue, Queue};
use multiproc_shm::testing::instructions::{kill_at_each, place};
use multiproc_shm::testing::{self, Forked};
use multiproc_sync::Lock;
use multiproc_sys::testing::steps::{self, Reached};

const LIMIT: Duration = Duration::from_secs(20);
static TURN: Mutex<()> = Mutex::new(());

/// An item that proves itself, inline or, with a lock in it, in shared memory of its own.
type Item = (u64, Vec<u64>, Option<Lock>);

fn item(number: u64, with_lock: bool) -> Item {
    let lock = with_lock.then(|| Lock::new().expect("a lock"));
    (number, vec![number; 5], lock)
}

fn put(queue: &Queue<Item>, item: Item) {
    queue
        .put_timeout(item, LIMIT)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Takes all there is, and says which they were.
fn drain(queue: &Queue<Item>) -> Vec<u64> {
    let items = std::iter::from_fn(|| match queue.try_get() {
        Ok((number, content, lock)) => {
            assert_eq!(content, [number; 5]);
            if let Some(lock) = lock {
                drop(lock.acquire_timeout(LIMIT).expect("free"));
            }
            Some(number)
        }
        Err(GetError::Empty) => None,
        Err(error) => panic!("{error}"),
    });
    items.collect()
}

fn goes_on(queue: &Queue<Item>) {
    for round in 0..5 {
        put(queue, item(round, false));
        put(queue, item(round + 100, true));
        assert_eq!(drain(queue), [round, round + 100]);
    }
    assert!(queue.is_empty() && !queue.is_closed());
}

fn alone(test: impl FnOnce(&Queue<Item>)) {
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let queue = Queue::bounded(8).expect("a queue");
    test(&queue);
    goes_on(&queue);
    drop(queue);
    assert!(testing::settle(LIMIT), "members are left");
    testing::audit().expect("nothing contradicts itself");
}

fn member<P, R>(prepare: impl FnOnce() -> P, operation: impl FnOnce(P) -> R) -> Forked {
    testing::fork(|| {
        let prepared = prepare();
        steps::begin();
        let held = operation(prepared);
        steps::end();
        drop(held);
    })
}

#[test]
fn killed_at_any_instruction_of_a_put() {
    alone(|queue| {
        for (name, with_lock) in [
            ("put an item inline", false),
            ("put an item with a lock", true),
        ] {
            let start = || {
                put(queue, item(1, with_lock));
                member(|| item(2, with_lock), |item| put(queue, item))
            };
            kill_at_each(name, start, |reached| {
                let found = drain(queue);
                let without = found == [1] && reached != Reached::End;
                assert!(
                    without || found == [1, 2],
                    "{found:?}, killed {}",
                    place(reached)
                );
                goes_on(queue);
            });
        }
    });
}

#[test]
fn killed_at_any_instruction_of_a_get() {
    alone(|queue| {
        for (name, with_lock) in [
            ("get an item inline", false),
            ("get an item with a lock", true),
        ] {
            let start = || {
                (1..4).for_each(|number| put(queue, item(number, with_lock)));
                member(|| (), |()| queue.get_timeout(LIMIT).expect("an item"))
            };
            kill_at_each(name, start, |reached| {
                let found = drain(queue);
                let with = found == [1, 2, 3] && reached != Reached::End;
                assert!(
                    with || found == [2, 3],
                    "{found:?}, killed {}",
                    place(reached)
                );
                goes_on(queue);
            });
        }
    });
}

#[test]
fn killed_at_any_instruction_of_being_refused() {
    alone(|queue| {
        let start = || {
            (0..8).for_each(|number| put(queue, item(number, false)));
            member(
                || item(9, false),
                |item| {
                    queue
                        .try_put(item)
                        .map_err(|error| assert!(error.is_full()))
                },
            )
        };
        kill_at_each("put into a full queue", start, |_| {
            assert_eq!(drain(queue), [0, 1, 2, 3, 4, 5, 6, 7]);
            goes_on(queue);
        });
        let start = || member(|| (), |()| assert!(queue.try_get().is_err()));
        kill_at_each("get from an empty queue", start, |_| goes_on(queue));
    });
}

#[test]
fn killed_at_any_instruction_of_making_and_closing_a_queue() {
    alone(|queue| {
        let make = |()| Queue::<u64>::bounded(4).expect("a queue");
        let start = || member(|| (), make);
        kill_at_each("make a queue", start, |_| goes_on(queue));

        let closing = std::cell::RefCell::new(None);
        let start = || {
            let queue = Queue::<u64>::bounded(4).expect("a queue");
            queue.put(1).expect("room");
            *closing.borrow_mut() = Some(queue.clone());
            member(|| queue, |queue| queue.close())
        };
        kill_at_each("close a queue", start, |reached| {
            let queue: Queue<u64> = closing.take().expect("one for each kill");
            assert!(queue.is_closed() || reached != Reached::End);
            assert_eq!(queue.get_timeout(LIMIT), Ok(1));
            let after = queue.try_get().expect_err("drained");
            let expected = if queue.is_closed() {
                GetError::Closed
            } else {
                GetError::Empty
            };
            assert_eq!(after, expected, "killed {}", place(reached));
        });
    });
}

#[test]
fn killed_at_any_instruction_of_a_batch() {
    alone(|queue| {
        let start = || {
            put(queue, item(1, false));
            let batch = || vec![item(2, false), item(3, true), item(4, false)];
            member(batch, |batch| queue.put_many(batch).expect("room"))
        };
        kill_at_each("put three items", start, |reached| {
            // The one with a lock is shown with all before it.
            let found = drain(queue);
            let whole = [[1].as_slice(), &[1, 2, 3], &[1, 2, 3, 4]];
            assert!(
                whole.contains(&&found[..]),
                "{found:?}, killed {}",
                place(reached)
            );
            assert!(found.len() == 4 || reached != Reached::End);
            goes_on(queue);
        });
        let start = || {
            (1..6).for_each(|number| put(queue, item(number, number == 2)));
            member(|| (), |()| queue.get_many(3).expect("items"))
        };
        kill_at_each("get three items", start, |reached| {
            let found = drain(queue);
            let whole = [[1, 2, 3, 4, 5].as_slice(), &[3, 4, 5], &[4, 5]];
            assert!(
                whole.contains(&&found[..]),
                "{found:?}, killed {}",
                place(reached)
            );
            assert!(found.len() == 2 || reached != Reached::End);
            goes_on(queue);
        });
    });
}

/// Items of which a chunk of an unbounded queue holds two.
fn half_a_chunk(number: u8) -> Vec<u8> {
    vec![number; 7000]
}

fn drain_halves(queue: &Queue<Vec<u8>>) -> Vec<u8> {
    let items = std::iter::from_fn(|| queue.try_get().ok());
    items
        .map(|content| {
            assert_eq!(content, half_a_chunk(content[0]));
            content[0]
        })
        .collect()
}

#[test]
fn killed_at_any_instruction_of_growing_and_shrinking() {
    alone(|other| {
        let queue = Queue::<Vec<u8>>::unbounded().expect("a queue");
        let fill = || {
            for number in 1..=5 {
                queue.put(half_a_chunk(number)).expect("room");
            }
        };
        let start = || {
            fill();
            let put = |items: [Vec<u8>; 2]| items.map(|item| queue.put(item).expect("room"));
            member(|| [6, 7].map(half_a_chunk), put)
        };
        kill_at_each("put until the queue has grown", start, |reached| {
            let found = drain_halves(&queue);
            let many = found.len() as u8;
            assert_eq!(
                found,
                (1..=many).collect::<Vec<_>>(),
                "killed {}",
                place(reached)
            );
            assert!(many == 7 || many >= 5 && reached != Reached::End);
            assert!(queue.is_empty());
            goes_on(other);
        });
        let start = || {
            fill();
            member(|| (), |()| [(); 3].map(|()| queue.get().expect("an item")))
        };
        kill_at_each("get until a chunk is gone", start, |reached| {
            let found = drain_halves(&queue);
            let first = 6 - found.len() as u8;
            assert_eq!(
                found,
                (first..=5).collect::<Vec<_>>(),
                "killed {}",
                place(reached)
            );
            assert!(first == 4 || first < 4 && reached != Reached::End);
            goes_on(other);
        });
    });
}

#[test]
fn killed_at_any_instruction_of_getting_and_finishing_work() {
    alone(|other| {
        let queue = JoinableQueue::<u64>::bounded(8).expect("a queue");
        let start = || {
            queue.put_many([1, 2]).expect("room");
            let work = |()| {
                queue.get().expect("an item");
                queue.task_done().expect("in hand");
            };
            member(|| (), work)
        };
        kill_at_each("get an item and finish it", start, |reached| {
            let left = std::iter::from_fn(|| queue.try_get().ok()).count();
            (0..left).for_each(|_| queue.task_done().expect("in hand"));
            let lost = match queue.join_timeout(LIMIT) {
                Ok(()) => 0,
                Err(FinishError::Lost { items }) => items,
                Err(error) => panic!("{error}, killed {}", place(reached)),
            };
            // In hand and still in the queue, in the moment between: told as lost, though it is not.
            let twice = left == 2 && lost == 1;
            assert!(
                left == 2 && lost == 0 || left == 1 && lost <= 1 || twice,
                "{left}, {lost}"
            );
            assert!(lost == 0 || reached != Reached::End);
            goes_on(other);
        });
    });
}
