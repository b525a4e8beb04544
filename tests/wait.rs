//! Waiting for the first of many things of all crates, in one process and several.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use multiproc::{
    Client, Connection, Event, Fd, Listener, Process, Queue, Semaphore, Waitable, try_wait, wait,
};
use multiproc_tests::standing::Standing;
use multiproc_tests::watchdog;

const LIMIT: Duration = Duration::from_secs(60);

/// Ends when it is told to.
fn obey(stop: Event) -> u32 {
    stop.wait();
    7
}

fn obedient() -> (Process<u32>, Event) {
    let stop = Event::new().expect("an event");
    let process = Process::new(obey, stop.clone()).start();
    (process.expect("it starts"), stop)
}

fn ready(things: &[&dyn Waitable]) -> Vec<usize> {
    wait(things, None).expect("nothing fails")
}

#[test]
fn things_of_every_kind_end_a_wait_for_all_of_them() {
    let standing = Standing::before();
    watchdog::within(LIMIT, || {
        let (process, stop) = obedient();
        let queue = Queue::<String>::bounded(4).expect("a queue");
        let (event, seats) = (
            Event::new().expect("an event"),
            Semaphore::new(0).expect("one"),
        );
        let listener = Fd(TcpListener::bind("127.0.0.1:0").expect("a listener"));
        let address = listener.local_addr().expect("its address");
        let all: [&dyn Waitable; 5] = [&process, &queue, &event, &seats, &listener];
        // Without the listener, this thread sleeps on memory alone.
        for things in [&all[..4], &all[..]] {
            assert_eq!(try_wait(things), Ok(vec![]));
            thread::scope(|scope| {
                scope.spawn(|| queue.put("item".into()).expect("room"));
                assert_eq!(ready(things), [1]);
                assert_eq!(ready(things), [1]);
                assert_eq!(queue.try_get().expect("it is ready"), "item");
            });
            thread::scope(|scope| {
                scope.spawn(|| event.set());
                assert_eq!(ready(things), [2]);
                event.clear();
            });
            thread::scope(|scope| {
                scope.spawn(|| seats.release().expect("below the bound"));
                assert_eq!(ready(things), [3]);
                seats.try_acquire().expect("it is ready").leak();
            });
        }
        let mut client = TcpStream::connect(address).expect("connected");
        assert_eq!(ready(&all), [4]);
        let server = Fd(listener.accept().expect("it is ready").0);
        let all: [&dyn Waitable; 4] = [&server, &process, &queue, &event];
        assert_eq!(try_wait(&all), Ok(vec![]));
        client.write_all(b"x").expect("written");
        assert_eq!(ready(&all), [0]);
        (&*server).read_exact(&mut [0]).expect("it is ready");
        stop.set();
        assert_eq!(ready(&all), [1]);
        assert_eq!(ready(&all[1..]), [0]);
        assert_eq!(process.try_join().expect("it is ready"), 7);
        queue.close();
        assert_eq!(ready(&all), [1, 2]);
    });
    standing.check();
}

#[test]
fn the_end_of_a_process_is_seen_beside_memory_however_it_ends() {
    let standing = Standing::before();
    watchdog::within(LIMIT, || {
        let queue = Queue::<u32>::bounded(1).expect("a queue");
        for end in 0..4 {
            let (process, stop) = obedient();
            thread::scope(|scope| {
                scope.spawn(|| match end {
                    0 => process.kill().expect("ours"),
                    1 => process.terminate().expect("ours"),
                    _ => stop.set(),
                });
                if end == 3 {
                    // Somebody else waits for it, too, and reaps it.
                    scope.spawn(|| assert_eq!(process.join().expect("a result"), 7));
                }
                assert_eq!(ready(&[&queue, &process]), [1]);
            });
            assert!(!process.is_alive());
        }
    });
    standing.check();
}

#[test]
fn many_processes_and_queues_are_waited_for_until_all_are_done() {
    let standing = Standing::before();
    watchdog::within(LIMIT, || {
        let mut running = Vec::new();
        for number in 0..12u32 {
            let queue = Queue::<u32>::bounded(1).expect("a queue");
            let work = |(queue, number): (Queue<u32>, u32)| queue.put(number).expect("room");
            let process = Process::new(work, (queue.clone(), number)).start();
            running.push((number, process.expect("it starts"), queue));
        }
        let mut got = Vec::new();
        while !running.is_empty() {
            let mut things: Vec<&dyn Waitable> = Vec::new();
            for (_, process, queue) in &running {
                things.extend([process as &dyn Waitable, queue]);
            }
            for index in ready(&things) {
                let (number, process, queue) = &running[index / 2];
                if index % 2 == 1 {
                    assert_eq!(queue.try_get().expect("it is ready"), *number);
                    got.push(*number);
                } else {
                    process.try_join().expect("it has ended");
                }
            }
            running.retain(|(number, process, _)| process.is_alive() || !got.contains(number));
        }
        got.sort_unstable();
        assert_eq!(got, Vec::from_iter(0..12));
    });
    standing.check();
}

#[test]
fn another_process_waits_for_things_that_came_in_its_argument() {
    let standing = Standing::before();
    watchdog::within(LIMIT, || {
        let (event, queue) = (
            Event::new().expect("an event"),
            Queue::<u32>::bounded(1).expect("a queue"),
        );
        let (answers, asked) = (
            Queue::<Vec<usize>>::bounded(1).expect("a queue"),
            Queue::<bool>::bounded(1).expect("a queue"),
        );
        type Argument = (Event, Queue<u32>, Queue<bool>, Queue<Vec<usize>>);
        let work = |(event, queue, asked, answers): Argument| {
            let (reader, _writer) = std::io::pipe().expect("a pipe");
            let reader = Fd(reader);
            while let Ok(descriptors) = asked.get() {
                let all: [&dyn Waitable; 3] = [&event, &queue, &reader];
                let things = &all[..2 + usize::from(descriptors)];
                answers.put(ready(things)).expect("room");
            }
        };
        let argument = (event.clone(), queue.clone(), asked.clone(), answers.clone());
        let process = Process::new(work, argument).start().expect("it starts");
        for descriptors in [false, true] {
            asked.put(descriptors).expect("room");
            event.set();
            assert_eq!(answers.get().expect("an answer"), [0]);
            event.clear();
            asked.put(descriptors).expect("room");
            queue.put(1).expect("room");
            assert_eq!(answers.get().expect("an answer"), [1]);
            queue.get().expect("it is there");
        }
        asked.close();
        process.join().expect("it ends well");
    });
    standing.check();
}

/// Sends twice what comes, until nobody sends any more.
fn double(end: Connection<u32, u32>) {
    while let Ok(number) = end.recv() {
        end.send(&(2 * number)).expect("somebody receives");
    }
}

#[test]
fn connections_of_the_family_are_waited_for_like_everything_else() {
    let standing = Standing::before();
    watchdog::within(LIMIT, || {
        let never = Event::new().expect("an event");
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let reader = Fd(reader);
        for killed in [false, true] {
            let (ours, theirs) = multiproc::pipe::<u32, u32>().expect("a pipe");
            let process = Process::new(double, theirs).start().expect("it starts");
            let all: [&dyn Waitable; 4] = [&never, &ours, &process, &reader];
            for things in [&all[..2], &all[..3], &all[..]] {
                assert_eq!(try_wait(things), Ok(vec![]));
                ours.send(&21).expect("somebody receives");
                assert_eq!(ready(things), [1]);
                assert_eq!(ready(things), [1]);
                assert_eq!(ours.try_recv().expect("it is ready"), 42);
            }
            // However it ends, both its end and that of its messages are seen.
            if killed {
                process.kill().expect("ours");
            } else {
                ours.sender().close();
            }
            let mut seen = Vec::new();
            while seen != [1, 2] {
                seen = ready(&all);
            }
            assert!(ours.try_recv().is_err_and(|error| error.is_disconnected()));
        }
    });
    standing.check();
}

#[test]
fn listeners_and_connections_of_strangers_are_waited_for_too() {
    let standing = Standing::before();
    watchdog::within(LIMIT, || {
        let queue = Queue::<u32>::bounded(1).expect("a queue");
        let listener = Listener::bind("tcp:127.0.0.1:0").expect("a listener");
        let listener = listener.authkey("secret");
        let address = listener.local_addr().clone();
        let caller = thread::spawn(move || {
            let client = Client::connect(address).authkey("secret");
            let connection: Connection<u32, u32> = client.open().expect("accepted");
            connection.send(&7).expect("sent");
            assert_eq!(connection.recv().expect("an answer"), 8);
        });
        let server: Connection<u32, u32> = loop {
            assert_eq!(ready(&[&queue, &listener]), [1]);
            // A stranger proves its key in several steps.
            if let Ok(server) = listener.try_accept() {
                break server;
            }
        };
        assert_eq!(ready(&[&server, &queue, &listener]), [0]);
        assert_eq!(server.recv().expect("it is ready"), 7);
        server.send(&8).expect("sent");
        caller.join().expect("no panic");
        assert_eq!(ready(&[&queue, &server]), [1]);
        assert!(server.recv().is_err_and(|error| error.is_disconnected()));
    });
    standing.check();
}
