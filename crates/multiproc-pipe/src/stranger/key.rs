//! The secret that two strangers share, and the one thing that is done with it.
//!
//! The invariant: a key's bytes leave this file only as the hash they were mixed into. `Debug` shows
//! nothing of them.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use multiproc_sys::random;
use sha2::Sha256;

/// Bytes of a proof.
pub(crate) const PROOF: usize = 32;

/// What both sides must know.
///
/// Any bytes will do, and none are refused where the key is used; [`Key::random`] cannot be guessed.
/// Hand it to the other program by a file that only its user can read, never by an argument or the
/// environment, which others can see.
#[derive(Clone)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// 32 bytes of the operating system's random source.
    pub fn random() -> Key {
        let mut bytes = [0; 32];
        random::fill(&mut bytes);
        Key(Arc::from(bytes))
    }

    /// The bytes, to be given to the other program.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length will do");
        parts.iter().for_each(|part| mac.update(part));
        mac
    }

    pub(crate) fn prove(&self, parts: &[&[u8]]) -> [u8; PROOF] {
        self.mac(parts).finalize().into_bytes().into()
    }

    /// In a time that does not depend on how much of the proof is right.
    pub(crate) fn is_proof(&self, proof: &[u8], parts: &[&[u8]]) -> bool {
        self.mac(parts).verify_slice(proof).is_ok()
    }
}

impl<B: AsRef<[u8]> + ?Sized> From<&B> for Key {
    fn from(bytes: &B) -> Key {
        Key(Arc::from(bytes.as_ref()))
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Key {
        Key(Arc::from(bytes))
    }
}

impl From<String> for Key {
    fn from(text: String) -> Key {
        Key(Arc::from(text.into_bytes()))
    }
}

impl<const N: usize> From<[u8; N]> for Key {
    fn from(bytes: [u8; N]) -> Key {
        Key(Arc::from(bytes))
    }
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Key {
        key.clone()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_of_rfc_4231() {
        let key = Key::from("Jefe");
        let proof = key.prove(&[b"what do ya want ", b"for nothing?"]);
        let hex: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(key.is_proof(&proof, &[b"what do ya want for nothing?"]));
        assert!(!key.is_proof(&proof[..31], &[b"what do ya want for nothing?"]));
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        assert_eq!(format!("{:?}", Key::from("secret")), "Key(..)");
        assert_ne!(Key::random().expose(), Key::random().expose());
    }
}
