//! Switches for tests. Not part of the interface.

use crate::{bootstrap, keeper};

/// Lets this process announce a program to its children that it is not.
pub fn forge_identity(forge: bool) {
    bootstrap::forge_identity(forge);
}

/// The process ids of the fork servers of this process that have not been reaped.
pub fn fork_servers() -> Vec<u32> {
    keeper::fork_servers()
}

/// Ends the fork servers of this process; the next start makes a new one.
pub fn end_fork_servers() {
    keeper::end_fork_servers();
}
