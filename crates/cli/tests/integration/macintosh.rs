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

/// R27: what a file has beside its data is listed, and can be had.
#[test]
fn r27_forks_and_attributes_are_listed_and_written() {
    let environment = Environment::new();
    let mut builder = Builder::new("Mac", Shape::default());
    let file = builder.file(ROOT, "letter", b"words");
    builder.resource(file, b"a fork", 1);
    builder.attribute(file, "com.example.note", b"a note");
    builder.file(ROOT, "plain", b"nothing else");
    fs::write(environment.work().join("mac.img"), builder.build().image).expect("written");
    let _ = environment.ntt(["ingest", "mac.img"]).code(0);

    insta::assert_snapshot!(
        "ls_streams",
        environment.ntt(["ls", "--streams", "mac.img/1"]).code(0)
    );
    insta::assert_snapshot!(
        "ls_long_streams",
        environment.ntt(["ls", "-l", "--streams", "mac.img/1"]).code(0)
    );
    let listed = environment.ntt(["ls", "--json", "mac.img/1"]).json(0);
    let letter = listed.iter().find(|entry| entry["name"]["text"] == "letter");
    let letter = letter.expect("listed");
    let fork = &letter["streams"][0];
    assert_eq!(
        (&fork["name"]["text"], &fork["size_bytes"]),
        (&"rsrc".into(), &6.into())
    );
    assert_eq!(fork["content"]["blob"], blake3::hash(b"a fork").to_hex().as_str());
    let note = &letter["attributes"][0];
    assert_eq!(note["size_bytes"], 6, "{letter}");
    let cat = |stream: &str| environment.ntt(["cat", "--stream", stream, "mac.img/1/letter"]);
    assert_eq!(cat("rsrc").bytes(0), b"a fork");
    assert_eq!(
        cat(note["name"]["text"].as_str().expect("text")).bytes(0),
        b"a note"
    );
    let refused = cat("Zone.Identifier").stderr(1);
    assert!(
        refused.contains("`ntt ls --streams` shows what there is"),
        "{refused}"
    );
}

/// R27: a root has no name in any directory, and what it has beside its entries is listed all the same.
#[test]
fn r27_attributes_of_a_root_are_listed_and_written() {
    let environment = Environment::new();
    let mut builder = Builder::new("Mac", Shape::default());
    builder.file(ROOT, "plain", b"nothing else");
    builder.attribute(ROOT, "com.example.note", b"a note");
    environment.write("mac.img", &builder.build().image);
    let _ = environment.ntt(["ingest", "mac.img"]).code(0);
    let listed = environment.ntt(["ls", "--streams", "mac.img/1"]).code(0);
    assert_eq!(listed, ".\n  attribute com.example.note\nplain\n");
    assert_eq!(environment.ntt(["ls", "mac.img/1"]).code(0), "plain\n");
    for root in ["mac.img/1", "mac.img/1/"] {
        let value = environment.ntt(["cat", "--stream", "com.example.note", root]);
        assert_eq!(value.bytes(0), b"a note");
    }
    let refused = environment.ntt(["cat", "mac.img/1"]).stderr(1);
    assert!(refused.contains("has no content"), "{refused}");
}

/// R11, R27: a fork has a state of its own. Where it is damaged and the data is not, everything says which of the two is meant.
#[test]
fn r11_damage_to_a_fork_is_told_as_that_of_the_fork() {
    let environment = Environment::new();
    let mut builder = Builder::new("Mac", Shape::default());
    let file = builder.file(ROOT, "letter", b"words");
    builder.resource(file, &content(7, 20_000), 1);
    builder.file(ROOT, "plain", b"nothing else");
    let mut image = builder.build().image;
    let lost = &content(7, 20_000)[8192..8704];
    let hole = image
        .windows(512)
        .position(|window| window == lost)
        .expect("it is there");
    image[hole..hole + 512].fill(0);
    let (after, rest) = (hole + 512, image.len() - hole - 512);
    let map = format!("0x0 + 1\n0x0 {hole:#x} +\n{hole:#x} 0x200 -\n{after:#x} {rest:#x} +\n");
    environment.write("mac.img", &image);
    environment.write("mac.img.map", map.as_bytes());
    let _ = environment.ntt(["ingest", "mac.img"]).code(3);

    let note = "letter [+1 stream: rsrc damaged]";
    let listed = environment.ntt(["ls", "-l", "mac.img/1"]).code(0);
    assert!(listed.contains(&format!("stored    {note}")), "{listed}");
    let found = environment.ntt(["find", "-l", "--state", "damaged"]).code(0);
    assert!(found.contains(note) && !found.contains("plain"), "{found}");
    let found = environment
        .ntt(["--json", "find", "--state", "damaged"])
        .document(0);
    assert_eq!(found["streams"][0]["content"]["state"], "damaged", "{found}");

    let rows = |filter: &[&str]| -> Vec<(String, String, u64, String)> {
        let table = environment
            .ntt([&["export", "--format", "jsonl"], filter].concat())
            .bytes(0);
        let rows = serde_json::Deserializer::from_slice(&table).into_iter::<serde_json::Value>();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        rows.map(|row| {
            let row = row.expect("a row");
            let size = row["size_bytes"].as_u64().expect("a size");
            (
                text(&row["path"]),
                text(&row["stream"]),
                size,
                text(&row["state"]),
            )
        })
        .collect()
    };
    let row = |path: &str, stream: &str, size, state: &str| {
        (path.to_owned(), stream.to_owned(), size, state.to_owned())
    };
    let fork = row("letter", "rsrc", 20_000, "damaged");
    assert_eq!(rows(&["--state", "damaged"]), std::slice::from_ref(&fork));
    let all = [
        row("letter", "", 5, "stored"),
        fork,
        row("plain", "", 12, "stored"),
    ];
    assert_eq!(rows(&["--glob", "[lp]*"]), all);

    let said = environment.ntt(["restore", "mac.img", "out"]).code(3);
    assert!(
        said.contains("1/letter: its stream `rsrc` is damaged, zeros stand at 8192+512"),
        "{said}"
    );
    assert!(!said.contains("letter: damaged"), "{said}");
}

/// R27, R45: forks come back as files of their own, as macOS writes them where there are no forks; `file` knows what they are. What stands on the medium under such a
/// name is never displaced.
#[test]
fn r45_forks_are_restored_as_apple_double_files() {
    let environment = Environment::new();
    let mut builder = Builder::new("Mac", Shape::default());
    let folder = builder.directory(ROOT, "folder");
    let letter = builder.file(folder, "letter", b"words");
    let mut info = [0; 32];
    info[..8].copy_from_slice(b"TEXTttxt");
    builder.finder(letter, info);
    builder.resource(letter, &content(7, 20_000), 3);
    let taken = builder.file(ROOT, "taken", b"data");
    builder.resource(taken, b"no place for this", 1);
    builder.file(ROOT, "._taken", b"somebody's own");
    fs::write(environment.work().join("mac.img"), builder.build().image).expect("written");
    let _ = environment.ntt(["ingest", "mac.img"]).code(0);

    let without = environment.ntt(["restore", "mac.img", "plain"]).code(3);
    assert!(without.contains("--streams makes a file of it"), "{without}");
    let restored = environment
        .ntt(["restore", "--streams", "mac.img", "out"])
        .code(3);
    assert!(
        restored.contains("1/._taken: not restored: another entry stands"),
        "{restored}"
    );
    assert!(!restored.contains("letter"), "{restored}");
    let path = environment.work().join("out/folder/._letter");
    let bytes = fs::read(&path).expect("restored");
    assert_eq!(bytes[50..82], info, "what the Finder knows");
    assert_eq!(bytes[82..], content(7, 20_000));
    assert_eq!(
        fs::read(environment.work().join("out/._taken")).expect("restored"),
        b"somebody's own"
    );
    if let Ok(told) = std::process::Command::new("file").arg("-b").arg(&path).output() {
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.starts_with("AppleDouble encoded Macintosh file"), "{told}");
    }

    let compare = ["restore", "--compare", "--streams", "mac.img", "out"];
    let said = environment.ntt(compare).code(12);
    assert!(
        said.contains("1/._taken: stream is an entry of the medium"),
        "{said}"
    );
    assert!(said.contains("1 difference in"), "{said}");
    let again = environment
        .ntt(["restore", "--into-existing", "--streams", "mac.img", "out"])
        .code(3);
    assert_eq!(
        again.matches("another entry stands").count(),
        1,
        "the rest is equal: {again}"
    );
    let mut changed = bytes.clone();
    changed[100] ^= 1;
    fs::write(&path, changed).expect("mine");
    let said = environment.ntt(compare).code(12);
    assert!(
        said.contains("1/folder/._letter: content is something else"),
        "{said}"
    );
    fs::remove_file(&path).expect("mine");
    let said = environment.ntt(compare).code(12);
    assert!(said.contains("1/folder/._letter: missing"), "{said}");
    let _ = environment
        .ntt(["restore", "--into-existing", "--streams", "mac.img", "out"])
        .code(3);
    assert_eq!(fs::read(&path).expect("restored again"), bytes);
}
