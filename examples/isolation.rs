//! Prints a global variable before a child sets it to 10, in the child, and after: the parent's stays
//! 100, as each process has its own. A shared value is what both see.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};

use multiproc::{Process, Value};

static GLOBAL: AtomicU32 = AtomicU32::new(100);

fn change(shared: Value<u32>) {
    GLOBAL.store(10, Ordering::Relaxed);
    shared.set(10);
    println!(
        "child: global {}, shared {}",
        GLOBAL.load(Ordering::Relaxed),
        shared.get()
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let shared = Value::new(100)?;
    let show = |when: &str| {
        let global = GLOBAL.load(Ordering::Relaxed);
        println!("parent {when}: global {global}, shared {}", shared.get());
        (global, shared.get())
    };
    show("before");
    Process::new(change, shared.clone()).start()?.join()?;
    assert_eq!(show("after"), (100, 10));
    Ok(())
}
