//! Processes that run a Rust function and return its result.
//!
//! ```
//! use multiproc_process::Process;
//!
//! fn fib(n: u32) -> u64 {
//!     if n < 2 { n.into() } else { fib(n - 1) + fib(n - 2) }
//! }
//!
//! let process = Process::new(fib, 20).start()?;
//! println!("{} computes in process {}", process.name(), process.pid());
//! assert_eq!(process.join()?, 6765);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! There is nothing to set up: no line in `main`, none in a test. A new process is recognised before
//! `main` and runs the function instead.
//!
//! # What can run
//!
//! A function, or a closure that captures nothing, of one argument: [`Process::new`]. Several
//! arguments travel as a tuple. Of none: [`Process::call`]. Argument and result are any types that
//! serde can write and read.
//!
//! # How it starts
//!
//! By [`StartMethod::ForkServer`], which costs the same however much memory this process has, or by
//! [`StartMethod::Spawn`], which runs the program anew. Working directory, environment, limits,
//! output and so on are those of the calling thread at that moment; standard input is empty.
//!
//! # End of life
//!
//! A process is awaited when its parent ends normally and killed when the parent is killed.
//! [`daemon`](ProcessBuilder::daemon) ends it with the parent in any case,
//! [`detach`](ProcessBuilder::detach) lets it live on. Dropping a [`Process`] does neither.
//!
//! When its task is done, a process awaits its own children and writes out its standard streams, those
//! of C included. It does not run exit handlers (`atexit`) and destructors of libraries, as in Python;
//! a task that needs them ends with [`std::process::exit`].
//!
//! # Errors
//!
//! [`StartError`]: there is no process. [`JoinError`]: there is no result; the process panicked, was
//! killed, or ended itself.
//!
//! # If a process dies
//!
//! Everybody else goes on: see [`protocol`] for each step at which it may happen.
//!
//! # Limits
//!
//! 4,096 processes in one family. One open file for each process that has not been dropped. Starts of
//! one process happen one after the other. A process that has started others by fork server keeps two
//! small processes waiting, the server and one copy, until it ends.
//!
//! Not seen after the first start, as it would cost too much to look each time: a change of this
//! process's user, process, host name, time or control group namespace, or of its security label.
//! Children start in those of the fork server then.
//!
//! While a fork server waits, this process shares its working directory with it; so should this
//! process itself `exec` a set-user-id program, that one gains no rights.
#![deny(unsafe_code)]

mod bootstrap;
mod builder;
mod child;
mod context;
mod current;
mod error;
mod exit;
#[doc(hidden)]
pub mod guard;
mod hook;
mod keeper;
mod log;
mod outcome;
mod preload;
mod process;
mod rehearsal;
mod request;
mod start;
mod stdio;
#[doc(hidden)]
pub mod testing;
mod wishes;

pub use builder::ProcessBuilder;
pub use child::ActiveChild;
pub use context::{Context, StartMethod, get_start_method, set_start_method, start_methods};
pub use current::{
    CurrentProcess, ParentProcess, active_children, cpu_count, current_process, parent_process,
};
pub use error::{CloseError, JoinError, Resource, SignalError, StartError, signal_name};
pub use exit::ExitStatus;
pub use guard::PanicReport;
pub use log::{LogLevel, log_to_stderr};
pub use preload::set_forkserver_preload;
pub use process::{Process, Run};
pub use start::init;
pub use stdio::Stdio;

#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
