//! Prints when each of 10 customers sits down in a restaurant with 3 seats and when they get up, and
//! at last how many sat there at once: never more than 3.
//!
//! `--slow` has 100 customers, who eat for seconds.

use std::error::Error;
use std::time::Duration;
use std::{env, thread};

use multiproc::{Process, Semaphore, TaskFailure, Value};

/// How many sit now, and how many did at most.
type Seated = Value<[u32; 2]>;

fn eat(
    (customer, seats, seated, time): (u32, Semaphore, Seated, Duration),
) -> Result<(), TaskFailure> {
    let _seat = seats.acquire()?;
    let now = seated.update(|[now, most]| {
        *now += 1;
        *most = (*most).max(*now);
        *now
    });
    println!("customer {customer} sits down; {now} of 3 seats are taken");
    thread::sleep(time * (customer % 3 + 1));
    seated.update(|[now, _]| *now -= 1);
    println!("customer {customer} gets up");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let slow = env::args().any(|argument| argument == "--slow");
    let (count, time) = if slow { (100, 1000) } else { (10, 50) };
    let (seats, seated) = (Semaphore::new(3)?, Value::new([0; 2])?);
    let customers: Vec<_> = (1..=count)
        .map(|customer| {
            let time = Duration::from_millis(time);
            Process::new(eat, (customer, seats.clone(), seated.clone(), time)).start()
        })
        .collect::<Result<_, _>>()?;
    for customer in customers {
        customer.join()??;
    }
    let [now, most] = seated.get();
    println!("{count} customers have eaten, at most {most} of them at once");
    assert!(now == 0 && most <= 3);
    Ok(())
}
