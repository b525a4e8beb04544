//! How soon the survivors know.

use super::{Case, Goal};

pub(super) const CASES: &[Case] = &[
    Case::micros("the holder of a lock", "told --of lock", "told_p99")
        .asked(Goal::AtMost(10_000.0))
        .note("From the kill until another process's `acquire` says so: 99 of 100."),
    Case::micros("the worker of a task", "told --of pool", "told_p99")
        .shown("ms", 1e6)
        .asked(Goal::AtMost(50.0))
        .note(
            "From the kill until `get` says so: 99 of 100; half of them within {ours:told_p50} ns.",
        ),
    Case::micros("the server of a manager", "told --of manager", "told_p99")
        .shown("ms", 1e6)
        .asked(Goal::AtMost(50.0))
        .note("From the kill until a `get` that waits there says so: 99 of 100."),
];
