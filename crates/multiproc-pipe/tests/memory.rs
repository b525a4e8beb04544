//! Long messages are streamed: neither side needs memory for the message a second time, and none of it is
//! shared. The only test of its program, as it measures memory.
//!
//! `CHAOS=n` sends 4 GiB and a byte.

use multiproc_pipe::channel;
use multiproc_shm::{family, testing};

const MIB: usize = 1 << 20;

/// The most memory this process has had at once.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.expect("a number") << 10
}

/// Mebibyte `n` of the message, of which the last may be cut.
fn part(n: usize) -> Vec<u8> {
    let number = (n as u64 + 1).to_le_bytes();
    number.repeat(MIB / number.len())
}

#[test]
fn a_long_message_is_in_memory_once_on_each_side() {
    let len = match std::env::var_os("CHAOS") {
        Some(_) => (4 << 30) + 1,
        None => 300 * MIB,
    };
    let (sender, receiver) = channel::<Vec<u8>>().expect("a channel");
    let (tell, told) = channel::<(u64, u64)>().expect("a channel");
    let child = testing::fork(|| {
        let before = peak();
        let mut message = Vec::with_capacity(len);
        for n in 0..len.div_ceil(MIB) {
            let left = len - message.len();
            message.extend_from_slice(&part(n)[..left.min(MIB)]);
        }
        sender.send(&message).expect("somebody receives");
        let used = (peak() - before) as u64;
        tell.send(&(message.len() as u64, used)).expect("room");
    });
    let (before, shared) = (peak(), family::usage().expect("an arena").used);
    let message = receiver.recv().expect("a message");
    let ours = peak() - before;
    let (sent, theirs) = told.recv().expect("what it took");
    assert_eq!(sent as usize, len);
    assert_eq!(message.len(), len);
    for (n, bytes) in message.chunks(MIB).enumerate() {
        assert!(*bytes == part(n)[..bytes.len()], "mebibyte {n}");
    }
    println!("{len} bytes: receiver {ours}, sender {theirs} bytes at most");
    let most = len + len / 20 + 8 * MIB;
    assert!(ours < most, "the receiver needed {ours} bytes");
    assert!((theirs as usize) < most, "the sender needed {theirs} bytes");
    assert_eq!(family::usage().expect("an arena").used, shared);
    assert!(child.join());
}
