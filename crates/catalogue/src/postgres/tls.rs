//! Encrypted connections, by rustls.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::common_name;

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// Whose certificate is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trust {
    /// Anyone's: the connection is private against listeners only (`prefer`, `require`).
    Anyone,
    /// One that a known authority signed, for whatever host (`verify-ca`).
    Authority,
    /// One that a known authority signed for this host (`verify-full`).
    Host,
}

/// What makes connections encrypted. The authorities are those of the file, or those of the system.
pub(super) fn connector(trust: Trust, authorities: Option<&Path>) -> Result<MakeRustlsConnect, BoxedError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(trust, authorities, &provider)?))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// The certificates of a file.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, BoxedError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)?.collect();
    Ok(all?)
}

fn roots(given: Option<&[CertificateDer<'static>]>) -> Result<RootCertStore, BoxedError> {
    let mut roots = RootCertStore::empty();
    match given {
        Some(certificates) => {
            for certificate in certificates {
                roots.add(certificate.clone())?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    Ok(roots)
}

/// Checks what the mode asks for: all that a browser does, all but the host's name, or nothing but that the peer holds the key that it shows.
#[derive(Debug)]
pub(super) struct Verifier {
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that the user gave: a server may show one of them itself, signed by nobody else.
    given: Vec<CertificateDer<'static>>,
    checks_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(
        trust: Trust,
        authorities: Option<&Path>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, BoxedError> {
        let given = match (trust, authorities) {
            (Trust::Authority | Trust::Host, Some(file)) => Some(certificates(file)?),
            _ => None,
        };
        let verifier = match trust {
            Trust::Anyone => None,
            Trust::Authority | Trust::Host => {
                let roots = Arc::new(roots(given.as_deref())?);
                Some(WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build()?)
            }
        };
        Ok(Self {
            authorities: verifier,
            given: given.unwrap_or_default(),
            checks_name: trust == Trust::Host,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// A server's own certificate, as `openssl req -x509` makes it and PostgreSQL's manual shows, is that of an authority too, which the verifier
    /// takes from no server. Given by the user it is believed as it stands; what is wrong with it otherwise was said before.
    fn own(&self, certificate: &CertificateDer<'_>, host: &ServerName<'_>) -> Result<bool, rustls::Error> {
        if !self.given.iter().any(|given| given == certificate) {
            return Ok(false);
        }
        if self.checks_name {
            let named = verify_server_name(&ParsedCertificate::try_from(certificate)?, host);
            named.or_else(|error| self.by_common_name(certificate, &[], host, error))?;
        }
        Ok(true)
    }

    /// A certificate in which nothing is wrong but that `subjectAltName` has not this host. Its subject counts if the user gave the authorities, and none
    /// of those around it is bound to some hosts.
    fn by_common_name(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        error: rustls::Error,
    ) -> Result<(), rustls::Error> {
        let mut authorities = self.given.iter().chain(intermediates);
        let is_named = is_other_name(&error)
            && !self.given.is_empty()
            && common_name::names(certificate, host)
            && !authorities.any(common_name::is_constrained);
        if is_named { Ok(()) } else { Err(error) }
    }
}

/// Whether a certificate is right but for another host.
const fn is_other_name(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        match authorities.verify_server_cert(certificate, intermediates, host, ocsp, now) {
            Err(error) if is_other_name(&error) => {
                if self.checks_name {
                    self.by_common_name(certificate, intermediates, host, error)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.own(certificate, host)? =>
            {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
