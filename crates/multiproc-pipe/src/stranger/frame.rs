//! Frames on a stream: a header that says how long the body is, then the body.
//!
//! Pure: bytes in, frames out; whoever owns the stream reads and writes it. The invariant: what a
//! header announces takes no memory. The buffer grows with the bytes that have come, by [`GROW`] at most
//! beyond them.
//!
//! | bytes of the header | meaning |
//! |---|---|
//! | 0 | [`VERSION`] |
//! | 1 | kind: what the body is, for the layer above |
//! | 2..4 | how many descriptors travel with it, little endian |
//! | 4..12 | length of the body, little endian |

use std::error::Error;
use std::fmt;

/// The format described here.
pub const VERSION: u8 = 1;

/// Bytes of a header.
pub const HEADER: usize = 12;

/// The longest frame unless said otherwise: 64 MiB.
pub const LIMIT: u64 = 64 << 20;

/// How much memory a decoder takes beyond the bytes it has been given.
pub const GROW: usize = 64 << 10;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the body is, for the layer above.
    pub kind: u8,
    /// How many descriptors travel with it.
    pub files: u16,
    /// Bytes of the body.
    pub len: u64,
}

impl Header {
    /// As bytes, to be sent before the body.
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = VERSION;
        bytes[1] = self.kind;
        bytes[2..4].copy_from_slice(&self.files.to_le_bytes());
        bytes[4..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    ///
    /// [`FrameError::Version`].
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Header, FrameError> {
        let [version, kind, f0, f1, len @ ..] = *bytes;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        Ok(Header {
            kind,
            files: u16::from_le_bytes([f0, f1]),
            len: u64::from_le_bytes(len),
        })
    }
}

/// A frame that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What its header said.
    pub header: Header,
    /// Its body, as long as that.
    pub body: Vec<u8>,
}

/// Why a stream of frames cannot be read on. Where the next frame begins is not known then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The next frame is longer than may be.
    TooLarge {
        /// What its header says.
        size: u64,
        /// The limit here.
        limit: u64,
    },
    /// The format is another: what this byte says, or these are no frames at all.
    Version(u8),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLarge { size, limit } => {
                write!(
                    f,
                    "a frame of {size} bytes is longer than the limit of {limit}"
                )
            }
            FrameError::Version(theirs) => {
                write!(
                    f,
                    "frames of version {theirs} instead of {VERSION}, or none at all"
                )
            }
        }
    }
}

impl Error for FrameError {}

/// Makes frames of bytes as they come.
#[derive(Debug)]
pub struct Decoder {
    limit: u64,
    /// What has come of a header.
    start: [u8; HEADER],
    started: usize,
    /// The header, once it is complete.
    header: Option<Header>,
    body: Vec<u8>,
    broken: Option<FrameError>,
}

impl Decoder {
    /// For frames of at most `limit` bytes.
    pub fn new(limit: u64) -> Decoder {
        Decoder {
            limit,
            start: [0; HEADER],
            started: 0,
            header: None,
            body: Vec::new(),
            broken: None,
        }
    }

    /// Takes bytes off the front of `bytes` until a frame is complete or none are left.
    ///
    /// # Errors
    ///
    /// [`FrameError`], and the same at every further call.
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let Some(header) = self
            .header(bytes)
            .inspect_err(|&error| self.broken = Some(error))?
        else {
            return Ok(None);
        };
        // The body is no longer than the limit, but on a small machine that may not fit in a usize.
        let missing = header.len - self.body.len() as u64;
        let now = usize::try_from(missing)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        if self.body.capacity() - self.body.len() < now {
            let more = missing.min(now.max(GROW) as u64) as usize;
            self.body.reserve_exact(more);
        }
        let (taken, rest) = bytes.split_at(now);
        self.body.extend_from_slice(taken);
        *bytes = rest;
        if now as u64 != missing {
            return Ok(None);
        }
        self.started = 0;
        self.header = None;
        let body = std::mem::take(&mut self.body);
        Ok(Some(Frame { header, body }))
    }

    fn header(&mut self, bytes: &mut &[u8]) -> Result<Option<Header>, FrameError> {
        if self.header.is_none() {
            let now = bytes.len().min(HEADER - self.started);
            let (taken, rest) = bytes.split_at(now);
            self.start[self.started..][..now].copy_from_slice(taken);
            self.started += now;
            *bytes = rest;
            if self.started < HEADER {
                return Ok(None);
            }
            let header = Header::decode(&self.start)?;
            if header.len > self.limit {
                return Err(FrameError::TooLarge {
                    size: header.len,
                    limit: self.limit,
                });
            }
            self.header = Some(header);
        }
        Ok(self.header)
    }

    /// Whether a frame has begun and is not complete.
    pub fn is_inside(&self) -> bool {
        self.started > 0
    }

    /// The header of the frame that has begun, once that is complete.
    pub fn begun(&self) -> Option<Header> {
        self.header
    }

    /// Bytes of memory it holds.
    pub fn memory(&self) -> usize {
        self.body.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let header = Header {
            kind,
            files: 3,
            len: body.len() as u64,
        };
        [&header.encode(), body].concat()
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..6),
            cut in 1usize..40,
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(7, body)).collect();
            let mut decoder = Decoder::new(LIMIT);
            let mut found = Vec::new();
            for mut piece in stream.chunks(cut) {
                while let Some(frame) = decoder.feed(&mut piece).expect("good frames") {
                    prop_assert_eq!((frame.header.kind, frame.header.files), (7, 3));
                    found.push(frame.body);
                }
                prop_assert!(piece.is_empty());
            }
            prop_assert_eq!(found, bodies);
            prop_assert!(!decoder.is_inside());
        }
    }

    #[test]
    fn an_announced_length_takes_no_memory() {
        let mut decoder = Decoder::new(u64::MAX);
        let header = Header {
            kind: 0,
            files: 0,
            len: 1 << 40,
        };
        assert_eq!(decoder.feed(&mut &header.encode()[..]), Ok(None));
        assert_eq!(decoder.memory(), 0);
        for come in 1..10 {
            assert_eq!(decoder.feed(&mut &[7; 50_000][..]), Ok(None));
            assert!(decoder.memory() <= come * 50_000 + GROW);
        }
        assert_eq!(decoder.begun(), Some(header));
    }

    #[test]
    fn an_over_long_frame_ends_the_stream() {
        let mut decoder = Decoder::new(4);
        let mut stream = &[frame(1, b"1234"), frame(1, b"12345"), frame(1, b"")].concat()[..];
        assert!(decoder.feed(&mut stream).expect("a good frame").is_some());
        let error = Err(FrameError::TooLarge { size: 5, limit: 4 });
        assert_eq!(decoder.feed(&mut stream), error);
        assert_eq!(decoder.feed(&mut &frame(1, b"")[..]), error);
    }

    #[test]
    fn another_version_is_named() {
        let mut decoder = Decoder::new(4);
        assert_eq!(
            decoder.feed(&mut &b"GET / HTTP/1.1\r\n"[..]),
            Err(FrameError::Version(b'G'))
        );
    }
}
