//! `--verify`: reads everything again, on both sides, after the copy.
//!
//! The checksum is the standard library's hasher (SipHash 1-3, 64 bits): both sides are summed by
//! the same program in the same run, so nothing depends on its value staying the same, and it
//! finds accidents. It is no defence against someone who writes to the destination on purpose.

use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use multiproc::Pool;

use crate::Stop;
use crate::options::Options;
use crate::plan::{Entry, Kind, Plan};

/// Compares the folders and links among the entries `kept`, and the files `done`.
/// The number of entries compared; a difference is an error.
pub(crate) fn all(
    pool: &Pool,
    plan: &Plan,
    kept: &[usize],
    done: &[usize],
    options: &Options,
) -> Result<usize, Stop> {
    let copy = |item: usize| options.destination.join(&plan.entries[item].name);
    let others = kept.iter().filter(|&&item| !plan.entries[item].is_file());
    let mut compared = 0;
    for &item in others.chain(done) {
        same_facts(&plan.entries[item], &copy(item)).map_err(|why| differs(&copy(item), &why))?;
        compared += 1;
    }
    let pair = |&item: &usize| {
        let source = options.source.join(&plan.entries[item].name);
        (source.into_os_string(), copy(item).into_os_string())
    };
    let pairs: Vec<_> = done.iter().map(pair).collect();
    let answers = pool
        .map(same_content, pairs)
        .map_err(|error| Stop(error.to_string()))?;
    for (answer, &item) in answers.into_iter().zip(done) {
        answer.map_err(|why| differs(&copy(item), &why))?;
    }
    Ok(compared)
}

fn differs(copy: &Path, why: &str) -> Stop {
    Stop(format!("verify: {}: {why}", copy.display()))
}

/// Type, permissions and, for a link, where it leads.
fn same_facts(entry: &Entry, copy: &Path) -> Result<(), String> {
    let facts = fs::symlink_metadata(copy).map_err(|error| error.to_string())?;
    let same = match &entry.kind {
        Kind::Folder => facts.is_dir() && facts.mode() & 0o7777 == entry.mode,
        Kind::File { .. } => facts.is_file() && facts.mode() & 0o7777 == entry.mode,
        Kind::Link { target } => fs::read_link(copy).is_ok_and(|found| found == *target),
    };
    same.then_some(())
        .ok_or_else(|| "type, permissions or target differ".to_owned())
}

/// The task: one file's two checksums. Runs in a worker.
fn same_content((source, copy): (OsString, OsString)) -> Result<(), String> {
    let sum = |path: &OsString| checksum(Path::new(path)).map_err(|error| error.to_string());
    match sum(&source)? == sum(&copy)? {
        true => Ok(()),
        false => Err("the checksum differs from the source's".to_owned()),
    }
}

fn checksum(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.write(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
    }
}
