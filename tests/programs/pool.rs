//! A program with a pool, told by its first argument how to treat signals. It prints `ready` when its
//! tasks run.
//!
//! | argument | what it does |
//! |---|---|
//! | `careless` | nothing about signals |
//! | `careful` | `SIGINT`, `SIGTERM`: shuts the pool down within the grace given in milliseconds, says what became of the tasks, and ends with 130 or 0; a second one: ends at once with 130 |
//! | `static` | its pool is in a static and still there when `main` returns |
//! | `oom` | joins the control group given, and has a task use more memory than that has |

use std::error::Error;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use multiproc::{Pool, Queue, TaskErrorKind};
use nix::sys::signal::{SigSet, Signal};

/// A task that says that it runs, and takes so long.
fn task((ready, millis): (Queue<()>, u64)) {
    ready.put(()).expect("the parent listens");
    std::thread::sleep(Duration::from_millis(millis));
}

/// Has 20 tasks handed in of which some run.
fn busy(pool: &Pool, millis: u64) -> Result<(), Box<dyn Error>> {
    let ready = Queue::bounded(100)?;
    for _ in 0..20 {
        pool.apply_async(task, (ready.clone(), millis));
    }
    ready.get()?;
    println!("ready");
    Ok(())
}

fn careless() -> Result<(), Box<dyn Error>> {
    multiproc_sys::testing::heed_interrupts();
    let pool = Pool::new(2)?;
    busy(&pool, 600_000)?;
    pool.close();
    Ok(pool.join()?)
}

fn careful(grace: u64, millis: u64) -> Result<(), Box<dyn Error>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Before there are threads: all of them inherit it.
    signals.thread_block()?;
    let pool = Arc::new(Pool::new(2)?);
    busy(&pool, millis)?;
    let first = signals.wait()?;
    std::thread::spawn(move || {
        let end = pool.shutdown(Duration::from_millis(grace));
        println!("finished {} cancelled {}", end.finished, end.cancelled);
        std::process::exit(if first == Signal::SIGINT { 130 } else { 0 });
    });
    signals.wait()?;
    std::process::exit(130);
}

fn live_static() -> Result<(), Box<dyn Error>> {
    static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::new(2).expect("a pool"));
    assert_eq!(POOL.map(|n: u64| n * n, 0..3)?, [0, 1, 4]);
    busy(&POOL, 600_000)
}

fn oom(group: &str) -> Result<(), Box<dyn Error>> {
    std::fs::write(
        format!("{group}/cgroup.procs"),
        std::process::id().to_string(),
    )?;
    let pool = Pool::new(2)?;
    let take = |megabytes: usize| vec![1_u8; megabytes << 20].into_iter().map(u64::from).sum();
    println!("ready");
    let sums: Vec<Result<u64, _>> = pool.map_each(take, [1, 1, 400, 1, 1]);
    for (n, sum) in sums.iter().enumerate() {
        match sum {
            Ok(sum) => assert!(n != 2 && *sum == 1 << 20),
            Err(error) => match error.kind() {
                TaskErrorKind::WorkerLost { oom, .. } => println!("task {n} lost, oom {oom}"),
                _ => return Err(error.clone().into()),
            },
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words[at].parse::<u64>();
    match words[0].as_str() {
        "careless" => careless(),
        "careful" => careful(number(1)?, number(2)?),
        "static" => live_static(),
        "oom" => oom(&words[1]),
        other => Err(format!("no such program: {other}").into()),
    }
}
