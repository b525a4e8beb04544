//! Rows 42 and 46 to 49 of the fault matrix: who may not connect, and what a hostile or broken peer
//! can do to the others.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use multiproc_manager::testing::{MESSAGE, PROTOCOL};
use multiproc_manager::{Address, CallError, Key, Manager};
use multiproc_pipe::stranger::frame::Header;
use multiproc_pipe::stranger::gate;
use multiproc_pipe::stranger::handshake::Protocol;
use multiproc_shm::testing::{Chance, kills};
use multiproc_sys::clock::Deadline;
use multiproc_sys::stream;

const LONG: Duration = Duration::from_secs(60);

fn manager() -> Manager {
    Manager::start().expect("a server")
}

fn path(manager: &Manager) -> std::path::PathBuf {
    match manager.address() {
        Address::Unix(path) => path.clone(),
        other => panic!("{other} is no Unix socket"),
    }
}

fn connect(manager: &Manager) -> UnixStream {
    UnixStream::connect(path(manager)).expect("connected")
}

/// A connection that has shown its key, and says whatever it likes.
fn authenticated(manager: &Manager, protocol: Protocol) -> Result<UnixStream, String> {
    let until = Deadline::after(LONG);
    let fd = stream::connect_unix(&path(manager), until).expect("connected");
    let entered = gate::enter(fd.as_fd(), protocol, manager.authkey(), until);
    entered.map_err(|error| error.to_string())?;
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false).expect("it may block");
    stream.set_read_timeout(Some(LONG)).expect("not for ever");
    Ok(stream)
}

fn frame(kind: u8, len: u64, body: &[u8]) -> Vec<u8> {
    let header = Header {
        kind,
        files: 0,
        len,
    };
    [&header.encode(), body].concat()
}

/// Whether the server ends the connection, whatever it says before.
fn is_dropped(mut stream: UnixStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

fn serves(manager: &Manager) {
    let list = manager.list::<u8>().expect("it serves");
    list.push(1).expect("it serves");
}

#[test]
fn fault_46_wrong_empty_and_replayed_keys_are_refused() {
    let manager = manager();
    for wrong in [Key::random(), Key::from(b"x"), Key::from(b"")] {
        let refused = Manager::connect(manager.address(), wrong).expect_err("a wrong key");
        assert!(refused.is_authentication_failed(), "{refused}");
    }
    let empty = Manager::builder()
        .authkey(b"")
        .start()
        .expect_err("no key at all");
    assert!(empty.is_listen(), "{empty}");

    // Record what a good client says, then say it again.
    let said = record_a_good_client(&manager);
    let mut replay = connect(&manager);
    replay.set_read_timeout(Some(LONG)).expect("not for ever");
    let (_, clients) = manager.census().expect("counted");
    // The server may end the connection while this is being said.
    let _ = replay.write_all(&said);
    assert!(is_dropped(replay));
    assert_eq!(manager.census().expect("counted").1, clients);
    serves(&manager);
}

/// Goes between a client and the server until the client has gone; what the client said.
fn record_a_good_client(manager: &Manager) -> Vec<u8> {
    let relay = Relay::new(manager);
    let client = Manager::connect(&relay.address, manager.authkey()).expect("connected");
    client.census().expect("counted");
    drop(client);
    relay.said.recv_timeout(LONG).expect("the client has gone")
}

/// Carries bytes between one client and the server until it is cut.
struct Relay {
    address: String,
    directory: std::path::PathBuf,
    said: mpsc::Receiver<Vec<u8>>,
    /// Both streams, once there are two.
    ends: mpsc::Receiver<[UnixStream; 2]>,
}

impl Relay {
    fn new(manager: &Manager) -> Relay {
        let name = format!("multiproc-relay-{:016x}", multiproc_sys::random::u64());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).expect("a directory");
        let listener = UnixListener::bind(directory.join("socket")).expect("it listens");
        let server = path(manager);
        let (say, said) = mpsc::channel();
        let (give, ends) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let mut server = UnixStream::connect(server).expect("connected");
            let clone = |stream: &UnixStream| stream.try_clone().expect("a copy");
            let _ = give.send([clone(&client), clone(&server)]);
            let (mut back, mut there) = (clone(&server), clone(&client));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut back, &mut there);
                let _ = there.shutdown(std::net::Shutdown::Both);
            });
            let mut said = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = client.read(&mut buffer) {
                said.extend_from_slice(&buffer[..len]);
                if server.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
            let _ = server.shutdown(std::net::Shutdown::Both);
            let _ = say.send(said);
        });
        let address = format!("unix:{}", directory.join("socket").display());
        Relay {
            address,
            directory,
            said,
            ends,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn fault_47_a_thousand_silent_peers_hold_up_nobody() {
    let manager = manager();
    let mut silent: Vec<_> = (0..1000).map(|_| connect(&manager)).collect();
    for (turn, peer) in silent.iter_mut().enumerate() {
        if turn % 2 == 0 {
            // Some say a little. The server may have dropped them already for those who came later.
            let _ = peer.write_all(b"m");
        }
    }
    let before = Instant::now();
    let good = Manager::connect(manager.address(), manager.authkey()).expect("let in");
    serves(&good);
    let took = before.elapsed();
    println!("a new client was served after {took:?} among 1,000 silent ones");
    // 100 ms on an idle machine; the limit of a silent peer is 5 s, which it must not have waited for.
    assert!(took < Duration::from_secs(3), "{took:?}");
    for peer in silent {
        peer.set_read_timeout(Some(LONG)).expect("not for ever");
        assert!(is_dropped(peer), "a silent peer is not kept");
    }
    serves(&manager);
}

#[test]
fn fault_48_another_version_is_named_at_the_handshake() {
    let manager = manager();
    let version = PROTOCOL.version + 1;
    let refused = authenticated(
        &manager,
        Protocol {
            version,
            ..PROTOCOL
        },
    );
    let refused = refused.expect_err("another version");
    assert!(refused.contains(&version.to_string()), "{refused}");
    let name = *b"pipe";
    assert!(authenticated(&manager, Protocol { name, ..PROTOCOL }).is_err());
    serves(&manager);
}

#[test]
fn fault_49_a_call_cut_off_is_gone_and_was_carried_out_once_at_most() {
    let manager = manager();
    let mut chance = Chance::new();
    let all = manager.list::<u64>().expect("a list");
    manager.names().set("list", all.clone()).expect("named");
    for _ in 0..kills(40) {
        all.clear().expect("cleared");
        let relay = Relay::new(&manager);
        let far = Manager::connect(&relay.address, manager.authkey()).expect("connected");
        let list = far.names().get::<multiproc_manager::ListProxy<u64>>("list");
        let list = list.expect("asked").expect("there");
        let ends = relay.ends.recv_timeout(LONG).expect("connected");
        let cut = std::thread::spawn({
            let moment = Duration::from_micros(chance.below(3000));
            move || {
                std::thread::sleep(moment);
                for end in ends {
                    let _ = end.shutdown(std::net::Shutdown::Both);
                }
            }
        });
        let failed = (0..).find_map(|n| list.push(n).err().map(|error| (n, error)));
        let (answered, error) = failed.expect("it is cut");
        assert!(matches!(error, CallError::ServerGone), "{error}");
        cut.join().expect("no panic");
        let there = all.to_vec().expect("read");
        // The one that was cut off may have happened, once.
        assert!(there.len() as u64 == answered || there.len() as u64 == answered + 1);
        assert!(there.iter().copied().eq(0..there.len() as u64));
    }
}

#[test]
fn fault_42_a_bomb_drops_the_client_that_threw_it_and_nobody_else() {
    let manager = manager();
    let bystander = Manager::connect(manager.address(), manager.authkey()).expect("connected");
    let bombs = [
        ("a length beyond the limit", frame(MESSAGE, u64::MAX, b"")),
        ("no frame at all", vec![0xff; 200]),
        ("another kind of frame", frame(MESSAGE + 1, 3, b"abc")),
        ("a body that is no request", frame(MESSAGE, 40, &[0xff; 40])),
        ("an operation nobody knows", frame(MESSAGE, 3, &[1, 2, 99])),
        ("a text with a length of 2^63", {
            let body = [
                1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1,
            ];
            frame(MESSAGE, body.len() as u64, &body)
        }),
    ];
    for (what, bomb) in bombs {
        let mut stream = authenticated(&manager, PROTOCOL).expect("the key is good");
        let _ = stream.write_all(&bomb);
        assert!(is_dropped(stream), "{what} was not refused");
        serves(&bystander);
    }
    // A request before the hello is refused, and the connection stays.
    let mut stream = authenticated(&manager, PROTOCOL).expect("the key is good");
    let census = [1, 0, 0, 5];
    stream.write_all(&frame(MESSAGE, 4, &census)).expect("sent");
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).expect("an answer");
    assert!(
        answer[12] == 1 && answer[13] == 1,
        "seq 1 is an error: {answer:?}"
    );
    // A frame that never ends keeps only its own client waiting.
    stream
        .write_all(&frame(MESSAGE, 1 << 20, b"begun"))
        .expect("sent");
    serves(&bystander);
}

#[test]
fn fault_42_answers_that_nobody_reads_take_a_bounded_room() {
    let manager = manager();
    let dict = manager.dict::<u8, Vec<u8>>().expect("a dict");
    dict.insert(1, vec![7; 8 << 20]).expect("inserted");
    // A thousand answers of 8 MiB each, asked for in a few KiB, and not read.
    let greedy = Manager::connect(manager.address(), manager.authkey()).expect("connected");
    manager.names().set("dict", dict.clone()).expect("named");
    let same = greedy
        .names()
        .get::<multiproc_manager::DictProxy<u8, Vec<u8>>>("dict");
    let same = same.expect("asked").expect("there");
    let under_way: Vec<_> = (0..1000).map(|_| same.get_async(&1)).collect();
    serves(&manager);
    let pid = manager.pid().expect("ours");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    let peak: u64 = peak
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .expect("a number");
    assert!(peak < 256 << 10, "the server took {peak} KiB");
    let many = vec![1; 100];
    assert!(dict.get_many(&many).is_err(), "too long for one answer");
    drop(under_way);
}

#[test]
fn tcp_stays_on_this_machine_and_runs_no_functions_unless_told_to() {
    let beyond = Manager::builder()
        .address("tcp:0.0.0.0:0")
        .start()
        .expect_err("refused");
    assert!(
        beyond.is_listen() && beyond.to_string().contains("beyond"),
        "{beyond}"
    );
    for accept in [false, true] {
        let builder = Manager::builder()
            .address("tcp:127.0.0.1:0")
            .accept_functions(accept);
        let manager = builder.start().expect("a server");
        let dict = manager.dict::<u8, u8>().expect("a dict");
        dict.insert(1, 1).expect("inserted");
        let updated = dict.update(&1, |n, by| *n += by, 1);
        match accept {
            true => assert_eq!(updated.expect("accepted"), Some(())),
            false => assert!(updated.expect_err("refused").is_refused()),
        }
    }
}

#[test]
fn as_many_clients_as_were_said() {
    let manager = Manager::builder().max_clients(2).start().expect("a server");
    let second = Manager::connect(manager.address(), manager.authkey()).expect("the second");
    assert!(Manager::connect(manager.address(), manager.authkey()).is_err());
    drop(second);
    let until = Instant::now() + LONG;
    while Manager::connect(manager.address(), manager.authkey()).is_err() {
        assert!(Instant::now() < until, "there is room again");
    }
}
