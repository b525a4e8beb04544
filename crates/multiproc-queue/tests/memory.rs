//! What queues cost in memory and descriptors, and that it comes back. Each test looks at the whole
//! arena, so it has that to itself.

use std::time::Duration;

use multiproc_queue::{GetError, Queue};
use multiproc_shm::family;
use multiproc_shm::testing::{self, alone};
use multiproc_sync::Lock;

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
        for (number, queue) in (0..).zip(bounded.iter().chain(&unbounded)) {
            queue.put(number).expect("room");
        }
        for (number, queue) in (0..).zip(bounded.iter().chain(&unbounded)) {
            assert_eq!(queue.get(), Ok(number));
        }
        assert_eq!(descriptors(), fds);
        println!("bounded(16): {each} bytes, unbounded: {each_unbounded} bytes, 0 descriptors");
        assert!(each <= 32 << 10 && each_unbounded <= 64 << 10);
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
