//! Messages on a stream: what both ends do with frames.

use std::io::{self, Read};
use std::net::TcpStream;

use multiproc_pipe::stranger::frame::{Decoder, Header};
use multiproc_pipe::stranger::handshake::Protocol;
use multiproc_wire::{Parcel, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::VERSION;

/// What is spoken after the handshake.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: *b"mgr\0",
    version: VERSION,
};

/// The kind of frames that hold a message.
pub(crate) const MESSAGE: u8 = 1;

/// The longest message unless the builder says otherwise: 64 MiB.
pub(crate) const LIMIT: u64 = 64 << 20;

/// How much is read at once.
const READ: usize = 64 << 10;

/// Appends `message` to `out` as a frame; its length.
///
/// # Errors
///
/// The encoder's text; `out` is as it was then.
pub(crate) fn put<M: Serialize + 'static>(out: &mut Vec<u8>, message: &M) -> Result<u64, String> {
    let start = out.len();
    let header = |len| Header {
        kind: MESSAGE,
        files: 0,
        len,
    };
    out.extend_from_slice(&header(0).encode());
    let body = out.len();
    let mut parcel = Parcel {
        bytes: std::mem::take(out),
        attachments: Vec::new(),
    };
    let encoded = codec::encode_into(message, &mut parcel);
    *out = parcel.bytes;
    if let Err(error) = encoded {
        out.truncate(start);
        return Err(error.to_string());
    }
    let len = (out.len() - body) as u64;
    out[start..body].copy_from_slice(&header(len).encode());
    Ok(len)
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(crate) enum End {
    /// The other side has ended, or the stream is broken.
    Gone,
    /// What came is no message.
    Protocol,
}

/// Reads messages off a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    decoder: Decoder,
}

impl Reader {
    pub(crate) fn new(limit: u64) -> Reader {
        Reader {
            decoder: Decoder::new(limit),
        }
    }

    /// Reads once, and gives every message that is complete to `take`. Nothing to read on a stream
    /// that does not block is no end; `true` if there may be more.
    pub(crate) fn read<M: DeserializeOwned + 'static>(
        &mut self,
        stream: &TcpStream,
        mut take: impl FnMut(M),
    ) -> Result<bool, End> {
        thread_local! {
            static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        let mut buffer = BUFFER.take();
        buffer.resize(READ, 0);
        let mut source = stream;
        let read = loop {
            match source.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                answer => break answer,
            }
        };
        let len = match read {
            Ok(0) => return Err(End::Gone),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                BUFFER.set(buffer);
                return Ok(false);
            }
            Err(_) => return Err(End::Gone),
        };
        let mut bytes = &buffer[..len];
        while let Some(frame) = self.decoder.feed(&mut bytes).map_err(|_| End::Protocol)? {
            if frame.header.kind != MESSAGE || frame.header.files != 0 {
                return Err(End::Protocol);
            }
            take(codec::decode(&frame.body, &[]).map_err(|_| End::Protocol)?);
        }
        BUFFER.set(buffer);
        Ok(len == READ)
    }
}
