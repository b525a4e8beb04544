//! The programs beside this file are the content of this package:
//! `cargo run --release --example NAME`.

use std::time::Duration;

/// A pause of so many seconds in a program's story: a tenth of that, unless the program is run with
/// `--seconds`.
pub fn pause(seconds: f64) -> Duration {
    let whole = std::env::args().any(|argument| argument == "--seconds");
    Duration::from_secs_f64(if whole { seconds } else { seconds / 10.0 })
}
