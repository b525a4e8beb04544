//! What a queue promises while nobody dies.

use std::time::{Duration, Instant};

use multiproc_queue::{GetError, Queue};
use multiproc_shm::testing;
use multiproc_sync::{Lock, Value};
use multiproc_wire::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

fn queue<T>(capacity: usize) -> Queue<T> {
    Queue::bounded(capacity).expect("a queue")
}

#[test]
fn items_come_in_order() {
    let queue = queue(1000);
    for number in 0..1000u32 {
        queue.put(number).expect("room");
    }
    assert_eq!((queue.len(), queue.is_full()), (1000, true));
    for number in 0..1000 {
        assert_eq!(queue.get(), Ok(number));
    }
    assert!(queue.is_empty());
}

#[test]
fn a_full_queue_gives_the_item_back() {
    let queue = queue(2);
    queue.put("one".to_string()).expect("room");
    queue.put("two".to_string()).expect("room");
    let error = queue.try_put("three".to_string()).expect_err("full");
    assert!(error.is_full());
    assert_eq!(error.into_inner(), "three");
    let begin = Instant::now();
    let error = queue
        .put_timeout("four".into(), Duration::from_millis(20))
        .expect_err("full");
    assert!(error.is_timed_out() && begin.elapsed() >= Duration::from_millis(20));
    let error = queue.put_deadline("five".into(), begin).expect_err("full");
    assert!(error.is_timed_out(), "{error}");
}

#[test]
fn an_empty_queue_says_so_at_once_or_after_the_deadline() {
    let queue = queue::<u8>(2);
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    let begin = Instant::now();
    assert_eq!(
        queue.get_timeout(Duration::from_millis(20)),
        Err(GetError::TimedOut)
    );
    assert!(begin.elapsed() >= Duration::from_millis(20));
    assert_eq!(queue.get_timeout(Duration::ZERO), Err(GetError::TimedOut));
}

#[test]
fn capacity_counts_items_however_large() {
    let queue = queue::<Vec<u8>>(5);
    for len in [100_000, 3, 0, 70_000, 4_000] {
        queue.put(vec![7; len]).expect("room");
    }
    assert!(
        queue
            .try_put(Vec::new())
            .is_err_and(|error| error.is_full())
    );
    for len in [100_000, 3, 0, 70_000, 4_000] {
        assert_eq!(queue.get(), Ok(vec![7; len]));
    }
}

#[test]
fn the_places_of_small_items_hold_large_ones_later() {
    let queue = queue::<Vec<u8>>(64);
    for _ in 0..32 {
        queue.put(Vec::new()).expect("room");
    }
    while queue.len() < 64 {
        queue.put(vec![1; 1_000]).expect("room");
    }
    for round in 0..1_000 {
        queue.get().expect("an item");
        assert_eq!(queue.len(), 63);
        let item = vec![2; if round % 3 == 0 { 80_000 } else { 500 }];
        queue
            .try_put(item)
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
}

#[test]
fn a_capacity_that_makes_no_sense_is_refused() {
    for capacity in [0, usize::MAX] {
        let error = Queue::<u8>::bounded(capacity).expect_err("refused");
        assert!(
            error.is_invalid() && error.to_string().contains("1 to"),
            "{error}"
        );
    }
}

#[test]
fn a_closed_queue_is_drained_first() {
    let queue = queue(4);
    queue.put(1).expect("room");
    queue.close();
    queue.close();
    assert!(queue.put(2).is_err_and(|error| error.is_closed()));
    assert_eq!(queue.get(), Ok(1));
    assert_eq!(queue.get(), Err(GetError::Closed));
    assert_eq!(queue.iter().count(), 0);
}

#[test]
fn a_close_wakes_everybody() {
    let (empty, full) = (queue::<u8>(1), queue::<u8>(1));
    full.put(1).expect("room");
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let (empty, full) = (empty.clone(), full.clone());
        waiting.push(std::thread::spawn(move || {
            empty.get() == Err(GetError::Closed)
        }));
        waiting.push(std::thread::spawn(move || {
            full.put(2).is_err_and(|error| error.is_closed())
        }));
    }
    empty.close();
    full.close();
    assert!(
        waiting
            .into_iter()
            .all(|thread| thread.join().expect("no panic"))
    );
}

#[test]
fn what_cannot_be_encoded_is_an_error_of_put_and_comes_back() {
    #[derive(Serialize, Deserialize, Debug)]
    struct Flat {
        #[serde(flatten)]
        rest: std::collections::BTreeMap<String, u8>,
    }
    let queue = queue(1);
    let error = queue
        .put(Flat {
            rest: [("a".to_string(), 1)].into(),
        })
        .expect_err("refused");
    assert!(error.is_encode(), "{error}");
    assert_eq!(error.into_inner().rest["a"], 1);
    assert!(queue.is_empty());
}

/// Handles anywhere in an item, by a derive without bounds on `T`.
#[derive(Serialize, Deserialize)]
struct Job<T> {
    lock: Lock,
    hits: Value<u64>,
    reply: Option<Queue<T>>,
}

#[test]
fn locks_values_and_queues_travel_inside_items() {
    let jobs = queue::<Job<String>>(4);
    let (lock, hits, reply) = (
        Lock::new().expect("a lock"),
        Value::new(1).expect("a value"),
        queue(1),
    );
    let theirs = jobs.clone();
    let child = testing::fork(move || {
        let job = theirs.get().expect("a job");
        let _guard = job.lock.acquire().expect("free");
        job.hits.update(|hits| *hits += 41);
        job.reply
            .expect("a reply queue")
            .put("done".into())
            .expect("room");
    });
    let job = Job {
        lock: lock.clone(),
        hits: hits.clone(),
        reply: Some(reply.clone()),
    };
    jobs.put(job).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        reply.get_timeout(Duration::from_secs(20)),
        Ok("done".into())
    );
    assert!(child.join());
    assert_eq!(hits.get(), 42);
    assert!(!lock.is_locked());
}

#[test]
fn many_producers_and_consumers_lose_and_double_nothing() {
    const EACH: u64 = 5_000;
    let queue = queue::<(u64, u64)>(64);
    let sums = queue_of_sums();
    let consumers: Vec<_> = (0..2)
        .map(|_| {
            let (queue, sums) = (queue.clone(), sums.clone());
            testing::fork(move || {
                let mut last = [None; 3];
                let (mut count, mut sum) = (0, 0);
                for item in &queue {
                    let (producer, number) = item.expect("an item");
                    let before = last[producer as usize].replace(number);
                    assert!(before < Some(number), "one producer's items in order");
                    count += 1;
                    sum += number;
                }
                sums.put((count, sum)).expect("room");
            })
        })
        .collect();
    let producers: Vec<_> = (0..3)
        .map(|producer| {
            let queue = queue.clone();
            testing::fork(move || {
                for number in 0..EACH {
                    queue.put((producer, number)).expect("open");
                }
            })
        })
        .collect();
    assert!(producers.into_iter().all(testing::Forked::join));
    queue.close();
    assert!(consumers.into_iter().all(testing::Forked::join));
    let (count, sum) = [sums.get(), sums.get()]
        .into_iter()
        .map(|sums| sums.expect("both have reported"))
        .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert_eq!((count, sum), (3 * EACH, 3 * EACH * (EACH - 1) / 2));
}

fn queue_of_sums() -> Queue<(u64, u64)> {
    queue(4)
}

proptest! {
    #[test]
    fn bytes_and_texts_come_back_as_they_were(
        items in prop::collection::vec((any::<String>(), prop::collection::vec(any::<u8>(), 0..2000)), 0..50),
    ) {
        let mixed = queue(100);
        let raw = queue(100);
        for (text, bytes) in &items {
            mixed.put((text.clone(), bytes.clone())).expect("room");
            raw.put(Bytes::from(bytes.clone())).expect("room");
        }
        for (text, bytes) in items {
            prop_assert_eq!(raw.get(), Ok(Bytes::from(bytes.clone())));
            prop_assert_eq!(mixed.get(), Ok((text, bytes)));
        }
    }
}
