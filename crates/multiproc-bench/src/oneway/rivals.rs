//! The rivals: between threads, or between this process, which produces, and a forked one, which
//! consumes.

use std::error::Error;
use std::hint::black_box;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Instant;

use ipc_channel::ipc;

use super::queues::in_turn;
use super::{Rate, Setup, read, written};
use crate::raw;

/// crossbeam-channel's bounded channel, between threads.
pub(super) fn crossbeam(setup: &Setup) -> Rate {
    let (sender, receiver) = crossbeam_channel::bounded::<Vec<u8>>(setup.depth());
    let rate = setup.calibrated(&mut |n| {
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
                        let message = written(setup.size, count);
                        sender.send(message).expect("the receiver lives");
                    }
                });
            }
        });
        started.elapsed()
    });
    setup.total(rate)
}

/// The same channel, by one thread.
pub(super) fn crossbeam_alone(setup: &Setup) -> Rate {
    let (sender, receiver) = crossbeam_channel::bounded(setup.depth());
    in_turn(
        setup,
        |count| sender.send(written(setup.size, count)).expect("room"),
        || read(&receiver.recv().expect("just sent")),
    )
}

/// ipc-channel's byte channel.
pub(super) fn ipc_channel(setup: &Setup) -> Result<Rate, Box<dyn Error>> {
    let (sender, receiver) = ipc::bytes_channel()?;
    between(
        setup,
        |n| {
            sender
                .send(&written(setup.size, n))
                .expect("the consumer lives")
        },
        || read(&receiver.recv().expect("the producer lives")),
    )
}

/// A pair of datagram sockets, the kernel's own queue of messages.
pub(super) fn socketpair(setup: &Setup) -> Result<Rate, Box<dyn Error>> {
    let (ours, theirs) = UnixDatagram::pair()?;
    let mut buffer = vec![0; setup.size];
    between(
        setup,
        |n| {
            let sent = ours.send(&written(setup.size, n));
            assert_eq!(sent.expect("the consumer lives"), setup.size);
        },
        || {
            theirs.recv(&mut buffer).expect("the producer lives");
            read(&buffer)
        },
    )
}

/// The limit: a copy in, nothing else.
pub(super) fn memcpy(setup: &Setup) -> Rate {
    let source = written(setup.size, 1);
    let mut place = vec![0; setup.size];
    setup.calibrated(&mut |n| {
        let started = Instant::now();
        for _ in 0..n {
            place.copy_from_slice(black_box(&source));
            black_box(read(&place));
        }
        started.elapsed()
    })
}

/// The limit of what owns its messages: each is made, and its copy too.
pub(super) fn clone(setup: &Setup) -> Rate {
    setup.calibrated(&mut |n| {
        let started = Instant::now();
        for count in 0..n {
            let message = black_box(written(setup.size, count));
            black_box(read(&black_box(message.clone())));
        }
        started.elapsed()
    })
}

/// Batches of messages to a forked process, which says when it has read each.
pub(super) fn between(
    setup: &Setup,
    mut send: impl FnMut(u64),
    mut receive: impl FnMut() -> u64,
) -> Result<Rate, Box<dyn Error>> {
    let (orders, mut order) = std::io::pipe()?;
    let (mut reports, report) = std::io::pipe()?;
    raw::fork(|| {
        raw::pin(setup.cpus[1]);
        consume(orders, report, &mut receive);
    })?;
    raw::pin(setup.cpus[0]);
    let rate = setup.calibrated(&mut |n| {
        let started = Instant::now();
        order
            .write_all(&n.to_le_bytes())
            .expect("the consumer lives");
        (0..n).for_each(&mut send);
        reports.read_exact(&mut [0]).expect("the consumer lives");
        started.elapsed()
    });
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
