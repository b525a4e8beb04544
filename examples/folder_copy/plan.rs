//! What there is to copy: one walk over the source, before anything is written.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::report::Troubles;

/// One entry below the source.
pub(crate) struct Entry {
    /// Its name, relative to the source and so to the destination.
    pub(crate) name: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) modified: Option<SystemTime>,
}

impl Entry {
    pub(crate) fn is_file(&self) -> bool {
        self.size().is_some()
    }

    /// The size of a file.
    pub(crate) fn size(&self) -> Option<u64> {
        match self.kind {
            Kind::File { size } => Some(size),
            _ => None,
        }
    }
}

pub(crate) enum Kind {
    Folder,
    File { size: u64 },
    Link { target: PathBuf },
}

/// Every entry that can be copied; a folder stands before what is in it.
pub(crate) struct Plan {
    pub(crate) entries: Vec<Entry>,
    /// The sum of the files' sizes, for the bar.
    pub(crate) bytes: u64,
}

impl Plan {
    /// Walks the tree. Links are not followed, so there is no way out of it and no cycle.
    pub(crate) fn of(source: &Path, troubles: &mut Troubles) -> Plan {
        let mut plan = Plan {
            entries: Vec::new(),
            bytes: 0,
        };
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            if let Err(error) = plan.list(source, &folder, &mut folders, troubles) {
                troubles.add(&folder, &error);
            }
        }
        plan
    }

    /// Adds one folder and what is in it, except its folders: those go to `folders`.
    fn list(
        &mut self,
        source: &Path,
        folder: &Path,
        folders: &mut Vec<PathBuf>,
        troubles: &mut Troubles,
    ) -> io::Result<()> {
        let path = source.join(folder);
        let facts = fs::symlink_metadata(&path)?;
        let inside = fs::read_dir(&path)?;
        self.add(folder.to_path_buf(), Kind::Folder, &facts);
        for entry in inside {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            match self.look(&entry, &name) {
                Ok(Found::Folder) => folders.push(name),
                Ok(Found::Added) => {}
                Err(error) => troubles.add(&name, &error),
            }
        }
        Ok(())
    }

    fn look(&mut self, entry: &fs::DirEntry, name: &Path) -> io::Result<Found> {
        let facts = entry.metadata()?;
        let kind = facts.file_type();
        if kind.is_dir() {
            return Ok(Found::Folder);
        }
        let kind = if kind.is_file() {
            self.bytes += facts.len();
            Kind::File { size: facts.len() }
        } else if kind.is_symlink() {
            Kind::Link {
                target: fs::read_link(entry.path())?,
            }
        } else {
            return Err(io::Error::other("neither file, folder nor link"));
        };
        self.add(name.to_path_buf(), kind, &facts);
        Ok(Found::Added)
    }

    fn add(&mut self, name: PathBuf, kind: Kind, facts: &Metadata) {
        let (mode, modified) = (facts.mode() & 0o7777, facts.modified().ok());
        self.entries.push(Entry {
            name,
            kind,
            mode,
            modified,
        });
    }
}

enum Found {
    Folder,
    Added,
}
