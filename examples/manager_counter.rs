//! A counter shared by 4 processes, each adding 1 three hundred times.
//!
//! Prints what is left of the 1,200 when each process reads, adds and writes (most is lost), and when
//! the addition travels to the counter (nothing is).

use std::error::Error;

use multiproc::{DictProxy, Manager, Process};

const PROCESSES: u64 = 4;
const TIMES: u64 = 300;

fn read_and_write(dict: DictProxy<String, u64>) {
    for _ in 0..TIMES {
        // Others read the same number before this one has written it.
        let n = dict.get("n").unwrap().unwrap();
        dict.insert("n".into(), n + 1).unwrap();
    }
}

fn update(dict: DictProxy<String, u64>) {
    for _ in 0..TIMES {
        dict.update("n", |n, by| *n += by, 1).unwrap();
    }
}

fn count(
    manager: &Manager,
    work: fn(DictProxy<String, u64>),
) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let dict = manager.dict()?;
    dict.insert("n".to_string(), 0)?;
    let processes = (0..PROCESSES).map(|_| Process::new(work, dict.clone()).start());
    let processes = processes.collect::<Result<Vec<_>, _>>()?;
    processes.iter().try_for_each(Process::join)?;
    Ok(dict.get("n")?.unwrap_or_default())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let manager = Manager::start()?;
    let lossy = count(&manager, read_and_write)?;
    println!("read, add, write: {lossy} of {}", PROCESSES * TIMES);
    let exact = count(&manager, update)?;
    println!("update:           {exact} of {}", PROCESSES * TIMES);
    assert_eq!(exact, PROCESSES * TIMES);
    Ok(())
}
