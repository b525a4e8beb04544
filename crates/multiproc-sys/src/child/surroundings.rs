//! What a child takes over from the thread that starts it, and can be given after its birth.

use std::fs::{self, File};
use std::io::Read;
use std::mem;

use nix::errno::Errno;
use nix::sys::signal::SigSet;

use super::exec::swap_mask;

/// `RLIMIT_CPU` to `RLIMIT_RTTIME`: all there are.
const LIMITS: usize = 16;

/// Signals of which it matters to a new program whether they are ignored. What is not in this list is
/// as it was when the process that is copied began.
const INHERITED: [i32; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGPIPE,
    libc::SIGTERM,
    libc::SIGCHLD,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
];

/// One thread's surroundings at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    mask: u64,
    ignored: u64,
    nice: i32,
    affinity: Vec<u8>,
    limits: [(u64, u64); LIMITS],
    oom_score_adj: Option<i32>,
}

/// What a process that began in other surroundings must change. Plain data, to be sent there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Blocked signals. Always set, as the process that is copied blocks all.
    pub mask: u64,
    /// Ignored signals, as a mask.
    pub ignored: Option<u64>,
    /// Niceness.
    pub nice: Option<i32>,
    /// Processors, in the kernel's form; empty for no change.
    pub affinity: Vec<u8>,
    /// Resource limits: number, soft, hard.
    pub limits: Vec<(u32, u64, u64)>,
    /// How readily the kernel kills it when memory is short.
    pub oom_score_adj: Option<i32>,
}

impl Surroundings {
    /// Those of the calling thread and its process.
    pub fn of_this_thread() -> Surroundings {
        Surroundings {
            mask: mask(),
            ignored: ignored(),
            nice: nice(),
            affinity: affinity(),
            limits: std::array::from_fn(|resource| limit(resource as u32)),
            oom_score_adj: oom_score_adj(),
        }
    }

    /// As these, but of at most `bytes` of private writable memory (`RLIMIT_DATA`); what there is
    /// already counts. Never more than the limit that holds.
    pub fn limit_memory(&mut self, bytes: u64) {
        self.limit(libc::RLIMIT_DATA, bytes, bytes);
    }

    /// As these, but of at most so many seconds of processor time (`RLIMIT_CPU`): then `SIGXCPU`,
    /// one second later `SIGKILL`.
    pub fn limit_processor_time(&mut self, seconds: u64) {
        self.limit(libc::RLIMIT_CPU, seconds, seconds.saturating_add(1));
    }

    fn limit(&mut self, resource: libc::__rlimit_resource_t, soft: u64, hard: u64) {
        let (_, most) = self.limits[resource as usize];
        self.limits[resource as usize] = (soft.min(most), hard.min(most));
    }

    /// As these, but of this niceness, -20 to 19.
    pub fn set_nice(&mut self, nice: i32) {
        self.nice = nice.clamp(-20, 19);
    }

    /// As these, but on these processors only.
    pub fn set_affinity(&mut self, processors: &[usize]) {
        let last = processors.iter().max().map_or(0, |&last| last);
        // The kernel counts in words.
        let mut bytes = vec![0; (last / 64 + 1) * 8];
        for &processor in processors {
            let word = processor / 64;
            let bit = 1_u64 << (processor % 64);
            for (byte, part) in bytes[word * 8..].iter_mut().zip(bit.to_ne_bytes()) {
                *byte |= part;
            }
        }
        self.affinity = bytes;
    }

    /// What must change in a process that began in the surroundings `birth`.
    pub fn since(&self, birth: &Surroundings) -> Changes {
        let limits = self.limits.iter().zip(&birth.limits).zip(0..);
        Changes {
            mask: self.mask,
            ignored: (self.ignored != birth.ignored).then_some(self.ignored),
            nice: (self.nice != birth.nice).then_some(self.nice),
            affinity: if self.affinity == birth.affinity {
                Vec::new()
            } else {
                self.affinity.clone()
            },
            limits: limits
                .filter(|((now, then), _)| now != then)
                .map(|(((soft, hard), _), resource)| (resource, *soft, *hard))
                .collect(),
            oom_score_adj: self
                .oom_score_adj
                .filter(|_| self.oom_score_adj != birth.oom_score_adj),
        }
    }
}

impl Changes {
    /// Makes them in this process, which has one thread. The signal mask comes last: from then on
    /// signals arrive.
    ///
    /// # Errors
    ///
    /// `EPERM`, `EACCES` where this process may not: it has given up rights the starter still has.
    pub fn apply(&self) -> Result<(), Errno> {
        if let Some(ignored) = self.ignored {
            for signal in INHERITED {
                let ignore = ignored & bit(signal) != 0;
                // SAFETY: both dispositions are valid for every signal of the list, and no handler
                // of this process is replaced: it has just begun.
                unsafe { libc::signal(signal, if ignore { libc::SIG_IGN } else { libc::SIG_DFL }) };
            }
        }
        for &(resource, soft, hard) in &self.limits {
            let limit = libc::rlimit64 {
                rlim_cur: soft,
                rlim_max: hard,
            };
            // SAFETY: `limit` is readable for the call; no old value is asked for.
            let answer =
                unsafe { libc::prlimit64(0, resource, &raw const limit, std::ptr::null_mut()) };
            Errno::result(answer)?;
        }
        if let Some(nice) = self.nice {
            // SAFETY: takes plain numbers.
            Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) })?;
        }
        if !self.affinity.is_empty() {
            // SAFETY: pointer and length are of one vector, which the kernel only reads.
            let answer = unsafe {
                libc::syscall(
                    libc::SYS_sched_setaffinity,
                    0,
                    self.affinity.len(),
                    self.affinity.as_ptr(),
                )
            };
            Errno::result(answer)?;
        }
        if let Some(score) = self.oom_score_adj {
            fs::write("/proc/self/oom_score_adj", score.to_string())
                .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        }
        swap_mask(self.mask);
        Ok(())
    }
}

/// Blocks every signal that a program may use, for this thread and those it makes. Not those by which
/// the C library has all threads change their user or group at once: it waits for each of them.
pub fn block_all_signals() {
    // A valid set and a valid way cannot be refused.
    let _ = SigSet::all().thread_set_mask();
}

/// Shows `name` in lists of processes. The kernel keeps the first 15 bytes.
pub fn set_name(name: &str) {
    let mut text = [0; 16];
    let bytes = name.bytes().filter(|&byte| byte != 0);
    for (place, byte) in text[..15].iter_mut().zip(bytes) {
        *place = byte;
    }
    // SAFETY: the kernel reads up to 16 bytes, and the last is a zero. It cannot fail, and is for human
    // eyes only.
    unsafe { libc::prctl(libc::PR_SET_NAME, text.as_ptr()) };
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

fn mask() -> u64 {
    let mut now = 0_u64;
    // SAFETY: a null new mask changes nothing; the old one is 8 writable bytes, as announced.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            std::ptr::null::<u64>(),
            &raw mut now,
            size_of::<u64>(),
        );
    }
    now
}

fn ignored() -> u64 {
    let is_ignored = |&signal: &i32| {
        // SAFETY: the structure is plain data, for which all zero is valid; a null new action
        // changes nothing.
        let action = unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut action);
            action
        };
        action.sa_sigaction == libc::SIG_IGN
    };
    INHERITED
        .iter()
        .filter(|signal| is_ignored(signal))
        .fold(0, |set, &signal| set | bit(signal))
}

fn nice() -> i32 {
    // The system call answers 20 - nice, so that no answer looks like an error.
    // SAFETY: takes plain numbers; 0 is this thread.
    let answer = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    20 - i32::try_from(answer).unwrap_or(20)
}

fn affinity() -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    // SAFETY: pointer and length are of one writable vector; 0 is this thread.
    let used = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            bytes.len(),
            bytes.as_mut_ptr(),
        )
    };
    bytes.truncate(usize::try_from(used).unwrap_or(0));
    bytes
}

fn limit(resource: u32) -> (u64, u64) {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable for the call; no new value is given.
    unsafe { libc::prlimit64(0, resource, std::ptr::null(), &raw mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

fn oom_score_adj() -> Option<i32> {
    let mut text = [0; 16];
    let len = File::open("/proc/self/oom_score_adj")
        .ok()?
        .read(&mut text)
        .ok()?;
    std::str::from_utf8(&text[..len]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_changed_since_a_moment_ago() {
        let birth = Surroundings::of_this_thread();
        let changes = Surroundings::of_this_thread().since(&birth);
        assert_eq!(
            (changes.nice, changes.affinity, changes.limits.len()),
            (None, vec![], 0)
        );
        assert_eq!(changes.oom_score_adj, None);
    }

    #[test]
    fn what_differs_is_named() {
        let birth = Surroundings::of_this_thread();
        let mut now = birth.clone();
        now.nice += 1;
        now.limits[7].0 = 64;
        now.affinity = vec![1];
        let changes = now.since(&birth);
        assert_eq!(changes.nice, Some(birth.nice + 1));
        assert_eq!(changes.limits, [(7, 64, birth.limits[7].1)]);
        assert_eq!(changes.affinity, [1]);
    }

    #[test]
    fn wishes_are_named_too() {
        let birth = Surroundings::of_this_thread();
        let mut now = birth.clone();
        now.limit_memory(1 << 40);
        now.limit_processor_time(7);
        now.set_affinity(&[0, 65]);
        let changes = now.since(&birth);
        assert_eq!(changes.affinity.len(), 16);
        assert_eq!((changes.affinity.iter().sum::<u8>()), 3);
        let processor_time = changes.limits.iter().find(|limit| limit.0 == 0);
        assert_eq!(processor_time.map(|limit| limit.1), Some(7));
    }

    #[test]
    fn a_thread_without_signals_lets_the_process_change_its_user() {
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let (ready, begin) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            block_all_signals();
            ready.send(mask()).expect("the test waits");
            let _ = wait.recv();
        });
        let blocked = begin.recv().expect("the mask");
        assert_eq!(blocked & bit(libc::SIGTERM), bit(libc::SIGTERM));
        // To the user it has, which everybody may; but all threads take part.
        let me = nix::unistd::getuid();
        nix::unistd::setresuid(me, me, me).expect("nothing changes");
        drop(end);
        thread.join().expect("no panic");
    }

    #[test]
    fn rust_programs_ignore_sigpipe() {
        assert_ne!(ignored() & bit(libc::SIGPIPE), 0);
        assert_eq!(ignored() & bit(libc::SIGTERM), 0);
    }
}
