//! Prints `ready` when it has a large family: busy and idle pool workers, a process that sleeps,
//! one that computes, one that waits for a lock for ever, each of these with a child of its own.
//! Then it waits to be killed.

use std::error::Error;
use std::thread;
use std::time::Duration;

use multiproc::{Lock, Pool, Process, Queue};

type Ready = Queue<u32>;

fn with_a_child(ready: &Ready, then: fn()) {
    let child = Process::new(sleeper, ready.clone())
        .start()
        .expect("a grandchild starts");
    ready.put(std::process::id()).expect("the parent listens");
    then();
    drop(child);
}

fn sleeper(ready: Ready) {
    ready.put(std::process::id()).expect("the parent listens");
    sleep();
}

fn sleep() {
    thread::sleep(Duration::from_secs(600));
}

fn compute() {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let ready = Ready::bounded(16)?;
    let lock = Lock::new()?;
    let held = lock.acquire()?;
    let sleeping = Process::new(|ready: Ready| with_a_child(&ready, sleep), ready.clone());
    let computing = Process::new(|ready: Ready| with_a_child(&ready, compute), ready.clone());
    let waiting = Process::new(
        |(ready, lock): (Ready, Lock)| {
            ready.put(std::process::id()).expect("the parent listens");
            drop(lock.acquire());
        },
        (ready.clone(), lock.clone()),
    );
    let processes = [sleeping.start()?, computing.start()?, waiting.start()?];
    let pool = Pool::new(3)?;
    let busy = pool.apply_async(
        |ready: Ready| {
            ready.put(std::process::id()).expect("the parent listens");
            compute();
        },
        ready.clone(),
    );
    // Two with a child each, the one that waits for the lock, the busy worker.
    for _ in 0..6 {
        ready.get()?;
    }
    println!("ready");
    sleep();
    drop((held, processes, busy));
    Ok(())
}
