//! Certificates, and what is done with them: a connection beyond this machine goes through a
//! [`tunnel`], below which nothing is different.

mod tunnel;

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use multiproc_pipe::ConnectError;
use multiproc_sys::clock::Deadline;
use multiproc_sys::{Errno, poll};
use multiproc_wire::{Bytes, codec};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};
use serde::{Deserialize, Serialize};

pub(crate) use tunnel::{Fate, drain};

/// A certificate, its key, and whose certificates are trusted: what a server, and each of its clients,
/// needs for TCP beyond this machine. (Feature `tls`.)
///
/// Both sides show a certificate, by TLS 1.3, and refuse one that is not signed by whom they trust. The
/// key of the manager is asked for after that, inside.
///
/// ```no_run
/// use multiproc_manager::{Manager, Tls};
///
/// let read = |file: &str| std::fs::read(file);
/// let tls = Tls::from_pem(read("server.pem")?, read("server.key")?, read("ca.pem")?)?;
/// let manager = Manager::builder()
///     .address("tcp:0.0.0.0:4433")
///     .tls(tls.server_name("jobs.example"))
///     .authkey(read("authkey")?)
///     .start()?;
///
/// // On another machine:
/// let tls = Tls::from_pem(read("client.pem")?, read("client.key")?, read("ca.pem")?)?;
/// let manager = Manager::connect_tls("tcp:jobs.example:4433", read("authkey")?, tls)?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # Limits
///
/// A process with such a connection has a thread that encrypts for it, so it cannot be copied by
/// `Process::fork` any more. Members of the family that receive a proxy connect with its sender's
/// certificate.
#[derive(Clone)]
pub struct Tls {
    parts: Arc<Parts>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// What it is made of, and travels as.
#[derive(Clone, Serialize, Deserialize)]
struct Parts {
    chain: Vec<Bytes>,
    key: Bytes,
    trusted: Vec<Bytes>,
    server_name: Option<String>,
}

/// Certificates, or a key, that cannot be used; the text says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl Tls {
    /// From texts in PEM: the own certificate, with those between it and the trusted one; its private
    /// key; and the certificates of the authorities that are trusted to sign for the other side.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn from_pem(
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        trusted: impl AsRef<[u8]>,
    ) -> Result<Tls, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(key.as_ref())
            .map_err(|error| TlsError(format!("the private key: {error}")))?;
        // The kind of the key is known by its bytes, too.
        Tls::build(Parts {
            chain: certificates(chain.as_ref(), "the own certificate")?,
            key: key.secret_der().into(),
            trusted: certificates(trusted.as_ref(), "the trusted certificates")?,
            server_name: None,
        })
    }

    /// The name that the server's certificate must be for. Otherwise that is the address that is
    /// connected to, as a number.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Tls {
        let parts = Arc::make_mut(&mut self.parts);
        parts.server_name = Some(name.into());
        self
    }

    fn build(parts: Parts) -> Result<Tls, TlsError> {
        let unusable = |error: &dyn fmt::Display| TlsError(error.to_string());
        let provider: Arc<CryptoProvider> = ring::default_provider().into();
        let mut roots = RootCertStore::empty();
        for root in &parts.trusted {
            let added = roots.add(CertificateDer::from(&root[..]));
            added.map_err(|error| TlsError(format!("a trusted certificate: {error}")))?;
        }
        let roots = Arc::new(roots);
        let chain: Vec<CertificateDer<'static>> = parts
            .chain
            .iter()
            .map(|certificate| CertificateDer::from(certificate.to_vec()))
            .collect();
        let key = || {
            PrivateKeyDer::try_from(parts.key.to_vec())
                .map_err(|error| TlsError(format!("the private key: {error}")))
        };
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let clients = clients.build().map_err(|error| unusable(&error))?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key()?)
            .map_err(|error| unusable(&error))?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let servers = servers.build().map_err(|error| unusable(&error))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(&error))?
            .with_webpki_verifier(servers)
            .with_client_auth_cert(chain, key()?)
            .map_err(|error| unusable(&error))?;
        Ok(Tls {
            parts: Arc::new(parts),
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    /// As it travels, to members of the family only.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let parcel = codec::encode(&*self.parts).expect("bytes and a name");
        parcel.bytes.into()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Tls> {
        let parts = codec::decode(bytes, &[]).ok()?;
        Tls::build(parts).ok()
    }

    /// The server's side of a new connection: the end of a tunnel, in which the peer is yet to show who
    /// it is.
    pub(crate) fn accept(&self, fd: OwnedFd) -> Result<OwnedFd, Errno> {
        let tls = ServerConnection::new(Arc::clone(&self.server)).map_err(|_| Errno::ENOMEM)?;
        let (near, _) = tunnel::dig(Connection::Server(tls), TcpStream::from(fd))?;
        Ok(near)
    }

    /// The client's side of a new connection to `peer`, which has shown who it is.
    pub(crate) fn connect(
        &self,
        fd: OwnedFd,
        peer: SocketAddr,
        until: Deadline,
    ) -> Result<(OwnedFd, Fate), ConnectError> {
        let name = match &self.parts.server_name {
            Some(name) => ServerName::try_from(name.clone())
                .map_err(|_| ConnectError::Invalid(format!("`{name}` is no name of a server")))?,
            None => ServerName::IpAddress(peer.ip().into()),
        };
        let tls = ClientConnection::new(Arc::clone(&self.client), name);
        let mut tls = tls.map_err(|error| ConnectError::Invalid(error.to_string()))?;
        let stream = TcpStream::from(fd);
        shake_hands(&mut tls, &stream, until)?;
        Ok(tunnel::dig(Connection::Client(tls), stream)?)
    }
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<Bytes>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| TlsError(format!("{what}: {error}")))?;
    if found.is_empty() {
        return Err(TlsError(format!("{what}: there is none in the text")));
    }
    let bytes = found
        .iter()
        .map(|certificate| Bytes::from(&certificate[..]));
    Ok(bytes.collect())
}

/// Waits until the server has shown its certificate, and ours is on its way.
fn shake_hands(
    tls: &mut ClientConnection,
    stream: &TcpStream,
    until: Deadline,
) -> Result<(), ConnectError> {
    let mut wire = stream;
    while tls.is_handshaking() || tls.wants_write() {
        let (moved, ready): (io::Result<usize>, fn(_, _) -> _) = if tls.wants_write() {
            (tls.write_tls(&mut wire), poll::writable)
        } else {
            (tls.read_tls(&mut wire), poll::readable)
        };
        match moved {
            Ok(0) => return Err(ConnectError::Refused),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !ready(stream.as_fd(), until)? {
                    return Err(ConnectError::TimedOut);
                }
            }
            Err(_) => return Err(ConnectError::Refused),
        }
        if let Err(error) = tls.process_new_packets() {
            // The other side is told why, if it still listens.
            let _ = tls.write_tls(&mut wire);
            return Err(judge(&error));
        }
    }
    Ok(())
}

/// What a failed handshake means.
fn judge(error: &rustls::Error) -> ConnectError {
    match error {
        rustls::Error::InvalidMessage(_) => ConnectError::Protocol,
        error => ConnectError::Untrusted(error.to_string()),
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.parts.server_name)
            .finish_non_exhaustive()
    }
}
