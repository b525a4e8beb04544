//! Prints when the parent goes on, for three ways to wait for a child of three seconds and one of
//! six: for none, for the first, for both.

use std::error::Error;
use std::thread;
use std::time::Instant;

use multiproc::Process;
use multiproc_examples::pause;

fn work(seconds: f64) {
    thread::sleep(pause(seconds));
}

fn main() -> Result<(), Box<dyn Error>> {
    for joins in 0..=2 {
        let began = Instant::now();
        let children = [
            Process::new(work, 3.0).start()?,
            Process::new(work, 6.0).start()?,
        ];
        for child in &children[..joins] {
            child.join()?;
        }
        let waited = began.elapsed().as_secs_f64() / pause(1.0).as_secs_f64();
        println!("{joins} joined: the parent goes on after {waited:.1} seconds");
        // Those that were not joined are awaited at the end of the program.
    }
    Ok(())
}
