//! The first page of a named segment: what it is, for whoever opens it.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0..7 | `mpSegmt` |
//! | 7 | version of this layout |
//! | 8..16 | bytes that follow the page |
//! | 16..24 | its identity, random: a name may be given to another segment later |
//! | 24..28 | what it holds ([`Content`]) |
//! | 28..32 | 1 if it goes with the process that made it |
//! | 32..40 | checksum of all before |
//!
//! Written once by its maker, before the file has a name; read once by whoever opens it, and never
//! believed later. All numbers are little-endian.

use super::{Content, checksum};
use crate::error::OpenError;

/// Bytes before the content, so that the content begins at a page.
pub(super) const HEADER: u64 = 4096;

/// How many of them mean something.
pub(super) const LEN: usize = 40;

const MAGIC: &[u8; 7] = b"mpSegmt";
const VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) len: u64,
    pub(super) id: u64,
    pub(super) content: Content,
    pub(super) managed: bool,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..7].copy_from_slice(MAGIC);
        bytes[7] = VERSION;
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.to_le_bytes());
        bytes[24..28].copy_from_slice(&(self.content as u32).to_le_bytes());
        bytes[28..32].copy_from_slice(&u32::from(self.managed).to_le_bytes());
        let check = checksum(0, &bytes[..32]);
        bytes[32..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// What the first bytes of a file of `file_len` bytes say.
    pub(super) fn from_bytes(bytes: &[u8; LEN], file_len: u64) -> Result<Header, OpenError> {
        if &bytes[..7] != MAGIC {
            return Err(incompatible(format!(
                "a file that begins with {:02x?}",
                &bytes[..8]
            )));
        }
        if bytes[7] != VERSION {
            return Err(incompatible(format!("one of layout {}", bytes[7])));
        }
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        if u64_at(32) != checksum(0, &bytes[..32]) {
            return Err(OpenError::Corrupt("the header of a segment is damaged"));
        }
        let len = u64_at(8);
        if len == 0 || len.checked_add(HEADER) != Some(file_len) {
            return Err(OpenError::Corrupt("a segment's file has another length"));
        }
        let Some(content) = Content::from_bits(u32_at(24)) else {
            return Err(incompatible(format!("one of kind {}", u32_at(24))));
        };
        Ok(Header {
            len,
            id: u64_at(16),
            content,
            managed: u32_at(28) != 0,
        })
    }
}

/// The file is too short to have a header.
pub(super) fn too_short(file_len: u64) -> OpenError {
    incompatible(format!("a file of {file_len} bytes"))
}

pub(super) fn incompatible(theirs: String) -> OpenError {
    OpenError::Incompatible {
        ours: format!("a segment of layout {VERSION}"),
        theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Header = Header {
        len: 100,
        id: 5,
        content: Content::List,
        managed: true,
    };

    #[test]
    fn a_header_comes_back() {
        let back = Header::from_bytes(&GOOD.to_bytes(), HEADER + 100);
        assert_eq!(back, Ok(GOOD));
    }

    #[test]
    fn another_length_of_the_file_is_noticed() {
        for len in [0, 100, HEADER, HEADER + 99, HEADER + 101, u64::MAX] {
            let error = Header::from_bytes(&GOOD.to_bytes(), len).expect_err("not its length");
            assert!(error.is_corrupt(), "{error}");
        }
    }

    #[test]
    fn each_changed_byte_is_noticed() {
        for at in 0..LEN {
            let mut bytes = GOOD.to_bytes();
            bytes[at] ^= 0x10;
            let error = Header::from_bytes(&bytes, HEADER + 100).expect_err("a byte was changed");
            assert_eq!(error.is_incompatible(), at < 8, "{at}: {error}");
            assert_eq!(error.is_corrupt(), at >= 8, "{at}: {error}");
        }
    }
}
