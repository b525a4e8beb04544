//! What a copy of a process (`Process::fork`) does with things its parent waited for: it has none of
//! the parent's threads. Without a harness, as a copy is refused where other threads run.

use std::io::{PipeReader, Write};
use std::time::{Duration, Instant};

use multiproc::{Event, Fd, Process, Queue, StartMethod, Waitable, wait};
use multiproc_tests::kinds::Kinds;
use nix::unistd::alarm;

const MOMENT: Duration = Duration::from_millis(1);

/// Nothing here waits longer. There is no watchdog, which is a thread: the kernel ends what hangs.
const LIMIT: Duration = Duration::from_secs(60);

fn main() {
    alarm::set(LIMIT.as_secs() as u32);
    copies_wait_beside_descriptors();
    copies_wait_for_each_other();
    every_kind_is_the_same_object_in_a_copy();
    println!("forked: all is well");
}

fn every_kind_is_the_same_object_in_a_copy() {
    let kinds = Kinds::new().expect("one of each");
    let captured = kinds.clone();
    let copy = Process::fork(move || captured.change());
    let copy = copy.start().expect("it starts");
    kinds.check();
    copy.join().expect("it ends well");

    let kinds = Kinds::new().expect("one of each");
    let copy = Process::new(|kinds: Kinds| kinds.change(), kinds.clone());
    let copy = copy.start_method(StartMethod::Fork).start();
    let copy = copy.expect("it starts");
    kinds.check();
    copy.join().expect("it ends well");
}

/// What both sides wait for.
struct Things {
    stop: Event,
    queue: Queue<u32>,
    reader: Fd<PipeReader>,
}

impl Things {
    fn ready(&self, timeout: Duration) -> Vec<usize> {
        let things: [&dyn Waitable; 3] = [&self.stop, &self.queue, &self.reader];
        wait(&things, timeout).expect("nothing fails")
    }
}

fn copies_wait_beside_descriptors() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let (stop, queue) = (Event::new().expect("an event"), Queue::bounded(1));
    let things = Things {
        stop: stop.clone(),
        queue: queue.expect("a queue"),
        reader: Fd(reader),
    };
    // From now on this process has a thread that sleeps on memory for it.
    assert!(things.ready(MOMENT).is_empty());
    let queue = things.queue.clone();
    let copy = Process::fork(move || {
        let first = things.ready(LIMIT);
        things.queue.get().expect("it is ready");
        let second = things.ready(LIMIT);
        (first, second)
    });
    let copy = copy.start().expect("no other thread runs");
    queue.put(1).expect("room");
    // The copy takes it.
    let end = Instant::now() + LIMIT;
    while !queue.is_empty() {
        assert!(Instant::now() < end, "the copy does not see the item");
        wait(&[&copy], MOMENT).expect("nothing fails");
    }
    writer.write_all(b"x").expect("written");
    let (first, second) = copy.join_timeout(LIMIT).expect("it ends well");
    assert_eq!((first, second), (vec![1], vec![2]));
    assert!(!stop.is_set());
}

fn copies_wait_for_each_other() {
    let (go, gone) = (
        Event::new().expect("an event"),
        Event::new().expect("an event"),
    );
    let told = go.clone();
    let first = Process::fork(move || told.wait_timeout(LIMIT)).start();
    let first = first.expect("no other thread runs");
    let (brother, never) = (first.clone(), gone.clone());
    let second = Process::fork(move || wait(&[&never, &brother], LIMIT).expect("nothing fails"));
    let second = second.start().expect("no other thread runs");
    assert_eq!(wait(&[&second, &gone], MOMENT), Ok(vec![]));
    go.set();
    assert_eq!(second.join_timeout(LIMIT).expect("it ends well"), [1]);
    first.join_timeout(LIMIT).expect("it ends well");
    assert_eq!(wait(&[&gone, &second], LIMIT), Ok(vec![1]));
}
