//! A pool without work. Alone in its program: each death in a family wakes all who sleep.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::time::Duration;

use common::within_a_minute;
use multiproc_pool::Pool;

#[test]
fn an_idle_pool_sleeps() {
    within_a_minute(|| {
        let pool = Pool::new(2).unwrap();
        pool.map(|n: u64| n, 0..100).unwrap();
        let pids = pool.worker_pids();
        let woken = || {
            let of = |pid: &u32| {
                let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
                let count = text
                    .lines()
                    .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
                count.unwrap().trim().parse::<u64>().unwrap()
            };
            pids.iter().map(of).max().unwrap()
        };
        // The re-checks after a sleep come ever more seldom: 100 ms, 200 ms .. 2 s.
        std::thread::sleep(Duration::from_secs(3));
        let before = woken();
        std::thread::sleep(Duration::from_secs(4));
        let often = woken() - before;
        println!("{often} times in 4 s");
        assert!(often <= 4, "woken {often} times in 4 s");
    });
}
