//! `lock`: acquire and release, nobody else there.

use crate::args::Args;
use crate::{Outcome, measure};

pub(crate) fn run(args: &Args) -> Outcome {
    match args.imp.as_str() {
        "ours" => {
            let lock = multiproc::Lock::new()?;
            measure::tight(args, || drop(lock.acquire().expect("nobody else has it")));
        }
        "parking_lot" => {
            let lock = parking_lot::Mutex::new(());
            measure::tight(args, || drop(std::hint::black_box(&lock).lock()));
        }
        _ => args.unsupported("ours, parking_lot"),
    }
    Ok(())
}
