//! Prints whether a child is alive: before it is told to end, right after, and once it has been
//! joined. Only the last answer is sure.

use std::error::Error;
use std::thread;

use multiproc::Process;
use multiproc_examples::pause;

fn work() {
    println!("child: works for a long time");
    thread::sleep(pause(100.0));
}

fn main() -> Result<(), Box<dyn Error>> {
    let child = Process::call(work).start()?;
    thread::sleep(pause(1.0));
    println!("before: alive {}", child.is_alive());
    child.terminate()?;
    println!("right after: alive {} (either may be)", child.is_alive());
    // Not a second later, but when it has ended.
    let error = child.join().expect_err("it was ended");
    println!("joined: alive {}, {error}", child.is_alive());
    assert!(!child.is_alive());
    Ok(())
}
