//! Prints a hello that goes both ways between a child and its parent, then one that goes one way, and
//! what the parent hears when the child's end is gone.

use std::error::Error;

use multiproc::{Connection, Process, Receiver, channel, pipe};

fn greet(parent: Connection<String, String>) {
    parent
        .send(&"hello from the child".into())
        .expect("the parent listens");
    println!("child got:  {}", parent.recv().expect("an answer"));
}

fn listen(receiver: Receiver<String>) -> usize {
    receiver
        .iter()
        .map(|text| println!("child got:  {}", text.expect("a text")))
        .count()
}

fn main() -> Result<(), Box<dyn Error>> {
    let (here, there) = pipe::<String, String>()?;
    // The child has the only other end from here on.
    let child = Process::new(greet, there).start()?;
    println!("parent got: {}", here.recv()?);
    here.send(&"hello from the parent".into())?;
    child.join()?;
    println!(
        "then:       {}",
        here.recv().expect_err("the child is gone")
    );

    let (sender, receiver) = channel()?;
    let child = Process::new(listen, receiver).start()?;
    for text in ["one", "way", "only"] {
        sender.send(&text.to_owned())?;
    }
    drop(sender);
    println!("the child got {} texts", child.join()?);
    Ok(())
}
