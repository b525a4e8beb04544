//! Ending together with the parent, and what runs at a normal end.

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Lets the kernel kill this process when the thread that made it ends. `false` if the parent is no
/// longer `parent`, so that it may have ended before.
///
/// # Errors
///
/// None on a supported kernel, unless a filter forbids it.
pub fn die_with_parent(parent: u32) -> Result<bool, Errno> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // By the general call: each function that a new process runs through may be a page to be met.
    // SAFETY: takes nothing and cannot fail.
    let now = unsafe { libc::syscall(libc::SYS_getppid) };
    Ok(u32::try_from(now) == Ok(parent))
}

/// Takes back [`die_with_parent`].
///
/// # Errors
///
/// As [`die_with_parent`].
pub fn outlive_parent() -> Result<(), Errno> {
    prctl::set_pdeathsig(None)
}

/// Has `act` called when this process ends normally: `exit`, or the return of `main`. Not when it is
/// killed. Copies of this process inherit the call, so `act` must know in which one it runs.
///
/// # Errors
///
/// `ENOMEM`.
pub fn at_exit(act: extern "C" fn()) -> Result<(), Errno> {
    // SAFETY: `act` is a function of this program, valid for its whole life.
    match unsafe { libc::atexit(act) } {
        0 => Ok(()),
        _ => Err(Errno::ENOMEM),
    }
}

/// Whether the calling thread is the only one of this process. `false` where a filter hides it.
pub fn has_one_thread() -> bool {
    // To part from the other threads is possible where there are none, and changes nothing there.
    unshare(CloneFlags::CLONE_THREAD).is_ok()
}

/// Lets Ctrl-C (`SIGINT`), which reaches every process of the terminal's group, pass this process by.
pub fn ignore_interrupts() {
    // SAFETY: SIG_IGN is a disposition for any signal that can be ignored, and runs no code of ours.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
}

/// Ends this process at once: nothing is flushed, no handler runs.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// Has `SIGINT` do nothing to this process: from a terminal it goes to every process of the group,
/// and only the one that started the others should decide what it means.
///
/// It is caught rather than ignored, since only what is ignored stays so in a program that this
/// process runs. Calls it interrupts are begun again by the kernel. What the task sets instead
/// stands.
///
/// # Errors
///
/// None on a supported kernel.
pub fn shrug_off_interrupts() -> Result<(), Errno> {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing, so it is safe at any moment.
    unsafe { sigaction(Signal::SIGINT, &action) }.map(drop)
}

/// Gives up, for the calling thread and those it makes, the gaining of rights by running programs.
///
/// # Errors
///
/// None on a supported kernel, unless a filter forbids it.
pub fn give_up_new_rights() -> Result<(), Errno> {
    prctl::set_no_new_privs()
}

/// Whether this program runs with more rights than whoever started it (set-user-id and the like), so
/// that the environment must not be trusted.
pub fn is_elevated() -> bool {
    // SAFETY: takes a plain number.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The name of a signal, `SIGSEGV`, where it has one.
pub fn signal_name(number: i32) -> Option<&'static str> {
    Signal::try_from(number).ok().map(Signal::as_str)
}

/// Whether the number is the one of a bad memory access.
pub fn is_segmentation_fault(number: i32) -> bool {
    number == libc::SIGSEGV
}
