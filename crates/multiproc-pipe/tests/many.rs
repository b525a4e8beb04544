//! Many pipes open at once: what each costs. The only test of its program, as it counts descriptors.
//! `CHAOS=n` opens 10,000.

use multiproc_pipe::{RecvError, pipe};
use multiproc_shm::{family, testing};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("a list").count()
}

#[test]
fn many_pipes_take_no_descriptor_and_64_kib_each() {
    let many = match std::env::var_os("CHAOS") {
        Some(_) => 10_000,
        None => 1_000,
    };
    let first = pipe::<u64, u64>().expect("a pipe");
    let (fds, used) = (descriptors(), family::usage().expect("an arena").used);
    let pipes: Vec<_> = (0..many)
        .map(|_| pipe::<u64, u64>().expect("a pipe"))
        .collect();
    for (n, (here, there)) in (0..).zip(&pipes) {
        here.send(&n).expect("room");
        assert_eq!(there.recv(), Ok(n));
    }
    assert_eq!(descriptors(), fds);
    let each = (family::usage().expect("an arena").used - used) / many as u64;
    println!("{each} bytes each");
    assert!((64 << 10..66 << 10).contains(&each), "{each} bytes each");
    for (here, there) in pipes {
        drop(here);
        assert_eq!(there.recv(), Err(RecvError::Disconnected));
    }
    assert_eq!(family::usage().expect("an arena").used, used);
    drop(first);
    testing::audit().expect("nothing contradicts itself");
}
