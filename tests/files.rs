//! Open files stand anywhere inside a value and mean the same open file there: in a process's
//! argument and result, in a pool's task, in a queue's item.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use multiproc::{Fd, Lock, Pool, Process, Queue};
use multiproc_tests::standing::Standing;
use multiproc_tests::watchdog;
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(60);

fn writer(of: &PipeWriter) -> Fd<PipeWriter> {
    Fd(of.try_clone().expect("a copy"))
}

fn says(mut reader: &PipeReader, text: &str) {
    let mut bytes = vec![0; text.len()];
    reader.read_exact(&mut bytes).expect("it was written");
    assert_eq!(bytes, text.as_bytes());
}

/// Runs `test` with a pipe whose reading end it checks; afterwards nobody has the writing end, and
/// everything is as before.
fn with_a_pipe(test: impl FnOnce(&PipeReader, PipeWriter)) {
    let standing = Standing::before();
    watchdog::within(LIMIT, || {
        let (reader, writer) = pipe().expect("a pipe");
        test(&reader, writer);
        let rest = std::io::read_to_string(&reader).expect("nobody writes any more");
        assert_eq!(rest, "");
    });
    standing.check();
}

#[test]
fn open_files_travel_in_the_argument_and_the_result_of_a_process() {
    with_a_pipe(|reader, end| {
        let process = Process::new(
            |(text, mut file): (String, Fd<PipeWriter>)| {
                file.write_all(text.as_bytes()).expect("written");
                file
            },
            ("there".to_owned(), Fd(end)),
        );
        let process = process.start().expect("it starts");
        // Joined twice: each result has a descriptor of its own.
        let mut back = process.join().expect("it ends well");
        let again = process.join().expect("as before");
        assert_ne!(back.as_fd().as_raw_fd(), again.as_fd().as_raw_fd());
        back.write_all(b" and back").expect("written");
        says(reader, "there and back");
    });
}

/// A file among other handles, deep inside.
#[derive(Serialize, Deserialize)]
struct Job {
    lock: Lock,
    to: Option<Vec<(u8, Fd<PipeWriter>)>>,
    text: String,
}

impl Job {
    fn new(text: &str, to: &PipeWriter) -> Job {
        Job {
            lock: Lock::new().expect("a lock"),
            to: Some(vec![(1, writer(to)), (2, writer(to))]),
            text: text.into(),
        }
    }

    fn run(self) -> usize {
        let _held = self.lock.acquire().expect("its owners live");
        for (times, mut file) in self.to.into_iter().flatten() {
            let text = self.text.repeat(times.into());
            file.write_all(text.as_bytes()).expect("written");
        }
        self.text.len()
    }
}

#[test]
fn open_files_travel_in_the_tasks_of_a_pool() {
    with_a_pipe(|reader, end| {
        let pool = Pool::new(2).expect("a pool");
        let jobs = (0..20).map(|_| Job::new("x", &end));
        let lengths = pool.map(Job::run, jobs).expect("all answered");
        assert_eq!(lengths, [1; 20]);
        drop(end);
        says(reader, &"x".repeat(60));
        let mut back = pool
            .apply(
                |file: Fd<PipeReader>| file,
                Fd(reader.try_clone().expect("a copy")),
            )
            .expect("it comes back");
        drop(pool);
        let mut rest = String::new();
        back.read_to_string(&mut rest).expect("the end");
    });
}

#[test]
fn open_files_travel_in_the_items_of_a_queue() {
    with_a_pipe(|reader, end| {
        let queue = Queue::<Job>::bounded(4).expect("a queue");
        let work = |queue: Queue<Job>| {
            for job in &queue {
                job.expect("a job").run();
            }
        };
        let start = |_| {
            Process::new(work, queue.clone())
                .start()
                .expect("it starts")
        };
        let workers: Vec<_> = (0..2).map(start).collect();
        for _ in 0..50 {
            let put = queue.put(Job::new("ab", &end));
            assert!(put.is_ok());
        }
        drop(end);
        queue.close();
        for worker in workers {
            worker.join().expect("it ends well");
        }
        says(reader, &"ab".repeat(150));
    });
}

#[test]
fn a_grandchild_hands_a_file_to_its_grandparent() {
    with_a_pipe(|reader, end| {
        let queue = Queue::<Fd<PipeWriter>>::bounded(1).expect("a queue");
        let child = |(queue, end): (Queue<Fd<PipeWriter>>, Fd<PipeWriter>)| {
            let process = Process::new(
                |(queue, end): (Queue<_>, Fd<PipeWriter>)| {
                    assert!(queue.put(end).is_ok());
                },
                (queue, end),
            );
            process
                .start()
                .expect("it starts")
                .join()
                .expect("it ends well");
        };
        let process = Process::new(child, (queue.clone(), Fd(end)));
        process
            .start()
            .expect("it starts")
            .join()
            .expect("it ends well");
        // Both are gone; what they put is not.
        queue
            .get()
            .expect("a file")
            .write_all(b"hi")
            .expect("written");
        says(reader, "hi");
    });
}

#[test]
fn a_thousand_files_above_number_256_in_one_item() {
    const MANY: usize = 1000;
    with_a_pipe(|reader, end| {
        let queue = Queue::<Vec<Fd<PipeWriter>>>::bounded(1).expect("a queue");
        let take = |queue: Queue<Vec<Fd<PipeWriter>>>| {
            let mut files = queue.get().expect("an item");
            assert!(files.last().expect("many").as_fd().as_raw_fd() > 256);
            for file in &mut files {
                file.write_all(b".").expect("written");
            }
            files.len()
        };
        let process = Process::new(take, queue.clone())
            .start()
            .expect("it starts");
        let files: Vec<_> = (0..MANY).map(|_| writer(&end)).collect();
        assert!(files[MANY - 1].as_fd().as_raw_fd() > 256);
        assert!(queue.put(files).is_ok());
        drop(end);
        assert_eq!(process.join().expect("it ends well"), MANY);
        says(reader, &".".repeat(MANY));
    });
}

#[test]
fn a_server_hands_its_connections_to_workers() {
    let standing = Standing::before();
    watchdog::within(LIMIT, || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let queue = Queue::<Fd<TcpStream>>::bounded(8).expect("a queue");
        let serve = |queue: Queue<Fd<TcpStream>>| {
            for connection in &queue {
                let mut connection = connection.expect("a connection").into_inner();
                let mut text = [0; 4];
                connection.read_exact(&mut text).expect("a request");
                connection.write_all(&text).expect("an answer");
            }
        };
        let worker = Process::new(serve, queue.clone())
            .start()
            .expect("it starts");
        for _ in 0..20 {
            let mut client = TcpStream::connect(address).expect("connected");
            let (connection, _) = listener.accept().expect("accepted");
            assert!(queue.put(Fd(connection)).is_ok());
            client.write_all(b"ping").expect("sent");
            let mut answer = String::new();
            // To the end: the connection is closed once the worker has closed it.
            client.read_to_string(&mut answer).expect("answered");
            assert_eq!(answer, "ping");
        }
        queue.close();
        worker.join().expect("it ends well");
    });
    standing.check();
}
