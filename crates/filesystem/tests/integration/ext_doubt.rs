//! ext: what contradicts itself is a loss, and what only looks so is none.

use std::fs;
use std::path::Path;
use std::process::Command;

use ntt_model::entry::Inode;
use ntt_model::{ExtentKind, Finding, FindingCode, Severity};
use ntt_testkit::listing::{Listing, content_hash};

use crate::ext_image::{Image, scan, sparse, tool_path};

/// What `debugfs` answers.
fn ask(image: &Image, request: &str) -> String {
    let output = Command::new("debugfs")
        .env("PATH", tool_path())
        .args(["-R", request])
        .arg(image.path())
        .output()
        .expect("debugfs runs");
    String::from_utf8(output.stdout).expect("text")
}

/// The number that follows `mark` in what `debugfs` answers, decimal or with `0x`.
fn number(image: &Image, request: &str, mark: &str) -> usize {
    let answer = ask(image, request);
    let at = answer.find(mark).expect("the mark") + mark.len();
    let rest = answer[at..].trim_start();
    let digits = |rest: &str, radix: u32| {
        let end = rest.find(|digit: char| !digit.is_digit(radix));
        usize::from_str_radix(&rest[..end.unwrap_or(rest.len())], radix).expect("a number")
    };
    rest.strip_prefix("0x")
        .map_or_else(|| digits(rest, 10), |rest| digits(rest, 16))
}

/// Where the inode of a path lies.
fn inode_at(image: &Image, path: &str) -> usize {
    let request = format!("imap {path}");
    number(image, &request, "at block") * 1024 + number(image, &request, "offset")
}

fn losses(listing: &Listing) -> Vec<&Finding> {
    let findings = listing.findings.iter();
    findings
        .filter(|finding| finding.severity == Severity::Loss)
        .collect()
}

fn inode<'l>(listing: &'l Listing, path: &str) -> &'l Inode {
    let mut names = listing.names.iter();
    let name = names.find(|name| name.path == path.as_bytes()).expect(path);
    &listing.inodes[&name.name.inode]
}

/// Files with and without tables of blocks or blocks of extents.
fn islands(tree: &Path) {
    fs::create_dir(tree.join("d")).expect("a directory");
    for index in 0..6 {
        fs::write(tree.join(format!("d/file{index}")), [65; 5000]).expect("a file");
    }
    fs::write(tree.join("big"), vec![7; 600_000]).expect("a file");
    let file = fs::File::create(tree.join("islands")).expect("a file");
    for index in 0..20 {
        std::os::unix::fs::FileExt::write_all_at(&file, &[9; 1024], index * 8192).expect("an island");
    }
}

/// R22: a bit in what has a checksum of its own makes the names and contents that hang on it doubtful.
#[test]
fn r22_a_wrong_checksum_is_a_loss() {
    let options = "^has_journal,^resize_inode,^64bit";
    let arguments = ["-t", "ext4", "-b", "1024", "-I", "256", "-O", options];
    let Some(image) = Image::new(&arguments, "4M", islands) else {
        return;
    };
    let value = "v".repeat(600);
    image.change(&format!("ea_set /d/file1 user.long {value}\n"));
    let bytes = image.bytes();
    assert_eq!(scan(bytes.clone()).0.findings, []);
    let file = inode_at(&image, "/d/file2");
    let directory = number(&image, "stat /d", "(0):") * 1024;
    let name = bytes[directory..].windows(5).position(|name| name == b"file2");
    let name = directory + name.expect("the name");
    let extents = number(&image, "stat /islands", "(ETB0):") * 1024;
    let attributes = number(&image, "stat /d/file1", "File ACL:") * 1024;
    for (what, at) in [
        ("size", file + 4),
        ("start of the extent", file + 0x28 + 12 + 8),
        ("mode", file),
        ("name", name + 4),
        ("number in an entry", name - 8),
        ("tail of a directory block", directory + 1024 - 5),
        ("block of extents", extents + 12 + 8),
        ("block of attributes", attributes + 1020),
        ("group descriptor", 2048 + 0x12),
    ] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let (listing, _) = scan(changed);
        let losses = losses(&listing);
        assert!(
            losses.iter().any(|loss| loss.image_offset.is_some()),
            "{what}: {:?}",
            listing.findings
        );
    }
    // There is no copy of the only superblock that could agree with it.
    let mut changed = bytes;
    changed[1024 + 0x2c] ^= 1;
    assert_eq!(losses(&scan(changed).0).len(), 1);
}

/// R22: a table of blocks that became zeros is not taken for holes, and neither is part of one.
#[test]
fn r22_a_table_of_blocks_that_is_zeros_is_a_loss() {
    for arguments in [
        &["-t", "ext2", "-b", "1024"][..],
        &["-t", "ext3", "-b", "1024"],
        &["-t", "ext4", "-b", "1024", "-O", "^extent,^64bit,^metadata_csum"],
    ] {
        let Some(image) = Image::new(arguments, "8M", islands) else {
            return;
        };
        let bytes = image.bytes();
        assert_eq!(scan(bytes.clone()).0.findings, []);
        for (mark, len) in [("(IND):", 1024), ("(DIND):", 1024), ("(IND):", 512)] {
            let at = number(&image, "stat /big", mark) * 1024;
            let mut changed = bytes.clone();
            changed[at..at + len].fill(0);
            let (listing, _) = scan(changed);
            let [loss] = losses(&listing)[..] else {
                panic!("{arguments:?}, {mark} {len}: {:?}", listing.findings)
            };
            if len == 1024 {
                assert_eq!(loss.detail, "a table of blocks is all zeros");
                assert_eq!(loss.image_offset, Some(at.try_into().expect("small")));
            } else {
                assert_eq!(loss.code, FindingCode::Contradiction, "{loss:?}");
                let place = inode_at(&image, "/big").try_into().expect("small");
                assert_eq!(loss.image_offset, Some(place));
            }
            let big = inode(&listing, "big");
            assert!(big.streams[0].extents_incomplete);
            assert_eq!(loss.inode, Some(big.number));
        }
    }
}

/// Holes of whole tables, blocks behind the end, tables that a hole left empty, attributes, deleted files: all of it counted right, and no loss.
#[test]
fn legal_maps_of_blocks_are_no_loss() {
    let fill = |tree: &Path| {
        islands(tree);
        sparse(&tree.join("sparse"), 200 << 20);
        std::os::unix::fs::symlink("t/".repeat(100), tree.join("link")).expect("a link");
        fs::write(tree.join("gone"), vec![1; 300_000]).expect("a file");
    };
    for arguments in [
        &["-t", "ext2", "-b", "1024"][..],
        &["-t", "ext2", "-b", "4096", "-O", "none", "-r", "0"],
        &["-t", "ext3", "-b", "2048", "-I", "128"],
        &["-t", "ext4", "-b", "1024", "-O", "^extent,^64bit"],
    ] {
        let Some(image) = Image::new(arguments, "16M", fill) else {
            return;
        };
        let value = "v".repeat(600);
        image.change(&format!("ea_set /big user.long {value}\nrm /gone\n"));
        image.change("sif /islands size 3000\n");
        let (listing, _) = scan(image.bytes());
        assert_eq!(losses(&listing), Vec::<&Finding>::new(), "{arguments:?}");
    }
}

/// R11: what lies behind inline data reads as zeros, as in Linux; only data whose attribute is gone are lost.
#[test]
fn r11_a_file_may_end_behind_its_inline_data() {
    let fill = |tree: &Path| {
        let zeros = fs::File::create(tree.join("zeros")).expect("a file");
        zeros.set_len(300_000).expect("a length");
    };
    let Some(image) = Image::new(&["-t", "ext4", "-O", "inline_data", "-I", "256"], "16M", fill) else {
        return;
    };
    let bytes = image.bytes();
    let (listing, _) = scan(bytes.clone());
    assert_eq!(listing.findings, []);
    let zeros = inode(&listing, "zeros");
    assert!(
        zeros.streams[0]
            .extents
            .iter()
            .all(|extent| extent.kind == ExtentKind::Inline)
    );
    assert_eq!(zeros.streams[0].size_bytes, 300_000);
    let expected = blake3::hash(&[0; 300_000]).to_hex().to_string();
    assert_eq!(content_hash(&bytes, zeros).to_string(), expected);
    // The name of the attribute is another.
    let mut changed = bytes;
    let block = number(&image, "imap /zeros", "at block");
    let at = block * number(&image, "stats", "Block size:") + number(&image, "imap /zeros", "offset");
    let name = changed[at + 128..at + 256]
        .windows(4)
        .position(|name| name == b"data");
    changed[at + 128 + name.expect("the attribute")] = b'D';
    let (listing, _) = scan(changed);
    assert!(
        losses(&listing)
            .iter()
            .any(|loss| loss.detail.starts_with("inline data of 300000 bytes"))
    );
    assert!(inode(&listing, "zeros").streams[0].extents_incomplete);
}
