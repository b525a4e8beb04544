//! Queues without a bound, joinable ones, simple ones; and items by the batch.

use std::io::{PipeWriter, pipe};
use std::time::{Duration, Instant};

use multiproc_queue::{GetError, JoinableQueue, Queue, SimpleQueue};
use multiproc_shm::Waitable;
use multiproc_shm::testing;
use multiproc_wire::Fd;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(30);

/// Both kinds, which keep the same promises.
fn both<T>() -> [Queue<T>; 2] {
    [
        Queue::bounded(100_000).expect("a queue"),
        Queue::unbounded().expect("a queue"),
    ]
}

#[test]
fn batches_keep_the_order_and_the_bound() {
    let queue = Queue::bounded(10).expect("a queue");
    let error = queue.try_put_many(0..25).expect_err("too many");
    assert!(error.is_full());
    assert_eq!(error.into_inner(), (10..25).collect::<Vec<_>>());
    assert_eq!(queue.get_many(4).expect("items"), [0, 1, 2, 3]);
    let begin = Instant::now();
    let late = queue.put_many_timeout(10..25, Duration::from_millis(20));
    let late = late.expect_err("room for four");
    assert!(late.is_timed_out() && begin.elapsed() >= Duration::from_millis(20));
    assert_eq!(late.into_inner(), (14..25).collect::<Vec<_>>());
    assert_eq!(
        queue.get_many(100).expect("items"),
        (4..14).collect::<Vec<_>>()
    );
    assert_eq!(queue.get_many(0).expect("none wanted"), [0_i32; 0]);
    let empty = queue.try_get_many(5).expect_err("empty");
    assert_eq!(*empty.error(), GetError::Empty);
    assert!(queue.put_many([]).is_ok());
    queue.close();
    assert!(queue.put_many([1]).is_err_and(|error| error.is_closed()));
    assert_eq!(
        *queue.get_many(5).expect_err("closed").error(),
        GetError::Closed
    );
}

#[test]
fn a_batch_larger_than_the_queue_goes_through_it() {
    for queue in [
        Queue::bounded(7).expect("a queue"),
        Queue::unbounded().expect("a queue"),
    ] {
        let theirs = queue.clone();
        let child = testing::fork(move || {
            theirs
                .put_many((0..5000_u32).map(|n| (n, "x".repeat(n as usize % 300))))
                .expect("open");
            theirs.close();
        });
        let mut next = 0;
        loop {
            match queue.get_many_timeout(32, LIMIT) {
                Ok(items) => {
                    assert!(!items.is_empty() && items.len() <= 32);
                    for (number, text) in items {
                        assert_eq!((number, text.len()), (next, next as usize % 300));
                        next += 1;
                    }
                }
                Err(error) => {
                    assert_eq!(*error.error(), GetError::Closed);
                    break;
                }
            }
        }
        assert_eq!(next, 5000);
        assert!(child.join());
    }
}

/// Refuses to be encoded, or to be decoded.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Moody {
    #[serde(serialize_with = "refuse_one", deserialize_with = "refuse_two")]
    number: u8,
}

fn refuse_one<S: serde::Serializer>(number: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        1 => Err(serde::ser::Error::custom("one is refused")),
        number => serializer.serialize_u8(*number),
    }
}

fn refuse_two<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    match u8::deserialize(deserializer)? {
        2 => Err(serde::de::Error::custom("two is refused")),
        number => Ok(number),
    }
}

#[test]
fn what_fails_in_a_batch_costs_nothing_else() {
    let moody = |number| Moody { number };
    for queue in both() {
        let error = queue.put_many([0, 1, 3].map(moody)).expect_err("refused");
        assert!(error.is_encode() && error.into_inner().len() == 3);
        assert!(queue.is_empty());
        queue.put_many([0, 2, 3].map(moody)).expect("room");
        let error = queue.get_many(10).expect_err("refused");
        assert!(error.error().is_decode(), "{error}");
        assert_eq!(error.into_inner(), [0, 3].map(moody));
    }
}

#[test]
fn join_waits_for_all_that_was_put_and_got() {
    for queue in [
        JoinableQueue::<u32>::bounded(8).expect("a queue"),
        JoinableQueue::unbounded().expect("a queue"),
    ] {
        queue.join().expect("nothing to wait for");
        assert_eq!(
            queue
                .task_done()
                .expect_err("nothing got")
                .to_string()
                .find("task_done"),
            Some(0)
        );
        let theirs = queue.clone();
        let child = testing::fork(move || {
            while theirs.get().is_ok() {
                theirs.task_done().expect("one in hand");
            }
        });
        for round in 0..50 {
            queue.put_many(0..round).expect("open");
            queue.join_timeout(LIMIT).expect("all done");
            assert_eq!((queue.unfinished(), queue.len()), (0, 0));
        }
        queue.close();
        assert!(child.join());
    }
}

#[test]
fn join_counts_what_is_in_hand_and_gives_up_at_its_deadline() {
    let queue = JoinableQueue::<u32>::bounded(8).expect("a queue");
    queue.put_many(0..3).expect("room");
    assert_eq!(queue.get_many(2).expect("items").len(), 2);
    assert!(queue.try_join().is_err_and(|error| error.is_unfinished()));
    queue.get().expect("the third");
    let begin = Instant::now();
    let error = queue
        .join_timeout(Duration::from_millis(20))
        .expect_err("three in hand");
    assert!(
        begin.elapsed() >= Duration::from_millis(20) && error.to_string().starts_with("3 items")
    );
    let waiter = queue.clone();
    let waiter = std::thread::spawn(move || waiter.join_timeout(LIMIT));
    for _ in 0..3 {
        queue.task_done().expect("in hand");
    }
    queue.task_done().expect_err("no more");
    assert_eq!(waiter.join().expect("no panic"), Ok(()));
    assert!(queue.join_deadline(begin).is_ok());
}

#[test]
fn only_the_process_that_got_an_item_says_that_it_is_done() {
    let queue = JoinableQueue::<u32>::bounded(8).expect("a queue");
    queue.put(1).expect("room");
    queue.get().expect("the item");
    let theirs = queue.clone();
    let child = testing::fork(move || {
        let error = theirs.task_done().expect_err("not its own");
        assert!(error.to_string().contains("the process that got an item"));
    });
    assert!(child.join());
    assert_eq!(queue.unfinished(), 1);
    assert!(queue.try_join().is_err_and(|error| error.is_unfinished()));
    // On whichever of its threads.
    let ours = queue.clone();
    std::thread::spawn(move || ours.task_done().expect("in hand"))
        .join()
        .expect("no panic");
    assert!(queue.try_join().is_ok());
}

#[test]
fn an_unreadable_item_is_done() {
    let queue = JoinableQueue::<Moody>::unbounded().expect("a queue");
    queue.put(Moody { number: 2 }).expect("room");
    assert!(queue.get().is_err_and(|error| error.is_decode()));
    assert!(queue.try_join().is_ok());
}

#[test]
fn a_joinable_queue_travels_as_one_and_as_nothing_else() {
    let carrier =
        Queue::<(JoinableQueue<u8>, Queue<u8>, SimpleQueue<u8>)>::bounded(2).expect("a queue");
    let queue = JoinableQueue::bounded(2).expect("a queue");
    let simple = SimpleQueue::new().expect("a queue");
    let both = (queue.clone(), queue.clone_as_queue(), simple.clone());
    carrier.put(both).unwrap_or_else(|error| panic!("{error}"));
    let (joinable, plain, other) = carrier.get().expect("they came");
    plain.put(1).expect("room");
    assert_eq!(joinable.get(), Ok(1));
    assert!(queue.try_join().is_err());
    joinable.task_done().expect("in hand");
    assert!(queue.try_join().is_ok());
    other.put(7).expect("room");
    assert!(simple.is_ready() && simple.get() == Ok(7));
    simple.close();
    assert!(other.is_closed() && other.get() == Err(GetError::Closed));
}

trait AsQueue<T> {
    fn clone_as_queue(&self) -> Queue<T>;
}

impl<T> AsQueue<T> for JoinableQueue<T> {
    fn clone_as_queue(&self) -> Queue<T> {
        Queue::clone(self)
    }
}

#[test]
fn a_close_wakes_who_waits_in_an_unbounded_queue() {
    let queue = Queue::<u8>::unbounded().expect("a queue");
    let theirs = queue.clone();
    let child = testing::fork(move || {
        assert_eq!(theirs.get_timeout(LIMIT), Ok(1));
        assert_eq!(theirs.get_timeout(LIMIT), Err(GetError::Closed));
    });
    queue.put(1).expect("room");
    queue.close();
    assert!(child.join());
    assert!(queue.put(2).is_err_and(|error| error.is_closed()));
}

/// All four forms of all verbs, on all kinds.
#[test]
fn after_a_close_every_verb_says_closed_once_the_queue_is_drained() {
    let joinable = JoinableQueue::bounded(4).expect("a queue");
    let [bounded, unbounded] = both::<u8>();
    let soon = || Instant::now() + LIMIT;
    for queue in [bounded, unbounded, Queue::clone(&joinable)] {
        queue.put_many([1, 2]).expect("room");
        queue.close();
        let puts = [
            queue.put(3),
            queue.try_put(3),
            queue.put_timeout(3, LIMIT),
            queue.put_deadline(3, soon()),
        ];
        assert!(puts.map(|put| put.is_err_and(|error| error.is_closed())) == [true; 4]);
        let puts = [
            queue.put_many([3]),
            queue.try_put_many([3]),
            queue.put_many_timeout([3], LIMIT),
            queue.put_many_deadline([3], soon()),
        ];
        assert!(puts.map(|put| put.is_err_and(|error| error.is_closed())) == [true; 4]);
        assert_eq!((queue.get(), queue.try_get()), (Ok(1), Ok(2)));
        let gets = [
            queue.get(),
            queue.try_get(),
            queue.get_timeout(LIMIT),
            queue.get_deadline(soon()),
        ];
        assert_eq!(gets, [(); 4].map(|()| Err(GetError::Closed)));
        let gets = [
            queue.get_many(2),
            queue.try_get_many(2),
            queue.get_many_timeout(2, LIMIT),
            queue.get_many_deadline(2, soon()),
        ];
        let closed = |got: Result<_, _>| got.map_err(GetError::from) == Err(GetError::Closed);
        assert!(gets.map(closed) == [true; 4]);
        assert!(queue.is_closed() && queue.iter().next().is_none());
    }
}

/// An item is there for every process when its put returns, and behind all that were put before, whoever
/// put them.
#[test]
fn what_was_put_is_there_for_any_process_at_once_and_in_one_order() {
    for queue in both::<(u32, Vec<u8>)>() {
        let [mine, theirs] = [(); 2].map(|()| Queue::<()>::bounded(1).expect("a queue"));
        // Inline, and in shared memory of its own.
        let item = |number: u32| (number, vec![number as u8; (number as usize % 3) * 40_000]);
        let (other, my_turn, their_turn) = (queue.clone(), mine.clone(), theirs.clone());
        let child = testing::fork(move || {
            for number in 0..30 {
                their_turn.get_timeout(LIMIT).expect("a turn");
                assert_eq!(other.try_get(), Ok(item(number)));
                other.put(item(number + 1000)).expect("room");
                other.put(item(number + 2000)).expect("room");
                my_turn.put(()).expect("room");
            }
        });
        for number in 0..30 {
            queue.put(item(number)).expect("room");
            theirs.put(()).expect("room");
            mine.get_timeout(LIMIT).expect("a turn");
            queue.put(item(number + 3000)).expect("room");
            for from in [1000, 2000, 3000] {
                assert_eq!(queue.try_get(), Ok(item(number + from)));
            }
        }
        assert!(child.join());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<usize>),
    Get(usize),
}

#[test]
fn who_loses_an_open_file_to_another_goes_on_with_the_next() {
    for _ in 0..20 {
        for queue in both::<Fd<PipeWriter>>() {
            let (_reader, writer) = pipe().expect("a pipe");
            let files = (0..8).map(|_| Fd(writer.try_clone().expect("room")));
            queue.put_many(files).expect("room");
            queue.close();
            let taken = std::thread::scope(|scope| {
                let takers = [(); 4].map(|()| {
                    scope.spawn(|| {
                        let taken = queue.iter().filter(|item| item.is_ok()).count();
                        assert!(queue.is_empty(), "closed, and not drained");
                        taken
                    })
                });
                takers.map(|taker| taker.join().expect("no panic"))
            });
            assert_eq!(taken.iter().sum::<usize>(), 8);
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lens = prop::collection::vec(0_usize..3000, 1..40);
    let step = prop_oneof![lens.prop_map(Step::Put), (1_usize..60).prop_map(Step::Get)];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn any_order_of_batches_is_that_of_a_list(steps in steps()) {
        for queue in both::<Vec<u8>>() {
            let mut model = std::collections::VecDeque::new();
            let mut next = 0_u8;
            for step in &steps {
                match step {
                    Step::Put(lens) => {
                        let items: Vec<_> = lens.iter().map(|&len| { next = next.wrapping_add(1); vec![next; len] }).collect();
                        model.extend(items.iter().cloned());
                        prop_assert!(queue.put_many(items).is_ok());
                    }
                    Step::Get(most) => {
                        let got = queue.try_get_many(*most).unwrap_or_default();
                        let expected: Vec<_> = model.drain(..model.len().min(*most)).collect();
                        prop_assert!(got.len() <= expected.len());
                        // A batch ends where a chunk does.
                        for item in expected[got.len()..].iter().rev() {
                            model.push_front(item.clone());
                        }
                        prop_assert_eq!(&got[..], &expected[..got.len()]);
                        prop_assert!(!got.is_empty() || expected.is_empty());
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
            }
        }
    }
}
