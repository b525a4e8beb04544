//! What queues cost in memory and descriptors, and that it comes back. Each test looks at the whole
//! arena, so it has that to itself.

use std::time::{Duration, Instant};

use multiproc_queue::{GetError, JoinableQueue, Queue};
use multiproc_shm::family;
use multiproc_shm::testing::{self, alone};
use multiproc_sync::Lock;
use multiproc_wire::Bytes;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn an_unbounded_queue_grows_and_gives_its_memory_back() {
    const ITEMS: usize = 150_000;
    alone(|| {
        let queue = Queue::<(u64, [u64; 12])>::unbounded().expect("a queue");
        let used = || family::usage().expect("an arena").used;
        let empty = used();
        for round in 0..2 {
            for number in 0..ITEMS as u64 {
                queue.put((number, [number; 12])).expect("room");
            }
            assert_eq!((queue.len(), queue.is_full()), (ITEMS, false));
            let full = used();
            assert!(full - empty > 12 << 20, "round {round}: {full}");
            for number in 0..ITEMS as u64 {
                assert_eq!(queue.get(), Ok((number, [number; 12])));
            }
            assert_eq!(queue.try_get(), Err(GetError::Empty));
            // The last chunk stays; the next put leaves it for a small one.
            assert!(used() - empty <= (full - empty) / 3, "round {round}");
            queue.put((0, [0; 12])).expect("room");
            queue.get().expect("the item");
            queue.try_get().expect_err("empty");
            assert!(
                used() - empty <= 256 << 10,
                "round {round}: {}",
                used() - empty
            );
        }
        assert_eq!(queue.capacity(), usize::MAX);
    });
}

#[test]
fn a_thousand_queues_cost_no_descriptor_and_little_memory() {
    const MANY: usize = 1000;
    alone(|| {
        let descriptors = || std::fs::read_dir("/proc/self/fd").expect("/proc").count();
        let used = || family::usage().expect("an arena").used as usize;
        let (fds, before) = (descriptors(), used());
        let bounded: Vec<_> = (0..MANY)
            .map(|_| Queue::<u64>::bounded(16).expect("a queue"))
            .collect();
        let each = (used() - before) / MANY;
        let before = used();
        let unbounded: Vec<_> = (0..MANY)
            .map(|_| Queue::<u64>::unbounded().expect("a queue"))
            .collect();
        let each_unbounded = (used() - before) / MANY;
        let before = used();
        let joinable: Vec<_> = (0..MANY)
            .map(|_| JoinableQueue::<u64>::bounded(16).expect("a queue"))
            .collect();
        let each_joinable = (used() - before) / MANY;
        for (number, queue) in (0..).zip(bounded.iter().chain(&unbounded)) {
            queue.put(number).expect("room");
        }
        for (number, queue) in (0..).zip(bounded.iter().chain(&unbounded)) {
            assert_eq!(queue.get(), Ok(number));
        }
        assert_eq!(descriptors(), fds);
        println!(
            "bounded(16): {each} bytes, unbounded: {each_unbounded} bytes, joinable: {each_joinable} \
             bytes, 0 descriptors"
        );
        assert!(each <= 32 << 10 && each_unbounded <= 64 << 10 && each_joinable <= 48 << 10);
        drop(joinable);
    });
}

/// A line of `/proc/<pid>/status`, in bytes.
fn status(pid: u32, name: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse::<usize>().ok())
        .expect("a number")
        << 10
}

const PAYLOAD: usize = 64 << 20;
/// What a process has beside: its stacks, its program, what the test itself needs.
const BESIDE: usize = 6 << 20;

/// How much more memory than at its start this process has had at once while it did that.
fn growth(act: impl FnOnce()) -> usize {
    let me = std::process::id();
    let before = status(me, "VmRSS");
    act();
    status(me, "VmHWM").saturating_sub(before)
}

/// A message of 64 MiB on its way takes at most 2.2 times as much, in both processes together. Seen in three
/// parts, so that nothing depends on when somebody looks: the producer never has more than the item and its
/// copy; it has dropped the item before anybody can take it; the consumer never has more than the stored bytes
/// and its own. Each part is at most twice the payload, and the last two are one after the other.
#[test]
fn a_large_message_on_its_way_takes_at_most_twice_its_length() {
    alone(|| {
        let queue = Queue::<Vec<u8>>::bounded(1).expect("a queue");
        let reports = Queue::<usize>::bounded(4).expect("a queue");
        queue.put(vec![1]).expect("room");
        let (theirs, report) = (queue.clone(), reports.clone());
        let producer = testing::fork(move || {
            let before = status(std::process::id(), "RssAnon");
            let grown = growth(|| {
                let item = vec![7; PAYLOAD];
                report.put(before).expect("room");
                theirs.put_timeout(item, LIMIT).expect("room in the end");
            });
            report.put(grown).expect("room");
            std::thread::sleep(LIMIT);
        });
        let before = reports.get_timeout(LIMIT).expect("a report");
        // The queue is full: the item waits, in shared memory only.
        let begin = Instant::now();
        let now = |name| status(producer.pid, name);
        while now("RssShmem") < PAYLOAD || now("RssAnon") > before + BESIDE {
            assert!(
                begin.elapsed() < LIMIT / 2,
                "the item is still there: {} shared, {} private, before {before}",
                now("RssShmem"),
                now("RssAnon")
            );
            std::thread::yield_now();
        }
        assert_eq!(queue.get(), Ok(vec![1]));
        assert!(reports.get_timeout(LIMIT).expect("a report") <= PAYLOAD * 2 + BESIDE);
        let (theirs, report) = (queue.clone(), reports.clone());
        let consumer = testing::fork(move || {
            let mut item = Vec::new();
            let grown = growth(|| item = theirs.get_timeout(LIMIT).expect("the item"));
            assert!(item.len() == PAYLOAD && item.iter().all(|&byte| byte == 7));
            report.put(grown).expect("room");
        });
        assert!(reports.get_timeout(LIMIT).expect("a report") <= PAYLOAD * 2 + BESIDE);
        assert!(consumer.join());
        producer.kill();
    });
}

#[test]
fn a_large_item_that_is_refused_comes_back_as_it_was() {
    alone(|| {
        let large = |byte: u8| {
            (0..3 << 20)
                .map(|n: u32| n as u8 ^ byte)
                .collect::<Vec<u8>>()
        };
        let queue = Queue::<Vec<u8>>::bounded(1).expect("a queue");
        queue.put(large(1)).expect("room");
        let error = queue.try_put(large(2)).expect_err("full");
        assert!(error.is_full() && error.into_inner() == large(2));
        let error = queue
            .put_timeout(large(3), Duration::from_millis(1))
            .expect_err("full");
        assert!(error.is_timed_out() && error.into_inner() == large(3));
        assert!(queue.get().expect("the item") == large(1));
        queue.close();
        let error = queue.put(large(4)).expect_err("closed");
        assert!(error.is_closed() && error.into_inner() == large(4));
        let queue = Queue::<Bytes>::unbounded().expect("a queue");
        queue.put(Bytes::from(large(5))).expect("room");
        assert!(*queue.get().expect("the item") == *large(5));
    });
}

#[test]
fn large_items_and_handles_go_through_an_unbounded_queue() {
    alone(|| {
        let queue = Queue::<(usize, Vec<u8>, Option<Lock>)>::unbounded().expect("a queue");
        let lens = [0, 1, 16_000, 16_384, 70_000, 5 << 20];
        let theirs = queue.clone();
        let child = testing::fork(move || {
            for (number, len) in lens.into_iter().enumerate() {
                let lock = (number % 2 == 0).then(|| Lock::new().expect("a lock"));
                let put = theirs.put((number, vec![number as u8; len], lock));
                assert!(put.is_ok());
            }
        });
        for (number, len) in lens.into_iter().enumerate() {
            let (same, bytes, lock) = queue.get_timeout(LIMIT).expect("an item");
            assert_eq!((same, bytes), (number, vec![number as u8; len]));
            assert_eq!(lock.is_some(), number % 2 == 0);
        }
        assert!(child.join());
    });
}
