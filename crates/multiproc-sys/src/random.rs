//! Random numbers from the operating system, for names that must not be guessed.

use nix::errno::Errno;

/// 64 random bits.
///
/// # Panics
///
/// If the operating system has no random source, which a supported kernel always has.
pub fn u64() -> u64 {
    let mut bytes = [0u8; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// Fills `bytes` from the operating system's random source.
///
/// # Panics
///
/// As [`u64()`].
pub fn fill(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // By the general call, which a new process has met already.
        // SAFETY: getrandom writes at most `rest.len()` bytes at `rest`, which is writable for that
        // length; it keeps no pointer.
        let got = unsafe { libc::syscall(libc::SYS_getrandom, rest.as_mut_ptr(), rest.len(), 0) };
        match Errno::result(got) {
            Ok(n) => filled += n as usize,
            Err(Errno::EINTR) => {}
            Err(errno) => panic!("the operating system gives no random bytes: {errno}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(super::u64(), super::u64());
    }
}
