//! Processes are killed at random moments; everyone is answered and nothing is left over.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use multiproc::Pool;
use multiproc_tests::processes::{self, Seen};
use multiproc_tests::random::Random;
use multiproc_tests::standing::Standing;
use multiproc_tests::watchdog;

/// Kills in a run; `CHAOS=n` is a long one, `CHAOS=r` a very long one.
fn kills(usual: usize) -> usize {
    match std::env::var("CHAOS").as_deref() {
        Ok("n") => usual * 25,
        Ok("r") => usual * 250,
        _ => usual,
    }
}

/// Some time, and something to check.
fn work(n: u64) -> u64 {
    let until = Instant::now() + Duration::from_micros(n % 300);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    n * n
}

#[test]
fn fault_01_killed_workers_cost_one_task_each() {
    let kills = kills(200);
    let standing = Standing::before();
    watchdog::within(Duration::from_secs(60 + kills as u64 / 10), || {
        let pool = Pool::new(4).expect("a pool");
        let stop = AtomicBool::new(false);
        let (mut answered, mut lost) = (0, 0);
        thread::scope(|scope| {
            let killer = scope.spawn(|| {
                kill_workers(&pool, kills, &stop);
                stop.store(true, Ordering::Relaxed);
            });
            // Also if a map fails: the scope ends only when the killer does.
            let _stop = StopAtEnd(&stop);
            while !stop.load(Ordering::Relaxed) {
                lost += map_and_count_lost(&pool);
                answered += 1;
            }
            killer.join().expect("the killer does not panic");
        });
        assert!(lost <= kills, "{lost} tasks lost to {kills} kills");
        println!("{answered} maps, {kills} kills, {lost} tasks lost");

        // And it is whole again.
        assert_eq!(pool.map(work, 0..100).expect("nobody dies now").len(), 100);
        pool.close();
        pool.join().expect("the workers end well");
        drop(pool);
        standing.check();
    });
}

/// One map: every item has its value or the error that says its worker was lost.
fn map_and_count_lost(pool: &Pool) -> usize {
    const ITEMS: u64 = 300;
    let answers = pool.map_each(work, 0..ITEMS);
    assert_eq!(answers.len(), ITEMS as usize);
    let mut lost = 0;
    for (n, answer) in (0..ITEMS).zip(answers) {
        match answer {
            Ok(value) => assert_eq!(value, n * n),
            Err(error) if error.is_worker_lost() => {
                assert_eq!(error.index(), n as usize);
                lost += 1;
            }
            Err(error) => panic!("item {n}: {error}"),
        }
    }
    lost
}

/// Says stop when it goes out of scope.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills so many workers, each at a random moment, unless it is told to stop before.
fn kill_workers(pool: &Pool, kills: usize, stop: &AtomicBool) {
    let mut random = Random::seeded();
    let mut done = 0;
    while done < kills && !stop.load(Ordering::Relaxed) {
        thread::sleep(random.up_to(Duration::from_millis(20)));
        let workers = pool.worker_pids();
        if !workers.is_empty() && processes::kill(workers[random.below(workers.len())]) {
            done += 1;
        }
    }
}

#[test]
fn fault_08_all_workers_killed_at_once() {
    let standing = Standing::before();
    watchdog::within(Duration::from_secs(60), || {
        let pool = Pool::new(4).expect("a pool");
        for _ in 0..10 {
            thread::scope(|scope| {
                let map = scope.spawn(|| map_and_count_lost(&pool));
                thread::sleep(Duration::from_millis(5));
                for pid in pool.worker_pids() {
                    processes::kill(pid);
                }
                assert!(map.join().expect("every item is answered") <= 4);
            });
        }
        assert_eq!(pool.map(work, 0..100).expect("nobody dies now").len(), 100);
        pool.terminate();
        drop(pool.join());
        drop(pool);
        standing.check();
    });
}

#[test]
fn fault_22_nobody_outlives_a_killed_parent() {
    let standing = Standing::before();
    let families = kills(5);
    watchdog::within(Duration::from_secs(60 + 3 * families as u64), || {
        for _ in 0..families {
            kill_a_family();
        }
        standing.check();
    });
}

fn kill_a_family() {
    let program = env!("CARGO_BIN_EXE_family");
    let mut parent = Command::new(program)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let output = parent.stdout.take().expect("it was asked for");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it speaks");
    assert_eq!(line, "ready\n");
    let family = processes::descendants(parent.id());
    assert!(
        family.len() >= 8,
        "a family of {}: {family:?}",
        family.len()
    );

    parent.kill().expect("it lives");
    parent.wait().expect("it is ours");
    let until = Instant::now() + Duration::from_secs(2);
    let program = program.as_ref();
    while family.iter().any(Seen::is_alive) || !processes::running(program).is_empty() {
        let left = processes::running(program);
        assert!(Instant::now() < until, "still there: {left:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
