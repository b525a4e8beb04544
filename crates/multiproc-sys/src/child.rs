//! Making processes, and knowing how they end.
//!
//! | part | job |
//! |---|---|
//! | [`SelfExec`] | runs this program again, from a thread that must outlive the new process |
//! | [`sibling`] | copies this single-threaded process as a child of its own parent |
//! | [`fork`] | copies this process, all of whose other threads rest, as its own child |
//! | [`PidFd`] | signals, waits for and reaps one child, free of pid reuse |
//! | [`Rights`] | what a process may do, as far as a child cannot be given it later |
//! | [`Surroundings`] | what a child takes over from the thread that starts it, and can be given later |
//! | [`open_directory`], [`enter_directory`] | a working directory, held open |
//! | [`lifetime`] | ending with the parent, and what runs at a normal end |
//! | [`stdio`] | the three standard streams |

mod clone;
mod directory;
mod exec;
mod fork;
pub mod lifetime;
mod pidfd;
mod rights;
pub mod stdio;
mod surroundings;

pub use clone::{Side, can_clone, sibling};
pub use directory::{enter_directory, open_directory};
pub use exec::{ExecError, SelfExec, inherited, take_inherited};
pub use fork::{Forked, flush, fork};
pub use pidfd::{Exit, PidFd, Signal, reap_strays};
pub use rights::{Rights, shares_directory, unshare_directory};
pub use surroundings::{Changes, Surroundings, block_all_signals, set_name};

#[cfg(test)]
mod tests;
