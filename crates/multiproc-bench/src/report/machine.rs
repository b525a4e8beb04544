//! A figure without its machine and its day says little.

use std::fs;
use std::process::Command;

/// Day, processors, kernel.
pub(super) fn describe() -> String {
    let date = Command::new("date").arg("+%F").output();
    let date = date.map_or_else(|_| Vec::new(), |output| output.stdout);
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("unknown processor");
    format!(
        "{}, {} CPUs ({model}), Linux {}",
        String::from_utf8_lossy(&date).trim(),
        multiproc::cpu_count(),
        read("/proc/sys/kernel/osrelease").trim()
    )
}
