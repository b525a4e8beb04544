//! Where a process that was started by this library takes over: before `main`.
//!
//! The loader calls [`enter`] in every program that links this crate. Without the boot variable it
//! sets one flag and returns. With it, and if all else fits, the process is one of ours and never
//! reaches `main`. It owns one invariant: **no process is started by a program in which the hook has
//! not run** ([`has_run`]), since its child would run `main` and start another.
//!
//! The standard library knows arguments and environment by now (its own initialiser comes first);
//! what `main` would bring is missing: `SIGPIPE` is as it was inherited, and there is no handler that
//! words a stack overflow.
#![expect(
    unsafe_code,
    reason = "an entry in the table of initialisers, and the walk along that table"
)]

use std::ffi::{c_char, c_int};
use std::hint::black_box;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bootstrap;

type Initialiser = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
#[unsafe(link_section = ".init_array")]
static ENTRY: Initialiser = enter;

static RAN: AtomicBool = AtomicBool::new(false);

/// Whether the hook is part of this program.
pub(crate) fn has_run() -> bool {
    // The mention keeps the entry from being dropped with an object file nobody refers to.
    black_box(&ENTRY);
    RAN.load(Ordering::Relaxed)
}

extern "C" fn enter(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) {
    RAN.store(true, Ordering::Relaxed);
    if std::env::var_os(bootstrap::VARIABLE).is_none() {
        return;
    }
    // A panic must not leave the loader's call; this program goes on as if nothing had been there.
    let _ = panic::catch_unwind(|| {
        bootstrap::take_over(|| {
            for initialiser in later_initialisers() {
                initialiser(argc, argv, envp);
            }
        });
    });
}

// The bounds of the table are names the linker makes for a program, but not for a shared object.
// Named weakly, they are zero there instead of an error at load.
std::arch::global_asm!(
    ".weak __init_array_start",
    ".weak __init_array_end",
    ".hidden __init_array_start",
    ".hidden __init_array_end",
    ".pushsection .data.rel.ro.multiproc_init_bounds,\"aw\",@progbits",
    ".balign 8",
    ".globl multiproc_init_bounds_0_1",
    ".hidden multiproc_init_bounds_0_1",
    "multiproc_init_bounds_0_1:",
    ".quad __init_array_start",
    ".quad __init_array_end",
    ".popsection",
);

unsafe extern "C" {
    safe static multiproc_init_bounds_0_1: [*const Option<Initialiser>; 2];
}

/// The program's initialisers that come after ours. What they set up, tasks may rely on.
fn later_initialisers() -> impl Iterator<Item = Initialiser> {
    // Read once, so that the compiler does not take the linker's work for a constant.
    let [start, end] = *black_box(&multiproc_init_bounds_0_1);
    let count = if start.is_null() {
        0
    } else {
        (end.addr() - start.addr()) / size_of::<Initialiser>()
    };
    // SAFETY: the linker puts the table of `count` aligned pointers between the two names; it is
    // read-only and lives as long as the program. An entry of zero reads as `None`.
    let table = (0..count).map(move |index| unsafe { start.add(index).read() });
    table
        .flatten()
        .skip_while(|&entry| !std::ptr::fn_addr_eq(entry, enter as Initialiser))
        .skip(1)
}
