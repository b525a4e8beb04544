//! `peak`: how much memory two processes and the queue between them have at most while one large message
//! goes from one to the other, divided by its size.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use multiproc::{Event, Process, Queue};

use crate::args::Args;
use crate::{Outcome, usage};

type Ends = (Queue<Vec<u8>>, usize, Event);

pub(crate) fn run(args: &Args) -> Outcome {
    if args.imp != "ours" {
        args.unsupported("ours");
    }
    let size = args.size("size", 64 << 20);
    let (queue, gate) = (Queue::bounded(1)?, Event::new()?);
    let put = |(queue, size, gate): Ends| {
        gate.wait();
        queue.put(vec![7; size]).expect("it stays open");
    };
    let get = |(queue, size, gate): Ends| {
        gate.wait();
        let message = queue.get().expect("it stays open");
        assert!(message.len() == size && message.iter().all(|byte| *byte == 7));
    };
    let ends = || (queue.clone(), size, gate.clone());
    let processes = [
        Process::new(put, ends()).start()?,
        Process::new(get, ends()).start()?,
    ];
    let before = in_all(&processes)?;
    gate.set();
    let mut most = before;
    while processes.iter().any(Process::is_alive) {
        // One that has just ended has nothing any more.
        most = most.max(in_all(&processes).unwrap_or(0));
    }
    for process in processes {
        process.join()?;
    }
    let over = (most - before) as f64 / size as f64;
    args.emit("over_payload", over, "");
    Ok(())
}

/// What both have for themselves, and what the family shares, which is in one file.
fn in_all(processes: &[Process<()>]) -> Result<u64, Box<dyn Error>> {
    let mut bytes = shared()?;
    for process in processes {
        bytes += usage::resident(&process.pid().to_string(), "RssAnon:").unwrap_or(0);
    }
    Ok(bytes)
}

/// The blocks of all memory files that this process has.
fn shared() -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let is_memory =
            fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:"));
        if is_memory {
            bytes += fs::metadata(&path).map_or(0, |file| file.blocks() * 512);
        }
    }
    Ok(bytes)
}
