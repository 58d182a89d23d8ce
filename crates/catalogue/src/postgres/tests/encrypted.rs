//! Encrypted connections, and whose certificates are believed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ntt_testkit::postgres::PostgresServer;

use crate::Error;
use crate::postgres::connection::{Connection, TimeSource};
use crate::postgres::place::Place;

/// A certificate for `localhost` that signs itself, and its key; `None` where nobody can make one.
fn certificate(folder: &Path, name: &str) -> Option<(PathBuf, PathBuf)> {
    let (certificate, key) = (
        folder.join(format!("{name}.crt")),
        folder.join(format!("{name}.key")),
    );
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj",
        ])
        .arg(format!("/CN={name}"))
        .args(["-addext", "subjectAltName=DNS:localhost", "-out"])
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
