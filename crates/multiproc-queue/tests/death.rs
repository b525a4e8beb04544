//! Producers and consumers killed at any moment: nothing corrupt, nothing twice, nothing a producer
//! had put is lost, a consumer takes at most one item along, and nobody hangs.
//!
//! `CHAOS=n` runs twenty times as many kills. The seed is printed; `SEED=n` repeats its choices.

use std::time::{Duration, Instant};

use multiproc_queue::{CreateError, GetError, JoinableQueue, Queue};
use multiproc_shm::testing::{self, Chance, Forked, alone, kills};
use multiproc_shm::{Kind, Object};
use multiproc_sync::Lock;
use multiproc_sys::testing as raw;
use std::sync::atomic::{AtomicBool, Ordering};

const LIMIT: Duration = Duration::from_secs(20);

/// An item that proves itself: its bytes follow from its number, and some carry a lock.
type Item = (u64, Vec<u8>, Option<Lock>);

fn item(number: u64) -> Item {
    let len = match number % 50 {
        0 => 70_000,
        rest => rest as usize * 20,
    };
    let lock = number
        .is_multiple_of(7)
        .then(|| Lock::new().expect("a lock"));
    (number, vec![number as u8; len], lock)
}

fn check(item: &Item) -> u64 {
    let (number, bytes, lock) = item;
    assert!(
        bytes.iter().all(|byte| *byte == *number as u8),
        "item {number} is corrupt"
    );
    assert_eq!(lock.is_some(), number.is_multiple_of(7));
    *number
}

type Make = fn() -> Result<Queue<Item>, CreateError>;

/// Every kind of queue; a simple one is an unbounded one with fewer verbs.
const KINDS: [Make; 4] = [
    || Queue::bounded(32),
    Queue::unbounded,
    || JoinableQueue::bounded(32).map(|queue| Queue::clone(&queue)),
    || JoinableQueue::unbounded().map(|queue| Queue::clone(&queue)),
];

/// Puts numbers from `next` on for ever. The word says what has surely been put.
fn produce(queue: &Queue<Item>, done: &Object, mut next: u64) {
    loop {
        queue
            .put(item(next))
            .unwrap_or_else(|error| panic!("{error}"));
        next += 1;
        done.words()[0].store(next, Ordering::Release);
    }
}

#[test]
fn fault_33_nothing_a_killed_producer_had_put_is_lost() {
    for make in KINDS {
        producers_die(make, kills(175));
    }
}

fn producers_die(make: Make, kills: usize) {
    alone(|| {
        let mut random = Chance::new();
        let queue = make().expect("a queue");
        let done = Object::create(Kind::Plain, 1, 8, |_| {}).expect("an object");
        let (mut next, mut expected) = (0, 0);
        for kill in 0..kills {
            let (theirs, word) = (queue.clone(), done.clone());
            done.words()[0].store(next, Ordering::Release);
            let child = testing::fork(move || produce(&theirs, &word, next));
            // Half of them die before they have put anything, or soon after.
            while kill % 2 == 0 && queue.is_empty() {
                std::thread::yield_now();
            }
            let until = Instant::now() + Duration::from_nanos(random.below(1_000_000));
            while Instant::now() < until {
                if let Ok(item) = queue.get_timeout(Duration::from_micros(100)) {
                    assert_eq!(check(&item), expected);
                    expected += 1;
                }
            }
            child.kill();
            // One more than it said may have got in: it was killed between the two.
            next = done.words()[0].load(Ordering::Acquire);
            while let Ok(item) = queue.try_get() {
                assert_eq!(check(&item), expected);
                expected += 1;
            }
            assert!(
                expected == next || expected == next + 1,
                "{expected} got, {next} put"
            );
            next = expected;
        }
        println!("{expected} items");
    });
}

#[test]
fn fault_33_a_killed_consumer_takes_at_most_one_item_along() {
    for make in KINDS {
        consumers_die(make, kills(175));
    }
}

fn consumers_die(make: Make, kills: usize) {
    alone(|| {
        let mut random = Chance::new();
        let queue = make().expect("a queue");
        let seen = Queue::<u64>::bounded(1 << 16).expect("a queue");
        let (mut put, mut got, mut lost) = (0, 0, 0);
        for kill in 0..kills {
            let (theirs, report) = (queue.clone(), seen.clone());
            let child = testing::fork(move || {
                loop {
                    let number = check(&theirs.get().expect("an item"));
                    report.put(number).expect("room");
                }
            });
            let until = Instant::now() + Duration::from_nanos(random.below(1_500_000));
            while Instant::now() < until {
                match queue.put_timeout(item(put), Duration::from_micros(100)) {
                    Ok(()) => put += 1,
                    Err(error) => assert!(error.is_timed_out(), "{error}"),
                }
            }
            child.kill();
            while let Ok(item) = queue.try_get() {
                seen.put(check(&item)).expect("room");
            }
            let before = got + lost;
            while let Ok(number) = seen.try_get() {
                assert!(number >= before, "item {number} twice");
                got += 1;
            }
            assert!(
                put - got <= lost + 1,
                "kill {kill} took {} items along",
                put - got - lost
            );
            lost = put - got;
        }
        println!("{got} items got, {lost} died with a consumer");
    });
}

#[test]
fn fault_33_a_queue_of_four_processes_survives_the_death_of_any() {
    alone(|| {
        let mut random = Chance::new();
        let queue = Queue::<Item>::bounded(16).expect("a queue");
        let start = |role: usize| {
            let queue = queue.clone();
            testing::fork(move || {
                let word = Object::create(Kind::Plain, 1, 8, |_| {}).expect("an object");
                match role % 2 {
                    0 => produce(&queue, &word, 1),
                    _ => loop {
                        check(&queue.get().expect("an item"));
                    },
                }
            })
        };
        let mut members: Vec<Forked> = (0..4).map(start).collect();
        for _ in 0..kills(400) {
            random.moment(Duration::from_millis(1));
            let role = random.below(4) as usize;
            std::mem::replace(&mut members[role], start(role)).kill();
            // Both ends move on, whoever has just died.
            queue
                .put_timeout(item(1), LIMIT)
                .unwrap_or_else(|error| panic!("{error}"));
            check(&queue.get_timeout(LIMIT).expect("an item"));
        }
        members.into_iter().for_each(Forked::kill);
    });
}

/// Items that take long to copy, so that the process is mostly stopped in the midst of one.
#[test]
fn a_process_stopped_in_the_midst_of_an_item_holds_up_nobody_with_a_deadline() {
    alone(|| {
        // Room for them all in the ring: what is stored elsewhere takes the family's one lock, in which a
        // stopped process holds up everybody.
        let queue: Queue<Vec<u8>> = Queue::bounded(64).expect("a queue");
        let item = || vec![3; 7000];
        let theirs = queue.clone();
        let child = testing::fork(move || {
            loop {
                let _maybe_full = theirs.try_put(item());
                let _maybe_empty = theirs.try_get();
            }
        });
        let (begin, mut midst) = (Instant::now(), 0);
        while midst < 20 && begin.elapsed() < LIMIT {
            raw::stop(child.pid, true).expect("it runs");
            // Whoever is stopped at one end has its name in the text.
            let said = format!("{queue:?}");
            midst += u32::from(said.contains("putting") || said.contains("getting"));
            let (begin, short) = (Instant::now(), Duration::from_millis(1));
            let put = queue.try_put(item());
            assert!(put.err().is_none_or(|error| error.is_full()));
            assert!(queue.try_get().err().is_none_or(|error| error.is_empty()));
            let put = queue.put_timeout(item(), short);
            assert!(put.err().is_none_or(|error| error.is_timed_out()));
            let got = queue.get_timeout(short);
            assert!(got.err().is_none_or(|error| error.is_timed_out()));
            assert!(begin.elapsed() < LIMIT);
            raw::stop(child.pid, false).expect("it is there");
            while queue.len() > 4 {
                let _the_other_may_have_it = queue.try_get();
            }
        }
        assert!(midst > 0, "never stopped in the midst of an item");
        child.kill();
    });
}

#[test]
fn a_waiter_hears_of_an_item_whose_producer_died_before_ringing() {
    alone(|| {
        let queue = Queue::<u64>::bounded(4).expect("a queue");
        for round in 0..kills(100) {
            let theirs = queue.clone();
            let waiting = queue.clone();
            let waiter = std::thread::spawn(move || waiting.get_timeout(LIMIT));
            let child = testing::fork(move || {
                theirs.put(round as u64).expect("room");
                raw::exit_now(0);
            });
            child.join();
            assert_eq!(waiter.join().expect("no panic"), Ok(round as u64));
        }
        assert_eq!(queue.try_get(), Err(GetError::Empty));
    });
}

#[test]
fn the_items_of_a_dead_consumer_are_told_of_once_and_waited_for_by_nobody() {
    alone(|| {
        let queue = JoinableQueue::<u32>::bounded(8).expect("a queue");
        for round in 1..20 {
            queue.put_many(0..3).expect("room");
            let theirs = queue.clone();
            let (got, get) = (Queue::bounded(1).expect("a queue"), round % 3 + 1);
            let told = got.clone();
            let child = testing::fork(move || {
                theirs.get_many(get).expect("items");
                told.put(()).expect("room");
                std::thread::sleep(LIMIT);
            });
            got.get().expect("it has them");
            let waiter = queue.clone();
            let waiter = std::thread::spawn(move || waiter.join_timeout(LIMIT));
            for _ in get..3 {
                queue.get().expect("an item");
                queue.task_done().expect("in hand");
            }
            child.kill();
            let error = waiter.join().expect("no panic").expect_err("some are lost");
            assert!(
                error.is_lost() && error.to_string().starts_with(&get.to_string()),
                "{error}"
            );
            assert!(queue.join().expect_err("each handle is told").is_lost());
            assert!(queue.join().is_ok());
        }
    });
}

#[test]
fn a_child_forked_while_other_threads_use_a_queue_can_use_it_too() {
    alone(|| {
        let queue = Queue::<u64>::unbounded().expect("a queue");
        let told = Queue::<()>::bounded(1).expect("a queue");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        queue.put(1).expect("room");
                        let _another_may_have_it = queue.try_get();
                    }
                });
            }
            for _ in 0..kills(60) {
                let child = testing::fork(|| {
                    for _ in 0..5 {
                        queue.put(2).expect("room");
                        queue.get_timeout(LIMIT).expect("an item");
                    }
                    told.put(()).expect("room");
                });
                let done = told.get_timeout(LIMIT);
                child.kill();
                if done.is_err() {
                    over.store(true, Ordering::Relaxed);
                }
                done.expect("the child found nothing locked");
            }
            over.store(true, Ordering::Relaxed);
        });
    });
}

/// A gets an item and hands it to B; C has one of its own and is killed. What A and B do says nothing of C's
/// item, and C's death nothing of theirs.
#[test]
fn an_item_handed_on_is_counted_where_it_was_got_whoever_dies() {
    alone(|| {
        let queue = JoinableQueue::<u32>::bounded(8).expect("a queue");
        for _ in 0..kills(50) {
            queue.put_many([1, 2]).expect("room");
            let (handed, told) = (Queue::bounded(1), Queue::bounded(1));
            let (handed, told) = (handed.expect("a queue"), told.expect("a queue"));
            queue.get().expect("an item for A, which is this process");
            let (theirs, tell) = (queue.clone(), told.clone());
            let holder = testing::fork(move || {
                theirs.get().expect("an item for C");
                tell.put(()).expect("room");
                std::thread::sleep(LIMIT);
            });
            told.get_timeout(LIMIT).expect("C has it");
            let (theirs, take) = (queue.clone(), handed.clone());
            let helper = testing::fork(move || {
                take.get_timeout(LIMIT).expect("A's item");
                theirs.task_done().expect_err("A got it, and A says so");
            });
            handed.put(()).expect("room");
            assert!(helper.join());
            assert_eq!(queue.unfinished(), 2);
            holder.kill();
            // Only A's is left; and once A has said so, there is nothing to wait for.
            let error = queue.try_join().expect_err("A has one in hand");
            assert!(error.is_unfinished() && error.to_string().starts_with("1 items"));
            queue.task_done().expect("A's");
            let error = queue.join_timeout(LIMIT).expect_err("C's is lost");
            assert!(
                error.is_lost() && error.to_string().starts_with("1 items"),
                "{error}"
            );
        }
    });
}

#[test]
fn fault_33_a_batch_is_put_from_its_beginning_and_got_as_a_whole() {
    const BATCH: u64 = 20;
    let numbers = |from: u64| (from..from + BATCH).map(|number| (number, vec![number; 9]));
    alone(|| {
        let mut random = Chance::new();
        for queue in [Queue::<(u64, Vec<u64>)>::bounded(48), Queue::unbounded()] {
            let queue = queue.expect("a queue");
            let (mut expected, mut least) = (0, 0);
            for kill in 0..kills(150) {
                let (theirs, from) = (queue.clone(), expected);
                let child = testing::fork(move || {
                    // Not for ever: nobody takes from the queue meanwhile.
                    for batch in 0..40 {
                        let from = from + batch * BATCH;
                        if theirs.try_put_many(numbers(from)).is_err() {
                            break;
                        }
                    }
                    while kill % 2 == 0 && theirs.try_get_many(7).is_ok() {}
                });
                random.moment(Duration::from_micros(800));
                child.kill();
                while let Ok(items) = queue.try_get_many(31) {
                    for (number, content) in items {
                        assert!(number >= expected && (kill % 2 == 0 || number == expected));
                        assert_eq!(content, [number; 9]);
                        expected = number + 1;
                    }
                }
                least = least.max(expected);
                expected = least;
            }
            println!("{least} items");
        }
    });
}
