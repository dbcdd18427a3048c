//! The certificate and the rules of TLS, as files say: all of it is read and judged before any of it is used.
//!
//! Keeps no key but in the session's configuration, and names files, never what is in them. What must stay
//! true: a refresh that fails leaves what was.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::limits::{TLS_FILE_BYTES_MAX, TLS_SESSIONS_MAX};
use crate::logging::Limited;
use crate::server::context::Context;

/// What clients are asked for (`ssl_verify_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// 0: no certificate.
    Nothing,
    /// 1: one that is good, if they have one.
    Request,
    /// 2: one that is good.
    Require,
    /// 3: the same, and OpenSSL would not ask again, which nobody does here.
    Once,
}

impl Verify {
    /// As memcached shows it: the bits of OpenSSL's constants.
    pub(in crate::server) fn bits(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Request => 1,
            Self::Require => 3,
            Self::Once => 7,
        }
    }
}

/// The least version of the protocol (`ssl_min_version`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

impl TlsVersion {
    /// memcached's name for it.
    pub(in crate::server) fn name(self) -> &'static str {
        match self {
            Self::V1_2 => "tlsv1.2",
            Self::V1_3 => "tlsv1.3",
        }
    }

    fn allowed(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        match self {
            Self::V1_2 => &ALL,
            Self::V1_3 => &ALL[..1],
        }
    }
}

/// Where certificates are, and what clients have to show (`-o ssl_...`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate and those between it and a root, PEM (`ssl_chain_cert`).
    pub chain: PathBuf,
    /// Its private key, PEM (`ssl_key`).
    pub key: PathBuf,
    /// Whose certificates clients may show, PEM (`ssl_ca_cert`). Needed where they are asked for any.
    pub authorities: Option<PathBuf>,
    /// See [`Verify`].
    pub verify: Verify,
    /// See [`TlsVersion`].
    pub version_least: TlsVersion,
    /// Clients may take up a session of before (`ssl_session_cache`).
    pub resumes: bool,
}

/// Why there is no TLS: `<what is wrong>; <what to do>`, naming the file.
#[derive(Debug)]
pub enum TlsError {
    /// A file that cannot be read.
    Unreadable { name: &'static str, path: PathBuf, error: io::Error },
    /// A file that does not hold what it should.
    Unfit { name: &'static str, path: PathBuf, why: String },
    /// A key that is another certificate's.
    Mismatch { chain: PathBuf, key: PathBuf },
}

impl std::error::Error for TlsError {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { name, path, error } => {
                write!(f, "cannot read {}: {error}; see {name}", path.display())
            }
            Self::Unfit { name, path, why } => {
                write!(f, "{} cannot be used: {why}; see {name}", path.display())
            }
            Self::Mismatch { chain, key } => write!(
                f,
                "the key in {} is not that of the certificate in {}; see ssl_chain_cert and ssl_key",
                key.display(),
                chain.display()
            ),
        }
    }
}

/// A certificate that clients can be shown, and the rules of their sessions.
pub struct Certificates {
    files: TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    /// Whose certificates clients may show.
    authorities: Vec<CertificateDer<'static>>,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

/// The same files with the same certificates. A key that fits the same certificate is the same.
impl PartialEq for Certificates {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
            && self.chain == other.chain
            && self.authorities == other.authorities
    }
}

const CHAIN: &str = "ssl_chain_cert";
const KEY: &str = "ssl_key";
const AUTHORITIES: &str = "ssl_ca_cert";

impl Certificates {
    /// Reads and judges all of it.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read or does not hold what it should.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = certificates(CHAIN, &files.chain)?;
        let key = contents(KEY, &files.key)?;
        // The reason might quote what is there.
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsError::Unfit {
            name: KEY,
            path: files.key.clone(),
            why: "there is no private key in PEM without a pass phrase".to_owned(),
        })?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(files.version_least.allowed())
            .expect("ring has ciphers for TLS 1.2 and 1.3");
        let mut authorities = Vec::new();
        let builder = match (files.verify, &files.authorities) {
            (Verify::Nothing, _) | (_, None) => builder.with_no_client_auth(),
            (verify, Some(path)) => {
                let unfit =
                    |why: String| TlsError::Unfit { name: AUTHORITIES, path: path.clone(), why };
                let mut roots = RootCertStore::empty();
                authorities = certificates(AUTHORITIES, path)?;
                for authority in &authorities {
                    roots.add(authority.clone()).map_err(|error| unfit(error.to_string()))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match verify {
                    Verify::Request => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                let verifier = verifier.build().map_err(|error| unfit(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            builder.with_single_cert(chain.clone(), key).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    TlsError::Mismatch { chain: files.chain.clone(), key: files.key.clone() }
                }
                error => {
                    TlsError::Unfit { name: KEY, path: files.key.clone(), why: error.to_string() }
                }
            })?;
        if files.resumes {
            config.session_storage = ServerSessionMemoryCache::new(TLS_SESSIONS_MAX);
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self { files: files.clone(), chain, authorities, config: Arc::new(config) })
    }

    /// Where they are from.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

fn contents(name: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::Unreadable { name, path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > TLS_FILE_BYTES_MAX {
        let why = format!("it is longer than {TLS_FILE_BYTES_MAX} bytes");
        return Err(TlsError::Unfit { name, path: path.to_owned(), why });
    }
    Ok(bytes)
}

/// At least one.
fn certificates(name: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unfit = |why: &str| TlsError::Unfit { name, path: path.to_owned(), why: why.to_owned() };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&contents(name, path)?)
        .collect::<Result<_, _>>()
        .map_err(|_| unfit("it is no PEM"))?;
    if found.is_empty() {
        return Err(unfit("there is no certificate in PEM"));
    }
    Ok(found)
}

/// What became of `refresh_certs`, on the thread that reads the files.
pub(in crate::server) type Refresh = Result<(), String>;

/// At most one at a time: a client may ask as often as it likes.
static IS_REFRESHING: AtomicBool = AtomicBool::new(false);

/// A client may ask as often as it likes, and is not to fill the log with it.
static REFRESHES: Limited = Limited::new(5, 10_000);

/// Reads the certificates anew on a thread of its own, for a disk may be slow, and tells what came of it.
/// `false` if that is going on already, or no thread can be had.
pub(in crate::server) fn refresh(
    context: Weak<Context>,
    files: TlsFiles,
    tell: impl FnOnce(Refresh) + Send + 'static,
) -> bool {
    if IS_REFRESHING.swap(true, Ordering::SeqCst) {
        return false;
    }
    let work = move || {
        let read = Certificates::read(&files).map(|certificates| {
            if let Some(context) = context.upgrade() {
                let now = context.clock.now();
                context.live.renew_certificates(&files, Arc::new(certificates), now);
            }
        });
        let now = context.upgrade().map_or(0, |context| context.clock.now().0);
        if let Some(left_out) = REFRESHES.admit(u64::try_from(now).unwrap_or(0) * 1_000) {
            match &read {
                Ok(()) => log::info!("a client had the certificates of TLS read again{left_out}"),
                Err(error) => {
                    log::error!("the certificates of TLS stay as they were: {error}{left_out}");
                }
            }
        }
        let read = read.map_err(|error| error.to_string());
        // First, so that a client that has its answer may ask again at once.
        IS_REFRESHING.store(false, Ordering::SeqCst);
        tell(read);
    };
    let thread = std::thread::Builder::new().name("certificates".into()).spawn(work);
    if let Err(error) = &thread {
        log::error!("no thread to read the certificates of TLS: {error}");
        IS_REFRESHING.store(false, Ordering::SeqCst);
    }
    thread.is_ok()
}
