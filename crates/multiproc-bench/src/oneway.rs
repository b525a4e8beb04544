//! `oneway`: messages per second from producers to consumers.
//!
//! Ours runs between processes, the rival (crossbeam's bounded channel) between threads of one.
//! Both move a `Vec<u8>` that the producer writes in full and the consumer reads in full, through
//! a buffer of as many messages. `ours-batch` puts and gets them by the batch.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use multiproc::{Process, Queue, Receiver, Sender, channel};

use crate::args::Args;
use crate::{Outcome, measure, raw, rivals};

/// Messages under way at most.
const DEPTH: usize = 1024;

/// Messages in one call of `ours-batch`.
const BATCH: u64 = 32;

pub(crate) fn run(args: &Args) -> Outcome {
    let setup = Setup {
        size: args.size("size", 64),
        producers: args.size("producers", 1),
        consumers: args.size("consumers", 1),
        cpus: args.placement(),
    };
    let target = Duration::from_millis(args.number("ms", 400));
    let (messages, time) = match args.imp.as_str() {
        "ours" => ours(&setup, target, [produce, consume])?,
        "ours-batch" => ours(&setup, target, [produce_batches, consume_batches])?,
        "crossbeam" => crossbeam(&setup, target),
        rival if setup.producers > 1 || setup.consumers > 1 => {
            args.unsupported(&format!("{rival} is measured one to one"))
        }
        "ours-pipe" => ours_pipe(&setup, target)?,
        "ipc-channel" => rivals::ipc_channel(setup.size, target, written, read)?,
        "socketpair" => rivals::socketpair(setup.size, target, written, read)?,
        "memcpy" => rivals::memcpy(setup.size, target, written, read),
        _ => args
            .unsupported("ours, ours-batch, ours-pipe, crossbeam, ipc-channel, socketpair, memcpy"),
    };
    let rate = messages as f64 / time.as_secs_f64();
    args.emit("msgs_per_s", rate, "1/s");
    args.emit(
        "mib_per_s",
        rate * setup.size as f64 / f64::from(1 << 20),
        "MiB/s",
    );
    Ok(())
}

struct Setup {
    size: usize,
    producers: usize,
    consumers: usize,
    /// Where producers run, and where consumers.
    cpus: [Option<usize>; 2],
}

impl Setup {
    /// A batch of `n` is this many messages in all: every producer has an equal share, and every
    /// consumer too.
    fn total(&self, n: u64) -> u64 {
        n * self.producers as u64 * self.consumers as u64
    }
}

/// A message as a producer writes it.
fn written(size: usize, count: u64) -> Vec<u8> {
    vec![black_box(count as u8); size]
}

/// A message as a consumer reads it: every byte.
fn read(message: &[u8]) -> u64 {
    let (words, rest) = message.as_chunks::<8>();
    let words = words
        .iter()
        .fold(0, |sum, word| sum ^ u64::from_ne_bytes(*word));
    rest.iter().fold(words, |sum, &byte| sum ^ u64::from(byte))
}

// ------------------------------------------------------------------ ours

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

fn ours(
    setup: &Setup,
    target: Duration,
    [produce, consume]: [fn(Ends); 2],
) -> Result<(u64, Duration), Box<dyn std::error::Error>> {
    let data = Queue::bounded(DEPTH)?;
    let reports = Queue::bounded(setup.consumers)?;
    let mut processes = Vec::new();
    let mut hire = |function: fn(Ends), count, cpu| -> Result<_, Box<dyn std::error::Error>> {
        let mut orders = Vec::new();
        for _ in 0..count {
            let own = Queue::bounded(1)?;
            let ends = (data.clone(), own.clone(), reports.clone(), setup.size, cpu);
            processes.push(Process::new(function, ends).start()?);
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
    let mut batch = |n: u64| {
        let started = Instant::now();
        order(&consumers, n * setup.producers as u64);
        order(&producers, n * setup.consumers as u64);
        for _ in &consumers {
            black_box(reports.get().expect("every consumer reports"));
        }
        started.elapsed()
    };
    let (n, time) = measure::calibrated(target, 128, &mut batch);
    order(&consumers, 0);
    order(&producers, 0);
    for process in processes {
        process.join()?;
    }
    Ok((setup.total(n), time))
}

// ------------------------------------------------------------------ ours, by a pipe

/// The data, orders (how many messages this batch; 0 ends), size of a message, CPU.
type PipeEnds = (Sender<Vec<u8>>, Receiver<u64>, usize, Option<usize>);

fn produce_into((data, orders, size, cpu): PipeEnds) {
    raw::pin(cpu);
    while let Ok(count @ 1..) = orders.recv() {
        for n in 0..count {
            data.send(&written(size, n)).expect("the parent receives");
        }
    }
}

fn ours_pipe(
    setup: &Setup,
    target: Duration,
) -> Result<(u64, Duration), Box<dyn std::error::Error>> {
    let (sender, data) = channel::<Vec<u8>>()?;
    let (orders, ordered) = channel()?;
    let ends = (sender, ordered, setup.size, setup.cpus[0]);
    let producer = Process::new(produce_into, ends).start()?;
    raw::pin(setup.cpus[1]);
    let mut batch = |n: u64| {
        let started = Instant::now();
        orders.send(&n).expect("its process takes it");
        let next = || read(&data.recv().expect("the producer sends"));
        black_box((0..n).fold(0, |sum, _| sum ^ next()));
        started.elapsed()
    };
    let measured = measure::calibrated(target, 128, &mut batch);
    orders.send(&0)?;
    producer.join()?;
    Ok(measured)
}

// ------------------------------------------------------------------ the rival

fn crossbeam(setup: &Setup, target: Duration) -> (u64, Duration) {
    let (sender, receiver) = crossbeam_channel::bounded::<Vec<u8>>(DEPTH);
    let mut batch = |n: u64| {
        let started = Instant::now();
        thread::scope(|scope| {
            for _ in 0..setup.consumers {
                scope.spawn(|| {
                    raw::pin(setup.cpus[1]);
                    let share = n * setup.producers as u64;
                    let next = || read(&receiver.recv().expect("the sender lives"));
                    black_box((0..share).fold(0, |sum, _| sum ^ next()))
                });
            }
            for _ in 0..setup.producers {
                scope.spawn(|| {
                    raw::pin(setup.cpus[0]);
                    for count in 0..n * setup.consumers as u64 {
                        sender
                            .send(written(setup.size, count))
                            .expect("the receiver lives");
                    }
                });
            }
        });
        started.elapsed()
    };
    let (n, time) = measure::calibrated(target, 128, &mut batch);
    (setup.total(n), time)
}
