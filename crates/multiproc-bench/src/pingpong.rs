//! `pingpong`: a number goes to another process and back, 8 bytes each way.
//!
//! | impl | |
//! |---|---|
//! | `ours` | a pipe |
//! | `ours-view` | a pipe, as bytes in buffers of one's own |
//! | `ours-queue` | two queues |
//! | `ours-thread` | a pipe between threads of one process |
//! | `spin-futex`, `futex` | the limit: two words of memory; the first looks for a while before it sleeps, the second sleeps at once |
//! | `ipc-channel`, `socketpair` | rivals |
//!
//! `--pause` lets so many microseconds pass before each, so that the other side sleeps.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use multiproc::{Connection, Process, Queue, pipe};

use crate::args::Args;
use crate::{Outcome, measure, raw};

/// How often the spinning rival looks before it sleeps: some microseconds.
const SPINS: u32 = 200;

/// What says that it is over.
const OVER: u64 = 0;

/// Both directions of one side.
trait Side {
    fn send(&mut self, value: u64);
    fn recv(&mut self) -> u64;
}

/// Sends back what comes.
fn echo(mut side: impl Side, cpu: Option<usize>) {
    raw::pin(cpu);
    loop {
        let value = side.recv();
        side.send(value);
        if value == OVER {
            return;
        }
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let [_, theirs] = args.placement();
    match args.imp.as_str() {
        "ours" => {
            let (here, there) = pipe()?;
            let server = Process::new(|(there, cpu): (Pipe, _)| echo(there, cpu), (there, theirs));
            ask(args, here, server.start()?)
        }
        "ours-view" => {
            let (here, there) = pipe()?;
            let serve = |(there, cpu): (Pipe, _)| echo(Bytes(there), cpu);
            ask(
                args,
                Bytes(here),
                Process::new(serve, (there, theirs)).start()?,
            )
        }
        "ours-queue" => {
            let (here, there) = (Queue::bounded(1)?, Queue::bounded(1)?);
            let serve = |(queues, cpu)| echo(Queues(queues), cpu);
            let ends = ((here.clone(), there.clone()), theirs);
            ask(
                args,
                Queues((there, here)),
                Process::new(serve, ends).start()?,
            )
        }
        "ours-thread" => {
            let (here, there): (Pipe, Pipe) = pipe()?;
            let server = thread::spawn(move || echo(there, theirs));
            round_trips(args, here)?;
            server.join().map_err(|_| "the server panicked".into())
        }
        "futex" | "spin-futex" => {
            let words = raw::shared_words(4 * LINE)?;
            let (one, other) = words.split_at(2 * LINE);
            let spins = if args.imp == "futex" { 0 } else { SPINS };
            let side = |out, back| Words { spins, out, back };
            raw::fork(|| echo(side(other, one), theirs))?;
            round_trips(args, side(one, other))
        }
        "ipc-channel" => {
            let (there, incoming) = ipc::channel()?;
            let (outgoing, back) = ipc::channel()?;
            raw::fork(|| echo((outgoing, incoming), theirs))?;
            round_trips(args, (there, back))
        }
        "socketpair" => {
            let (here, there) = UnixStream::pair()?;
            raw::fork(|| echo(there, theirs))?;
            round_trips(args, here)
        }
        _ => args.unsupported("no such implementation"),
    }
}

fn ask(args: &Args, here: impl Side, server: Process<()>) -> Outcome {
    round_trips(args, here)?;
    Ok(server.join()?)
}

fn round_trips(args: &Args, mut here: impl Side) -> Outcome {
    let pause = Duration::from_micros(args.number("pause", 0));
    raw::pin(args.placement()[0]);
    let mut count = OVER;
    let rest = || {
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    };
    let reps = args.number("reps", 20_000);
    measure::each_after(args, "rtt", reps, rest, || {
        count += 1;
        here.send(count);
        assert_eq!(here.recv(), count);
        Ok(())
    })?;
    here.send(OVER);
    here.recv();
    Ok(())
}

// ------------------------------------------------------------------ ours

type Pipe = Connection<u64, u64>;

impl Side for Pipe {
    fn send(&mut self, value: u64) {
        Connection::send(self, &value).expect("the other end is there");
    }

    fn recv(&mut self) -> u64 {
        Connection::recv(self).expect("the other end is there")
    }
}

/// A pipe of which the bytes are used.
struct Bytes(Pipe);

impl Side for Bytes {
    fn send(&mut self, value: u64) {
        let sent = self.0.send_bytes(&value.to_ne_bytes());
        sent.expect("the other end is there");
    }

    fn recv(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let len = self.0.recv_bytes_into(&mut bytes);
        assert_eq!(len.expect("the other end is there"), bytes.len());
        u64::from_ne_bytes(bytes)
    }
}

/// In, out.
struct Queues((Queue<u64>, Queue<u64>));

impl Side for Queues {
    fn send(&mut self, value: u64) {
        self.0.1.put(value).expect("the queue stays open");
    }

    fn recv(&mut self) -> u64 {
        self.0.0.get().expect("the queue stays open")
    }
}

// ------------------------------------------------------------------ the others

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

impl Side for (IpcSender<u64>, IpcReceiver<u64>) {
    fn send(&mut self, value: u64) {
        self.0.send(value).expect("the other end is there");
    }

    fn recv(&mut self) -> u64 {
        self.1.recv().expect("the other end is there")
    }
}

/// Words in a cache line; those of one direction begin on a line of their own.
const LINE: usize = 16;

/// Which word of a direction: the value in two, whether it is new, whether somebody sleeps.
const LOW: usize = 0;
const HIGH: usize = 1;
const NEW: usize = 2;
const ASLEEP: usize = 3;

struct Words {
    spins: u32,
    out: &'static [AtomicU32],
    back: &'static [AtomicU32],
}

impl Side for Words {
    fn send(&mut self, value: u64) {
        self.out[LOW].store(value as u32, Ordering::Relaxed);
        self.out[HIGH].store((value >> 32) as u32, Ordering::Relaxed);
        self.out[NEW].store(1, Ordering::SeqCst);
        if self.out[ASLEEP].load(Ordering::SeqCst) != 0 {
            raw::futex_wake(&self.out[NEW]);
        }
    }

    fn recv(&mut self) -> u64 {
        let mut spins = self.spins;
        while self.back[NEW].load(Ordering::SeqCst) == 0 {
            if spins > 0 {
                spins -= 1;
                std::hint::spin_loop();
            } else {
                self.back[ASLEEP].store(1, Ordering::SeqCst);
                raw::futex_wait(&self.back[NEW], 0);
                self.back[ASLEEP].store(0, Ordering::SeqCst);
            }
        }
        self.back[NEW].store(0, Ordering::SeqCst);
        let [low, high] = [LOW, HIGH].map(|at| self.back[at].load(Ordering::Relaxed));
        u64::from(low) | u64::from(high) << 32
    }
}
