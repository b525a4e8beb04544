//! Listeners and clients: who gets in, who does not, and what a connection between them does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use multiproc_pipe::stranger::frame::Header;
use multiproc_pipe::stranger::handshake::{Handshake, PIPE, Protocol, Role};
use multiproc_pipe::{
    AcceptError, Address, BindError, Client, ConnectError, Connection, Key, Listener, RecvError,
    SendError,
};

const LONG: Duration = Duration::from_secs(60);
const KEY: &[u8] = b"a key for tests";

type Ends = (Connection<String, u64>, Connection<u64, String>);

fn listener(address: &str) -> Listener {
    Listener::bind(address).expect("a listener").authkey(KEY)
}

/// The listener's end, then the client's.
fn meet(listener: &Listener) -> Ends {
    let address = listener.local_addr().clone();
    let client = std::thread::spawn(move || Client::connect(address).authkey(KEY).open());
    let server = listener.accept_timeout(LONG).expect("a client");
    (
        server,
        client.join().expect("no panic").expect("a listener"),
    )
}

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("multiproc-test-{}", multiproc_sys::random::u64()))
}

fn unix_path(listener: &Listener) -> PathBuf {
    match listener.local_addr() {
        Address::Unix(path) => path.clone(),
        other => panic!("{other}"),
    }
}

/// A raw connection to the listener, to be impolite with.
fn raw(listener: &Listener) -> UnixStream {
    UnixStream::connect(unix_path(listener)).expect("it listens")
}

/// What the listener says of the next it turns away.
fn next_refused(listener: &Listener) -> ConnectError {
    let until = Instant::now() + LONG;
    loop {
        let accepted = listener.accept_timeout::<u8, u8>(Duration::from_millis(20));
        assert!(accepted.is_err_and(|error| error.is_timed_out()));
        if let Some(error) = listener.take_refused().pop() {
            return error;
        }
        assert!(Instant::now() < until, "nobody was turned away");
    }
}

#[test]
fn values_go_both_ways_on_every_transport() {
    for address in ["unix:", "tcp:127.0.0.1:0"] {
        let (server, client) = meet(&listener(address));
        server.send(&"hello".into()).expect("sent");
        assert_eq!(client.recv_timeout(LONG), Ok("hello".into()));
        client.send(&7).expect("sent");
        client.send_bytes(&[9]).expect("sent");
        assert_eq!(server.recv_timeout(LONG), Ok(7));
        assert_eq!(server.recv_bytes(10), Ok(vec![9]));
        assert_eq!(server.try_recv(), Err(RecvError::Empty));
        drop(client);
        assert_eq!(server.recv_timeout(LONG), Err(RecvError::Disconnected));
        let until = Instant::now() + LONG;
        while server.send(&"anybody?".into()).is_ok() {
            assert!(Instant::now() < until);
        }
    }
}

#[test]
fn long_messages_arrive_whole() {
    let listener = Listener::bind("unix:").expect("a listener").authkey(KEY);
    let address = listener.local_addr().clone();
    let client = std::thread::spawn(move || {
        let connection: Connection<Vec<u8>, Vec<u8>> = Client::connect(address)
            .authkey(KEY)
            .open()
            .expect("a listener");
        for len in [0, 1, 65_535, 65_536, 65_537, 5_000_000] {
            connection.send(&vec![len as u8; len]).expect("sent");
        }
        connection.recv().expect("an answer")
    });
    let server: Connection<Vec<u8>, Vec<u8>> = listener.accept_timeout(LONG).expect("a client");
    for len in [0, 1, 65_535, 65_536, 65_537, 5_000_000] {
        assert!(server.recv_timeout(LONG).expect("sent") == vec![len as u8; len]);
    }
    server.send(&vec![1; 300_000]).expect("sent");
    assert_eq!(client.join().expect("no panic").len(), 300_000);
}

#[test]
fn fault_46_a_wrong_key_fails_on_both_sides_and_the_next_is_served() {
    let listener = listener("unix:");
    for round in 0..20 {
        let address = listener.local_addr().clone();
        let wrong = Key::from(format!("wrong {round}"));
        let client = std::thread::spawn(move || Client::connect(address).authkey(wrong).open());
        assert_eq!(next_refused(&listener), ConnectError::AuthenticationFailed);
        let opened: Result<Connection<u8, u8>, _> = client.join().expect("no panic");
        assert_eq!(opened.err(), Some(ConnectError::AuthenticationFailed));
    }
    let (server, client) = meet(&listener);
    client.send(&1).expect("sent");
    assert_eq!(server.recv_timeout(LONG), Ok(1));
}

#[test]
fn fault_46_no_key_is_no_key() {
    let empty = Listener::bind("unix:").expect("a listener").authkey(b"");
    let accepted = empty.try_accept::<u8, u8>();
    assert!(
        matches!(accepted, Err(AcceptError::Invalid(_))),
        "{accepted:?}"
    );
    let opened = Client::connect(empty.local_addr())
        .authkey("")
        .open::<u8, u8>();
    assert!(opened.is_err_and(|error| error.is_invalid()));

    let tcp = Listener::bind("tcp:127.0.0.1:0").expect("a listener");
    let accepted = tcp.try_accept::<u8, u8>();
    assert!(
        matches!(accepted, Err(AcceptError::Invalid(_))),
        "{accepted:?}"
    );
    let opened = Client::connect(tcp.local_addr()).open::<u8, u8>();
    assert!(opened.is_err_and(|error| error.is_invalid()));

    // On a Unix socket, the kernel says who is there; but who has a key wants one.
    let open = Listener::bind("unix:").expect("a listener");
    let address = open.local_addr().clone();
    let client = std::thread::spawn(move || Client::connect(address).open::<u8, u8>());
    open.accept_timeout::<u8, u8>(LONG).expect("the same user");
    client.join().expect("no panic").expect("the same user");
    let listener = listener("unix:");
    let address = listener.local_addr().clone();
    let client = std::thread::spawn(move || Client::connect(address).open::<u8, u8>());
    assert!(next_refused(&listener).is_authentication_failed());
    let opened = client.join().expect("no panic");
    assert!(opened.is_err_and(|error| error.is_authentication_failed()));
}

#[test]
fn fault_46_a_replayed_answer_and_a_reflected_challenge_fail() {
    let listener = listener("unix:");
    // Somebody listens in on a good handshake ..
    let mut good = Handshake::new(PIPE, Role::Client, &Key::from(KEY));
    let mut stream = raw(&listener);
    let opening = good.take_output();
    stream.write_all(&opening).expect("written");
    let accepting = std::thread::scope(|scope| {
        let accepting = scope.spawn(|| listener.accept_timeout::<u8, u8>(LONG));
        let mut theirs = [0; 48];
        stream.read_exact(&mut theirs).expect("an opening");
        good.feed(&theirs[..16]).expect("good");
        good.feed(&theirs[16..]).expect("good");
        stream.write_all(&good.take_output()).expect("written");
        let mut answer = [0; 33];
        stream.read_exact(&mut answer).expect("an answer");
        good.feed(&answer).expect("good");
        accepting.join().expect("no panic")
    });
    accepting.expect("the key was right");
    // .. and says the same again.
    let mut replayed = Handshake::new(PIPE, Role::Client, &Key::from(KEY));
    let _ = replayed.take_output();
    let mut stream = raw(&listener);
    stream.write_all(&opening).expect("written");
    stream.write_all(&[7; 32]).expect("written");
    assert_eq!(next_refused(&listener), ConnectError::AuthenticationFailed);

    // Somebody sends the listener's own words back.
    let mut stream = raw(&listener);
    let reflecting = std::thread::spawn(move || {
        let mut theirs = [0; 48];
        stream.read_exact(&mut theirs).expect("an opening");
        stream.write_all(&theirs).expect("written");
        stream
    });
    assert_eq!(next_refused(&listener), ConnectError::AuthenticationFailed);
    reflecting.join().expect("no panic");
}

#[test]
fn fault_47_a_thousand_silent_clients_hold_up_nobody() {
    let listener = listener("unix:");
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let accepting = scope.spawn(|| {
            (0..10)
                .map(|_| listener.accept_timeout(LONG).expect("a good client"))
                .collect::<Vec<Connection<u8, u8>>>()
        });
        let mut silent = Vec::new();
        for _ in 0..10 {
            silent.extend((0..100).map(|_| raw(&listener)));
            // Some say something, and never enough.
            for mut stream in silent.iter().step_by(7) {
                let _ = stream.write_all(b"m");
            }
            let begun = Instant::now();
            let client = Client::connect(listener.local_addr())
                .authkey(KEY)
                .timeout(LONG);
            client.open::<u8, u8>().expect("it is served");
            slowest = slowest.max(begun.elapsed());
        }
        assert_eq!(silent.len(), 1000);
        accepting.join().expect("no panic");
    });
    println!("the slowest of 10 good clients among 1,000 silent ones took {slowest:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

#[test]
fn fault_47_a_silent_client_is_cut_off_at_the_limit() {
    let listener = listener("unix:");
    let mut silent = raw(&listener);
    let begun = Instant::now();
    assert_eq!(next_refused(&listener), ConnectError::TimedOut);
    assert!(begun.elapsed() >= Duration::from_secs(5));
    let mut said = Vec::new();
    silent.read_to_end(&mut said).expect("the end");
    assert_eq!(said.len(), 48);
}

#[test]
fn fault_48_another_version_is_named_on_both_sides() {
    for address in ["unix:", "tcp:127.0.0.1:0"] {
        let listener = listener(address);
        for theirs in [0, 2, 900] {
            let newer = Protocol {
                version: theirs,
                ..PIPE
            };
            let mut client = Handshake::new(newer, Role::Client, &Key::from(KEY));
            let mut stream: Box<dyn ReadWrite> = match listener.local_addr() {
                Address::Tcp(place) => Box::new(TcpStream::connect(place).expect("it listens")),
                _ => Box::new(raw(&listener)),
            };
            stream.write_all(&client.take_output()).expect("written");
            let mismatch = ConnectError::VersionMismatch { ours: 1, theirs };
            assert_eq!(next_refused(&listener), mismatch);
            let mut opening = [0; 16];
            stream.read_exact(&mut opening).expect("an opening");
            let mismatch = ConnectError::VersionMismatch {
                ours: theirs,
                theirs: 1,
            };
            assert_eq!(client.feed(&opening), Err(mismatch));
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[test]
fn what_speaks_another_protocol_is_turned_away() {
    let listener = listener("tcp:127.0.0.1:0");
    let Address::Tcp(place) = *listener.local_addr() else {
        panic!("TCP");
    };
    let mut browser = TcpStream::connect(place).expect("it listens");
    browser
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("written");
    assert_eq!(next_refused(&listener), ConnectError::Protocol);
}

#[test]
fn nobody_there_is_refused_at_once() {
    let nobody = Client::connect(format!("unix:{}", path().display()));
    assert_eq!(nobody.open::<u8, u8>().err(), Some(ConnectError::Refused));
    let listener = Listener::bind("tcp:127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().clone();
    drop(listener);
    let nobody = Client::connect(address).authkey(KEY);
    assert_eq!(nobody.open::<u8, u8>().err(), Some(ConnectError::Refused));
}

#[test]
fn a_listener_that_says_nothing_times_out() {
    let place = path();
    let silent = std::os::unix::net::UnixListener::bind(&place).expect("it listens");
    let client = Client::connect(format!("unix:{}", place.display()))
        .authkey(KEY)
        .timeout(Duration::from_millis(50));
    assert_eq!(client.open::<u8, u8>().err(), Some(ConnectError::TimedOut));
    drop(silent);
    std::fs::remove_file(place).expect("it is there");
}

#[test]
fn a_socket_file_is_private_and_goes_with_its_listener() {
    let listener = listener("unix:");
    let path = unix_path(&listener);
    let mode = |path: &std::path::Path| {
        let found = std::fs::metadata(path).expect("it is there");
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode(&path), 0o600);
    let directory = path.parent().expect("a directory").to_path_buf();
    assert_eq!(mode(&directory), 0o700);
    drop(listener);
    assert!(!path.exists() && !directory.exists());
}

#[test]
fn the_file_of_a_dead_listener_is_replaced_and_no_other() {
    let place = path();
    let address = format!("unix:{}", place.display());
    // A listener that went without tidying up.
    drop(std::os::unix::net::UnixListener::bind(&place).expect("it listens"));
    assert!(place.exists());
    let listener = listener(&address);
    assert!(matches!(Listener::bind(&address), Err(BindError::InUse(_))));
    meet(&listener);
    drop(listener);
    assert!(!place.exists());
    std::fs::write(&place, "something else").expect("written");
    assert!(matches!(Listener::bind(&address), Err(BindError::InUse(_))));
    assert_eq!(
        std::fs::read(&place).expect("still there"),
        b"something else"
    );
    std::fs::remove_file(place).expect("it is there");
}

#[test]
fn many_that_bind_at_a_dead_listeners_file_are_one_in_the_end() {
    for _ in 0..20 {
        let place = path();
        drop(std::os::unix::net::UnixListener::bind(&place).expect("it listens"));
        let address = format!("unix:{}", place.display());
        let bound: Vec<_> = std::thread::scope(|scope| {
            let binding: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Listener::bind(&address)))
                .collect();
            binding
                .into_iter()
                .map(|one| one.join().expect("no panic"))
                .collect()
        });
        let mut good: Vec<_> = bound.into_iter().filter_map(Result::ok).collect();
        assert_eq!(good.len(), 1);
        meet(&good.remove(0).authkey(KEY));
        assert!(!place.exists());
    }
}

#[test]
fn an_over_long_message_is_refused_at_both_ends() {
    let place = path();
    let address = format!("unix:{}", place.display());
    let listener = listener(&address).frame_limit(100);
    let client = std::thread::spawn(move || {
        let client = Client::connect(address).authkey(KEY);
        client.open::<Vec<u8>, u8>().expect("a listener")
    });
    let server: Connection<Vec<u8>, Vec<u8>> = listener.accept_timeout(LONG).expect("a client");
    let client = client.join().expect("no panic");
    let too_large = SendError::TooLarge {
        size: 101,
        limit: 100,
    };
    assert_eq!(server.send(&vec![0; 101]), Err(too_large));
    server.send(&vec![0; 100]).expect("short enough");
    client.send(&vec![0; 100]).expect("sent");
    client.send(&vec![0; 101]).expect("its limit is higher");
    assert_eq!(server.recv_timeout(LONG).map(|got| got.len()), Ok(100));
    assert!(!server.is_closed());
    let too_large = RecvError::TooLarge {
        size: 101,
        limit: 100,
    };
    assert_eq!(server.recv_timeout(LONG), Err(too_large));
    assert!(server.is_closed());
    assert_eq!(server.recv_timeout(LONG), Err(RecvError::Closed));
}

/// The server's end, and the client's with a trusted stream beneath it to send anything.
fn meet_raw(listener: &Listener) -> (Connection<u8, u64>, UnixStream) {
    let mut stream = raw(listener);
    let mut handshake = Handshake::new(PIPE, Role::Client, &Key::from(KEY));
    let client = std::thread::spawn(move || {
        while !handshake.is_done() {
            stream.write_all(&handshake.take_output()).expect("written");
            let mut buffer = vec![0; handshake.wants()];
            stream.read_exact(&mut buffer).expect("read");
            handshake.feed(&buffer).expect("the right key");
        }
        stream
    });
    let server = listener.accept_timeout(LONG).expect("a client");
    (server, client.join().expect("no panic"))
}

#[test]
fn fault_42_what_is_no_frame_ends_the_connection_and_takes_no_memory() {
    let listener = listener("unix:");
    let good = |kind, files, len| Header { kind, files, len }.encode().to_vec();
    let protocol = |error: &RecvError| error.is_protocol();
    type Case = (Vec<u8>, fn(&RecvError) -> bool);
    let cases: [Case; 6] = [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), protocol),
        (good(9, 0, 0), protocol),
        (good(1, 3, 0), protocol),
        (good(1, 0, 1 << 40), RecvError::is_too_large),
        (good(1, 0, u64::MAX), RecvError::is_too_large),
        // Announced, and never sent.
        (good(1, 0, 1 << 20), protocol),
    ];
    for (bytes, expected) in cases {
        let (server, mut stream) = meet_raw(&listener);
        stream.write_all(&bytes).expect("written");
        drop(stream);
        let error = server.recv_timeout(LONG).expect_err("no message");
        assert!(expected(&error), "{error:?} from {bytes:?}");
        let after = server.recv_timeout(LONG).expect_err("no message");
        assert!(after.is_closed() || after.is_disconnected(), "{after:?}");
    }
}

#[test]
fn a_message_that_comes_in_pieces_outlives_receives_that_give_up() {
    let listener = listener("unix:");
    let (server, mut stream) = meet_raw(&listener);
    let message = [
        &Header {
            kind: 1,
            files: 0,
            len: 3,
        }
        .encode()[..],
        b"abc",
    ]
    .concat();
    for byte in &message {
        assert_eq!(server.poll(Duration::ZERO), Ok(false));
        assert_eq!(server.try_recv(), Err(RecvError::Empty));
        stream.write_all(&[*byte]).expect("written");
    }
    assert_eq!(server.poll(LONG), Ok(true));
    assert_eq!(server.recv_bytes(10), Ok(b"abc".to_vec()));
    stream.write_all(&message[..7]).expect("written");
    drop(stream);
    assert!(
        server
            .recv_timeout(LONG)
            .is_err_and(|error| error.is_protocol())
    );
    assert_eq!(server.recv_timeout(LONG), Err(RecvError::Disconnected));
}

#[test]
fn fault_44_a_reader_that_does_not_read_makes_the_connection_full() {
    for address in ["unix:", "tcp:127.0.0.1:0"] {
        let (server, client) = meet(&listener(address));
        let mut sent = 0u64;
        let full = loop {
            match client.try_send(&sent) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full, SendError::Full);
        let begun = Instant::now();
        let late = client.send_timeout(&0, Duration::from_millis(30));
        assert_eq!(late, Err(SendError::TimedOut));
        assert!(begun.elapsed() >= Duration::from_millis(30));
        // All that was taken arrives, also what the last one that was taken had to leave behind.
        let sender = std::thread::spawn(move || client.send(&u64::MAX));
        for expected in 0..sent {
            assert_eq!(server.recv_timeout(LONG), Ok(expected));
        }
        assert_eq!(server.recv_timeout(LONG), Ok(u64::MAX));
        sender.join().expect("no panic").expect("sent");
    }
}

#[test]
fn ends_close_once_all_their_handles_have() {
    let (server, client) = meet(&listener("unix:"));
    let other = client.clone();
    client.close();
    client.close();
    assert!(client.is_closed() && !other.is_closed() && client.clone().is_closed());
    assert_eq!(client.send(&1), Err(SendError::Closed));
    assert_eq!(client.recv(), Err(RecvError::Closed));
    other.send(&2).expect("sent");
    let (sender, receiver) = other.split();
    drop(sender);
    assert_eq!(server.recv_timeout(LONG), Ok(2));
    assert_eq!(server.recv_timeout(LONG), Err(RecvError::Disconnected));
    server.send(&"still".into()).expect("sent");
    assert_eq!(receiver.recv_timeout(LONG), Ok("still".into()));
    drop(receiver);
    assert_eq!(server.send(&"gone".into()), Err(SendError::Disconnected));
}

#[test]
fn a_buffer_too_short_gives_the_message_back() {
    let (server, client) = meet(&listener("unix:"));
    server.send_bytes_range(b"hello world", 6, 5).expect("sent");
    server.send_bytes(b"again").expect("sent");
    let mut buffer = [0; 8];
    let error = client.recv_bytes_into(&mut buffer[..4]);
    assert_eq!(error, Err(RecvError::BufferTooShort(b"world".to_vec())));
    assert_eq!(client.recv_bytes_into(&mut buffer[2..]), Ok(5));
    assert_eq!(&buffer, b"\0\0again\0");
}
