//! Catching a panic with what can be said about it, and printing it under the process's name.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo, UnwindSafe};
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::current;

/// What is known of a panic in another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicReport {
    /// What the panic said.
    pub message: String,
    /// File, line and column; unknown if the task put a panic hook of its own in place of ours.
    pub location: Option<String>,
    /// The stack, if `RUST_BACKTRACE` asked for it.
    pub backtrace: Option<String>,
}

thread_local! {
    /// How many calls of [`catch`] this thread is in.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    /// What the hook saw of the last panic inside one.
    static SEEN: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

/// Calls `act`; a panic inside becomes a report.
///
/// Location and backtrace are known where [`install`] has run. The panic is printed by whatever hook
/// is in place, as usual.
///
/// # Errors
///
/// The report of a panic.
pub fn catch<T>(act: impl FnOnce() -> T + UnwindSafe) -> Result<T, PanicReport> {
    CATCHING.set(CATCHING.get() + 1);
    let answer = panic::catch_unwind(act);
    CATCHING.set(CATCHING.get() - 1);
    answer.map_err(|payload| {
        let seen = SEEN.take();
        let message = text(&*payload);
        // Dropping somebody's payload can panic, too; it is not worth another report.
        let _ = panic::catch_unwind(panic::AssertUnwindSafe(|| drop(payload)));
        // The hook may have seen an earlier panic that the task caught itself.
        seen.filter(|seen| seen.message == message)
            .unwrap_or(PanicReport {
                message,
                location: None,
                backtrace: None,
            })
    })
}

type LastWords = Box<dyn Fn(&PanicReport) + Send + Sync>;

/// See [`last_words`].
static LAST_WORDS: RwLock<Option<LastWords>> = RwLock::new(None);

/// Has `say` called with the report of a panic in a program that is built to abort: nothing can catch
/// it there, and nothing runs after the hook.
pub(crate) fn last_words(say: impl Fn(&PanicReport) + Send + Sync + 'static) {
    if cfg!(panic = "abort") {
        let mut words = LAST_WORDS.write().unwrap_or_else(PoisonError::into_inner);
        *words = Some(Box::new(say));
    }
}

/// Has panics of this process printed under its name, and noted for [`catch`]. For children: it takes
/// the place of the standard hook.
pub fn install() {
    panic::set_hook(Box::new(hook));
}

fn hook(info: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    let report = PanicReport {
        message: text(info.payload()),
        location: info.location().map(ToString::to_string),
        backtrace: captured.then(|| backtrace.to_string()),
    };
    eprint!("{}", printed(&report));
    if cfg!(panic = "abort")
        && let Ok(words) = LAST_WORDS.try_read()
        && let Some(say) = &*words
    {
        say(&report);
    }
    if CATCHING.get() > 0 {
        SEEN.set(Some(report));
    }
}

fn printed(report: &PanicReport) -> String {
    let me = current::current_process();
    let thread = std::thread::current();
    let thread = thread.name().filter(|_| CATCHING.get() == 0);
    let thread = thread.map_or(String::new(), |name| format!(", thread '{name}'"));
    let at = report.location.as_deref().unwrap_or("an unknown place");
    let (name, pid) = (me.name(), me.pid());
    let message = &report.message;
    let mut text = format!("\nprocess '{name}' (pid {pid}){thread} panicked at {at}:\n{message}\n");
    if let Some(backtrace) = &report.backtrace {
        text.push_str("stack backtrace:\n");
        text.push_str(backtrace);
    }
    text
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a value that is no text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_is_reported_and_what_returns_is_returned() {
        assert_eq!(catch(|| 5), Ok(5));
        let report = catch(|| panic!("number {}", 7)).expect_err("it panics");
        assert_eq!(report.message, "number 7");
        let report = catch(|| panic::panic_any(5)).expect_err("it panics");
        assert_eq!(report.message, "a value that is no text");
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        assert!(catch(|| panic::panic_any(Bomb)).is_err());
        assert_eq!(CATCHING.get(), 0);
    }
}
