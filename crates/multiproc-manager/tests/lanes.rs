//! Calls through shared memory: who takes how much of it, what is longer than it, and what a kill at
//! any moment leaves. What calls *mean* by this way is tested where it is tested for the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use multiproc_manager::{DictProxy, LockProxy, Manager};
use multiproc_process::Process;
use multiproc_shm::family;
use multiproc_shm::testing::{Chance, alone, kills};
use multiproc_sys::child::{PidFd, Signal};

const LONG: Duration = Duration::from_secs(60);

fn start(lanes_after: u64) -> Manager {
    let manager = Manager::builder().shared_memory_after(lanes_after);
    manager.start().expect("a server")
}

fn kill(pid: u32) {
    let process = PidFd::open(pid).expect("it lives");
    process.signal(Signal::Kill).expect("killed");
}

fn used() -> u64 {
    family::usage().expect("an arena").used
}

fn call(manager: &Manager, times: usize) {
    for _ in 0..times {
        assert!(manager.census().expect("counted").1 > 0);
    }
}

#[test]
fn only_who_calls_often_takes_memory_and_it_comes_back() {
    alone(|| {
        let manager = Manager::start().expect("a server");
        let before = used();
        let others: Vec<_> = (0..20)
            .map(|_| Manager::connect(manager.address(), manager.authkey()).expect("connected"))
            .collect();
        for other in &others {
            call(other, 10);
        }
        assert!(used() - before < 4 << 10, "{} bytes", used() - before);
        call(&others[0], 200);
        let taken = used() - before;
        assert!((64 << 10..68 << 10).contains(&taken), "{taken} bytes");
        drop(others);
        let until = Instant::now() + LONG;
        while used() - before > 4 << 10 {
            assert!(Instant::now() < until, "{} bytes", used() - before);
            std::thread::sleep(Duration::from_millis(1));
        }
        manager.shutdown().expect("asked");
    });
}

/// What a process has used of processors, in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let behind_name = stat.rsplit(')').next().expect("fields");
    let fields = behind_name.split_whitespace().skip(11).take(2);
    fields
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum()
}

#[test]
fn a_server_whose_clients_fall_silent_sleeps() {
    alone(|| {
        let manager = start(0);
        call(&manager, 2_000);
        let pid = manager.pid().expect("ours");
        let until = Instant::now() + LONG;
        loop {
            let before = ticks(pid);
            std::thread::sleep(Duration::from_millis(300));
            if ticks(pid) == before {
                break;
            }
            assert!(Instant::now() < until, "it never rests");
        }
        call(&manager, 200);
    });
}

/// Bytes that show where they were torn.
fn pattern(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32)
        .map(|n| (n.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

#[test]
fn what_is_longer_than_a_lane_goes_piece_by_piece_both_ways() {
    alone(|| {
        let manager = start(0);
        let dict = manager.dict::<u32, Vec<u8>>().expect("a dict");
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let dict = &dict;
                scope.spawn(move || {
                    for len in [0, 1, 2047, 16 << 10, 100_000, 3 << 20] {
                        let value = pattern(len, thread);
                        dict.insert(thread, value.clone()).expect("inserted");
                        assert_eq!(dict.get(&thread).expect("asked"), Some(value));
                    }
                });
            }
        });
        let limit = Manager::builder()
            .shared_memory_after(0)
            .max_frame(1 << 20)
            .start()
            .expect("a server");
        let list = limit.list::<Vec<u8>>().expect("a list");
        (0..3).for_each(|n| list.push(pattern(500_000, n)).expect("pushed"));
        assert_eq!(list.to_vec().expect("in pages").len(), 3);
        // As through the socket, a request beyond the limit is the end of the connection.
        assert!(list.push(pattern(2 << 20, 0)).is_err());
    });
}

#[test]
fn any_number_of_calls_may_be_under_way() {
    any_number_by(0);
}

#[test]
fn any_number_of_calls_may_be_under_way_on_a_socket() {
    any_number_by(u64::MAX);
}

#[test]
fn any_number_of_calls_may_be_under_way_while_lanes_are_offered() {
    any_number_by(64);
}

fn any_number_by(lanes_after: u64) {
    alone(|| {
        let manager = start(lanes_after);
        let dict = manager.dict::<u32, Vec<u8>>().expect("a dict");
        dict.insert(7, pattern(1000, 7)).expect("inserted");
        // Their answers have more than the server keeps for somebody who reads none.
        let under_way: Vec<_> = (0..20_000).map(|_| dict.get_async(&7)).collect();
        for call in under_way {
            let value = call.wait().expect("answered").expect("it is there");
            assert_eq!(value.len(), 1000);
        }
    });
}

fn take_a_turn((lock, dict): (LockProxy, DictProxy<u32, u64>)) {
    let guard = lock.acquire().expect("acquired");
    let turns = dict.get(&0).expect("asked").unwrap_or(0);
    dict.insert(0, turns + 1).expect("inserted");
    // A moment in which the server is likely to be in a function.
    std::thread::sleep(Duration::from_micros(50));
    // The last thing this process does, and nobody answers it.
    drop(guard);
}

#[test]
fn the_last_requests_of_a_client_that_ends_are_carried_out() {
    alone(|| {
        let manager = start(0);
        let (lock, dict) = (manager.lock(), manager.dict::<u32, u64>());
        let (lock, dict) = (lock.expect("a lock"), dict.expect("a dict"));
        let over = AtomicU64::new(0);
        let busy = |dict: &DictProxy<u32, u64>| {
            // The server comes back from a function to both: the last request, and the end.
            while over.load(Ordering::Relaxed) == 0 {
                let ran = dict.update_or(
                    1,
                    0,
                    |_, time| std::thread::sleep(time),
                    Duration::from_micros(700),
                );
                ran.expect("it ran");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| busy(&manager.dict().expect("a dict")));
            for _ in 0..200 {
                let client = Process::new(take_a_turn, (lock.clone(), dict.clone()));
                client.start().expect("started").join().expect("no panic");
                let released = lock.acquire();
                over.store(u64::from(released.is_err()), Ordering::Relaxed);
                drop(released.expect("released, not left behind"));
            }
            over.store(1, Ordering::Relaxed);
        });
        assert_eq!(dict.get(&0).expect("asked"), Some(200));
    });
}

/// Calls until the server has gone. Each answer says how often the call before was carried out: once.
fn count(dict: &DictProxy<u32, u64>, key: u32, done: &AtomicU64) {
    for n in 0.. {
        let added = dict.update_or(
            key,
            0,
            |n, by| {
                *n += by;
                *n
            },
            1,
        );
        match added {
            Ok(now) => assert_eq!(now, n + 1, "a call was carried out twice, or never"),
            Err(error) => return assert!(error.is_server_gone(), "{error}"),
        }
        let call = dict.get_async(&key);
        match call.wait() {
            Ok(now) => assert_eq!(now, Some(n + 1)),
            Err(error) => return assert!(error.is_server_gone(), "{error}"),
        }
        done.store(n + 1, Ordering::Relaxed);
    }
}

#[test]
fn fault_29_a_server_killed_at_any_moment_has_answered_each_call_once_or_is_gone() {
    alone(|| {
        let mut chance = Chance::new();
        let (mut answered, mut worst) = (0, Duration::ZERO);
        for _ in 0..kills(150) {
            let manager = start(0);
            let dict = manager.dict::<u32, u64>().expect("a dict");
            let done = [const { AtomicU64::new(0) }; 3];
            std::thread::scope(|scope| {
                let clients: Vec<_> = (0..3)
                    .zip(&done)
                    .map(|(key, done)| {
                        let dict = &dict;
                        scope.spawn(move || count(dict, key, done))
                    })
                    .collect();
                while done.iter().any(|done| done.load(Ordering::Relaxed) < 3) {
                    std::thread::yield_now();
                }
                chance.moment(Duration::from_millis(3));
                kill(manager.pid().expect("ours"));
                let killed = Instant::now();
                for client in clients {
                    client.join().expect("content");
                }
                worst = worst.max(killed.elapsed());
            });
            answered += done
                .iter()
                .map(|done| done.load(Ordering::Relaxed))
                .sum::<u64>();
            assert!(dict.len().expect_err("gone").is_server_gone());
        }
        println!("{answered} calls answered; the last of 3 callers knew after {worst:?}");
        // 50 ms on an idle machine; here the point is that nobody waits for a deadline.
        assert!(worst < Duration::from_secs(5), "{worst:?}");
    });
}

fn call_for_ever((dict, key): (DictProxy<u32, Vec<u8>>, u32)) {
    loop {
        let under_way: Vec<_> = (0..40).map(|_| dict.get_async(&0)).collect();
        dict.insert(key, pattern(20_000, key)).expect("inserted");
        for call in under_way {
            call.wait().expect("answered");
        }
        dict.get(&key).expect("answered");
    }
}

#[test]
fn fault_30_clients_killed_while_lanes_are_full_leave_whole_values_and_no_memory() {
    alone(|| {
        let manager = start(0);
        let dict = manager.dict::<u32, Vec<u8>>().expect("a dict");
        dict.insert(0, pattern(3_000, 0)).expect("inserted");
        let before = used();
        let mut chance = Chance::new();
        for _ in 0..kills(100) {
            let clients = [1, 2].map(|key| {
                let process = Process::new(call_for_ever, (dict.clone(), key)).daemon(true);
                process.start().expect("started")
            });
            chance.moment(Duration::from_millis(8));
            clients.iter().for_each(|client| kill(client.pid()));
            for client in clients {
                let _ = client.join_timeout(LONG);
            }
            for key in [1, 2] {
                if let Some(value) = dict.get(&key).expect("it serves") {
                    assert!(value == pattern(20_000, key), "a torn value");
                }
            }
        }
        let until = Instant::now() + LONG;
        while manager.census().expect("counted").1 != 1 || used() > before + (4 << 10) {
            assert!(Instant::now() < until, "{} bytes are left", used() - before);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}
