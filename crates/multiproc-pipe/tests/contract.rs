//! What a connection promises, on every transport: in the family, on a Unix socket, over TCP.

use std::time::{Duration, Instant};

use multiproc_pipe::{
    Client, Connection, Listener, Receiver, RecvError, SendError, Sender, channel, pipe,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const LONG: Duration = Duration::from_secs(60);

/// Where the two ends of a connection are.
#[derive(Clone, Copy, Debug)]
enum Transport {
    Family,
    Unix,
    Tcp,
}

const ALL: [Transport; 3] = [Transport::Family, Transport::Unix, Transport::Tcp];

impl Transport {
    fn connect<S, R>(self) -> (Connection<S, R>, Connection<R, S>)
    where
        S: Send + 'static,
        R: Send + 'static,
    {
        let address = match self {
            Transport::Family => return pipe().expect("a pipe"),
            Transport::Unix => "unix:",
            Transport::Tcp => "tcp:127.0.0.1:0",
        };
        let listener = Listener::bind(address).expect("a listener").authkey(b"key");
        let address = listener.local_addr().clone();
        let client = std::thread::spawn(move || Client::connect(address).authkey(b"key").open());
        let server = listener.accept_timeout(LONG).expect("a client");
        (
            server,
            client.join().expect("no panic").expect("a listener"),
        )
    }
}

fn on_each(test: impl Fn(Transport)) {
    for transport in ALL {
        println!("on {transport:?}");
        test(transport);
    }
}

fn roundtrip<T>(transport: Transport, values: &[T])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + Send + 'static,
{
    let (here, there) = transport.connect::<T, T>();
    for value in values {
        here.send(value).expect("sent");
        assert_eq!(there.recv_timeout(LONG).as_ref(), Ok(value));
        there.send(value).expect("sent");
        assert_eq!(here.recv_timeout(LONG).as_ref(), Ok(value));
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Value {
    Unit,
    Text(String),
    Many {
        list: Vec<Option<i64>>,
        pair: (u8, char),
    },
}

#[test]
fn values_arrive_as_they_were() {
    on_each(|transport| {
        roundtrip(transport, &[0u64, 1, u64::MAX]);
        roundtrip(transport, &[(), ()]);
        let many = Value::Many {
            list: vec![None, Some(-1)],
            pair: (1, 'ß'),
        };
        roundtrip(
            transport,
            &[Value::Unit, Value::Text("x".repeat(10_000)), many],
        );
        roundtrip(transport, &[vec![1u8; 3], vec![]]);
    });
}

#[test]
fn messages_of_every_length_arrive_whole_and_in_order() {
    let lengths = [
        0, 1, 7, 8, 63, 64, 5_000, 8_174, 8_175, 8_182, 8_183, 8_184, 8_185, 16_350, 16_384,
        65_534, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 1_000_000, 5_000_000,
    ];
    on_each(|transport| {
        let (here, there) = transport.connect::<Vec<u8>, Vec<u8>>();
        let sender = std::thread::spawn(move || {
            for (n, len) in lengths.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + n) as u8).collect();
                here.send(&bytes).expect("sent");
            }
        });
        for (n, len) in lengths.into_iter().enumerate() {
            let bytes = there.recv_timeout(LONG).expect("received");
            assert_eq!(bytes.len(), len);
            let right = |(at, &byte): (usize, &u8)| byte == (at * 7 + n) as u8;
            assert!(bytes.iter().enumerate().all(right), "length {len}");
        }
        sender.join().expect("no panic");
        assert_eq!(there.recv_timeout(LONG), Err(RecvError::Disconnected));
    });
}

#[test]
fn empty_and_full_are_said_at_once() {
    on_each(|transport| {
        let (here, there) = transport.connect::<u64, u64>();
        assert_eq!(there.try_recv(), Err(RecvError::Empty));
        let mut sent = 0;
        let full = loop {
            match here.try_send(&sent) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full, SendError::Full);
        assert!(sent > 50);
        here.sender().try_send_bytes(&[0; 100]).expect_err("full");
        let received = std::iter::from_fn(|| there.recv_timeout(Duration::from_millis(500)).ok());
        // What had to be left behind of the last one on a socket goes with the next.
        let received = received.count() as u64;
        assert!(
            received == sent || received + 1 == sent,
            "{received} of {sent}"
        );
    });
}

#[test]
fn deadlines_are_kept() {
    on_each(|transport| {
        let (here, there) = transport.connect::<u64, u64>();
        let begun = Instant::now();
        let short = Duration::from_millis(20);
        assert_eq!(there.recv_timeout(short), Err(RecvError::TimedOut));
        assert_eq!(
            there.recv_deadline(begun + short * 2),
            Err(RecvError::TimedOut)
        );
        assert_eq!(there.poll(short), Ok(false));
        assert!(begun.elapsed() >= short * 3);
        while here.try_send(&1).is_ok() {}
        let begun = Instant::now();
        assert_eq!(here.send_timeout(&1, short), Err(SendError::TimedOut));
        assert_eq!(
            here.send_deadline(&1, begun + short * 2),
            Err(SendError::TimedOut)
        );
        assert!(begun.elapsed() >= short * 2);
        assert_eq!(there.recv_timeout(LONG), Ok(1));
    });
}

#[test]
fn poll_says_what_a_receive_would_find() {
    on_each(|transport| {
        let (here, there) = transport.connect::<u64, u64>();
        assert_eq!(there.poll(Duration::ZERO), Ok(false));
        let waiting = std::thread::spawn(move || (there.poll(None), there));
        here.send(&5).expect("sent");
        let (ready, there) = waiting.join().expect("no panic");
        assert_eq!((ready, there.poll(Duration::ZERO)), (Ok(true), Ok(true)));
        assert_eq!(there.try_recv(), Ok(5));
        assert_eq!(there.poll(Duration::ZERO), Ok(false));
        drop(here);
        assert_eq!(there.poll(LONG), Ok(true));
        assert_eq!(there.try_recv(), Err(RecvError::Disconnected));
    });
}

#[test]
fn the_end_comes_after_everything_that_was_sent() {
    on_each(|transport| {
        let (here, there) = transport.connect::<u64, u64>();
        let other = here.clone();
        here.send(&1).expect("sent");
        drop(here);
        other.send(&2).expect("sent");
        drop(other);
        assert_eq!(there.recv_timeout(LONG), Ok(1));
        assert_eq!(there.recv_timeout(LONG), Ok(2));
        assert_eq!(there.recv_timeout(LONG), Err(RecvError::Disconnected));
        assert_eq!(there.recv_timeout(LONG), Err(RecvError::Disconnected));
        let until = Instant::now() + LONG;
        let error = loop {
            match there.send(&3) {
                Ok(()) => assert!(Instant::now() < until),
                Err(error) => break error,
            }
        };
        assert_eq!(error, SendError::Disconnected);
    });
}

#[test]
fn who_waits_hears_of_the_end() {
    on_each(|transport| {
        let (here, there) = transport.connect::<u64, u64>();
        let waiting = std::thread::spawn(move || there.recv());
        std::thread::yield_now();
        drop(here);
        let got = waiting.join().expect("no panic");
        assert_eq!(got, Err(RecvError::Disconnected));

        let (here, there) = transport.connect::<u64, u64>();
        while here.try_send(&1).is_ok() {}
        let waiting = std::thread::spawn(move || while here.send(&1).is_ok() {});
        drop(there);
        waiting.join().expect("no panic");
    });
}

#[test]
fn halves_end_one_by_one() {
    on_each(|transport| {
        let (here, there) = transport.connect::<u64, u64>();
        let (sender, receiver) = here.split();
        drop(sender);
        assert_eq!(there.recv_timeout(LONG), Err(RecvError::Disconnected));
        there.send(&1).expect("the other way is open");
        assert_eq!(receiver.recv_timeout(LONG), Ok(1));
        receiver.close();
        assert!(receiver.is_closed());
        assert_eq!(receiver.recv(), Err(RecvError::Closed));
        assert_eq!(receiver.clone().try_recv(), Err(RecvError::Closed));
    });
}

#[test]
fn closing_is_for_one_handle() {
    on_each(|transport| {
        let (here, there) = transport.connect::<u64, u64>();
        let other = here.clone();
        here.close();
        here.close();
        assert!(here.is_closed() && here.clone().is_closed() && !other.is_closed());
        assert_eq!(here.send(&1), Err(SendError::Closed));
        assert_eq!(here.recv(), Err(RecvError::Closed));
        assert_eq!(here.poll(Duration::ZERO), Err(RecvError::Closed));
        other.send(&1).expect("open");
        assert_eq!(there.recv_timeout(LONG), Ok(1));
        other.close();
        assert_eq!(there.recv_timeout(LONG), Err(RecvError::Disconnected));
    });
}

#[test]
fn a_message_begun_by_a_closed_handle_holds_up_nobody() {
    let (sender, receiver) = channel::<Vec<u8>>().expect("a channel");
    let (carrier, arrivals) = channel::<Receiver<Vec<u8>>>().expect("a channel");
    carrier.send(&receiver).expect("sent");
    let other = arrivals.recv().expect("arrived");
    // As much of it as the ring takes.
    let begun = sender.send_timeout(&vec![7; 1 << 20], Duration::from_millis(1));
    assert_eq!(begun, Err(SendError::TimedOut));
    let clone = receiver.clone();
    assert_eq!(receiver.try_recv(), Err(RecvError::Empty));
    sender.send(&vec![8]).expect("somebody receives");
    receiver.close();
    assert_eq!(
        other.try_recv(),
        Err(RecvError::Empty),
        "the clone knows it"
    );
    clone.close();
    assert_eq!(other.recv_timeout(LONG), Ok(vec![8]));
}

#[test]
fn bytes_are_messages_too() {
    on_each(|transport| {
        let (here, there) = transport.connect::<u64, Vec<u8>>();
        here.send_bytes(b"hello").expect("sent");
        assert_eq!(there.recv_bytes(5), Ok(b"hello".to_vec()));
        here.send_bytes_range(b"hello world", 6, 5).expect("sent");
        let mut buffer = [0; 8];
        assert_eq!(there.recv_bytes_into(&mut buffer[2..]), Ok(5));
        assert_eq!(&buffer, b"\0\0world\0");
        here.send(&7).expect("sent");
        assert_eq!(there.recv_bytes(100), Ok(vec![7]));
        here.send_bytes(&[7]).expect("sent");
        assert_eq!(there.recv_timeout(LONG), Ok(7));
        here.send_bytes(b"").expect("sent");
        assert_eq!(there.recv_bytes(0), Ok(vec![]));
        here.send_bytes(b"no number at all").expect("sent");
        assert!(
            there
                .recv_timeout(LONG)
                .is_err_and(|error| error.is_decode())
        );
        there.send_bytes(b"any bytes").expect("sent");
        assert_eq!(here.recv_timeout(LONG), Ok(b"any bytes".to_vec()));
    });
}

#[test]
fn bytes_have_all_four_forms() {
    on_each(|transport| {
        let (here, there) = transport.connect::<u64, u64>();
        let (sender, receiver) = (here.sender(), there.receiver());
        let (mut buffer, soon) = ([0; 8], Duration::from_millis(1));
        let at = || Instant::now() + soon;
        assert_eq!(receiver.try_recv_bytes(9), Err(RecvError::Empty));
        assert_eq!(
            receiver.try_recv_bytes_into(&mut buffer),
            Err(RecvError::Empty)
        );
        let late = Err(RecvError::TimedOut);
        assert_eq!(receiver.recv_bytes_into_timeout(&mut buffer, soon), late);
        assert_eq!(receiver.recv_bytes_into_deadline(&mut buffer, at()), late);
        let text = b"0123456789";
        sender.send_bytes_range(text, 0, 1).expect("sent");
        assert_eq!(receiver.recv_bytes_into(&mut buffer), Ok(1));
        sender.try_send_bytes_range(text, 1, 2).expect("sent");
        assert_eq!(
            receiver.recv_bytes_into_timeout(&mut buffer[1..], LONG),
            Ok(2)
        );
        sender
            .send_bytes_range_timeout(text, 3, 2, LONG)
            .expect("sent");
        let then = Instant::now() + LONG;
        assert_eq!(
            receiver.recv_bytes_into_deadline(&mut buffer[3..], then),
            Ok(2)
        );
        sender
            .send_bytes_range_deadline(text, 5, 3, then)
            .expect("sent");
        assert!(receiver.poll(LONG) == Ok(true));
        assert_eq!(receiver.try_recv_bytes_into(&mut buffer[5..]), Ok(3));
        assert_eq!(&buffer, b"01234567");
        while sender.try_send_bytes(&[0; 100]).is_ok() {}
        let full = sender.try_send_bytes_range(&[0; 100], 0, 100);
        assert_eq!(full, Err(SendError::Full));
        let full = sender.send_bytes_range_timeout(&[0; 100], 0, 100, soon);
        assert_eq!(full, Err(SendError::TimedOut));
        let full = sender.send_bytes_range_deadline(&[0; 100], 0, 100, at());
        assert_eq!(full, Err(SendError::TimedOut));
    });
}

#[test]
fn whoever_does_not_wait_takes_of_a_long_message_what_is_there_and_no_more() {
    const LEN: usize = 8 << 20;
    // Both of them are ready at any time, so that there is always more.
    let (sender, receiver) = channel::<Vec<u8>>().expect("a channel");
    let sending = std::thread::spawn(move || sender.send(&vec![7; LEN]));
    let mut calls = 1;
    let message = loop {
        match receiver.try_recv() {
            Err(RecvError::Empty) => calls += 1,
            other => break other,
        }
    };
    assert_eq!(message, Ok(vec![7; LEN]));
    assert!(calls >= LEN / (64 << 10), "{calls} calls took it all");
    sending.join().expect("no panic").expect("sent");
}

#[test]
fn an_end_does_not_travel_through_its_own_pipe() {
    #[derive(Serialize, Deserialize)]
    enum Carried {
        Sender(Sender<Carried>),
        Receivers(Vec<Receiver<Carried>>),
    }
    let (sender, receiver) = channel::<Carried>().expect("a channel");
    let own = [
        Carried::Sender(sender.clone()),
        Carried::Receivers(vec![receiver.clone()]),
    ];
    for carried in own {
        let error = sender.send(&carried).expect_err("it would never be freed");
        assert!(error.is_encode(), "{error}");
        assert!(error.to_string().contains("very pipe"), "{error}");
    }
    let (other, others) = channel::<Carried>().expect("a channel");
    sender
        .send(&Carried::Sender(other))
        .expect("another pipe's");
    let Ok(Carried::Sender(other)) = receiver.recv() else {
        panic!("another pipe's sender");
    };
    other
        .send(&Carried::Sender(sender))
        .expect("another pipe's");
    drop(others.recv());
    assert!(receiver.recv().is_err_and(|error| error.is_disconnected()));
}

#[test]
fn a_buffer_too_short_gives_the_whole_message() {
    on_each(|transport| {
        let (here, there) = transport.connect::<u64, u64>();
        for len in [6, 5_000, 100_000] {
            let (message, mut buffer) = (vec![7; len], [0; 5]);
            let sending = message.clone();
            let sender = here.clone();
            let sender = std::thread::spawn(move || sender.send_bytes(&sending));
            let error = there.recv_bytes_into(&mut buffer).expect_err("too short");
            assert!(error.is_buffer_too_short());
            assert_eq!(error, RecvError::BufferTooShort(message));
            assert_eq!(buffer, [0; 5]);
            sender.join().expect("no panic").expect("sent");
        }
        here.send_bytes(b"fits").expect("sent");
        assert_eq!(there.recv_bytes_into(&mut [0; 5]), Ok(4));
    });
}

#[test]
fn a_message_too_long_makes_the_end_unusable() {
    on_each(|transport| {
        for len in [11, 5_000, 200_000] {
            let (here, there) = transport.connect::<u64, u64>();
            let sender = std::thread::spawn(move || {
                // Refused once the other end has given up, or taken on a socket before it has.
                let _ = here.send_bytes(&vec![1; len]);
                here
            });
            let error = RecvError::TooLarge {
                size: len as u64,
                limit: 10,
            };
            assert_eq!(there.recv_bytes(10), Err(error));
            assert!(there.is_closed());
            assert_eq!(there.recv_bytes(10), Err(RecvError::Closed));
            assert_eq!(there.recv_timeout(LONG), Err(RecvError::Closed));
            drop(there);
            sender.join().expect("no panic");
        }
    });
}

#[test]
fn messages_of_many_threads_never_mix() {
    on_each(|transport| {
        let (here, there) = transport.connect::<Vec<u8>, ()>();
        let (senders, each) = (4u8, 60usize);
        let threads: Vec<_> = (0..senders)
            .map(|sender| {
                let here = here.clone();
                std::thread::spawn(move || {
                    for n in 0..each {
                        let len = [3, 500, 9_000, 200_000][n % 4];
                        here.send(&[vec![sender, n as u8], vec![sender; len]].concat())
                            .expect("sent");
                    }
                })
            })
            .collect();
        drop(here);
        let mut next = vec![0; usize::from(senders)];
        let mut receive = |bytes: Vec<u8>| {
            let (sender, n) = (usize::from(bytes[0]), usize::from(bytes[1]));
            assert_eq!(n, next[sender]);
            next[sender] += 1;
            assert!(bytes[2..].iter().all(|byte| *byte == bytes[0]));
        };
        loop {
            match there.recv_timeout(LONG) {
                Ok(bytes) => receive(bytes),
                Err(error) => break assert_eq!(error, RecvError::Disconnected),
            }
        }
        assert_eq!(next, vec![each; usize::from(senders)]);
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
    });
}

#[test]
fn each_message_goes_to_one_of_many_receivers() {
    on_each(|transport| {
        let (here, there) = transport.connect::<Vec<u8>, ()>();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let there = there.clone();
                std::thread::spawn(move || {
                    let (mut seen, mut bytes) = (0usize, there.recv_timeout(LONG));
                    while let Ok(message) = bytes {
                        assert!(message.iter().all(|byte| *byte == message[0]));
                        seen += 1;
                        bytes = there.recv_timeout(LONG);
                    }
                    assert_eq!(bytes, Err(RecvError::Disconnected));
                    seen
                })
            })
            .collect();
        for n in 0..200usize {
            let len = [1, 100, 70_000, 300_000][n % 4];
            here.send(&vec![n as u8; len]).expect("sent");
        }
        drop((here, there));
        let seen: usize = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum();
        assert_eq!(seen, 200);
    });
}

#[test]
fn a_descriptor_is_readable_while_there_is_something() {
    use multiproc_sys::{clock::Deadline, poll};
    on_each(|transport| {
        let (here, there) = transport.connect::<u64, u64>();
        let readable = |limit: Duration| {
            let fd = there.as_fd().expect("a descriptor");
            poll::readable(fd, Deadline::after(limit)).expect("polled")
        };
        assert!(!readable(Duration::ZERO));
        here.send(&1).expect("sent");
        assert!(readable(LONG));
        assert_eq!(there.try_recv(), Ok(1));
        assert!(!readable(Duration::from_millis(20)));
        here.send(&2).expect("sent");
        assert!(readable(LONG));
        assert_eq!(there.try_recv(), Ok(2));
        drop(here);
        assert!(readable(LONG));
        assert_eq!(there.try_recv(), Err(RecvError::Disconnected));
    });
}

#[test]
fn open_files_travel_in_the_family_and_many_at_once() {
    use multiproc_wire::Fd;
    use std::io::Write;
    let (here, there) = pipe::<Vec<Fd<std::fs::File>>, ()>().expect("a pipe");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let file = || {
        let copy = writer.try_clone().expect("a copy");
        Fd(std::fs::File::from(std::os::fd::OwnedFd::from(copy)))
    };
    here.send(&(0..1000).map(|_| file()).collect())
        .expect("sent");
    drop(writer);
    let mut files = there.recv_timeout(LONG).expect("received");
    assert_eq!(files.len(), 1000);
    for file in &mut files {
        file.write_all(b"x").expect("open");
    }
    drop(files);
    assert_eq!(
        std::io::read_to_string(reader).expect("the end").len(),
        1000
    );
}
