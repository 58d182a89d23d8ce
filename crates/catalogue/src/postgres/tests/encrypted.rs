//! Encrypted connections, and whose certificates are believed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ntt_testkit::postgres::PostgresServer;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::Error;
use crate::postgres::connection::{Connection, TimeSource};
use crate::postgres::place::Place;
use crate::postgres::tls::{Trust, Verifier};

/// A certificate for `localhost` that signs itself, and its key; `None` where nobody can make one.
fn certificate(folder: &Path, name: &str) -> Option<(PathBuf, PathBuf)> {
    let names = ["-addext", "subjectAltName=DNS:localhost"];
    certificate_with(folder, name, &names)
}

/// The same with further arguments of `openssl req`.
fn certificate_with(folder: &Path, name: &str, further: &[&str]) -> Option<(PathBuf, PathBuf)> {
    let (certificate, key) = (
        folder.join(format!("{name}.crt")),
        folder.join(format!("{name}.key")),
    );
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj",
        ])
        .arg(format!("/CN={name}"))
        .args(further)
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output();
    if made.is_ok_and(|output| output.status.success()) {
        return Some((certificate, key));
    }
    eprintln!("skipped: there is no openssl to make certificates");
    None
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn connections_are_encrypted_and_certificates_believed_as_the_mode_says() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(own), Some(other)) = (
        certificate(folder.path(), "own"),
        certificate(folder.path(), "other"),
    ) else {
        return;
    };
    let port = free_port();
    let settings = ["listen_addresses=127.0.0.1".to_owned(), format!("port={port}")];
    let settings = settings.each_ref().map(String::as_str);
    let Some(server) = PostgresServer::start_with(&settings) else {
        return;
    };
    let open = |host: &str, mode: &str, authority: Option<&Path>| -> Result<bool, Error> {
        let authority = authority.map_or(String::new(), |path| format!("&sslrootcert={}", path.display()));
        let url = format!("postgres://postgres@{host}:{port}/postgres?sslmode={mode}{authority}");
        let connection = Connection::open(&Arc::new(Place::of(&url)?), &TimeSource::Server)?;
        connection.one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[])
    };
    assert!(!open("localhost", "prefer", None).unwrap(), "it cannot yet");
    assert!(open("localhost", "require", None).is_err(), "it must");
    server.encrypt(&own.0, &own.1);
    let (own, other) = (Some(own.0.as_path()), Some(other.0.as_path()));
    for (host, mode, authority) in [
        ("localhost", "prefer", None),
        ("localhost", "require", None),
        ("localhost", "require", own),
        ("127.0.0.1", "verify-ca", own),
        ("localhost", "verify-full", own),
    ] {
        let encrypted = open(host, mode, authority);
        assert!(
            encrypted.unwrap_or_else(|error| panic!("{host} {mode}: {error:?}")),
            "{host} {mode}"
        );
    }
    assert!(!open("localhost", "disable", None).unwrap());
    for (host, mode, authority) in [
        ("localhost", "require", other),
        ("localhost", "verify-ca", other),
        ("localhost", "verify-full", other),
        ("localhost", "verify-full", None),
        ("127.0.0.1", "verify-full", own),
    ] {
        let refused = open(host, mode, authority);
        assert!(
            matches!(refused, Err(Error::Unreachable { .. })),
            "{host} {mode}: {refused:?}"
        );
    }
}

/// What the modes that verify say of a certificate on a day from now.
fn verdict(trust: Trust, root: &Path, shown: &Path, host: &str, day: u64) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(trust, Some(root), &provider).unwrap();
    let certificate = CertificateDer::from_pem_file(shown).unwrap();
    let host = ServerName::try_from(host).unwrap();
    let now = UnixTime::now().as_secs() + day * 24 * 3600;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    verifier
        .verify_server_cert(&certificate, &[], &host, &[], now)
        .map(drop)
}

#[test]
fn a_certificate_that_is_a_root_itself_is_checked_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let local = ["-addext", "subjectAltName=DNS:localhost"];
    let no_authority = [&local[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat();
    let made = [("own", &local[..]), ("none", &no_authority)]
        .map(|(name, further)| certificate_with(folder.path(), name, further));
    let [Some((own, _)), Some((no_authority, _))] = made else {
        return;
    };
    for (root, shown) in [(&own, &own), (&no_authority, &no_authority)] {
        let told = |trust, host, day| verdict(trust, root, shown, host, day);
        assert_eq!(told(Trust::Host, "localhost", 0), Ok(()));
        assert_eq!(told(Trust::Authority, "elsewhere", 0), Ok(()));
        for (trust, host, day, wrong) in [
            (Trust::Host, "elsewhere", 0, "NotValidForName"),
            (Trust::Host, "localhost", 99, "Expired"),
            (Trust::Authority, "localhost", 99, "Expired"),
        ] {
            let told = format!("{:?}", told(trust, host, day).unwrap_err());
            assert!(told.contains(wrong), "{shown:?} {trust:?} {host} {day}: {told}");
        }
    }
    for (root, shown) in [(&own, &no_authority), (&no_authority, &own)] {
        let told = verdict(Trust::Host, root, shown, "localhost", 0);
        assert!(told.is_err(), "{shown:?} by {root:?}");
    }
}

/// A host that stands in the subject counts as with libpq: where `subjectAltName` names none.
#[test]
fn a_host_in_the_subject_counts_where_none_is_named_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, further: &[&str]| certificate_with(folder.path(), name, further);
    let bound = ["-addext", "nameConstraints=critical,permitted;DNS:example.org"];
    let (Some(authority), Some(bound), Some(own)) = (
        make("authority", &[]),
        make("bound", &bound),
        make("db.test", &[]),
    ) else {
        return;
    };
    let signed = |name: &str, by: &(PathBuf, PathBuf), further: &[&str]| {
        let [certificate, key] = [&by.0, &by.1].map(|path| path.to_str().unwrap());
        let by = ["-CA", certificate, "-CAkey", key];
        let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
        make(name, &[&by[..], &leaf[..], further].concat()).unwrap().0
    };
    let address = ["-addext", "subjectAltName=IP:127.0.0.1"];
    let elsewhere = ["-addext", "subjectAltName=DNS:elsewhere"];
    for (root, shown, host, is_right) in [
        (&own.0, own.0.clone(), "db.test", true),
        (&own.0, own.0.clone(), "elsewhere", false),
        (&authority.0, signed("a.test", &authority, &[]), "a.test", true),
        (
            &authority.0,
            signed("*.b.test", &authority, &[]),
            "x.b.test",
            true,
        ),
        (
            &authority.0,
            signed("c.test", &authority, &address),
            "c.test",
            true,
        ),
        (
            &authority.0,
            signed("d.test", &authority, &elsewhere),
            "d.test",
            false,
        ),
        (
            &authority.0,
            signed("127.0.0.1", &authority, &[]),
            "127.0.0.1",
            false,
        ),
        (&bound.0, signed("e.test", &bound, &[]), "e.test", false),
        (&bound.0, signed("f.test", &authority, &[]), "f.test", false),
    ] {
        let told = verdict(Trust::Host, root, &shown, host, 0);
        assert_eq!(told.is_ok(), is_right, "{shown:?}: {told:?}");
        let expired = verdict(Trust::Host, root, &shown, host, 99);
        assert!(expired.is_err(), "{shown:?}");
    }
}
