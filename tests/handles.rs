//! Handles stand anywhere inside a value and mean the same object there: in a process's argument,
//! in a pool's task, in a queue's item.

use std::time::Duration;

use multiproc::{Lock, Pool, Process, Queue, Receiver, StartMethod, Value, channel};
use multiproc_tests::kinds::Kinds;
use multiproc_tests::watchdog;
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS: u64 = 500;

/// Two objects that belong together, and a queue of such pairs' reports.
#[derive(Clone, Serialize, Deserialize)]
struct Counter {
    lock: Lock,
    value: Value<u64>,
    reports: Queue<u64>,
}

impl Counter {
    fn new() -> Counter {
        Counter {
            lock: Lock::new().expect("a lock"),
            value: Value::new(0).expect("a value"),
            reports: Queue::bounded(16).expect("a queue"),
        }
    }

    /// Read, then write: only right if the lock is one and the same for all.
    fn count(&self) {
        for _ in 0..ROUNDS {
            let _held = self.lock.acquire().expect("its owners live");
            self.value.set(self.value.get() + 1);
        }
        self.reports.put(ROUNDS).expect("the queue is open");
    }

    fn check(&self, users: u64) {
        let sum: u64 = (0..users)
            .map(|_| self.reports.get().expect("a report"))
            .sum();
        assert_eq!(sum, users * ROUNDS);
        assert_eq!(self.value.get(), users * ROUNDS);
        assert!(self.reports.is_empty());
    }
}

#[test]
fn handles_travel_in_the_argument_of_a_process() {
    watchdog::within(LIMIT, || {
        let counter = Counter::new();
        let start = |_| Process::new(|c: Counter| c.count(), counter.clone()).start();
        let processes: Vec<_> = (0..3).map(|n| start(n).expect("it starts")).collect();
        for process in processes {
            process.join().expect("it ends well");
        }
        counter.check(3);
    });
}

#[test]
fn handles_travel_in_the_tasks_of_a_pool() {
    watchdog::within(LIMIT, || {
        let pool = Pool::new(3).expect("a pool");
        let counter = Counter::new();
        let tasks: Vec<(u32, Counter)> = (0..9).map(|n| (n, counter.clone())).collect();
        let done = pool.map(
            |(n, counter)| {
                counter.count();
                n
            },
            tasks,
        );
        assert_eq!(done.expect("all answered"), Vec::from_iter(0..9));
        counter.check(9);
        pool.close();
        pool.join().expect("the workers end well");
    });
}

#[test]
fn handles_travel_in_the_items_of_a_queue() {
    watchdog::within(LIMIT, || {
        let parcels = Queue::<Vec<Counter>>::bounded(4).expect("a queue");
        let take = |parcels: Queue<Vec<Counter>>| {
            for counter in parcels.get().expect("a parcel") {
                counter.count();
            }
        };
        let process = Process::new(take, parcels.clone())
            .start()
            .expect("it starts");
        // The child has no handle of these until the item brings them.
        let counters = [Counter::new(), Counter::new()];
        if parcels.put(counters.to_vec()).is_err() {
            panic!("the queue is open");
        }
        process.join().expect("it ends well");
        counters.iter().for_each(|counter| counter.check(1));
    });
}

#[test]
fn handles_come_back_in_a_result() {
    watchdog::within(LIMIT, || {
        let make = |()| {
            let counter = Counter::new();
            counter.count();
            counter
        };
        let process = Process::new(make, ()).start().expect("it starts");
        // Its maker is gone; the object lives as long as somebody can reach it.
        process.join().expect("it ends well").check(1);
    });
}

#[test]
fn every_kind_is_the_same_object_under_each_method_and_in_each_message() {
    watchdog::within(LIMIT, || {
        for method in [StartMethod::ForkServer, StartMethod::Spawn] {
            let kinds = Kinds::new().expect("one of each");
            let process = Process::new(|kinds: Kinds| kinds.change(), kinds.clone());
            let process = process.start_method(method).start().expect("it starts");
            kinds.check();
            process.join().expect("it ends well");
        }
        let (sender, receiver) = channel::<Kinds>().expect("a pipe");
        let take = |receiver: Receiver<Kinds>| receiver.recv().expect("it comes").change();
        let process = Process::new(take, receiver).start().expect("it starts");
        let kinds = Kinds::new().expect("one of each");
        sender.send(&kinds).expect("its reader lives");
        kinds.check();
        process.join().expect("it ends well");
    });
}
