//! Prints what a traffic light shows as the last digit of the clock changes, and each tick at which a
//! car may drive: the car is another process, which waits for the event that green is.
//!
//! A tick is a tenth of a second; with `--slow` it is a second.

use std::error::Error;
use std::time::{Duration, SystemTime};
use std::{env, thread};

use multiproc::{Event, Process, TaskFailure, Value};

/// Red while the last digit is below this.
const GREEN_FROM: u128 = 5;

fn ticks(tick: Duration) -> Result<u128, TaskFailure> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(now.as_millis() / tick.as_millis())
}

fn drive((green, driven, tick): (Event, Value<u32>, Duration)) -> Result<(), TaskFailure> {
    loop {
        green.wait();
        println!("    the car drives at {}", ticks(tick)? % 10);
        driven.update(|driven| *driven += 1);
        thread::sleep(tick);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let slow = env::args().any(|argument| argument == "--slow");
    let tick = Duration::from_millis(if slow { 1000 } else { 100 });
    let (green, driven) = (Event::new()?, Value::new(0)?);
    // A daemon: it ends with this process.
    let car = Process::new(drive, (green.clone(), driven.clone(), tick));
    let _car = car.name("car").daemon(true).start()?;
    for _ in 0..20 {
        let digit = ticks(tick)? % 10;
        if digit < GREEN_FROM {
            green.clear();
        } else {
            green.set();
        }
        let colour = if green.is_set() { "green" } else { "red" };
        println!("{digit}: the light is {colour}");
        thread::sleep(tick);
    }
    println!("the car drove at {} of 20 ticks", driven.get());
    Ok(())
}
