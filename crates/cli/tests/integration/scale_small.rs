//! Many equal files, very sparse files, and nothing at all.

use std::fs;
use std::path::Path;

use crate::environment::{Environment, restored_code};
use crate::images;

const COPIES: u64 = 70_000;

/// More names of one content than a directory entry's 16-bit link count could count, were the store made of links.
#[test]
fn r36_seventy_thousand_copies_of_one_content_are_one_content() {
    let environment = Environment::new();
    let many = environment.work().join("many");
    fs::create_dir(&many).expect("a new directory");
    for number in 0..COPIES {
        fs::write(many.join(number.to_string()), b"the same").expect("a new file");
    }
    fs::write(many.join("empty"), b"").expect("a new file");
    let summary = environment.ntt(["ingest", "--json", "many"]).summary(0);
    let medium = &summary["media"][0];
    assert_eq!(medium["copied"]["stored_streams"], COPIES + 1);
    let doctor = environment.ntt(["doctor", "--json"]).document(0);
    assert_eq!(doctor["agreement"]["store_blobs"], 2, "{doctor}");
    assert_eq!(medium["volumes"][0]["census"]["distinct_blobs"]["count"], 2);
    let hash = blake3::hash(b"the same").to_hex().to_string();
    let places = environment.ntt(["where", &hash]).code(0);
    assert!(
        places.ends_with("  70,000 places\n"),
        "{}",
        &places[places.len() - 40..]
    );
    assert_eq!(
        environment.ntt(["ls", "many"]).code(0).lines().count() as u64,
        COPIES + 1
    );
    let empty = environment.ntt(["find", "--json", "--glob", "empty"]).document(0);
    assert_eq!(empty["content"]["blob"], blake3::hash(b"").to_hex().as_str());
}

/// Bytes of the sparse file: 2 GiB, because a build for tests hashes slowly, or 1 TB where there is time to hash its holes.
fn sparse_size() -> u64 {
    match std::env::var_os("NTT_SLOW_TESTS") {
        Some(_) => 1_000_000_000_000,
        None => 2 << 30,
    }
}

const ISLAND: &[u8] = b"an island in a sea of nothing";

fn write_sparse(path: &Path) {
    images::sparse(path, sparse_size());
    images::put(path, sparse_size() / 2, ISLAND);
    images::put(path, sparse_size() - 5, b"shore");
}

/// Ingests a source whose only file is `sea`, and looks at what was read and what comes back.
fn check_sparse(environment: &Environment, source: &str) {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let summary = environment.ntt(["ingest", "--json", source]).summary(0);
    let copied = &summary["media"][0]["copied"];
    assert!(
        copied["bytes_read"].as_u64().expect("a number") < 1 << 20,
        "{copied}"
    );
    let restored = environment.ntt(["restore", source, "out"]).exit();
    assert!([0, restored_code()].map(Some).contains(&restored), "{restored:?}");
    let path = environment.work().join("out/sea");
    let metadata = fs::metadata(&path).expect("restored");
    assert_eq!(metadata.len(), sparse_size());
    assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    let file = fs::File::open(&path).expect("restored");
    let mut island = [0; ISLAND.len()];
    file.read_exact_at(&mut island, sparse_size() / 2)
        .expect("in the middle");
    assert_eq!(island, ISLAND);
    let stored: u64 = crate::trees::allocated(&environment.archive());
    assert!(stored < 16 << 20, "{stored} bytes on disk");
}

#[test]
fn a_sparse_file_of_a_directory_stays_sparse_all_the_way() {
    let environment = Environment::new();
    fs::create_dir(environment.work().join("tree")).expect("a new directory");
    write_sparse(&environment.work().join("tree/sea"));
    check_sparse(&environment, "tree");
}

#[test]
fn a_sparse_file_of_an_image_stays_sparse_all_the_way() {
    let environment = Environment::new();
    let tree = environment.work().join("tree");
    fs::create_dir(&tree).expect("a new directory");
    write_sparse(&tree.join("sea"));
    let Some(_) = images::ext4(&environment.work().join("disk.img"), 32, &tree) else {
        return;
    };
    check_sparse(&environment, "disk.img");
}
