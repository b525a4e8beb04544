//! Who is there: each side shows that it knows the key, without saying it.
//!
//! Pure: bytes in, bytes out; whoever owns the stream moves them, and counts the time. The invariant:
//! until the key is proven, at most [`MOST_READ`] bytes are taken and none is decoded: they are compared.
//!
//! ```text
//! client                                   server
//!   OPENING(client) nonce   ------------>
//!                           <------------   OPENING(server) nonce
//!   proof(client)           ------------>
//!                           <------------   '+' proof(server), or '-'
//! ```
//!
//! Both openings are sent unasked, so that each side sees the other's version. A proof is the
//! HMAC-SHA-256, by the key, over the text `multiproc handshake`, the protocol's name and version, the
//! role of who proves, the client's nonce and the server's. So a proof is good for one role in one
//! handshake: neither a replayed nor a reflected one is. There is one hash and no choice of it.

use multiproc_sys::random;

use super::key::{Key, PROOF};
use crate::error::ConnectError;

const MAGIC: [u8; 8] = *b"multproc";
const CONTEXT: &[u8] = b"multiproc handshake";
const OPENING: usize = 16;
const NONCE: usize = 32;
const YES: u8 = b'+';
const NO: u8 = b'-';

/// The most bytes one side reads before it trusts the other.
pub const MOST_READ: usize = OPENING + NONCE + 1 + PROOF;
const _: () = assert!(MOST_READ <= 256);

/// What is spoken once the key is proven. Both sides must mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Which protocol.
    pub name: [u8; 4],
    /// Which version of it.
    pub version: u16,
}

/// The protocol of connections.
pub const PIPE: Protocol = Protocol {
    name: *b"pipe",
    version: 1,
};

/// Which side one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that connected.
    Client,
    /// The one that listened.
    Server,
}

impl Role {
    fn letter(self) -> u8 {
        match self {
            Role::Client => b'c',
            Role::Server => b's',
        }
    }

    fn other(self) -> Role {
        match self {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }
}

/// What comes next from the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Opening,
    Nonce,
    /// The client's proof: the server waits for it.
    Proof,
    /// The server's answer: the client waits for it.
    Answer,
    Done,
}

impl Next {
    fn len(self) -> usize {
        match self {
            Next::Opening => OPENING,
            Next::Nonce => NONCE,
            Next::Proof => PROOF,
            Next::Answer => 1 + PROOF,
            Next::Done => 0,
        }
    }
}

/// One side of one handshake.
#[derive(Debug)]
pub struct Handshake {
    protocol: Protocol,
    key: Key,
    role: Role,
    next: Next,
    input: Vec<u8>,
    output: Vec<u8>,
    our_nonce: [u8; NONCE],
    their_nonce: [u8; NONCE],
}

impl Handshake {
    /// Begins one. Send [`Handshake::take_output`] at once.
    pub fn new(protocol: Protocol, role: Role, key: &Key) -> Handshake {
        let mut our_nonce = [0; NONCE];
        random::fill(&mut our_nonce);
        let mut output = MAGIC.to_vec();
        output.extend(protocol.name);
        output.extend(protocol.version.to_le_bytes());
        output.extend([role.letter(), 0]);
        output.extend(our_nonce);
        Handshake {
            protocol,
            key: key.clone(),
            role,
            next: Next::Opening,
            input: Vec::new(),
            output,
            our_nonce,
            their_nonce: [0; NONCE],
        }
    }

    /// What is to be sent now. After an error, too: the other side is told.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// How many bytes to read at most: what follows them is not the handshake's. 0 once it is done.
    pub fn wants(&self) -> usize {
        self.next.len() - self.input.len()
    }

    /// Whether both have shown that they know the key.
    pub fn is_done(&self) -> bool {
        self.next == Next::Done
    }

    /// Takes what has come, of at most [`Handshake::wants`] bytes.
    ///
    /// # Errors
    ///
    /// [`ConnectError::AuthenticationFailed`], [`ConnectError::VersionMismatch`],
    /// [`ConnectError::Protocol`]. The handshake is over then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        if bytes.len() > self.wants() {
            return Err(ConnectError::Protocol);
        }
        self.input.extend_from_slice(bytes);
        if self.wants() > 0 || self.is_done() {
            return Ok(());
        }
        let input = std::mem::take(&mut self.input);
        self.next = match self.next {
            Next::Opening => self.opening(&input)?,
            Next::Nonce => self.nonce(&input),
            Next::Proof => self.proof(&input)?,
            Next::Answer => self.answer(&input)?,
            Next::Done => Next::Done,
        };
        Ok(())
    }

    fn opening(&self, input: &[u8]) -> Result<Next, ConnectError> {
        let theirs = u16::from_le_bytes([input[12], input[13]]);
        if input[..8] != MAGIC || input[8..12] != self.protocol.name {
            return Err(ConnectError::Protocol);
        }
        if theirs != self.protocol.version {
            return Err(ConnectError::VersionMismatch {
                ours: self.protocol.version,
                theirs,
            });
        }
        // Our own words come back, or there are two clients.
        if input[14] != self.role.other().letter() {
            return Err(ConnectError::AuthenticationFailed);
        }
        Ok(Next::Nonce)
    }

    fn nonce(&mut self, input: &[u8]) -> Next {
        self.their_nonce.copy_from_slice(input);
        match self.role {
            Role::Server => Next::Proof,
            Role::Client => {
                self.output = self.with_proven(Role::Client, Key::prove).to_vec();
                Next::Answer
            }
        }
    }

    fn proof(&mut self, proof: &[u8]) -> Result<Next, ConnectError> {
        if !self.with_proven(Role::Client, |key, parts| key.is_proof(proof, parts)) {
            self.output = vec![NO];
            return Err(ConnectError::AuthenticationFailed);
        }
        self.output = vec![YES];
        let ours = self.with_proven(Role::Server, Key::prove);
        self.output.extend(ours);
        Ok(Next::Done)
    }

    fn answer(&mut self, answer: &[u8]) -> Result<Next, ConnectError> {
        let proof = &answer[1..];
        let proven = self.with_proven(Role::Server, |key, parts| key.is_proof(proof, parts));
        if answer[0] == YES && proven {
            Ok(Next::Done)
        } else {
            Err(ConnectError::AuthenticationFailed)
        }
    }

    /// What the stream's end means, if it comes now.
    pub fn ended(&self) -> ConnectError {
        match (self.next, self.input.first()) {
            // The server said no, and that was all.
            (Next::Answer, Some(&NO)) => ConnectError::AuthenticationFailed,
            _ => ConnectError::Refused,
        }
    }

    /// Hands to `use_` all that goes into the proof of `prover`.
    fn with_proven<R>(&self, prover: Role, use_: impl FnOnce(&Key, &[&[u8]]) -> R) -> R {
        let (client, server) = match self.role {
            Role::Client => (&self.our_nonce, &self.their_nonce),
            Role::Server => (&self.their_nonce, &self.our_nonce),
        };
        let version = self.protocol.version.to_le_bytes();
        let parts: [&[u8]; 6] = [
            CONTEXT,
            &self.protocol.name,
            &version,
            &[prover.letter()],
            client,
            server,
        ];
        use_(&self.key, &parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(client: &Key, server: &Key) -> (Handshake, Handshake) {
        (
            Handshake::new(PIPE, Role::Client, client),
            Handshake::new(PIPE, Role::Server, server),
        )
    }

    /// Moves what `from` has to say, in pieces of `cut` bytes.
    fn carry(from: &mut Handshake, to: &mut Handshake, cut: usize) -> Result<(), ConnectError> {
        let said = from.take_output();
        for mut piece in said.chunks(cut) {
            while !piece.is_empty() {
                let (now, rest) = piece.split_at(piece.len().min(to.wants()));
                assert!(!now.is_empty(), "more was said than is wanted");
                to.feed(now)?;
                piece = rest;
            }
        }
        Ok(())
    }

    type Ends = (Result<(), ConnectError>, Result<(), ConnectError>);

    fn meet(client: &mut Handshake, server: &mut Handshake, cut: usize) -> Ends {
        let mut ends = (Ok(()), Ok(()));
        for _ in 0..3 {
            if ends.1.is_ok() {
                ends.1 = carry(client, server, cut);
            }
            if ends.0.is_ok() {
                ends.0 = carry(server, client, cut);
            }
        }
        ends
    }

    #[test]
    fn two_with_one_key_meet() {
        for cut in [1, 7, 1000] {
            let key = Key::random();
            let (mut client, mut server) = pair(&key, &key);
            assert_eq!(meet(&mut client, &mut server, cut), (Ok(()), Ok(())));
            assert!(client.is_done() && server.is_done());
            assert_eq!((client.wants(), server.wants()), (0, 0));
            assert_eq!(client.feed(b"x"), Err(ConnectError::Protocol));
        }
    }

    #[test]
    fn a_wrong_key_fails_on_both_sides() {
        let (mut client, mut server) = pair(&Key::from("right"), &Key::from("wrong"));
        let (ours, theirs) = meet(&mut client, &mut server, 1000);
        assert_eq!(theirs, Err(ConnectError::AuthenticationFailed));
        assert_eq!(ours, Ok(()));
        assert!(!client.is_done());
        assert_eq!(client.ended(), ConnectError::AuthenticationFailed);
    }

    #[test]
    fn what_is_reflected_proves_nothing() {
        let key = Key::random();
        let mut client = Handshake::new(PIPE, Role::Client, &key);
        let said = client.take_output();
        assert_eq!(
            client.feed(&said[..OPENING]),
            Err(ConnectError::AuthenticationFailed)
        );
        // With the role forged, and the proof sent back as the answer.
        let mut client = Handshake::new(PIPE, Role::Client, &key);
        let mut said = client.take_output();
        said[14] = b's';
        client.feed(&said[..OPENING]).expect("looks like a server");
        client.feed(&said[OPENING..]).expect("any nonce will do");
        let proof = client.take_output();
        client.feed(b"+").expect("not yet complete");
        assert_eq!(client.feed(&proof), Err(ConnectError::AuthenticationFailed));
    }

    #[test]
    fn what_is_replayed_proves_nothing() {
        let key = Key::random();
        let (mut client, mut server) = pair(&key, &key);
        let opening = client.take_output();
        server.feed(&opening[..OPENING]).expect("good");
        server.feed(&opening[OPENING..]).expect("good");
        carry(&mut server, &mut client, 1000).expect("good");
        let proof = client.take_output();
        server.feed(&proof).expect("good");
        assert!(server.is_done());

        let mut again = Handshake::new(PIPE, Role::Server, &key);
        again
            .feed(&opening[..OPENING])
            .expect("any opening will do");
        again.feed(&opening[OPENING..]).expect("any nonce will do");
        assert_eq!(again.feed(&proof), Err(ConnectError::AuthenticationFailed));
        assert!(again.take_output().ends_with(&[NO]));
    }

    #[test]
    fn another_version_is_named_on_both_sides() {
        let key = Key::random();
        let newer = Protocol { version: 7, ..PIPE };
        let mut client = Handshake::new(newer, Role::Client, &key);
        let mut server = Handshake::new(PIPE, Role::Server, &key);
        let (ours, theirs) = (client.take_output(), server.take_output());
        let mismatch = |ours, theirs| Err(ConnectError::VersionMismatch { ours, theirs });
        assert_eq!(client.feed(&theirs[..OPENING]), mismatch(7, 1));
        assert_eq!(server.feed(&ours[..OPENING]), mismatch(1, 7));
    }

    #[test]
    fn another_protocol_is_refused() {
        let key = Key::random();
        let other = Protocol {
            name: *b"else",
            version: 1,
        };
        let said = Handshake::new(other, Role::Client, &key).take_output();
        let mut server = Handshake::new(PIPE, Role::Server, &key);
        assert_eq!(server.feed(&said[..OPENING]), Err(ConnectError::Protocol));
        let mut server = Handshake::new(PIPE, Role::Server, &key);
        assert_eq!(
            server.feed(b"GET / HTTP/1.1\r\n"),
            Err(ConnectError::Protocol)
        );
    }
}
