//! Messages on a stream: what both ends do with frames. A stream is the socket, or a [lane](crate::lane)
//! of the family's memory; beside the messages, the two ends agree here on which.

use std::cell::RefCell;
use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::thread::LocalKey;

use multiproc_pipe::stranger::frame::{Decoder, Header};
use multiproc_pipe::stranger::handshake::Protocol;
use multiproc_wire::{Parcel, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::lane::{Broken, Lane, LaneWords};
use crate::message::VERSION;

/// What is spoken after the handshake.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: *b"mgr\0",
    version: VERSION,
};

/// The kind of frames that hold a message.
pub(crate) const MESSAGE: u8 = 1;

/// The kind of frames by which the two ends speak about the link itself.
const CONTROL: u8 = 2;

/// What the two ends say about the link. `PROTOCOL.md` says when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Control {
    /// From the server: here is memory for both directions.
    Lanes(LaneWords),
    /// From the client, for ever: all that follows comes by the first lane. Or it cannot use them.
    Turn(bool),
    /// The other side has written or has made room.
    Wake,
}

/// What one frame brings.
#[derive(Debug)]
pub(crate) enum Said<M> {
    Message(M),
    Control(Control),
}

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
    put_frame(out, MESSAGE, message)
}

/// Appends what there is to say about the link.
pub(crate) fn put_control(out: &mut Vec<u8>, control: &Control) {
    put_frame(out, CONTROL, control).expect("plain numbers can be encoded");
}

/// A frame that says [`Control::Wake`].
pub(crate) fn wake_frame() -> &'static [u8] {
    static FRAME: OnceLock<Vec<u8>> = OnceLock::new();
    FRAME.get_or_init(|| {
        let mut frame = Vec::new();
        put_control(&mut frame, &Control::Wake);
        frame
    })
}

fn put_frame<M: Serialize + 'static>(
    out: &mut Vec<u8>,
    kind: u8,
    message: &M,
) -> Result<u64, String> {
    let start = out.len();
    let header = |len| Header {
        kind,
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

    /// Reads once, and gives all that is complete to `take`. Nothing to read on a stream that does not
    /// block is no end; `true` if there may be more.
    pub(crate) fn read<M: DeserializeOwned + 'static>(
        &mut self,
        stream: &TcpStream,
        take: impl FnMut(Said<M>) -> Result<(), End>,
    ) -> Result<bool, End> {
        thread_local!(static BUFFER: Buffer = const { Buffer::new(Vec::new()) });
        with(&BUFFER, |buffer| {
            buffer.resize(READ, 0);
            let mut source = stream;
            let read = loop {
                match source.read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    answer => break answer,
                }
            };
            let len = match read {
                Ok(0) => return Err(End::Gone),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(End::Gone),
            };
            self.feed(&buffer[..len], take)?;
            Ok(len == READ)
        })
    }

    /// Reads all that there is in a lane, and gives what is complete to `take`.
    pub(crate) fn read_lane<M: DeserializeOwned + 'static>(
        &mut self,
        lane: &Lane,
        take: impl FnMut(Said<M>) -> Result<(), End>,
    ) -> Result<(), End> {
        thread_local!(static BUFFER: Buffer = const { Buffer::new(Vec::new()) });
        with(&BUFFER, |buffer| {
            buffer.clear();
            lane.read(buffer).map_err(|Broken| End::Protocol)?;
            self.feed(buffer, take)
        })
    }

    fn feed<M: DeserializeOwned + 'static>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Said<M>) -> Result<(), End>,
    ) -> Result<(), End> {
        while let Some(frame) = self.decoder.feed(&mut bytes).map_err(|_| End::Protocol)? {
            let said = match frame.header {
                Header { files: 1.., .. } => return Err(End::Protocol),
                Header { kind: MESSAGE, .. } => codec::decode(&frame.body, &[]).map(Said::Message),
                Header { kind: CONTROL, .. } => codec::decode(&frame.body, &[]).map(Said::Control),
                _ => return Err(End::Protocol),
            };
            take(said.map_err(|_| End::Protocol)?)?;
        }
        Ok(())
    }
}

type Buffer = RefCell<Vec<u8>>;

/// Gives `act` the thread's buffer. One inside another gets a new one.
fn with<R>(buffer: &'static LocalKey<Buffer>, act: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    // A thread that ends may have none any more.
    let mut taken = buffer.try_with(RefCell::take).unwrap_or_default();
    let answer = act(&mut taken);
    let _ = buffer.try_with(|place| place.replace(taken));
    answer
}
