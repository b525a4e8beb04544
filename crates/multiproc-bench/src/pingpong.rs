//! `pingpong`: a number goes there and back, 8 bytes each way.
//!
//! Ours is a pipe. The rivals are two words of memory: `spin-futex` looks for a while before it sleeps, as
//! ours does, `futex` sleeps at once; and a pair of sockets. `--pause` lets so many microseconds pass
//! before each, so that the other side sleeps.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use multiproc::{Connection, pipe};

use crate::args::Args;
use crate::{Outcome, measure, raw};

/// How often the spinning rival looks before it sleeps: some microseconds.
const SPINS: u32 = 200;

/// Both directions of one side.
trait Side: Send {
    fn send(&mut self, value: u64);
    fn recv(&mut self) -> u64;
}

pub(crate) fn run(args: &Args) -> Outcome {
    match args.imp.as_str() {
        "ours" => {
            let (here, there) = pipe::<u64, u64>()?;
            round_trips(args, here, there)
        }
        "futex" | "spin-futex" => {
            let spins = if args.imp == "futex" { 0 } else { SPINS };
            let ways = [Way::default(), Way::default()];
            let here = Words {
                spins,
                out: &ways[0],
                back: &ways[1],
            };
            let there = Words {
                spins,
                out: &ways[1],
                back: &ways[0],
            };
            round_trips(args, here, there)
        }
        "socketpair" => {
            let (here, there) = UnixStream::pair()?;
            round_trips(args, here, there)
        }
        _ => args.unsupported("ours, futex, spin-futex, socketpair"),
    }
}

fn round_trips(args: &Args, mut here: impl Side, mut there: impl Side) -> Outcome {
    let over = AtomicBool::new(false);
    let [ours, theirs] = args.placement();
    let pause = Duration::from_micros(args.number("pause", 0));
    thread::scope(|scope| {
        scope.spawn(|| {
            raw::pin(theirs);
            while !over.load(Ordering::Acquire) {
                let value = there.recv();
                there.send(value);
            }
        });
        raw::pin(ours);
        let reps = args.number("reps", 50_000);
        let mut count = 0;
        let measured = measure::each(args, "rtt", reps, || {
            let until = Instant::now() + pause;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            count += 1;
            here.send(count);
            assert_eq!(here.recv(), count);
            Ok(())
        });
        over.store(true, Ordering::Release);
        here.send(0);
        measured
    })
}

impl Side for Connection<u64, u64> {
    fn send(&mut self, value: u64) {
        Connection::send(self, &value).expect("the other end is there");
    }

    fn recv(&mut self) -> u64 {
        Connection::recv(self).expect("the other end is there")
    }
}

impl Side for UnixStream {
    fn send(&mut self, value: u64) {
        self.write_all(&value.to_ne_bytes())
            .expect("the other end is there");
    }

    fn recv(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.read_exact(&mut bytes).expect("the other end is there");
        u64::from_ne_bytes(bytes)
    }
}

/// One direction: a value, and a word that says whether it is new.
#[repr(align(64))]
#[derive(Default)]
struct Way {
    value: AtomicU64,
    new: AtomicU32,
    asleep: AtomicBool,
}

struct Words<'a> {
    spins: u32,
    out: &'a Way,
    back: &'a Way,
}

impl Side for Words<'_> {
    fn send(&mut self, value: u64) {
        self.out.value.store(value, Ordering::Relaxed);
        self.out.new.store(1, Ordering::SeqCst);
        if self.out.asleep.load(Ordering::SeqCst) {
            raw::futex_wake(&self.out.new);
        }
    }

    fn recv(&mut self) -> u64 {
        let mut spins = self.spins;
        while self.back.new.load(Ordering::SeqCst) == 0 {
            if spins > 0 {
                spins -= 1;
                std::hint::spin_loop();
            } else {
                self.back.asleep.store(true, Ordering::SeqCst);
                raw::futex_wait(&self.back.new, 0);
                self.back.asleep.store(false, Ordering::SeqCst);
            }
        }
        self.back.new.store(0, Ordering::SeqCst);
        self.back.value.load(Ordering::Relaxed)
    }
}
