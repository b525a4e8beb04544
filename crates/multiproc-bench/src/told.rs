//! `told`: how long after the SIGKILL of a process those who wait for it are told. `--of` says whom: the
//! holder of a `lock`, the worker of a `pool` with a task, the server of a `manager`.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use multiproc::{Event, Lock, Manager, Pool, Process, Queue};

use crate::args::Args;
use crate::{Outcome, measure, raw};

/// So long the survivor has been asleep at the time of the kill, about.
const ASLEEP: Duration = Duration::from_millis(2);

pub(crate) fn run(args: &Args) -> Outcome {
    if args.imp != "ours" {
        args.unsupported("ours");
    }
    let times = match args.text("of", "lock") {
        "lock" => lock(args.number("reps", 200))?,
        "pool" => pool(args.number("reps", 100))?,
        "manager" => manager(args.number("reps", 50))?,
        _ => args.unsupported("--of lock, pool, manager"),
    };
    let nanos = times.iter().map(|time| time.as_nanos() as f64);
    measure::quantiles(args, "told", nanos.collect());
    Ok(())
}

type Times = Result<Vec<Duration>, Box<dyn Error>>;

fn lock(reps: u64) -> Times {
    let (lock, held) = (Lock::new()?, Event::new()?);
    let hold = |(lock, held): (Lock, Event)| {
        let _guard = lock.acquire().expect("nobody has it");
        held.set();
        loop {
            thread::park();
        }
    };
    let mut times = Vec::new();
    for _ in 0..reps {
        let holder = Process::<()>::new(hold, (lock.clone(), held.clone())).start()?;
        held.wait();
        held.clear();
        times.push(after_the_kill(holder.pid(), || {
            let told = lock.acquire().expect_err("its holder was killed");
            assert!(told.is_owner_died(), "{told}");
        })?);
        drop(lock.recover()?);
    }
    Ok(times)
}

fn pool(reps: u64) -> Times {
    let (pool, busy) = (Pool::new(1)?, Queue::bounded(1)?);
    let work = |busy: Queue<u32>| {
        busy.put(std::process::id()).expect("it stays open");
        loop {
            thread::park();
        }
    };
    let mut times = Vec::new();
    for _ in 0..reps {
        let result = pool.apply_async::<_, ()>(work, busy.clone());
        let pid = busy.get()?;
        times.push(after_the_kill(pid, || {
            let told = result.get().expect_err("its worker was killed");
            assert!(told.is_worker_lost(), "{told}");
        })?);
    }
    Ok(times)
}

fn manager(reps: u64) -> Times {
    let mut times = Vec::new();
    for _ in 0..reps {
        let manager = Manager::start()?;
        let queue = manager.queue::<u64>(1)?;
        let server = manager.pid().ok_or("the server is ours")?;
        times.push(after_the_kill(server, || {
            queue.get().expect_err("the server was killed");
        })?);
    }
    Ok(times)
}

/// Kills a process while another thread is in `wait`; how much later that comes back.
fn after_the_kill(pid: u32, wait: impl FnOnce() + Send) -> Result<Duration, Box<dyn Error>> {
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            wait();
            Instant::now()
        });
        // That it sleeps by then is what is measured, and nothing goes wrong if it does not.
        thread::sleep(ASLEEP);
        let killed = Instant::now();
        raw::kill(pid)?;
        let told = waiter.join().map_err(|_| "the survivor panicked")?;
        Ok(told.saturating_duration_since(killed))
    })
}
