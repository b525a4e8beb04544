//! What this library itself has to say: processes started, ended, signalled.
//!
//! Silent unless [`log_to_stderr`] asks for it; with the feature `tracing`, every event also goes to
//! whatever subscriber the program has.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::current;

/// How much [`log_to_stderr`] prints: a level and all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LogLevel {
    /// What should not happen.
    Error,
    /// What works, but not as intended.
    Warning,
    /// Processes that begin and end.
    Info,
    /// Every step.
    Debug,
}

/// How many levels are printed.
static PRINTED: AtomicU8 = AtomicU8::new(0);

/// Prints the events of this library to standard error from now on, as `[INFO/name] text` with the
/// name of the process: those of this process and of all it starts from now on. `None` ends that.
///
/// ```
/// use multiproc_process::{LogLevel, Process, log_to_stderr};
///
/// log_to_stderr(LogLevel::Info);
/// Process::call(|| ()).name("quiet").start()?.join()?;
/// // [INFO/main] started process 'quiet' (pid 4711) by ForkServer
/// // [INFO/quiet] begins
/// // [INFO/quiet] returns with code 0
/// // [INFO/main] process 'quiet' (pid 4711) exited with code 0
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn log_to_stderr(level: impl Into<Option<LogLevel>>) {
    let count = level.into().map_or(0, |level| level as u8 + 1);
    PRINTED.store(count, Ordering::Relaxed);
}

/// For the way to a child.
pub(crate) fn printed() -> u8 {
    PRINTED.load(Ordering::Relaxed)
}

pub(crate) fn print(count: u8) {
    PRINTED.store(count, Ordering::Relaxed);
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogLevel::Error => "ERROR",
            LogLevel::Warning => "WARNING",
            LogLevel::Info => "INFO",
            LogLevel::Debug => "DEBUG",
        })
    }
}

pub(crate) fn info(text: fmt::Arguments<'_>) {
    event(LogLevel::Info, text);
}

pub(crate) fn debug(text: fmt::Arguments<'_>) {
    event(LogLevel::Debug, text);
}

/// Says something that is said whether asked for or not.
pub(crate) fn warn(text: fmt::Arguments<'_>) {
    trace(LogLevel::Warning, text);
    if PRINTED.load(Ordering::Relaxed) > LogLevel::Warning as u8 {
        write(LogLevel::Warning, text);
    } else {
        eprintln!("multiproc: {text}");
    }
}

#[inline]
fn event(level: LogLevel, text: fmt::Arguments<'_>) {
    trace(level, text);
    if PRINTED.load(Ordering::Relaxed) > level as u8 {
        write(level, text);
    }
}

#[cold]
fn write(level: LogLevel, text: fmt::Arguments<'_>) {
    let name = current::name();
    let line = format!("[{level}/{name}] {text}\n");
    // One write, so that lines of several processes stay whole; nobody to tell if it fails.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[cfg(not(feature = "tracing"))]
#[inline]
fn trace(_: LogLevel, _: fmt::Arguments<'_>) {}

#[cfg(feature = "tracing")]
fn trace(level: LogLevel, text: fmt::Arguments<'_>) {
    macro_rules! say {
        ($level:ident) => {
            tracing::event!(target: "multiproc", tracing::Level::$level, process = %current::name(), "{text}")
        };
    }
    match level {
        LogLevel::Error => say!(ERROR),
        LogLevel::Warning => say!(WARN),
        LogLevel::Info => say!(INFO),
        LogLevel::Debug => say!(DEBUG),
    }
}

/// Runs the task of a child in a span that carries its name and its parent's, so that whatever it
/// traces does, too.
#[cfg(feature = "tracing")]
pub(crate) fn in_span<T>(act: impl FnOnce() -> T) -> T {
    let parent = current::parent_process();
    let parent = parent.as_ref().map_or("", |parent| parent.name());
    let pid = std::process::id();
    tracing::info_span!(target: "multiproc", "process", name = %current::name(), pid, parent)
        .in_scope(act)
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn in_span<T>(act: impl FnOnce() -> T) -> T {
    act()
}
