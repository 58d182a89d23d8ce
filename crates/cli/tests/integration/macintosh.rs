//! A Macintosh volume through the whole program: links, compressed files, forks, attributes.

use std::fs;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use ntt_testkit::hfsplus::{Builder, ROOT, Shape, content};

use crate::environment::{Environment, restored_code};

/// A volume with a compressed file, a file of two names, a directory of two names and an attribute.
fn volume() -> Vec<u8> {
    let mut builder = Builder::new("Mac", Shape::default());
    let directory = builder.directory(ROOT, "backup 1");
    let second = builder.directory(ROOT, "backup 2");
    let shared = builder.directory(directory, "shared");
    let file = builder.file(shared, "10/12/98", &content(1, 10_000));
    builder.attribute(file, "com.example.note", b"a note");
    builder.hard_links(file, &[(second, "same file")], None);
    builder.directory_links(shared, &[(second, "shared")]);
    let packed = builder.file(ROOT, "packed", b"");
    let mut encoder = ZlibEncoder::new(
        b"fpmc\x03\0\0\0\x88\x13\0\0\0\0\0\0".to_vec(),
        Compression::best(),
    );
    std::io::Write::write_all(&mut encoder, &[b'z'; 5000]).expect("in memory");
    builder.compressed(packed, &encoder.finish().expect("in memory"));
    builder.build().image
}

#[test]
fn a_macintosh_volume_is_taken_in_and_restored() {
    let environment = Environment::new();
    fs::write(environment.work().join("mac.img"), volume()).expect("written");
    environment.ntt(["ingest", "mac.img"]).code(0);
    assert_eq!(
        environment.ntt(["cat", "mac.img/1/packed"]).bytes(0),
        [b'z'; 5000]
    );
    let expected = content(1, 10_000);
    for path in ["backup 1/shared/10:12:98", "backup 2/same file"] {
        assert!(environment.ntt(["cat", &format!("mac.img/1/{path}")]).bytes(0) == expected);
    }
    environment
        .ntt(["restore", "mac.img", "out"])
        .code(restored_code());
    environment
        .ntt(["restore", "--compare", "mac.img", "out"])
        .code(0);
    let restored = environment.work().join("out/backup 2/same file");
    assert!(fs::read(&restored).expect("restored") == expected);
    let mut value = [0; 16];
    let len = rustix::fs::getxattr(&restored, "user.com.example.note", &mut value[..]).expect("an attribute");
    assert_eq!(&value[..len], b"a note");
}
