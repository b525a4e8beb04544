//! Processes that run a Rust function and return its result.
#![deny(unsafe_code)]

mod bootstrap;
mod builder;
mod child;
mod current;
mod error;
mod exit;
#[doc(hidden)]
pub mod guard;
mod hook;
mod keeper;
mod outcome;
mod process;
mod request;
mod start;
#[doc(hidden)]
pub mod testing;

pub use builder::{ProcessBuilder, StartMethod, start_methods};
pub use child::ActiveChild;
pub use current::{
    CurrentProcess, ParentProcess, active_children, cpu_count, current_process, parent_process,
};
pub use error::{JoinError, Resource, SignalError, StartError, signal_name};
pub use exit::ExitStatus;
pub use guard::PanicReport;
pub use process::Process;
pub use start::init;
