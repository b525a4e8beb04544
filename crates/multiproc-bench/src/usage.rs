//! What a process has in use: descriptors and memory.

use std::fs;
use std::io;

/// See [`here`].
pub(crate) struct Usage {
    pub(crate) fds: usize,
    /// Resident, private and shared.
    pub(crate) bytes: u64,
}

/// This process.
pub(crate) fn here() -> io::Result<Usage> {
    Ok(Usage {
        fds: fs::read_dir("/proc/self/fd")?.count(),
        bytes: resident("self", "VmRSS:")?,
    })
}

/// A line of a process's status, in bytes.
pub(crate) fn resident(pid: &str, line: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    let kib = found.and_then(|text| text.trim().strip_suffix(" kB"));
    let kib: u64 = kib.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Ok(kib << 10)
}
