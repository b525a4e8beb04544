//! Throws bytes at what reads from others: the handshake, the frames, and the pieces in a ring.
//!
//! Whatever comes must be an error or a message, never a panic and never a wait; memory follows the
//! bytes that came. Each target runs for a moment; `FUZZ_SECONDS` sets how long.

use std::time::{Duration, Instant};

use multiproc_pipe::stranger::frame::{Decoder, GROW, Header};
use multiproc_pipe::stranger::handshake::{Handshake, MOST_READ, PIPE, Role};
use multiproc_pipe::{Key, Receiver, channel};
use multiproc_shm::testing::Chance;
use multiproc_shm::{End, Object};
use multiproc_sys::clock::Deadline;
use multiproc_wire::codec;

fn for_a_while(mut throw: impl FnMut(&mut Chance)) {
    let seconds = std::env::var("FUZZ_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(0.3);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut random = Chance::new();
    let mut throws = 0;
    while Instant::now() < end {
        throw(&mut random);
        throws += 1;
    }
    println!("{throws} tries");
}

fn bytes(random: &mut Chance, most: u64) -> Vec<u8> {
    let len = random.below(most);
    (0..len).map(|_| random.below(256) as u8).collect()
}

/// Changes a few bytes.
fn damage(random: &mut Chance, bytes: &mut [u8]) {
    for _ in 0..random.below(4) {
        if !bytes.is_empty() {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = [0, 1, 0x7f, 0xff, random.below(256) as u8][random.below(5) as usize];
        }
    }
}

#[test]
fn frames_are_frames_or_errors() {
    for_a_while(|random| {
        let mut stream = Vec::new();
        for _ in 0..random.below(5) {
            let body = bytes(random, 100);
            let len = match random.below(4) {
                0 => random.below(u64::MAX),
                _ => body.len() as u64,
            };
            let header = Header {
                kind: random.below(3) as u8,
                files: random.below(3) as u16,
                len,
            };
            stream.extend(header.encode());
            stream.extend(body);
        }
        damage(random, &mut stream);
        let mut decoder = Decoder::new([50, u64::MAX][random.below(2) as usize]);
        let mut fed = 0;
        let mut broken = false;
        for mut piece in stream.chunks(1 + random.below(40) as usize) {
            fed += piece.len();
            while !piece.is_empty() && !broken {
                match decoder.feed(&mut piece) {
                    Ok(Some(frame)) => assert_eq!(frame.body.len() as u64, frame.header.len),
                    Ok(None) => assert!(piece.is_empty()),
                    Err(_) => broken = true,
                }
                assert!(decoder.memory() <= fed + GROW);
            }
        }
    });
}

#[test]
fn nobody_comes_through_a_handshake_by_chance() {
    let key = Key::random();
    for_a_while(|random| {
        let role = [Role::Client, Role::Server][random.below(2) as usize];
        let other = if role == Role::Client {
            Role::Server
        } else {
            Role::Client
        };
        let mut side = Handshake::new(PIPE, role, &key);
        // Good until the proof, which somebody without the key has to make up.
        let mut said = Handshake::new(PIPE, other, &Key::random()).take_output();
        said.extend(b"+");
        said.extend(bytes(random, 64));
        damage(random, &mut said);
        let mut read = 0;
        while side.wants() > 0 && read < said.len() {
            let now = side
                .wants()
                .min(1 + random.below(50) as usize)
                .min(said.len() - read);
            if side.feed(&said[read..][..now]).is_err() {
                break;
            }
            read += now;
        }
        assert!(!side.is_done() && read <= MOST_READ);
    });
}

#[test]
fn pieces_in_a_ring_are_messages_or_errors() {
    let (sender, mut receiver) = channel::<Vec<u8>>().expect("a pipe");
    let parcel = codec::encode(&sender).expect("it travels");
    let object: Object = codec::decode(&parcel.bytes, &parcel.attachments).expect("an object");
    let end = End::open(object, false).expect("an end");
    for_a_while(|random| {
        for _ in 0..random.below(6) {
            let mut piece = bytes(random, 30);
            if random.below(2) == 0 {
                piece.extend((random.below(60)).to_le_bytes());
            }
            piece.extend([random.below(6) as u8]);
            let mut tail = end.ring().tail(Deadline::NEVER).expect("nobody else");
            let _full = tail.push(&[&piece], 0);
        }
        if random.below(4) == 0 {
            receiver = again(&receiver);
        }
        for _ in 0..8 {
            match receiver.try_recv_bytes(50) {
                Err(error) if error.is_too_large() => receiver = fresh(&end),
                _ => {}
            }
        }
    });
    drop(sender);
}

/// The same end, as it would come by a message.
fn again(receiver: &Receiver<Vec<u8>>) -> Receiver<Vec<u8>> {
    let parcel = codec::encode(receiver).expect("it travels");
    codec::decode(&parcel.bytes, &parcel.attachments).expect("an end")
}

/// A receiving end for the ring whose last one has refused a message.
fn fresh(end: &End) -> Receiver<Vec<u8>> {
    let new = End::create(end.ring(), true).expect("an end");
    let parcel = codec::encode(new.object()).expect("it travels");
    codec::decode(&parcel.bytes, &parcel.attachments).expect("an end")
}
