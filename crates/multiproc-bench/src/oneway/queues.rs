//! Ours: a queue, between processes, between threads, and alone.

use std::error::Error;
use std::hint::black_box;
use std::thread;
use std::time::Instant;

use multiproc::{Process, Queue};

use super::{BATCH, Rate, Setup, read, written};
use crate::{Outcome, raw};

/// The data queue, orders (how many messages this batch; 0 ends), reports, size of a message, CPU.
type Ends = (Queue<Vec<u8>>, Queue<u64>, Queue<u64>, usize, Option<usize>);

fn produce((data, orders, _, size, cpu): Ends) {
    raw::pin(cpu);
    while let Ok(count @ 1..) = orders.get() {
        for n in 0..count {
            data.put(written(size, n)).expect("the queue stays open");
        }
    }
}

fn consume((data, orders, reports, _, cpu): Ends) {
    raw::pin(cpu);
    while let Ok(count @ 1..) = orders.get() {
        let mut sum = 0;
        for _ in 0..count {
            sum ^= read(&data.get().expect("the queue stays open"));
        }
        reports.put(sum).expect("the parent waits for it");
    }
}

fn produce_batches((data, orders, _, size, cpu): Ends) {
    raw::pin(cpu);
    while let Ok(count @ 1..) = orders.get() {
        for first in (0..count).step_by(BATCH as usize) {
            let batch = first..count.min(first + BATCH);
            let put = data.put_many(batch.map(|n| written(size, n)));
            put.expect("the queue stays open");
        }
    }
}

fn consume_batches((data, orders, reports, _, cpu): Ends) {
    raw::pin(cpu);
    while let Ok(mut count @ 1..) = orders.get() {
        let mut sum = 0;
        while count > 0 {
            let batch = data.get_many(count.min(BATCH) as usize);
            for message in batch.expect("the queue stays open") {
                sum ^= read(&message);
                count -= 1;
            }
        }
        reports.put(sum).expect("the parent waits for it");
    }
}

/// A producer and a consumer.
pub(super) type Pair = [fn(Ends); 2];

pub(super) const SINGLES: Pair = [produce, consume];
pub(super) const BATCHES: Pair = [produce_batches, consume_batches];

/// Somebody who produces or consumes, to be waited for.
type Worker = Box<dyn FnOnce() -> Outcome>;

/// How such a one is started.
type Start = fn(fn(Ends), Ends) -> Result<Worker, Box<dyn Error>>;

pub(super) fn between_processes(setup: &Setup, pair: Pair) -> Result<Rate, Box<dyn Error>> {
    between(setup, pair, |function, ends| {
        let process = Process::new(function, ends).start()?;
        Ok(Box::new(move || Ok(process.join()?)))
    })
}

pub(super) fn between_threads(setup: &Setup) -> Result<Rate, Box<dyn Error>> {
    between(setup, SINGLES, |function, ends| {
        let thread = thread::spawn(move || function(ends));
        Ok(Box::new(move || {
            thread.join().map_err(|_| "a thread panicked".into())
        }))
    })
}

fn between(setup: &Setup, [produce, consume]: Pair, start: Start) -> Result<Rate, Box<dyn Error>> {
    let data = Queue::bounded(setup.depth())?;
    let reports = Queue::bounded(setup.consumers)?;
    let mut workers = Vec::new();
    let mut hire = |function: fn(Ends), count, cpu| -> Result<_, Box<dyn Error>> {
        let mut orders = Vec::new();
        for _ in 0..count {
            let own = Queue::bounded(1)?;
            let ends = (data.clone(), own.clone(), reports.clone(), setup.size, cpu);
            workers.push(start(function, ends)?);
            orders.push(own);
        }
        Ok(orders)
    };
    let consumers = hire(consume, setup.consumers, setup.cpus[1])?;
    let producers = hire(produce, setup.producers, setup.cpus[0])?;
    let order = |all: &[Queue<u64>], count| {
        for orders in all {
            orders.put(count).expect("its process takes it");
        }
    };
    let rate = setup.calibrated(&mut |n| {
        let started = Instant::now();
        order(&consumers, n * setup.producers as u64);
        order(&producers, n * setup.consumers as u64);
        for _ in &consumers {
            black_box(reports.get().expect("every consumer reports"));
        }
        started.elapsed()
    });
    order(&consumers, 0);
    order(&producers, 0);
    workers.into_iter().try_for_each(|join| join())?;
    Ok(setup.total(rate))
}

/// One thread puts a batch and gets it.
pub(super) fn alone(setup: &Setup) -> Result<Rate, Box<dyn Error>> {
    let data = Queue::bounded(setup.depth())?;
    Ok(in_turn(
        setup,
        |count| data.put(written(setup.size, count)).expect("room"),
        || read(&data.get().expect("just put")),
    ))
}

/// Puts a batch and gets it, again and again.
pub(super) fn in_turn(setup: &Setup, put: impl Fn(u64), get: impl Fn() -> u64) -> Rate {
    let batch = BATCH.min(setup.depth() as u64);
    let (batches, time) = setup.calibrated(&mut |n| {
        let started = Instant::now();
        for _ in 0..n {
            (0..batch).for_each(&put);
            black_box((0..batch).fold(0, |sum, _| sum ^ get()));
        }
        started.elapsed()
    });
    (batches * batch, time)
}
