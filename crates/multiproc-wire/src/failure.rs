//! An error that a task can give back whatever went wrong in it.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Sources beyond this many are left out, lest an error that is its own source never ends.
const LONGEST_CHAIN: usize = 64;

/// Any error, as text that travels: its message and those of its sources.
///
/// With it as the error of a task's result, `?` works on every error inside the task:
///
/// ```
/// use multiproc_wire::TaskFailure;
///
/// fn parse(text: String) -> Result<i32, TaskFailure> {
///     Ok(text.trim().parse::<i32>()?)
/// }
///
/// let failure = parse("seven".into()).unwrap_err();
/// assert_eq!(failure.to_string(), "invalid digit found in string");
/// ```
///
/// It is not itself an [`Error`], since that would rule out the conversion from every error (as for
/// `Box<dyn Error>` and `anyhow::Error`). It converts into `Box<dyn Error>` by `?`; elsewhere
/// [`TaskFailure::into_error`] makes it one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFailure {
    message: String,
    /// Nearest first.
    sources: Vec<String>,
}

impl TaskFailure {
    /// A failure with this message and no source.
    pub fn msg(message: impl fmt::Display) -> TaskFailure {
        TaskFailure {
            message: message.to_string(),
            sources: Vec::new(),
        }
    }

    /// The text of `error` and of all its sources; for errors that `?` does not take, such as
    /// `Box<dyn Error>`.
    pub fn from_error(error: &(dyn Error + '_)) -> TaskFailure {
        let sources = std::iter::successors(error.source(), |&source| source.source());
        TaskFailure {
            message: error.to_string(),
            sources: sources
                .take(LONGEST_CHAIN)
                .map(|source| source.to_string())
                .collect(),
        }
    }

    /// The message, then that of each source, the root cause last.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.message)
            .chain(&self.sources)
            .map(String::as_str)
    }

    /// The same texts as an [`Error`] whose `source()` leads along the chain.
    pub fn into_error(self) -> impl Error + Send + Sync + 'static {
        let sources = self.sources.into_iter().rev();
        let source = sources.fold(None, |source, message| {
            Some(Box::new(Link { message, source }))
        });
        Link {
            message: self.message,
            source,
        }
    }
}

impl<E: Error> From<E> for TaskFailure {
    fn from(error: E) -> TaskFailure {
        TaskFailure::from_error(&error)
    }
}

impl From<TaskFailure> for Box<dyn Error + Send + Sync> {
    fn from(failure: TaskFailure) -> Self {
        Box::new(failure.into_error())
    }
}

impl From<TaskFailure> for Box<dyn Error> {
    fn from(failure: TaskFailure) -> Self {
        Box::new(failure.into_error())
    }
}

/// The message alone; `{:#}` adds the sources, separated by colons.
impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if f.alternate() {
            self.sources
                .iter()
                .try_for_each(|source| write!(f, ": {source}"))?;
        }
        Ok(())
    }
}

/// For people, since this is what `main` prints of an error it returns: the message, then the
/// sources one to a line.
impl fmt::Debug for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.sources.is_empty() {
            f.write_str("\n\ncaused by:")?;
        }
        self.sources
            .iter()
            .try_for_each(|source| write!(f, "\n    {source}"))
    }
}

/// One error of the chain.
#[derive(Debug)]
struct Link {
    message: String,
    source: Option<Box<Link>>,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Link {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chained() -> TaskFailure {
        let error = |message: &str, source| Link {
            message: message.into(),
            source,
        };
        let cause = error("disk full", None);
        TaskFailure::from(error("cannot save", Some(Box::new(cause))))
    }

    #[test]
    fn the_source_chain_is_kept_as_text() {
        let failure = chained();
        assert_eq!(
            failure.chain().collect::<Vec<_>>(),
            ["cannot save", "disk full"]
        );
        assert_eq!(failure.to_string(), "cannot save");
        assert_eq!(format!("{failure:#}"), "cannot save: disk full");
        assert_eq!(
            format!("{failure:?}"),
            "cannot save\n\ncaused by:\n    disk full"
        );
    }

    #[test]
    fn it_becomes_an_error_again_with_its_chain() {
        let boxed: Box<dyn Error + Send + Sync> = chained().into();
        assert_eq!(boxed.source().expect("kept").to_string(), "disk full");
        assert_eq!(TaskFailure::from_error(&*boxed), chained());
    }

    #[test]
    fn an_error_that_is_its_own_source_ends() {
        #[derive(Debug)]
        struct Snake;
        impl fmt::Display for Snake {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tail")
            }
        }
        impl Error for Snake {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(self)
            }
        }
        assert_eq!(TaskFailure::from(Snake).chain().count(), 1 + LONGEST_CHAIN);
    }

    #[test]
    fn it_travels() {
        let parcel = crate::codec::encode(&chained()).expect("text encodes");
        let back = crate::codec::decode::<TaskFailure>(&parcel.bytes, &parcel.attachments);
        assert_eq!(back, Ok(chained()));
    }
}
