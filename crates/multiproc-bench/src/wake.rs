//! `wake`: two threads wake each other in turn, asleep most of the time; half of a round trip is one
//! wake.
//!
//! Ours are events, which other processes see as well, waited for in one of three ways (`--by`): 0 the
//! event alone, 1 the first of two events, 2 the first of an event and a descriptor. The rival is a
//! word and the kernel's futex.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use multiproc::{Event, Fd, wait};

use crate::args::Args;
use crate::{Outcome, measure, raw};

/// One direction.
trait Signal: Sync {
    fn send(&self);
    /// Waits for what was sent, and takes it.
    fn receive(&self);
}

pub(crate) fn run(args: &Args) -> Outcome {
    match (args.imp.as_str(), args.number("by", 0)) {
        ("ours", 0) => round_trips(args, &Alone(Event::new()?), &Alone(Event::new()?)),
        ("ours", 1) => round_trips(args, &OfTwo::new()?, &OfTwo::new()?),
        ("ours", 2) => round_trips(args, &Beside::new()?, &Beside::new()?),
        ("futex", _) => round_trips(args, &Word::default(), &Word::default()),
        _ => args.unsupported("ours, futex"),
    }
}

fn round_trips(args: &Args, there: &impl Signal, back: &impl Signal) -> Outcome {
    let over = AtomicBool::new(false);
    let [ours, theirs] = args.placed("split");
    thread::scope(|scope| {
        scope.spawn(|| {
            raw::pin(theirs);
            while !over.load(Ordering::Acquire) {
                there.receive();
                back.send();
            }
        });
        raw::pin(ours);
        let reps = args.number("reps", 20_000);
        let measured = measure::each(args, "round_trip", reps, || {
            there.send();
            back.receive();
            Ok(())
        });
        over.store(true, Ordering::Release);
        there.send();
        measured
    })
}

struct Alone(Event);

impl Signal for Alone {
    fn send(&self) {
        self.0.set();
    }

    fn receive(&self) {
        self.0.wait();
        self.0.clear();
    }
}

struct OfTwo(Event, Event);

impl OfTwo {
    fn new() -> Result<OfTwo, multiproc::CreateError> {
        Ok(OfTwo(Event::new()?, Event::new()?))
    }
}

impl Signal for OfTwo {
    fn send(&self) {
        self.0.set();
    }

    fn receive(&self) {
        wait(&[&self.1, &self.0], None).expect("nothing fails");
        self.0.clear();
    }
}

struct Beside(Event, Fd<std::io::PipeReader>, std::io::PipeWriter);

impl Beside {
    fn new() -> Result<Beside, Box<dyn std::error::Error>> {
        let (reader, writer) = std::io::pipe()?;
        Ok(Beside(Event::new()?, Fd(reader), writer))
    }
}

impl Signal for Beside {
    fn send(&self) {
        self.0.set();
    }

    fn receive(&self) {
        let Beside(event, reader, _writer) = self;
        wait(&[reader, event], None).expect("nothing fails");
        event.clear();
    }
}

/// The rival.
#[derive(Default)]
struct Word(AtomicU32);

impl Signal for Word {
    fn send(&self) {
        self.0.store(1, Ordering::SeqCst);
        raw::futex_wake(&self.0);
    }

    fn receive(&self) {
        while self.0.load(Ordering::SeqCst) == 0 {
            raw::futex_wait(&self.0, 0);
        }
        self.0.store(0, Ordering::SeqCst);
    }
}
