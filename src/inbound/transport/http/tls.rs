//! The certificate of the listener, read anew when its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, crypto};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Where the certificate and its key are, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that signed it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("{path} cannot be read as PEM", path = .path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Key and certificate do not belong together, or are of a kind that is not known.
    #[error("the certificate and its key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

/// The certificate in force.
pub(super) struct Tls {
    files: TlsFiles,
    acceptor: Mutex<TlsAcceptor>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn open(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let acceptor = Mutex::new(read(&files)?);
        Ok(Arc::new(Self { files, acceptor }))
    }

    /// What shakes hands with a new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let acceptor = self.acceptor.lock();
        acceptor.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files anew whenever they have changed, until `end`. Files that cannot be used are said and left
    /// aside: what was read last goes on.
    pub(super) async fn watch(self: Arc<Self>, end: CancellationToken) {
        let mut seen = self.changed_at();
        while !matches!(
            tokio::time::timeout(POLL_INTERVAL, end.cancelled()).await,
            Ok(())
        ) {
            let now = self.changed_at();
            if now == seen {
                continue;
            }
            match read(&self.files) {
                Ok(acceptor) => {
                    *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = acceptor;
                    seen = now;
                    tracing::info!("the certificate has been read anew");
                }
                // Files are often replaced one after the other, so it is tried again.
                Err(error) => {
                    tracing::warn!(error = %error, "the new certificate cannot be used; the last one goes on");
                }
            }
        }
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        let at = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
        [at(&self.files.certificate), at(&self.files.key)]
    }
}

fn read(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { path, source }
    };
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable(&files.key))?;
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
