//! Closes its three standard streams, as a program does that goes into the background, and then uses
//! the library. What it prints afterwards must not be written into anything of the library's, so none
//! of its descriptors may have one of those numbers. Exit status 0 if so.

use std::io::Write;
use std::process::ExitCode;

use multiproc::{Manager, Pool, Process, Queue, SharedMemory, StartMethod};

fn main() -> ExitCode {
    for stream in 0..3 {
        if nix::unistd::close(stream).is_err() {
            return ExitCode::from(2);
        }
    }
    match work() {
        Ok(()) if (0..3).all(is_closed) => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(3),
        Err(_) => ExitCode::from(4),
    }
}

fn is_closed(stream: u32) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{stream}")).is_err()
}

fn work() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let queue = Queue::unbounded()?;
    for method in [StartMethod::ForkServer, StartMethod::Spawn] {
        print();
        let put = |queue: Queue<String>| queue.put("text".to_owned()).expect("room");
        let process = Process::new(put, queue.clone()).start_method(method);
        process.start()?.join()?;
        print();
        assert_eq!(queue.get()?, "text");
    }
    let pool = Pool::new(2)?;
    print();
    assert_eq!(pool.map(|n: u32| n + 1, [1, 2])?, [2, 3]);
    let manager = Manager::start()?;
    print();
    assert_eq!(manager.value(7)?.get()?, 7);
    let memory = SharedMemory::create(100)?;
    print();
    memory.write_at(0, b"bytes")?;
    Ok(())
}

/// Fails, as it must; what counts is that nothing else does.
fn print() {
    let _ = std::io::stdout().write_all(b"text\n");
    let _ = std::io::stdout().flush();
}
