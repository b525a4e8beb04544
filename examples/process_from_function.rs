//! Prints a line before and after a child process is started, the child's two lines one second
//! apart, and in between what the parent does meanwhile; at last the child's result.

use std::error::Error;
use std::thread;
use std::time::Duration;

use multiproc::Process;

fn work(n: u64) -> u64 {
    println!("child {}: started with {n}", std::process::id());
    thread::sleep(Duration::from_secs(1));
    println!("child {}: done", std::process::id());
    n * n
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("parent {}: starts a child", std::process::id());
    let child = Process::new(work, 10).start()?;
    println!(
        "parent {}: goes on; the child is process {}",
        std::process::id(),
        child.pid()
    );
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(200));
        println!(
            "parent {}: is the child alive? {}",
            std::process::id(),
            child.is_alive()
        );
    }
    println!(
        "parent {}: the child's result is {}",
        std::process::id(),
        child.join()?
    );
    Ok(())
}
