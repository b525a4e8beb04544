//! The folders and links of the copy: quick to make, so the parent makes them itself.

use std::fs::{self, DirBuilder, File, FileTimes, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;

use crate::plan::{Entry, Kind, Plan};
use crate::report::Troubles;
use crate::{Stop, copy};

/// Makes the folders and the links. What comes back is the numbers of the entries whose folder
/// is there: the files among them can be copied now.
pub(crate) fn make(
    plan: &Plan,
    destination: &Path,
    troubles: &mut Troubles,
) -> Result<Vec<usize>, Stop> {
    if let Some(parent) = destination.parent() {
        fs::create_dir_all(parent)
            .map_err(|error| Stop(format!("{}: {error}", parent.display())))?;
    }
    let mut kept = Vec::with_capacity(plan.entries.len());
    let mut refused: Vec<&Path> = Vec::new();
    for (number, entry) in plan.entries.iter().enumerate() {
        if refused.iter().any(|folder| entry.name.starts_with(folder)) {
            continue;
        }
        let is_root = entry.name.as_os_str().is_empty();
        // `join` of an empty name would add a slash.
        let path = if is_root {
            destination.to_path_buf()
        } else {
            destination.join(&entry.name)
        };
        let made = match &entry.kind {
            Kind::Folder => make_folder(&path),
            Kind::Link { target } => make_link(target, &path),
            Kind::File { .. } => Ok(()),
        };
        match made {
            Ok(()) => kept.push(number),
            Err(error) if copy::is_full(&error) || is_root => {
                return Err(Stop(format!("{}: {error}", path.display())));
            }
            Err(error) => {
                troubles.add(&entry.name, &error);
                refused.push(&entry.name);
            }
        }
    }
    Ok(kept)
}

/// Gives the folders their permissions and times: last, and the deepest first, because a folder
/// may be read-only and each entry made in it changes its time.
pub(crate) fn finish(plan: &Plan, kept: &[usize], destination: &Path, troubles: &mut Troubles) {
    for &number in kept.iter().rev() {
        let entry = &plan.entries[number];
        if let Kind::Folder = entry.kind
            && let Err(error) = finish_folder(entry, &destination.join(&entry.name))
        {
            troubles.add(&entry.name, &error);
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    // Ours alone until it is complete and gets its real permissions.
    match DirBuilder::new().mode(0o700).create(path) {
        // Not through a link: it might lead out of the destination, or into the source.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            match fs::symlink_metadata(path)?.is_dir() {
                true => Ok(()),
                false => Err(io::Error::other(
                    "something that is not a folder is in the way",
                )),
            }
        }
        made => made,
    }
}

fn make_link(target: &Path, path: &Path) -> io::Result<()> {
    match symlink(target, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            symlink(target, path)
        }
        made => made,
    }
}

fn finish_folder(entry: &Entry, path: &Path) -> io::Result<()> {
    let folder = File::open(path)?;
    if let Some(modified) = entry.modified {
        folder.set_times(FileTimes::new().set_modified(modified))?;
    }
    folder.set_permissions(Permissions::from_mode(entry.mode))
}
