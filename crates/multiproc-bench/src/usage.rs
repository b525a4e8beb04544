//! What a process has in use: descriptors and memory.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::process;

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

/// What can be had without harm to anybody, in bytes.
pub(crate) fn free_memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    Ok(bytes(&text, "MemAvailable:"))
}

/// How often this process and each of its descendants were woken, all threads of one together.
pub(crate) fn wakes() -> io::Result<HashMap<u32, u64>> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        // Others come and go.
        if let Some((pid, parent)) = pid.and_then(|pid| Some((pid, parent_of(pid)?))) {
            parents.insert(pid, parent);
        }
    }
    let is_ours = |pid: &u32| {
        let up = std::iter::successors(Some(*pid), |pid| parents.get(pid).copied());
        up.take(parents.len()).any(|pid| pid == process::id())
    };
    let ours = parents.keys().copied().filter(is_ours);
    Ok(ours.map(|pid| (pid, wakes_of(pid).unwrap_or(0))).collect())
}

/// The second number after the name in parentheses.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.rsplit(')').next()?;
    after.split_whitespace().nth(1)?.parse().ok()
}

fn wakes_of(pid: u32) -> io::Result<u64> {
    let mut wakes = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let line = "voluntary_ctxt_switches:";
        let count = status.lines().find_map(|text| text.strip_prefix(line));
        wakes += count.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    }
    Ok(wakes)
}

/// A line of a process's status, in bytes.
pub(crate) fn resident(pid: &str, line: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(bytes(&status, line))
}

/// What `line` says, in bytes.
fn bytes(text: &str, line: &str) -> u64 {
    let found = text.lines().find_map(|text| text.strip_prefix(line));
    let kib = found.and_then(|text| text.trim().strip_suffix(" kB"));
    let kib: u64 = kib.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    kib << 10
}
