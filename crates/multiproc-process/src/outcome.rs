//! What a task came to, on its way to the process that asked: the wire form.
//!
//! One byte says the kind; what follows is encoded by the kind. The child writes it once, whole,
//! and the parent reads it as often as somebody joins.

use multiproc_wire::{Attachment, Parcel, RunError, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::JoinError;
use crate::guard::PanicReport;

const RETURNED: u8 = 0;
const PANICKED: u8 = 1;
const NOT_RUN: u8 = 2;
const FAILED: u8 = 3;

/// A parcel that a result can be appended to.
pub(crate) fn returned() -> Parcel {
    of_kind(RETURNED)
}

pub(crate) fn panicked(report: &PanicReport) -> Parcel {
    with_body(PANICKED, report)
}

pub(crate) fn not_run(error: &RunError) -> Parcel {
    with_body(NOT_RUN, error)
}

pub(crate) fn failed(text: &str) -> Parcel {
    with_body(FAILED, &text.to_owned())
}

fn of_kind(kind: u8) -> Parcel {
    Parcel {
        bytes: vec![kind],
        attachments: Vec::new(),
    }
}

fn with_body<T: Serialize + 'static>(kind: u8, body: &T) -> Parcel {
    let mut parcel = of_kind(kind);
    codec::encode_into(body, &mut parcel).expect("plain text and numbers encode");
    parcel
}

/// What the parent makes of it.
pub(crate) fn read<R: DeserializeOwned + 'static>(
    bytes: &[u8],
    attachments: &[Attachment],
) -> Result<R, JoinError> {
    let Some((kind, body)) = bytes.split_first() else {
        return Err(JoinError::Failed("the result is empty".into()));
    };
    Err(match *kind {
        RETURNED => return codec::decode(body, attachments).map_err(JoinError::Decode),
        PANICKED => match codec::decode::<PanicReport>(body, attachments) {
            Ok(report) => report.into(),
            Err(error) => JoinError::Decode(error),
        },
        NOT_RUN => match codec::decode::<RunError>(body, attachments) {
            Ok(RunError::Encode(error)) => JoinError::Encode(error),
            Ok(RunError::Decode(error)) => JoinError::Argument(error),
            Ok(error) => JoinError::Failed(error.to_string()),
            Err(error) => JoinError::Decode(error),
        },
        FAILED => match codec::decode::<String>(body, attachments) {
            Ok(text) => JoinError::Failed(text),
            Err(error) => JoinError::Decode(error),
        },
        kind => JoinError::Failed(format!("the result is of unknown kind {kind}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back<R: DeserializeOwned + 'static>(parcel: &Parcel) -> Result<R, JoinError> {
        read(&parcel.bytes, &parcel.attachments)
    }

    #[test]
    fn every_kind_comes_back() {
        let mut parcel = returned();
        codec::encode_into(&"text".to_owned(), &mut parcel).expect("text encodes");
        assert_eq!(read_back::<String>(&parcel), Ok("text".to_owned()));
        assert_eq!(
            read_back::<u32>(&failed("no")),
            Err(JoinError::Failed("no".into()))
        );
        let report = PanicReport {
            message: "no".into(),
            location: None,
            backtrace: None,
        };
        assert_eq!(read_back::<u32>(&panicked(&report)), Err(report.into()));
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [&[][..], &[9], &[PANICKED, 255], &[RETURNED, 1, 2, 3]] {
            assert!(read::<u8>(bytes, &[]).is_err());
        }
    }
}
