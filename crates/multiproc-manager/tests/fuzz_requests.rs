//! Throws requests at the server: random bytes, and good requests with a few bytes changed.
//!
//! Whatever comes is refused or answered, never a panic. Runs for a second; `FUZZ_SECONDS` sets how
//! long.

use std::time::{Duration, Instant};

use multiproc_manager::testing::{Bare, seeds};
use multiproc_shm::testing::Chance;

fn change(bytes: &mut Vec<u8>, chance: &mut Chance) {
    for _ in 0..1 + chance.below(3) {
        let at = chance.below(bytes.len().max(1) as u64) as usize;
        match chance.below(5) {
            0 => bytes.insert(at, chance.below(256) as u8),
            _ if bytes.is_empty() => {}
            1 => bytes[at] ^= 1 << chance.below(8),
            2 => bytes[at] = chance.below(12) as u8,
            3 => bytes[at] = 0xff,
            _ => drop(bytes.remove(at)),
        }
    }
}

#[test]
fn whatever_comes_is_refused_or_answered() {
    let seconds = std::env::var("FUZZ_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut chance = Chance::new();
    let seeds = seeds();
    let (mut thrown, mut understood) = (0u64, 0u64);
    while Instant::now() < end {
        let mut server = Bare::new(3);
        for seed in &seeds[1..] {
            assert!(server.take(0, seed), "a good request is understood");
        }
        for _ in 0..500 {
            let mut bytes = seeds[chance.below(seeds.len() as u64) as usize].clone();
            match chance.below(8) {
                0 => {
                    bytes = (0..chance.below(40))
                        .map(|_| chance.below(256) as u8)
                        .collect()
                }
                1 => {}
                _ => change(&mut bytes, &mut chance),
            }
            thrown += 1;
            understood += u64::from(server.take(chance.below(3), &bytes));
            match chance.below(50) {
                0 => server.pass(Duration::from_micros(chance.below(3000))),
                1 => {
                    let client = chance.below(3);
                    server.reconnect(client);
                    server.take(client, &seeds[0]);
                }
                _ => {}
            }
        }
    }
    println!("{thrown} messages, {understood} of them requests");
    assert!(understood > 0);
}
