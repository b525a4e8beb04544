//! Prints what a child was given, a name, an age and a map, and how far it counts before its parent
//! ends it: to 4 or 5.

use std::collections::BTreeMap;
use std::error::Error;
use std::thread;

use multiproc::Process;
use multiproc_examples::pause;

fn count((name, age, likes): (String, u32, BTreeMap<String, u32>)) {
    println!("child: I am {name}, {age}, and like {likes:?}");
    for number in 1..=5 {
        println!("child: {number}");
        thread::sleep(pause(0.2));
    }
    // Not reached in time: the parent is told of a signal, and of no result.
    thread::sleep(pause(10.0));
}

fn main() -> Result<(), Box<dyn Error>> {
    let likes = BTreeMap::from([("tea".to_owned(), 3), ("cake".to_owned(), 1)]);
    let child = Process::new(count, ("Ada".to_owned(), 36, likes)).start()?;
    thread::sleep(pause(1.0));
    child.terminate()?;
    let error = child.join().expect_err("it was ended");
    println!("parent: {error}");
    Ok(())
}
