//! Prints how long a process takes from start to joined, from inside a bench target: the
//! function travels from here with no line of set-up. `--quick`, or `cargo test`, makes it short.

use std::error::Error;
use std::time::Instant;

use multiproc::Process;

fn double(n: u64) -> u64 {
    n * 2
}

fn main() -> Result<(), Box<dyn Error>> {
    let long = std::env::args().any(|word| word == "--bench")
        && std::env::args().all(|word| word != "--quick");
    let count = if long { 2000 } else { 20 };
    let started = Instant::now();
    for n in 0..count {
        assert_eq!(Process::new(double, n).start()?.join()?, n * 2);
    }
    let mean = started.elapsed() / u32::try_from(count)?;
    println!("start + join: {mean:?} each, mean of {count}");
    Ok(())
}
