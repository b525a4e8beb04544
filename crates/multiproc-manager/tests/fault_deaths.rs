//! Rows 29 and 30 of the fault matrix: the server dies, or a client does, by each way to the server.

use std::time::{Duration, Instant};

use multiproc_manager::{
    BarrierProxy, DictProxy, EventProxy, ListProxy, LockProxy, Manager, QueueProxy, SemaphoreProxy,
};
use multiproc_process::Process;
use multiproc_shm::testing::{Chance, kills};
use multiproc_sys::child::{PidFd, Signal};

const LONG: Duration = Duration::from_secs(60);

/// A server that gives its clients lanes after so many answers.
fn start(lanes_after: u64) -> Manager {
    let manager = Manager::builder().shared_memory_after(lanes_after);
    manager.start().expect("a server")
}

/// Every test for each way to the server: its socket, and lanes in shared memory.
macro_rules! by_both_ways {
    ($($test:ident)*) => {
        mod by_socket {
            $(#[test] fn $test() { crate::$test(u64::MAX); })*
        }

        mod by_lanes {
            $(#[test] fn $test() { crate::$test(0); })*
        }
    };
}

by_both_ways! {
    fault_29_every_waiting_client_hears_of_the_servers_death
    fault_30_a_dead_client_gives_back_its_locks_permits_and_references
    fault_30_clients_killed_at_any_moment_leave_a_server_that_serves
    fault_30_a_barrier_breaks_when_one_who_waits_dies
}

fn kill(pid: u32) {
    let process = PidFd::open(pid).expect("it lives");
    process.signal(Signal::Kill).expect("killed");
}

fn socket_directory(manager: &Manager) -> std::path::PathBuf {
    let address = manager.address().to_string();
    let path = address.strip_prefix("unix:").expect("a Unix socket");
    std::path::Path::new(path)
        .parent()
        .expect("a directory")
        .to_owned()
}

fn fault_29_every_waiting_client_hears_of_the_servers_death(lanes_after: u64) {
    let mut worst = Duration::ZERO;
    for _ in 0..kills(20) {
        let manager = start(lanes_after);
        let lock = manager.lock().expect("a lock");
        let _held = lock.acquire().expect("acquired");
        let queue = manager.queue::<u32>(1).expect("a queue");
        let event = manager.event().expect("an event");
        let list = manager.list::<u32>().expect("a list");
        let directory = socket_directory(&manager);
        std::thread::scope(|scope| {
            let waits = [
                scope.spawn(|| lock.acquire().map(drop).expect_err("gone").is_server_gone()),
                scope.spawn(|| queue.get().expect_err("gone").is_server_gone()),
                scope.spawn(|| event.wait().expect_err("gone").is_server_gone()),
                scope.spawn(|| {
                    // One that is always in the middle of a call. What was carried out is unknown for
                    // the last one only, and it is not sent again.
                    let error = (0..).find_map(|n| list.push(n).err());
                    error.expect("it ends").is_server_gone()
                }),
            ];
            while list.len().expect("counted") < 20 {}
            kill(manager.pid().expect("ours"));
            let killed = Instant::now();
            for wait in waits {
                assert!(wait.join().expect("no panic"));
            }
            worst = worst.max(killed.elapsed());
        });
        assert!(manager.dict::<u8, u8>().expect_err("gone").is_server_gone());
        drop(manager);
        assert!(!directory.exists(), "{} is left", directory.display());
    }
    println!("the last of 4 waiting clients knew after {worst:?}");
    // 50 ms on an idle machine; here the point is that nobody waits for a deadline.
    assert!(worst < Duration::from_secs(5), "{worst:?}");
}

/// All that a client can hold.
type Held = (
    LockProxy,
    SemaphoreProxy,
    DictProxy<u32, ListProxy<u8>>,
    EventProxy,
);

fn hold_until_killed((lock, semaphore, dict, holding): Held) {
    let _lock = lock.acquire().expect("acquired");
    let _permit = semaphore.acquire().expect("acquired");
    let _inner = dict.get(&0).expect("asked");
    holding.set().expect("set");
    loop {
        std::thread::park();
    }
}

fn fault_30_a_dead_client_gives_back_its_locks_permits_and_references(lanes_after: u64) {
    let manager = start(lanes_after);
    let lock = manager.lock().expect("a lock");
    let semaphore = manager.semaphore(1).expect("a semaphore");
    let dict = manager.dict::<u32, ListProxy<u8>>().expect("a dict");
    let holding = manager.event().expect("an event");
    let (before, _) = manager.census().expect("counted");
    for round in 0..kills(100) {
        let inner = manager.list::<u8>().expect("a list");
        dict.insert(0, inner).expect("inserted");
        let held = (
            lock.clone(),
            semaphore.clone(),
            dict.clone(),
            holding.clone(),
        );
        let holder = Process::new(hold_until_killed, held)
            .name("holder")
            .start()
            .expect("started");
        holding.wait().expect("it holds all");
        holding.clear().expect("cleared");
        assert!(semaphore.try_acquire().is_err());
        kill(holder.pid());
        // Nothing is waited for but what the death itself gives back.
        let permit = semaphore
            .acquire_timeout(LONG)
            .expect("the permit came back");
        drop(permit);
        let died = lock
            .acquire_timeout(LONG)
            .map(drop)
            .expect_err("its owner died");
        match died.object() {
            Some(multiproc_sync::AcquireError::OwnerDied { pid, name }) => {
                assert_eq!((*pid, name.as_str()), (holder.pid(), "holder"));
            }
            other => panic!("round {round}: {other:?}"),
        }
        drop(lock.recover().expect("recovered"));
        drop(lock.acquire().expect("sound"));
        let _ = holder.join_timeout(LONG);
        // Its reference to the inner list has gone, and now the dict's does, too.
        dict.clear().expect("cleared");
        let until = Instant::now() + LONG;
        while manager.census().expect("counted").0 != before {
            assert!(Instant::now() < until, "an object is left");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(semaphore.value().expect("asked"), 1);
}

fn work((dict, lock, queue): (DictProxy<u32, u32>, LockProxy, QueueProxy<u32>)) {
    for n in 0.. {
        dict.update_or(n % 7, 0, |n, by| *n += by, 1)
            .expect("updated");
        if let Ok(_guard) = lock.acquire_timeout(Duration::from_millis(1)) {
            let _ = queue.try_put(n);
        }
        let _ = queue.try_get();
    }
}

fn fault_30_clients_killed_at_any_moment_leave_a_server_that_serves(lanes_after: u64) {
    let manager = start(lanes_after);
    let dict = manager.dict().expect("a dict");
    let lock = manager.lock().expect("a lock");
    let queue = manager.queue::<u32>(4).expect("a queue");
    let (before, _) = manager.census().expect("counted");
    let mut chance = Chance::new();
    for _ in 0..kills(300) {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let shared = (dict.clone(), lock.clone(), queue.clone());
                Process::new(work, shared)
                    .daemon(true)
                    .start()
                    .expect("started")
            })
            .collect();
        std::thread::sleep(Duration::from_micros(chance.below(8000)));
        clients.iter().for_each(|client| kill(client.pid()));
        for client in clients {
            let _ = client.join_timeout(LONG);
        }
        // Whoever is still inside has died: the lock is to be had, if need be by recovering it.
        match lock.acquire_timeout(LONG) {
            Ok(guard) => drop(guard),
            Err(error) => {
                assert!(error.object().expect("its own").is_owner_died(), "{error}");
                drop(lock.recover().expect("recovered"));
            }
        }
        dict.update_or(0, 0, |n, by| *n += by, 1)
            .expect("it serves");
    }
    assert!(dict.get(&0).expect("asked") >= Some(kills(300) as u32));
    let until = Instant::now() + LONG;
    while manager.census().expect("counted") != (before, 1) {
        assert!(Instant::now() < until, "clients or objects are left");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn stand_at(barrier: BarrierProxy) {
    let _ = barrier.wait();
}

fn fault_30_a_barrier_breaks_when_one_who_waits_dies(lanes_after: u64) {
    let manager = start(lanes_after);
    let barrier = manager.barrier(3).expect("a barrier");
    let doomed = Process::new(stand_at, barrier.clone())
        .start()
        .expect("started");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| barrier.wait());
        while barrier.waiting().expect("asked") < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        kill(doomed.pid());
        let broken = waits.join().expect("no panic").expect_err("it broke");
        assert!(broken.object().expect("its own").is_broken(), "{broken}");
    });
    let _ = doomed.join_timeout(LONG);
}

fn start_and_say((queue, hold): (multiproc_queue::Queue<(u32, String)>, multiproc_sync::Event)) {
    let manager = Manager::start().expect("a server");
    let directory = socket_directory(&manager).display().to_string();
    queue
        .put((manager.pid().expect("ours"), directory))
        .expect("said");
    hold.wait();
}

#[test]
fn a_server_ends_with_its_starter() {
    let queue = multiproc_queue::Queue::bounded(1).expect("a queue");
    let hold = multiproc_sync::Event::new().expect("an event");
    let starter = Process::new(start_and_say, (queue.clone(), hold))
        .start()
        .expect("started");
    let (server, directory) = queue.get_timeout(LONG).expect("it started");
    let server = PidFd::open(server).expect("it lives");
    kill(starter.pid());
    let _ = starter.join_timeout(LONG);
    let deadline = multiproc_sys::clock::Deadline::after(LONG);
    let fd = std::os::fd::AsFd::as_fd(&server);
    assert!(
        multiproc_sys::poll::readable(fd, deadline).expect("watched"),
        "the server lives on"
    );
    let until = Instant::now() + LONG;
    while std::path::Path::new(&directory).exists() {
        assert!(Instant::now() < until, "{directory} is left");
        std::thread::sleep(Duration::from_millis(5));
    }
}
