//! Rivals between two processes: this one produces, a forked one consumes.

use std::hint::black_box;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use ipc_channel::ipc;

use crate::{measure, raw};

/// How many messages in which time.
type Rate = (u64, Duration);

/// ipc-channel's byte channel.
pub(crate) fn ipc_channel(
    size: usize,
    target: Duration,
    write: fn(usize, u64) -> Vec<u8>,
    read: fn(&[u8]) -> u64,
) -> Result<Rate, Box<dyn std::error::Error>> {
    let (sender, receiver) = ipc::bytes_channel()?;
    between(
        target,
        |n| sender.send(&write(size, n)).expect("the consumer lives"),
        || read(&receiver.recv().expect("the producer lives")),
    )
}

/// A pair of datagram sockets, the kernel's own queue of messages.
pub(crate) fn socketpair(
    size: usize,
    target: Duration,
    write: fn(usize, u64) -> Vec<u8>,
    read: fn(&[u8]) -> u64,
) -> Result<Rate, Box<dyn std::error::Error>> {
    let (ours, theirs) = UnixDatagram::pair()?;
    let mut buffer = vec![0; size];
    between(
        target,
        |n| {
            assert_eq!(
                ours.send(&write(size, n)).expect("the consumer lives"),
                size
            )
        },
        || {
            theirs.recv(&mut buffer).expect("the producer lives");
            read(&buffer)
        },
    )
}

/// The limit: a copy in, nothing else.
pub(crate) fn memcpy(
    size: usize,
    target: Duration,
    write: fn(usize, u64) -> Vec<u8>,
    read: fn(&[u8]) -> u64,
) -> Rate {
    let source = write(size, 1);
    let mut place = vec![0; size];
    measure::calibrated(target, 128, &mut |n| {
        let started = Instant::now();
        for _ in 0..n {
            place.copy_from_slice(black_box(&source));
            black_box(read(&place));
        }
        started.elapsed()
    })
}

/// Batches of messages to a forked process, which says when it has read each.
fn between(
    target: Duration,
    mut send: impl FnMut(u64),
    mut receive: impl FnMut() -> u64,
) -> Result<Rate, Box<dyn std::error::Error>> {
    let (orders, mut order) = std::io::pipe()?;
    let (mut reports, report) = std::io::pipe()?;
    raw::fork(|| consume(orders, report, &mut receive))?;
    let mut batch = |n: u64| {
        let started = Instant::now();
        order
            .write_all(&n.to_le_bytes())
            .expect("the consumer lives");
        (0..n).for_each(&mut send);
        reports.read_exact(&mut [0]).expect("the consumer lives");
        started.elapsed()
    };
    let rate = measure::calibrated(target, 128, &mut batch);
    order.write_all(&0_u64.to_le_bytes())?;
    Ok(rate)
}

fn consume(mut orders: PipeReader, mut report: PipeWriter, receive: &mut dyn FnMut() -> u64) {
    let mut count = [0; 8];
    while orders.read_exact(&mut count).is_ok() && u64::from_le_bytes(count) > 0 {
        for _ in 0..u64::from_le_bytes(count) {
            black_box(receive());
        }
        report.write_all(&[1]).expect("the producer lives");
    }
}
