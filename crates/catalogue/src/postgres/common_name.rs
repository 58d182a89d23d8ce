//! Certificates of servers that have no names but the one in their subject (CN), as those of old guides do.
//!
//! rustls looks at `subjectAltName` alone. libpq takes the subject where that names no host, and so do we (RFC 6125, 6.4.4).

use rustls::pki_types::{CertificateDer, ServerName};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{NameConstraints, SubjectAltName};

/// Whether a certificate is for a host by its subject, and names no host elsewhere. One that cannot be parsed is for nobody.
pub(super) fn names(certificate: &CertificateDer<'_>, host: &ServerName<'_>) -> bool {
    let ServerName::DnsName(host) = host else {
        return false;
    };
    let Ok(certificate) = Certificate::from_der(certificate) else {
        return false;
    };
    has_no_other_name(&certificate)
        && common_name(&certificate).is_some_and(|name| matches(name, host.as_ref()))
}

/// Whether an authority may sign for some hosts only. That is checked for names in `subjectAltName`, so that one in the subject would get around it.
pub(super) fn is_constrained(authority: &CertificateDer<'_>) -> bool {
    let constraints = |certificate: Certificate| {
        let extensions = certificate.tbs_certificate.extensions.unwrap_or_default();
        extensions
            .iter()
            .any(|extension| extension.extn_id == NameConstraints::OID)
    };
    Certificate::from_der(authority).map_or(true, constraints)
}

fn has_no_other_name(certificate: &Certificate) -> bool {
    match certificate.tbs_certificate.get::<SubjectAltName>() {
        Ok(None) => true,
        Ok(Some((_, names))) => !names.0.iter().any(|name| matches!(name, GeneralName::DnsName(_))),
        Err(_) => false,
    }
}

/// The first common name of the subject. Types of text that hold ASCII as other bytes match no host.
fn common_name(certificate: &Certificate) -> Option<&str> {
    let subject = certificate.tbs_certificate.subject.0.iter();
    let mut attributes = subject.flat_map(|names| names.0.iter());
    let name = attributes.find(|attribute| attribute.oid == COMMON_NAME)?;
    std::str::from_utf8(name.value.value()).ok()
}

/// Whether a name is that of the host. A star stands for the whole first part, in front of two parts or more.
fn matches(name: &str, host: &str) -> bool {
    let by_star = || {
        let (rest, (_, domain)) = (name.strip_prefix("*.")?, host.split_once('.')?);
        Some(rest.contains('.') && rest.eq_ignore_ascii_case(domain))
    };
    name.eq_ignore_ascii_case(host) || by_star() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_the_first_part_of_a_host() {
        for (name, host) in [
            ("Db.example.org", "db.EXAMPLE.org"),
            ("*.example.org", "db.example.org"),
        ] {
            assert!(matches(name, host), "{name} {host}");
        }
        for (name, host) in [
            ("*.example.org", "example.org"),
            ("*.example.org", "a.db.example.org"),
            ("*.org", "example.org"),
            ("d*.example.org", "db.example.org"),
            ("db.example.org\0.evil.org", "db.example.org"),
            ("*", "localhost"),
            ("", "localhost"),
        ] {
            assert!(!matches(name, host), "{name} {host}");
        }
    }
}
