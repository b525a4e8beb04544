//! Where a listener is: a file, or a port of this machine.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// A listener's place: `unix:/path/of/a/file` or `tcp:127.0.0.1:4000`.
///
/// `unix:` alone, to bind, lets the listener choose a path in a directory of its own; `tcp:127.0.0.1:0`
/// lets the kernel choose a port. Without TLS, TCP does not leave the machine: the key shows who is there,
/// but nothing encrypts what follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A Unix socket's file. Empty: choose one.
    Unix(PathBuf),
    /// A port. Beyond the loopback device it needs TLS, which a manager's server can have.
    Tcp(SocketAddr),
}

/// A text that is no [`Address`], or one that is not served; the text says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.bytes().next() {
                Some(b'@' | 0) => Err(AddressError(format!(
                    "`{text}`: names in the abstract space are open to every user; give the path \
                     of a file"
                ))),
                _ => Ok(Address::Unix(path.into())),
            };
        }
        let Some(place) = text.strip_prefix("tcp:") else {
            return Err(AddressError(format!(
                "`{text}` is no address; give `unix:/path` or `tcp:127.0.0.1:port`"
            )));
        };
        let found = place.to_socket_addrs();
        let first = found
            .map_err(|error| AddressError(format!("`{text}`: {error}")))?
            .next();
        let address = first.ok_or_else(|| AddressError(format!("`{text}` has no address")))?;
        Ok(Address::Tcp(address))
    }
}

impl Address {
    /// This address, if it can be used without TLS.
    ///
    /// # Errors
    ///
    /// [`AddressError`] for TCP beyond this machine.
    pub fn within_machine(self) -> Result<Address, AddressError> {
        match self {
            Address::Tcp(address) if !address.ip().is_loopback() => Err(AddressError(format!(
                "`{self}` is beyond this machine, where a connection needs TLS: the key shows who is \
                 there, but neither hides nor protects what follows; give a manager its certificates \
                 (feature `tls`), or use 127.0.0.1 behind a tunnel (such as ssh -L)"
            ))),
            good => Ok(good),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// What a listener or client takes as an address.
pub trait IntoAddress {
    /// The address.
    ///
    /// # Errors
    ///
    /// [`AddressError`].
    fn into_address(self) -> Result<Address, AddressError>;
}

impl IntoAddress for Address {
    fn into_address(self) -> Result<Address, AddressError> {
        Ok(self)
    }
}

impl IntoAddress for &Address {
    fn into_address(self) -> Result<Address, AddressError> {
        Ok(self.clone())
    }
}

impl IntoAddress for &str {
    fn into_address(self) -> Result<Address, AddressError> {
        self.parse()
    }
}

impl IntoAddress for &String {
    fn into_address(self) -> Result<Address, AddressError> {
        self.parse()
    }
}

impl IntoAddress for String {
    fn into_address(self) -> Result<Address, AddressError> {
        self.parse()
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["unix:/tmp/a b", "unix:", "tcp:127.0.0.1:80", "tcp:[::1]:80"] {
            let address: Address = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
        }
        assert!(matches!("tcp:localhost:1".parse(), Ok(Address::Tcp(_))));
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, why) in [
            ("/tmp/a", "is no address"),
            ("unix:@name", "abstract"),
            ("unix:\0name", "abstract"),
            ("tcp:nothing", "tcp:nothing"),
        ] {
            let error = text.parse::<Address>().expect_err("no address").to_string();
            assert!(error.contains(why), "{error}");
        }
        for text in ["tcp:10.0.0.1:80", "tcp:0.0.0.0:80", "tcp:[::]:80"] {
            let address: Address = text.parse().expect("an address");
            let error = address.within_machine().expect_err("without TLS");
            assert!(error.to_string().contains("beyond this machine"), "{error}");
        }
    }
}
