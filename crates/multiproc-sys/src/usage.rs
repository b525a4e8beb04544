//! What a process uses, and what the kernel has taken from it for lack of memory.
//!
//! Read from `/proc` and the control groups' files. What cannot be read is `None`: none of this is
//! needed for anything to work.

use std::fs;
use std::path::PathBuf;

use nix::unistd::{SysconfVar, sysconf};

/// How many bytes of memory only this process uses, as far as they are in memory now: what it
/// shares by mapping the same file is left out. `None`: there is no such process.
pub fn private_memory(pid: u32) -> Option<u64> {
    // In pages: size, resident, resident and shared, ..
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut fields = text.split_ascii_whitespace().skip(1);
    let resident: u64 = fields.next()?.parse().ok()?;
    let shared: u64 = fields.next()?.parse().ok()?;
    Some(resident.saturating_sub(shared) * page_size())
}

fn page_size() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}

/// The counters of how often the kernel killed a process of our control group because the group
/// had used up its memory.
#[derive(Clone, Debug)]
pub struct OomKills {
    file: PathBuf,
}

impl OomKills {
    /// Those of this process's group. `None`: memory is not limited by groups here.
    pub fn of_this_process() -> Option<OomKills> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path_of = |line: &str, controller: &str| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            let path = fields.next()?.trim_start_matches('/').to_owned();
            (controllers == controller).then_some(path)
        };
        let find = |root: &str, controller: &str, file: &str| {
            let path = groups.lines().find_map(|line| path_of(line, controller))?;
            // Inside a container the group's own files may lie at the mount itself.
            let inside = PathBuf::from(root).join(path).join(file);
            let at_top = PathBuf::from(root).join(file);
            [inside, at_top].into_iter().find(|file| file.exists())
        };
        let file = find("/sys/fs/cgroup", "", "memory.events")
            .or_else(|| find("/sys/fs/cgroup/memory", "memory", "memory.oom_control"))?;
        Some(OomKills { file })
    }

    /// How many so far.
    pub fn count(&self) -> Option<u64> {
        let text = fs::read_to_string(&self.file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_is_counted() {
        let me = std::process::id();
        let before = private_memory(me).expect("it is there");
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = private_memory(me).expect("it is there");
        assert!(after >= before + (48 << 20), "{before} {after}");
        drop(block);
    }

    #[test]
    fn a_process_that_is_not_there_uses_nothing() {
        assert_eq!(private_memory(u32::MAX), None);
    }

    #[test]
    fn nobody_was_killed_while_we_look() {
        match OomKills::of_this_process() {
            Some(kills) => assert_eq!(kills.count(), kills.count()),
            None => println!("left out: memory is not limited by groups here"),
        }
    }
}
