//! The task: one file, copied by a worker process.
//!
//! The content goes to a temporary name in the folder of the destination and is renamed when it
//! is complete: whoever looks at the destination sees a whole file or none.

use std::ffi::OsString;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use multiproc::Queue;
use serde::{Deserialize, Serialize};

/// Read and written at once.
const PIECE: usize = 256 << 10;
/// A file larger than this says now and then how far it is.
const NEWS: u64 = 8 << 20;
/// How long the worker that is to be killed waits for it.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// What a worker is asked to do. Names travel as `OsString`: they need not be UTF-8, which serde
/// demands of a `PathBuf`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    /// Where the worker reports what it does, while it does it.
    pub(crate) notes: Queue<Note>,
    pub(crate) item: usize,
    pub(crate) from: OsString,
    pub(crate) to: OsString,
    /// The temporary name. The parent chooses it, so it can remove what a dead worker leaves.
    pub(crate) part: OsString,
    /// For `--kill-one`: stop half-way and wait for the end.
    pub(crate) stop_half_way: bool,
}

/// What a worker says through the queue.
#[derive(Serialize, Deserialize)]
pub(crate) enum Note {
    /// So many bytes of this item are written.
    Written { item: usize, bytes: u64 },
    /// This file is complete and has its name.
    Finished {
        item: usize,
        bytes: u64,
        name: OsString,
    },
    /// This worker stands in the middle of a file and waits to be killed.
    HalfWay { pid: u32 },
}

/// How a job ended, unless its worker was lost.
#[derive(Serialize, Deserialize)]
pub(crate) enum Outcome {
    Copied {
        bytes: u64,
        pid: u32,
    },
    Skipped {
        why: String,
    },
    /// The destination is full: there is no point in going on.
    Full {
        why: String,
    },
}

/// The function that travels to the workers.
pub(crate) fn copy_file(job: Job) -> (usize, Outcome) {
    let outcome = match copy(&job) {
        Ok(bytes) => {
            let name = job.to.clone();
            note(
                &job,
                Note::Finished {
                    item: job.item,
                    bytes,
                    name,
                },
            );
            Outcome::Copied {
                bytes,
                pid: std::process::id(),
            }
        }
        Err(error) if is_full(&error) => Outcome::Full {
            why: error.to_string(),
        },
        Err(error) => Outcome::Skipped {
            why: error.to_string(),
        },
    };
    (job.item, outcome)
}

/// No room on the destination, or no more room for this user.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

fn copy(job: &Job) -> io::Result<u64> {
    let mut from = File::open(&job.from)?;
    let facts = from.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("no longer a file"));
    }
    let mut part = Part::create(Path::new(&job.part))?;
    // Fewer blocks than bytes: the file has holes, and its copy shall have them too.
    let has_holes = facts.blocks() * 512 < facts.len();
    let bytes = pour(job, &mut from, facts.len(), &mut part.file, has_holes)?;
    part.file.set_permissions(facts.permissions())?;
    if let Ok(modified) = facts.modified() {
        part.file
            .set_times(FileTimes::new().set_modified(modified))?;
    }
    part.publish(Path::new(&job.to))?;
    Ok(bytes)
}

/// Copies the content to its end, which may by now be another than `size`.
fn pour(job: &Job, from: &mut File, size: u64, to: &mut File, has_holes: bool) -> io::Result<u64> {
    let piece = usize::try_from(size).map_or(PIECE, |size| (size + 1).clamp(4 << 10, PIECE));
    let mut buffer = vec![0; piece];
    let (mut written, mut told) = (0, 0);
    let mut stop_at = job.stop_half_way.then_some(size / 2);
    loop {
        let wanted = match stop_at {
            Some(half) if written >= half => {
                stop_at = None;
                wait_for_the_end(job);
                continue;
            }
            // Exactly to the middle, however small the file.
            Some(half) => usize::try_from(half - written).map_or(piece, |left| left.min(piece)),
            None => piece,
        };
        let length = match from.read(&mut buffer[..wanted]) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let content = &buffer[..length];
        if has_holes && content.iter().all(|&byte| byte == 0) {
            to.seek(SeekFrom::Current(length as i64))?;
        } else {
            to.write_all(content)?;
        }
        written += length as u64;
        if written - told >= NEWS {
            told = written;
            note(
                job,
                Note::Written {
                    item: job.item,
                    bytes: written,
                },
            );
        }
    }
    if has_holes {
        // A hole at the very end was only skipped.
        to.set_len(written)?;
    }
    Ok(written)
}

/// Says that the moment has come. If nobody kills us the copy goes on.
fn wait_for_the_end(job: &Job) {
    note(
        job,
        Note::HalfWay {
            pid: std::process::id(),
        },
    );
    thread::sleep(LAST_WAIT);
}

/// A parent that no longer listens is no reason to fail: the result says it all.
fn note(job: &Job, note: Note) {
    drop(job.notes.put(note));
}

/// A file under its temporary name, removed unless it was published.
struct Part<'a> {
    file: File,
    path: Option<&'a Path>,
}

impl<'a> Part<'a> {
    fn create(path: &'a Path) -> io::Result<Part<'a>> {
        // Nobody else may read it before it has the permissions of its source.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Part {
            file,
            path: Some(path),
        })
    }

    fn publish(mut self, name: &Path) -> io::Result<()> {
        if let Some(path) = self.path {
            fs::rename(path, name)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.path {
            // The error that brought us here is the one to report.
            drop(fs::remove_file(path));
        }
    }
}
