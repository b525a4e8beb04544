//! What a process is to have otherwise than the thread that starts it: the part of a builder that
//! every start method honours.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use multiproc_sys::child::{Surroundings, open_directory};

use crate::error::StartError;
use crate::stdio::Stdio;

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) environment: Vec<Edit>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) streams: [Option<Stdio>; 3],
    pub(crate) memory: Option<u64>,
    pub(crate) processor_time: Option<Duration>,
    pub(crate) nice: Option<i32>,
    pub(crate) affinity: Option<Vec<usize>>,
}

/// One change of the environment. They apply in the order of the builder's calls.
#[derive(Debug)]
pub(crate) enum Edit {
    Set(OsString, OsString),
    Remove(OsString),
    Clear,
}

impl Wishes {
    /// The environment the process is to have.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut now: Vec<_> = std::env::vars_os().collect();
        for edit in &self.environment {
            match edit {
                Edit::Clear => now.clear(),
                Edit::Remove(name) => now.retain(|(other, _)| other != name),
                Edit::Set(name, value) => match now.iter_mut().find(|(other, _)| other == name) {
                    Some((_, old)) => old.clone_from(value),
                    None => now.push((name.clone(), value.clone())),
                },
            }
        }
        now
    }

    /// Names and values that no environment can hold are an error rather than a silent loss.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        use std::os::unix::ffi::OsStrExt;
        let has_zero = |text: &OsString| text.as_bytes().contains(&0);
        for edit in &self.environment {
            if let Edit::Set(name, value) = edit {
                let odd_name = name.is_empty() || name.as_bytes()[1..].contains(&b'=');
                if odd_name || has_zero(name) || has_zero(value) {
                    return Err(StartError::Invalid(format!(
                        "{name:?}={value:?} cannot be in an environment"
                    )));
                }
            }
        }
        match &self.affinity {
            Some(processors) if processors.is_empty() => Err(StartError::Invalid(
                "an affinity of no processors; name at least one".into(),
            )),
            Some(processors) if processors.iter().any(|&number| number >= MOST_PROCESSORS) => {
                Err(StartError::Invalid(format!(
                    "no processor has a number of {MOST_PROCESSORS} or more"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The surroundings the process is to have.
    pub(crate) fn surroundings(&self) -> Surroundings {
        let mut surroundings = Surroundings::of_this_thread();
        if let Some(bytes) = self.memory {
            surroundings.limit_memory(bytes);
        }
        if let Some(time) = self.processor_time {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            surroundings.limit_processor_time(seconds.max(1));
        }
        if let Some(nice) = self.nice {
            surroundings.set_nice(nice);
        }
        if let Some(processors) = &self.affinity {
            surroundings.set_affinity(processors);
        }
        surroundings
    }

    /// Its working directory, held open, where it is another than this process's.
    pub(crate) fn open_directory(&self) -> Result<Option<OwnedFd>, StartError> {
        let open = self.directory.as_deref().map(open_directory).transpose();
        open.map_err(|errno| match &self.directory {
            Some(path) if StartError::is_of_the_path(errno) => {
                StartError::Invalid(format!("the working directory {}: {errno}", path.display()))
            }
            _ => StartError::from_errno("cannot open the working directory", errno),
        })
    }
}

/// As many as the largest kernels are built for; a request holds that many bits.
const MOST_PROCESSORS: usize = 1 << 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_apply_in_order() {
        let mut wishes = Wishes::default();
        let set = |name: &str, value: &str| Edit::Set(name.into(), value.into());
        wishes.environment = vec![
            set("LOST", "1"),
            Edit::Clear,
            set("A", "1"),
            set("B", "2"),
            set("A", "3"),
            Edit::Remove("B".into()),
        ];
        assert_eq!(wishes.environment(), [("A".into(), "3".into())]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (name, value) in [("", "x"), ("a=b", "x"), ("a", "x\0"), ("a\0", "x")] {
            let wishes = Wishes {
                environment: vec![Edit::Set(name.into(), value.into())],
                ..Wishes::default()
            };
            assert!(wishes.check().is_err(), "{name:?}={value:?}");
        }
        let wishes = Wishes {
            affinity: Some(vec![]),
            ..Wishes::default()
        };
        assert!(wishes.check().is_err());
    }
}
