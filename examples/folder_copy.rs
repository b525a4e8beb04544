//! Prints a bar while a pool of processes copies a folder (files, bytes, rate), one line for
//! each entry it had to skip, and at the end a table: files, bytes, seconds, workers, errors.
//!
//! ```text
//! cargo run --release --example folder_copy                    # copies this repository's crates
//! cargo run --release --example folder_copy -- SOURCE DESTINATION
//!     --workers N   as many workers (default: one for each usable CPU)
//!     --verify      afterwards compares every entry, files by checksum
//!     --kill-one    kills a worker half-way through a file; the copy is complete all the same
//! ```
//!
//! Files, folders and symbolic links are copied, with permissions and modification times; files
//! with holes stay so. Owners, extended attributes and hard links are not kept; devices, sockets
//! and fifos are skipped. What already exists is replaced, what else is there stays.
//! Exit status: 0 all copied, 1 not copied (one line says why), 2 copied except what was skipped.
//!
//! What it shows of the library: a struct with names that need not be UTF-8 and a queue inside
//! is the argument of a task; the tasks report through that queue as they go; a task whose worker
//! was killed comes back as an error that names it, and is simply submitted again.

#[path = "folder_copy/copy.rs"]
mod copy;
#[path = "folder_copy/crew.rs"]
mod crew;
#[path = "folder_copy/options.rs"]
mod options;
#[path = "folder_copy/plan.rs"]
mod plan;
#[path = "folder_copy/report.rs"]
mod report;
#[path = "folder_copy/tree.rs"]
mod tree;
#[path = "folder_copy/verify.rs"]
mod verify;

use std::process::ExitCode;
use std::time::Instant;

use multiproc::Pool;
use options::Options;
use plan::Plan;
use report::{Table, Troubles};

/// Why nothing more can be copied: the one line for the user.
struct Stop(String);

fn main() -> ExitCode {
    let outcome = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => run(&options),
        Ok(None) => {
            println!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(stop) => Err(stop),
    };
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(2),
        Err(Stop(why)) => {
            eprintln!("folder_copy: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The whole copy; the number of entries that were skipped.
fn run(options: &Options) -> Result<usize, Stop> {
    let started = Instant::now();
    let mut troubles = Troubles::default();
    let plan = Plan::of(&options.source, &mut troubles);
    println!(
        "{} -> {}",
        options.source.display(),
        options.destination.display()
    );

    let pool = Pool::new(options.workers)
        .map_err(|error| Stop(format!("the workers could not be started: {error}")))?;
    let kept = tree::make(&plan, &options.destination, &mut troubles)?;
    let copied = crew::copy_files(&pool, &plan, &kept, options, &mut troubles)?;
    tree::finish(&plan, &kept, &options.destination, &mut troubles);
    let seconds = started.elapsed().as_secs_f64();

    let verified = match options.verify {
        true => Some(verify::all(&pool, &plan, &kept, &copied.done, options)?),
        false => None,
    };
    pool.close();
    pool.join()
        .map_err(|error| Stop(format!("the workers did not end well: {error}")))?;

    report::print(&Table {
        files: copied.done.len(),
        bytes: copied.bytes,
        seconds,
        workers: options.workers,
        errors: troubles.count(),
        verified,
    });
    Ok(troubles.count())
}
