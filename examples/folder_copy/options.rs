//! What the user asked for, checked before anything is touched.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::{env, fs, process};

use crate::Stop;

pub(crate) const USAGE: &str =
    "usage: folder_copy [--workers N] [--verify] [--kill-one] [SOURCE DESTINATION]";

/// The command line. Both paths are absolute, without symbolic links in what exists of them.
pub(crate) struct Options {
    pub(crate) source: PathBuf,
    pub(crate) destination: PathBuf,
    pub(crate) workers: usize,
    pub(crate) verify: bool,
    pub(crate) kill_one: bool,
}

impl Options {
    /// `None`: the user asked for help.
    pub(crate) fn parse(
        arguments: impl Iterator<Item = OsString>,
    ) -> Result<Option<Options>, Stop> {
        let mut arguments = arguments;
        let mut paths = Vec::new();
        let mut workers = multiproc::cpu_count();
        let (mut verify, mut kill_one) = (false, false);
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--verify") => verify = true,
                Some("--kill-one") => kill_one = true,
                Some("--workers") => workers = count(arguments.next().as_deref())?,
                Some("--help" | "-h") => return Ok(None),
                Some("--") => paths.extend(arguments.by_ref()),
                Some(text) if text.starts_with('-') => {
                    return Err(Stop(format!("{text} is not an option; {USAGE}")));
                }
                _ => paths.push(argument),
            }
        }
        let (source, destination) = match &paths[..] {
            [] => own_sources()?,
            [source, destination] => checked(Path::new(source), Path::new(destination))?,
            _ => return Err(Stop(USAGE.to_owned())),
        };
        Ok(Some(Options {
            source,
            destination,
            workers,
            verify,
            kill_one,
        }))
    }
}

fn count(argument: Option<&OsStr>) -> Result<usize, Stop> {
    argument
        .and_then(OsStr::to_str)
        .and_then(|text| text.parse().ok())
        .filter(|&workers| workers > 0)
        .ok_or_else(|| Stop("--workers takes a number from 1 up".to_owned()))
}

/// Without arguments: the crates of this repository, to a fresh temporary folder.
fn own_sources() -> Result<(PathBuf, PathBuf), Stop> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("crates");
    if !source.is_dir() {
        return Err(Stop(format!(
            "{} is no longer there; {USAGE}",
            source.display()
        )));
    }
    for attempt in 0.. {
        let name = format!("folder_copy-{}-{attempt}", process::id());
        let destination = env::temp_dir().join(name);
        match fs::create_dir(&destination) {
            Ok(()) => return checked(&source, &destination),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(Stop(format!("{}: {error}", destination.display()))),
        }
    }
    unreachable!("an endless range")
}

/// A folder that can be read, and a destination that is not inside it.
fn checked(source: &Path, destination: &Path) -> Result<(PathBuf, PathBuf), Stop> {
    let wrong = |path: &Path, error| Stop(format!("{}: {error}", path.display()));
    let real_source = fs::canonicalize(source)
        .and_then(|path| fs::read_dir(&path).map(|_| path))
        .map_err(|error| wrong(source, error))?;
    let real_destination = resolved(destination).map_err(|error| wrong(destination, error))?;
    if real_destination.starts_with(&real_source) {
        let relation = match real_destination == real_source {
            true => "is the source itself",
            false => "lies inside the source",
        };
        return Err(Stop(format!(
            "{}: the destination {relation}",
            destination.display()
        )));
    }
    Ok((real_source, real_destination))
}

/// An absolute path without links, also where its last parts do not exist yet.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut real = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(real.pop()),
            part => real.push(part),
        }
        // Each prefix is resolved before the next part is looked at, as the kernel does: `..`
        // after a link is the parent of the link's target. What does not exist has no links.
        match fs::canonicalize(&real) {
            Ok(found) => real = found,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(real)
}
