//! What the tests of several crates share.
//!
//! - [`watchdog`]: a test that hangs becomes a failure that shows where each process stands.
//! - [`standing`]: what must be as before when a test is over: processes, descriptors, names.
//! - [`kinds`]: one of each kind of shared object, used by two processes.
//! - [`processes`]: the processes of this machine, as `/proc` tells of them.
//! - [`random`]: moments at random, from a seed that is printed.
//! - [`travel`]: functions of all kinds, sent to another process.

#![forbid(unsafe_code)]

pub mod kinds;
pub mod processes;
pub mod random;
pub mod standing;
pub mod travel;
pub mod watchdog;

/// The program in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// So do those of the page for people who come from Python.
#[cfg(doctest)]
#[doc = include_str!("../../docs/PYTHON.md")]
pub struct Python;
