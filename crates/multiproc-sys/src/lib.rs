//! The only room with an operating system in it.

pub mod asymmetric;
pub mod child;
pub mod clock;
pub mod forkmark;
pub mod futex;
pub mod image;
pub mod lift;
pub mod liveness;
pub mod memory;
pub mod poll;
pub mod processors;
pub mod random;
pub mod rest;
pub mod robust;
pub mod socket;
pub mod stream;
#[doc(hidden)]
pub mod testing;
pub mod usage;

pub use nix::errno::Errno;
