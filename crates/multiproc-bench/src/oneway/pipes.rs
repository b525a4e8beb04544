//! Ours: a pipe, of values and of bytes.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use multiproc::{Process, Receiver, Sender, channel};

use super::{Rate, Setup, read, written};
use crate::raw;

/// The data, orders (how many messages this batch; 0 ends), size of a message, CPU.
type Ends = (Sender<Vec<u8>>, Receiver<u64>, usize, Option<usize>);

pub(super) fn values(setup: &Setup) -> Result<Rate, Box<dyn Error>> {
    let produce = |(data, orders, size, cpu): Ends| {
        raw::pin(cpu);
        while let Ok(count @ 1..) = orders.recv() {
            for n in 0..count {
                data.send(&written(size, n)).expect("the parent receives");
            }
        }
    };
    between(setup, produce, |data| {
        read(&data.recv().expect("the producer sends"))
    })
}

pub(super) fn views(setup: &Setup) -> Result<Rate, Box<dyn Error>> {
    let produce = |(data, orders, size, cpu): Ends| {
        raw::pin(cpu);
        let mut message = vec![0; size];
        while let Ok(count @ 1..) = orders.recv() {
            for n in 0..count {
                message.fill(black_box(n as u8));
                data.send_bytes(&message).expect("the parent receives");
            }
        }
    };
    let mut buffer = vec![0; setup.size];
    between(setup, produce, |data| {
        let len = data.recv_bytes_into(&mut buffer);
        read(&buffer[..len.expect("the producer sends")])
    })
}

/// A process produces, this one consumes.
fn between(
    setup: &Setup,
    produce: fn(Ends),
    mut consume: impl FnMut(&Receiver<Vec<u8>>) -> u64,
) -> Result<Rate, Box<dyn Error>> {
    let (sender, data) = channel()?;
    let (orders, ordered) = channel()?;
    let ends = (sender, ordered, setup.size, setup.cpus[0]);
    let producer = Process::new(produce, ends).start()?;
    raw::pin(setup.cpus[1]);
    let rate = setup.calibrated(&mut |n| {
        let started = Instant::now();
        orders.send(&n).expect("its process takes it");
        black_box((0..n).fold(0, |sum, _| sum ^ consume(&data)));
        started.elapsed()
    });
    orders.send(&0)?;
    producer.join()?;
    Ok(rate)
}
