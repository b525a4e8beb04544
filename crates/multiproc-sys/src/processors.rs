//! How many processors the machine has, whoever may use them.

use std::sync::OnceLock;

use nix::unistd::{SysconfVar, sysconf};

/// Processors that are switched on: others may run on them though this process is kept on one.
pub fn online() -> usize {
    static ONLINE: OnceLock<usize> = OnceLock::new();
    *ONLINE.get_or_init(|| {
        let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
        online
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(1)
    })
}
