//! Compressed files through the whole program: a zisofs disc from ingest to restore.

use std::fs;
use std::path::PathBuf;

use ntt_testkit::corpus::have;

use crate::environment::Environment;
use crate::images::{noise, run};

/// What the files of [`disc`] hold, by name.
fn contents() -> [(&'static str, Vec<u8>); 4] {
    let text: String = (0..60_000_u64)
        .map(|line| format!("line {line}, {}\n", line * line % 9973))
        .collect();
    let mut holes = vec![0; 200_000];
    holes.extend(text.as_bytes());
    [
        ("holes", holes),
        ("noise", noise("noise", 100_000)),
        ("tale", text.repeat(3).into_bytes()),
        ("text", text.into_bytes()),
    ]
}

/// A disc whose compressible files are compressed; `None` if mkzftree (of genisoimage) is missing.
fn disc(environment: &Environment, name: &str) -> Option<PathBuf> {
    if !have("mkzftree") || !have("genisoimage") {
        return None;
    }
    let work = environment.work();
    let (plain, packed) = (work.join("plain"), work.join("packed"));
    fs::create_dir(&plain).expect("a folder");
    for (name, content) in contents() {
        fs::write(plain.join(name), content).expect("written");
    }
    run("mkzftree", [&plain, &packed]);
    let image = work.join(name);
    let options = ["-quiet", "-R", "-z", "-o"].map(PathBuf::from);
    run("genisoimage", options.iter().chain([&image, &packed]));
    Some(image)
}

fn position(haystack: &[u8], needle: &[u8]) -> usize {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("it is there")
}

/// Where the stored bytes of the compressed file `name` lie in the image.
fn stored(environment: &Environment, image: &[u8], name: &str) -> std::ops::Range<usize> {
    let packed = fs::read(environment.work().join("packed").join(name)).expect("compressed");
    let start = position(image, &packed);
    start..start + packed.len()
}

#[test]
fn compressed_files_are_stored_as_they_were_before() {
    let environment = Environment::new();
    if disc(&environment, "z.iso").is_none() {
        return;
    }
    environment.ntt(["ingest", "z.iso"]).code(0);
    let check = || {
        for (name, content) in contents() {
            let found = environment.ntt(["cat", &format!("z.iso/1/{name}")]).bytes(0);
            assert!(found == content, "{name}");
        }
    };
    check();
    environment.ntt(["restore", "z.iso", "out"]).code(0);
    let before = environment.ntt(["doctor", "--dump-catalogue"]).bytes(0);
    environment.ntt(["doctor", "--rebuild-catalogue"]).code(0);
    assert!(environment.ntt(["doctor", "--dump-catalogue"]).bytes(0) == before);
    check();
    // Another scan finds the same packed streams.
    environment.ntt(["ingest", "z.iso"]).code(0);
}

/// R11: an unread sector costs the rest of the block that needs it, and no other file.
#[test]
fn r11_unread_stored_bytes_cost_the_rest_of_their_block() {
    let environment = Environment::new();
    let Some(path) = disc(&environment, "z.iso") else {
        return;
    };
    let image = fs::read(&path).expect("the image");
    let tale = stored(&environment, &image, "tale");
    let hole = (tale.start + tale.len() / 2) & !2047;
    let after = hole + 2048;
    let rest = image.len() - after;
    let map = format!("0x0 + 1\n0x0 {hole:#x} +\n{hole:#x} 0x800 -\n{after:#x} {rest:#x} +\n");
    environment.write("z.iso.map", map.as_bytes());
    environment.ntt(["ingest", "z.iso"]).code(3);
    let damaged = environment.ntt(["find", "--json", "--state", "damaged"]).json(0);
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0]["path"]["text"], "tale");
    let expected = contents()[2].1.clone();
    let found = environment.ntt(["cat", "z.iso/1/tale"]).bytes(3);
    assert_eq!(found.len(), expected.len());
    let first = found
        .iter()
        .zip(&expected)
        .position(|(left, right)| left != right);
    let last = found
        .iter()
        .zip(&expected)
        .rposition(|(left, right)| left != right);
    let (first, last) = (first.expect("a hole"), last.expect("a hole"));
    assert!(found[first..=last].iter().all(|byte| *byte == 0));
    // Two blocks of 32 KiB at most share a sector.
    assert!(
        last - first < 2 * 32_768 && last % 32_768 == 32_767,
        "{first} {last}"
    );
}

/// A corrupt block is damage with a place; the other blocks are good.
#[test]
fn a_corrupt_block_is_damage_of_its_file_only() {
    let environment = Environment::new();
    let Some(path) = disc(&environment, "z.iso") else {
        return;
    };
    let mut image = fs::read(&path).expect("the image");
    let text = stored(&environment, &image, "text");
    image[text.end - 3000..text.end - 2900].fill(0x55);
    fs::write(&path, &image).expect("written");
    let said = environment.ntt(["ingest", "z.iso"]).code(3);
    assert!(said.contains("1 damaged") || said.contains("damaged"), "{said}");
    let damaged = environment.ntt(["find", "--json", "--state", "damaged"]).json(0);
    assert_eq!(damaged.len(), 1);
    let shown = damaged[0]["content"].to_string();
    assert!(shown.contains("corrupt"), "{shown}");
    let (expected, found) = (
        contents()[3].1.clone(),
        environment.ntt(["cat", "z.iso/1/text"]).bytes(3),
    );
    let good = expected.len() - expected.len() % 32_768 - 32_768;
    assert!(found.len() == expected.len() && found[..good] == expected[..good]);
}
