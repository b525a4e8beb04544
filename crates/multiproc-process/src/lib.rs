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
//! arguments travel as a tuple. Of none: [`Process::call`]. A type that knows what it needs:
//! [`Process::from_task`]. Argument and result are any types that serde can write and read; `Vec<u8>`
//! and `Bytes` are not copied on their way out.
//!
//! # How it starts
//!
//! By [`StartMethod::ForkServer`], which costs the same however much memory this process has, by
//! [`StartMethod::Spawn`], which runs the program anew, or by [`StartMethod::Fork`], which copies this
//! process and so can run a closure that captures ([`Process::fork`]), but only where no other threads
//! run. A builder says which, or a [`Context`], or [`set_start_method`].
//!
//! Working directory, environment, limits, output and so on are those of the calling thread at that
//! moment, and standard input is empty, but for what the [`ProcessBuilder`] says.
//!
//! A child that waits has about 90 KiB of memory of its own by fork server and 200 by Spawn (a small
//! program, optimised), and no part of its parent's. It has five open files, its streams and
//! two of this library, however many siblings there are. What all children need to read, a fork
//! server can load once: [`set_forkserver_preload`].
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
//! # What it prints
//!
//! Goes where this process prints, or wherever [`ProcessBuilder::stdout`] and its like say: to a
//! file, a pipe, nowhere, or into memory of this process ([`Stdio::captured`]), whose last 4 KiB then
//! are part of a [`JoinError`]. What this library itself does, [`log_to_stderr`] prints, here and in
//! all children; with the feature `tracing`, the program's own subscriber gets events, and the span
//! of each task with the name of its process.
//!
//! # Errors
//!
//! [`StartError`]: there is no process. [`JoinError`]: there is no result; the process panicked, was
//! killed, or ended itself.
//!
//! # If a process dies
//!
//! Everybody else goes on: see [`protocol`] for each step at which it may happen. One that is stopped
//! (`SIGSTOP`) is not dead: what it holds, it holds until it goes on. A child that changes its user or
//! group id loses the signal by which it would end with a killed parent.
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
