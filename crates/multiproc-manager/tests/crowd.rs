//! Clients that are connected and say nothing cost the others nothing, and the server no thread.
//!
//! 500 idle clients and 50 that wait; 10,000 and 1,000 under `CHAOS`, for which a process may need more
//! open files than it has by default (`ulimit -n 20000`).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use multiproc_manager::{DictProxy, Manager};
use multiproc_shm::testing::kills;

const LONG: Duration = Duration::from_secs(60);

/// A busy client may become so much slower.
const MOST: f64 = 1.5;

/// The median time of a call, in the best of some rounds: what else the machine does makes rounds slower,
/// never faster.
fn latency(dict: &DictProxy<u32, u32>) -> Duration {
    let round = || {
        let mut times: Vec<_> = (0..300)
            .map(|_| {
                let began = Instant::now();
                dict.get(&1).expect("served");
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[times.len() / 2]
    };
    (0..7).map(|_| round()).min().expect("some rounds")
}

/// A number from the server's `/proc/PID/status`.
fn status(manager: &Manager, name: &str) -> u64 {
    let pid = manager.pid().expect("ours");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.expect("there").parse().expect("a number")
}

fn join(manager: &Manager) -> Manager {
    Manager::connect(manager.address(), manager.authkey()).expect("connected")
}

#[test]
fn a_crowd_changes_nothing_for_a_busy_client_on_a_socket() {
    let manager = Manager::builder().shared_memory_after(u64::MAX).start();
    crowd(manager.expect("a server"));
}

#[test]
fn a_crowd_changes_nothing_for_a_busy_client_in_the_family() {
    crowd(Manager::start().expect("a server"));
}

/// One at a time: they measure.
static TURN: Mutex<()> = Mutex::new(());

fn crowd(manager: Manager) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dict = manager.dict::<u32, u32>().expect("a dict");
    dict.insert(1, 1).expect("inserted");
    let event = manager.event().expect("an event");
    manager.names().set("event", event.clone()).expect("named");
    let alone = latency(&dict);
    let (threads, memory) = (status(&manager, "Threads:"), status(&manager, "VmRSS:"));

    let idle: Vec<_> = (0..kills(500)).map(|_| join(&manager)).collect();
    let each = (status(&manager, "VmRSS:").saturating_sub(memory)) * 1024 / idle.len() as u64;
    println!(
        "{} idle clients: {each} bytes of the server each",
        idle.len()
    );
    assert!(each < 16 << 10, "{each} bytes for each idle client");
    std::thread::scope(|scope| {
        let waits: Vec<_> = (0..kills(50))
            .map(|_| {
                let client = join(&manager);
                let wait = move || {
                    let event = client.names().get("event").expect("read");
                    let event: multiproc_manager::EventProxy = event.expect("there");
                    event.wait_timeout(LONG).expect("served")
                };
                let thread = std::thread::Builder::new().stack_size(256 << 10);
                thread.spawn_scoped(scope, wait).expect("a thread")
            })
            .collect();
        let until = Instant::now() + LONG;
        let mut crowded = latency(&dict);
        // Until it has been seen once: a slow machine proves nothing.
        while crowded.as_secs_f64() > MOST * alone.as_secs_f64() && Instant::now() < until {
            crowded = crowded.min(latency(&dict));
        }
        let (_, clients) = manager.census().expect("counted");
        println!(
            "a call takes {alone:?} alone, {crowded:?} beside {} clients",
            clients - 1
        );
        assert!(clients as usize > idle.len() + waits.len());
        assert_eq!(
            status(&manager, "Threads:"),
            threads,
            "threads of the server"
        );
        event.set().expect("set");
        for wait in waits {
            assert!(wait.join().expect("no panic"), "all are woken");
        }
        let ratio = crowded.as_secs_f64() / alone.as_secs_f64();
        assert!(
            ratio <= MOST,
            "a busy client takes {ratio:.2} times as long"
        );
    });
    drop(idle);
    let until = Instant::now() + LONG;
    while manager.census().expect("counted").1 != 1 {
        assert!(
            Instant::now() < until,
            "the server has not noticed that they went"
        );
        std::thread::yield_now();
    }
}
