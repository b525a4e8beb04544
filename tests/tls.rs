//! Managers on TCP beyond this machine: certificates on both sides, and the same manager behind them.

use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use multiproc::{DictProxy, LockProxy, Manager, ManagerError, Process, QueueProxy, Remote, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

const LONG: Duration = Duration::from_secs(60);
const KEY: &str = "a key that both know";

/// Somebody who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    /// A certificate for whoever has one of these names, trusting those whom `trusted` has signed for.
    fn sign(&self, names: &[&str], trusted: &Authority) -> Tls {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        let made = Tls::from_pem(certificate.pem(), key.serialize_pem(), trusted.0.pem());
        made.expect("made of what was just made")
    }
}

const NAMES: &[&str] = &["127.0.0.1", "jobs.example"];

/// A server on all addresses, and its port on this machine.
fn server(tls: Tls) -> (Manager, String) {
    let manager = Manager::builder()
        .address("tcp:0.0.0.0:0")
        .authkey(KEY)
        .tls(tls.server_name("jobs.example"))
        .start()
        .expect("a server");
    let address = manager
        .address()
        .to_string()
        .replace("0.0.0.0", "127.0.0.1");
    (manager, address)
}

fn work((dict, queue): (DictProxy<u32, String>, QueueProxy<u32>)) {
    while let Ok(item) = queue.get() {
        dict.insert(item, item.to_string()).expect("inserted");
    }
}

#[test]
fn two_who_trust_each_other_have_all_of_a_manager() {
    let authority = Authority::new();
    let (server, address) = server(authority.sign(NAMES, &authority));
    let client = Manager::connect_tls(&address, KEY, authority.sign(&["client"], &authority));
    let client = client.expect("both are trusted");
    let dict = client.dict::<u32, String>().expect("a dict");
    let queue = client.queue::<u32>(4).expect("a queue");
    // The other members of the family connect with what we have.
    let other = Process::new(work, (dict.clone(), queue.clone()));
    let other = other.start().expect("started");
    for item in 0..50 {
        queue.put(item).expect("put");
    }
    queue.close().expect("closed");
    other.join_timeout(LONG).expect("no panic");
    assert_eq!(dict.len().expect("counted"), 50);
    // Longer than any buffer on the way, both ways.
    let long = "x".repeat(5_000_000);
    dict.insert(1000, long.clone()).expect("inserted");
    assert!(dict.get(&1000).expect("read") == Some(long));
    // What others have put there is theirs, too; functions are not taken from afar.
    server.names().set("dict", dict).expect("named");
    let same: DictProxy<u32, String> = client.names().get("dict").expect("read").expect("there");
    assert_eq!(same.len().expect("counted"), 51);
    let refused: Result<Remote<u32>, _> = client.object(1);
    assert!(refused.expect_err("from afar").is_refused());
    client.shutdown().expect("the last answer comes");
    assert!(same.len().expect_err("it has ended").is_server_gone());
    server.join();
}

fn connect_error(address: &str, tls: Tls) -> ManagerError {
    Manager::connect_tls(address, KEY, tls).expect_err("not trusted")
}

fn is_untrusted(error: &ManagerError) -> bool {
    matches!(error, ManagerError::Connect(error) if error.is_untrusted())
}

#[test]
fn whoever_is_not_trusted_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (_server, address) = server(ours.sign(NAMES, &ours));
    // A client that the server does not trust, and one that does not trust the server.
    let stranger = connect_error(&address, theirs.sign(&["client"], &ours));
    assert!(is_untrusted(&stranger), "{stranger}");
    let distrusting = connect_error(&address, ours.sign(&["client"], &theirs));
    assert!(is_untrusted(&distrusting), "{distrusting}");
    // One that wants somebody else.
    let mistaken = ours.sign(&["client"], &ours).server_name("other.example");
    let mistaken = connect_error(&address, mistaken);
    assert!(is_untrusted(&mistaken), "{mistaken}");
    // A certificate is not enough, and a key is not, either.
    let good = ours.sign(&["client"], &ours);
    let keyless = Manager::connect_tls(&address, "another key", good.clone());
    assert!(keyless.expect_err("another key").is_authentication_failed());
    Manager::connect(&address, KEY).expect_err("no certificate");
    Manager::connect_tls(&address, KEY, good).expect("trusted");
}

#[test]
fn fault_47_silent_peers_hold_up_nobody() {
    let authority = Authority::new();
    let (_server, address) = server(authority.sign(NAMES, &authority));
    let place = address.strip_prefix("tcp:").expect("TCP");
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(place)).collect();
    let tls = authority.sign(&["client"], &authority);
    let begin = Instant::now();
    let client = Manager::connect_tls(&address, KEY, tls).expect("let in");
    client.dict::<u8, u8>().expect("served");
    println!(
        "served after {:?} beside {} silent peers",
        begin.elapsed(),
        silent.len()
    );
}

#[test]
fn beyond_this_machine_is_refused_without_certificates() {
    let bound = Manager::builder()
        .address("tcp:0.0.0.0:0")
        .authkey(KEY)
        .start();
    let refused = bound.expect_err("no certificates");
    assert!(
        refused.is_listen() && refused.to_string().contains("TLS"),
        "{refused}"
    );
    let refused = Manager::connect("tcp:192.0.2.1:9", KEY).expect_err("no certificates");
    assert!(refused.to_string().contains("TLS"), "{refused}");
    let authority = Authority::new();
    let tls = authority.sign(NAMES, &authority);
    let unix = Manager::builder()
        .tls(tls.clone())
        .start()
        .expect_err("no TCP");
    assert!(unix.is_listen(), "{unix}");
    // From another address of this machine, if it has one.
    let probe = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    match probe
        .connect("192.0.2.1:9")
        .and_then(|()| probe.local_addr())
    {
        Ok(ours) if !ours.ip().is_loopback() => {
            let (_server, address) = server(tls.clone());
            let there = address.replace("127.0.0.1", &ours.ip().to_string());
            let tls = tls.server_name("jobs.example");
            Manager::connect_tls(&there, KEY, tls).expect("beyond the loopback device");
        }
        other => println!("no connection from another address: this machine has none: {other:?}"),
    }
}

fn hold_until_killed(lock: LockProxy) {
    lock.acquire().expect("free").leak();
    loop {
        std::thread::park();
    }
}

#[test]
fn an_end_is_heard_through_a_tunnel() {
    let authority = Authority::new();
    let (server, address) = server(authority.sign(NAMES, &authority));
    let tls = authority.sign(&["client"], &authority);
    let client = Manager::connect_tls(&address, KEY, tls).expect("trusted");
    let lock = client.lock().expect("a lock");
    let holder = Process::new(hold_until_killed, lock.clone());
    let holder = holder.daemon(true).start().expect("started");
    let until = Instant::now() + LONG;
    while !lock.is_locked().expect("asked") {
        assert!(Instant::now() < until, "it does not take the lock");
    }
    holder.kill().expect("killed");
    let died = lock
        .acquire_timeout(LONG)
        .map(drop)
        .expect_err("its owner died");
    assert!(died.object().expect("its own").is_owner_died(), "{died}");
    let _held = lock.recover().expect("recovered");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| lock.acquire().map(drop).expect_err("gone"));
        let pid = server.pid().expect("ours");
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid as i32),
            nix::sys::signal::Signal::SIGKILL,
        )
        .expect("killed");
        assert!(waits.join().expect("no panic").is_server_gone());
    });
}
