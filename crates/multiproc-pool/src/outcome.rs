//! The record of one finished item: what a worker puts into its result ring.
//!
//! ```text
//! ticket u32, item u32, nanoseconds u32, kind u8, 0 0 0, body
//! ```
//!
//! Little-endian, all of it in the ring or all of it in the parcel the frame refers to.
//! `nanoseconds` is 0 but for the last item of a chunk that was to be timed, where it is the whole
//! chunk's.

use std::time::Duration;

use multiproc_process::guard::PanicReport;
use multiproc_wire::{FunctionError, RunError, codec};

use crate::error::TaskErrorKind;

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Which push of a chunk it belongs to.
    pub(crate) ticket: u32,
    /// Place of the item in its chunk.
    pub(crate) item: u32,
    pub(crate) kind: Kind,
    /// How long the chunk took, with its last item.
    pub(crate) took: Duration,
}

/// The length of the fixed part.
pub(crate) const RECORD: usize = 16;

/// What the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The encoded result.
    Value = 0,
    /// A [`PanicReport`].
    Panicked = 1,
    /// An [`EncodeError`](multiproc_wire::EncodeError).
    Encode = 2,
    /// A [`DecodeError`](multiproc_wire::DecodeError).
    Decode = 3,
    /// A [`FunctionError`].
    Function = 4,
    /// A text.
    NoSpace = 5,
    /// A [`Span`]: when the item ran. Stands before the item's outcome, and is none.
    Span = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            0 => Kind::Value,
            1 => Kind::Panicked,
            2 => Kind::Encode,
            3 => Kind::Decode,
            4 => Kind::Function,
            5 => Kind::NoSpace,
            6 => Kind::Span,
            _ => return None,
        })
    }
}

impl Record {
    pub(crate) fn to_bytes(self) -> [u8; RECORD] {
        let nanos = u32::try_from(self.took.as_nanos()).unwrap_or(u32::MAX);
        let mut bytes = [0; RECORD];
        let words = [self.ticket, self.item, nanos, u32::from(self.kind as u8)];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// `None`: no record of ours.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Record> {
        let (ticket, rest) = bytes.split_first_chunk()?;
        let (item, rest) = rest.split_first_chunk()?;
        let (nanos, rest) = rest.split_first_chunk()?;
        let ([kind, ..], _) = rest.split_first_chunk::<4>()?;
        Some(Record {
            ticket: u32::from_le_bytes(*ticket),
            item: u32::from_le_bytes(*item),
            kind: Kind::from_byte(*kind)?,
            took: Duration::from_nanos(u32::from_le_bytes(*nanos).into()),
        })
    }
}

/// Records one after the other, as they stood in a ring.
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    /// Where each of those to come ends.
    ends: &'a [usize],
    start: usize,
}

impl<'a> Records<'a> {
    pub(crate) fn new(bytes: &'a [u8], ends: &'a [usize]) -> Records<'a> {
        let start = 0;
        Records { bytes, ends, start }
    }

    /// The ticket of the next one. Damaged ones are passed over.
    pub(crate) fn ticket(&mut self) -> Option<u32> {
        loop {
            let frame = &self.bytes[self.start..*self.ends.first()?];
            match Record::from_bytes(frame) {
                Some(record) => return Some(record.ticket),
                None => self.pass(),
            }
        }
    }

    /// The next one and its body, if it is of `ticket`.
    #[inline]
    pub(crate) fn next_of(&mut self, ticket: u32) -> Option<(Record, &'a [u8])> {
        let frame = &self.bytes[self.start..*self.ends.first()?];
        let record = Record::from_bytes(frame).filter(|record| record.ticket == ticket)?;
        self.pass();
        Some((record, &frame[RECORD..]))
    }

    fn pass(&mut self) {
        if let Some((end, rest)) = self.ends.split_first() {
            (self.start, self.ends) = (*end, rest);
        }
    }
}

/// When an item ran, on the clock that all processes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Nanoseconds.
    pub(crate) begun: u64,
    /// Nanoseconds.
    pub(crate) took: u64,
}

impl Span {
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.begun.to_le_bytes());
        bytes[8..].copy_from_slice(&self.took.to_le_bytes());
        bytes
    }

    /// `None`: no span of ours.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Span> {
        let (begun, rest) = bytes.split_first_chunk()?;
        Some(Span {
            begun: u64::from_le_bytes(*begun),
            took: u64::from_le_bytes(rest.try_into().ok()?),
        })
    }
}

/// An error on its way home, as a worker has it.
#[derive(Debug)]
pub(crate) enum Failure {
    Panicked(PanicReport),
    Run(RunError),
    Function(FunctionError),
    NoSpace(String),
}

impl Failure {
    /// Its kind and its bytes.
    pub(crate) fn encode(&self) -> (Kind, Vec<u8>) {
        let (kind, encoded) = match self {
            Failure::Panicked(report) => (Kind::Panicked, codec::encode(report)),
            Failure::Run(RunError::Encode(error)) => (Kind::Encode, codec::encode(error)),
            Failure::Run(RunError::Decode(error)) => (Kind::Decode, codec::encode(error)),
            Failure::Run(other) => (Kind::NoSpace, codec::encode(&other.to_string())),
            Failure::Function(error) => (Kind::Function, codec::encode(error)),
            Failure::NoSpace(text) => (Kind::NoSpace, codec::encode(text)),
        };
        // These are types of ours, made of texts: they can be encoded.
        (
            kind,
            encoded.map_or_else(|_| Vec::new(), |parcel| parcel.bytes),
        )
    }
}

/// The error that the body of a record of `kind` stands for.
pub(crate) fn decode_failure(kind: Kind, body: &[u8]) -> TaskErrorKind {
    let decoded = match kind {
        Kind::Panicked => codec::decode(body, &[]).map(panicked),
        Kind::Encode => codec::decode(body, &[]).map(TaskErrorKind::Encode),
        Kind::Function => codec::decode(body, &[]).map(TaskErrorKind::Function),
        Kind::NoSpace => codec::decode(body, &[]).map(|reason| TaskErrorKind::NoSpace { reason }),
        Kind::Decode | Kind::Value | Kind::Span => {
            codec::decode(body, &[]).map(TaskErrorKind::Decode)
        }
    };
    decoded.unwrap_or_else(TaskErrorKind::Decode)
}

fn panicked(report: PanicReport) -> TaskErrorKind {
    TaskErrorKind::Panicked {
        message: report.message,
        location: report.location,
        backtrace: report.backtrace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multiproc_wire::{DecodeError, EncodeError};

    #[test]
    fn a_record_comes_back() {
        let record = Record {
            ticket: u32::MAX,
            item: 65_534,
            kind: Kind::Decode,
            took: Duration::from_millis(3),
        };
        assert_eq!(Record::from_bytes(&record.to_bytes()), Some(record));
    }

    #[test]
    fn a_long_time_is_cut_not_wrapped() {
        let record = Record {
            ticket: 1,
            item: 0,
            kind: Kind::Value,
            took: Duration::from_secs(9),
        };
        let back = Record::from_bytes(&record.to_bytes()).unwrap();
        assert_eq!(back.took, Duration::from_nanos(u32::MAX.into()));
    }

    #[test]
    fn every_kind_comes_back() {
        use Kind::{Decode, Encode, Function, NoSpace, Panicked, Span, Value};
        for kind in [Value, Panicked, Encode, Decode, Function, NoSpace, Span] {
            assert_eq!(Kind::from_byte(kind as u8), Some(kind));
        }
    }

    #[test]
    fn records_come_in_runs_of_one_ticket_and_damaged_ones_are_passed_over() {
        let record = |ticket, item| Record {
            ticket,
            item,
            kind: Kind::Value,
            took: Duration::ZERO,
        };
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (ticket, item, body) in [(1, 0, &b"a"[..]), (1, 1, b""), (2, 0, b"bc")] {
            bytes.extend_from_slice(&record(ticket, item).to_bytes());
            bytes.extend_from_slice(body);
            ends.push(bytes.len());
            bytes.extend_from_slice(&[0xFF; 13]);
            ends.push(bytes.len());
        }
        let mut records = Records::new(&bytes, &ends);
        let mut seen = Vec::new();
        while let Some(ticket) = records.ticket() {
            while let Some((record, body)) = records.next_of(ticket) {
                seen.push((record.ticket, record.item, body));
            }
        }
        assert_eq!(seen, [(1, 0, &b"a"[..]), (1, 1, b""), (2, 0, b"bc")]);
    }

    #[test]
    fn unknown_kinds_are_refused() {
        let mut bytes = [0; RECORD];
        bytes[12] = 99;
        assert_eq!(Record::from_bytes(&bytes), None);
        assert_eq!(Record::from_bytes(&bytes[..15]), None);
    }

    #[test]
    fn failures_keep_their_text() {
        let error = EncodeError::new("Thing", "it does not travel");
        let (kind, body) = Failure::Run(RunError::Encode(error.clone())).encode();
        let TaskErrorKind::Encode(back) = decode_failure(kind, &body) else {
            panic!("another kind");
        };
        assert_eq!(back, error);
    }

    #[test]
    fn a_damaged_failure_is_a_failure() {
        let kind = decode_failure(Kind::Panicked, &[0xFF]);
        assert!(matches!(kind, TaskErrorKind::Decode(DecodeError { .. })));
    }
}
