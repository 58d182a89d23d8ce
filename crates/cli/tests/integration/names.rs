//! R23: names are bytes, from a directory or an image to the catalogue, to every listing, and back to a directory.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ntt_testkit::corpus::have;

use crate::environment::{Environment, bytes_of, restored_code};
use crate::{images, trees};

/// Names that others have stumbled over, and one with each byte but 0 and `/`.
fn awkward_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"back\\nslash n"[..],
        b"back\\rslash r",
        b"#",
        b"#hash",
        b"line\nfeed",
        b"return\rhere",
        b"field\x1cseparator",
        b"\\",
        b"-leading dash",
        b"--help",
        b" space ",
        b"\xff\xfe not UTF-8",
        b"\xc3(",
        b"\x1b[2J\x1b[31mred",
        b"...",
        "\u{202e}gpj.exe".as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    names.push(vec![b'n'; 255]);
    names.push([vec![0xe9; 254], vec![b'\n']].concat());
    names.extend(
        (1..=255)
            .filter(|byte| *byte != b'/')
            .map(|byte| vec![b'x', byte, b'y']),
    );
    names
}

/// A tree with the awkward names as files and, for some, as directories with a file in them. Gives the paths of its files.
pub(crate) fn write_awkward(root: &Path) -> BTreeSet<Vec<u8>> {
    fs::create_dir(root).expect("a new directory");
    let mut paths = BTreeSet::new();
    for (number, name) in awkward_names().into_iter().enumerate() {
        let own = root.join(OsStr::from_bytes(&name));
        let content = format!("content of {}", number % 20);
        if number % 10 == 1 {
            fs::create_dir(&own).expect("a new directory");
            fs::write(own.join("in it"), content).expect("a new file");
            paths.insert([&name[..], b"/in it"].concat());
        } else {
            fs::write(own, content).expect("a new file");
            paths.insert(name);
        }
    }
    paths
}

fn split_nul(bytes: &[u8]) -> BTreeSet<Vec<u8>> {
    assert!(bytes.is_empty() || bytes.ends_with(&[0]));
    bytes
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// What every listing of `medium`, whose files are `paths`, must say.
fn check_listings(environment: &Environment, medium: &str, paths: &BTreeSet<Vec<u8>>) {
    let id = environment.medium(medium);
    let top: BTreeSet<Vec<u8>> = paths
        .iter()
        .map(|path| path.split(|byte| *byte == b'/').next().expect("a name").to_vec())
        .collect();
    let mut listed = split_nul(&environment.ntt(["ls", "-0", &format!("{medium}/1")]).bytes(0));
    listed.remove(&b"lost+found"[..]);
    assert_eq!(listed, top, "ls -0");

    let prefix = format!("{}/1/", &id[..12]).into_bytes();
    let full: BTreeSet<Vec<u8>> = paths.iter().map(|path| [&prefix[..], path].concat()).collect();
    let found = environment
        .ntt(["find", "-0", "--kind", "file", "--medium", medium])
        .bytes(0);
    assert_eq!(split_nul(&found), full, "find -0");

    let json: BTreeSet<Vec<u8>> = environment
        .ntt(["find", "--json", "--kind", "file", "--medium", medium])
        .json(0)
        .iter()
        .map(|line| bytes_of(&line["path"]))
        .collect();
    assert_eq!(&json, paths, "find --json");

    for path in full.iter().step_by(7) {
        let content = environment
            .ntt([OsStr::new("cat"), OsStr::new("--"), OsStr::from_bytes(path)])
            .bytes(0);
        assert!(content.starts_with(b"content of "), "cat");
        let said = environment
            .ntt([OsStr::new("where"), OsStr::new("--"), OsStr::from_bytes(path)])
            .code(0);
        assert!(
            said.contains(&ntt_model::name::escape(path).into_owned()),
            "where: {said}"
        );
    }
}

#[test]
fn r23_any_name_goes_through_a_directory_and_back() {
    let environment = Environment::new();
    let tree = environment.work().join("tree");
    let paths = write_awkward(&tree);
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    check_listings(&environment, "tree", &paths);
    let _ = environment.ntt(["restore", "tree", "out"]).code(0);
    let _ = environment.ntt(["restore", "--compare", "tree", "out"]).code(0);
    assert_eq!(
        trees::contents(&environment.work().join("out")),
        trees::contents(&tree)
    );
}

#[test]
fn r23_any_name_goes_through_an_ext4_image_and_back() {
    let environment = Environment::new();
    let tree = environment.work().join("tree");
    let paths = write_awkward(&tree);
    let Some(_) = images::ext4(&environment.work().join("names.img"), 8, &tree) else {
        return;
    };
    let _ = environment.ntt(["ingest", "names.img"]).code(0);
    check_listings(&environment, "names.img", &paths);
    let _ = environment
        .ntt(["restore", "names.img", "out"])
        .code(restored_code());
    let _ = environment
        .ntt(["restore", "--compare", "names.img", "out"])
        .code(0);
    assert_eq!(
        trees::contents(&environment.work().join("out")),
        trees::contents(&tree)
    );
}

/// No control byte of a name reaches stdout or stderr unless raw names are asked for; and lines stay lines.
#[test]
fn r23_listings_for_people_hold_no_control_bytes() {
    let environment = Environment::new();
    let paths = write_awkward(&environment.work().join("tree"));
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let is_control = |byte: &u8| (*byte < 0x20 && *byte != b'\n') || *byte == 0x7f;
    for arguments in [
        &["ls", "tree"][..],
        &["ls", "-l", "tree"],
        &["tree", "tree"],
        &["find", ""],
        &["find", "--long", ""],
        &["find", "--json", ""],
        &["medium", "show", "tree"],
    ] {
        let said = environment.ntt(arguments).bytes(0);
        assert!(!said.iter().any(is_control), "{arguments:?}");
        assert!(std::str::from_utf8(&said).is_ok(), "{arguments:?}");
    }
    let lines = environment
        .ntt(["find", "--kind", "file", ""])
        .code(0)
        .lines()
        .count();
    assert_eq!(lines, paths.len());
}

/// The same on a terminal, where escapes would act.
#[test]
fn r23_escapes_in_names_never_reach_a_terminal() {
    if !have("script") {
        return;
    }
    let environment = Environment::new();
    write_awkward(&environment.work().join("tree"));
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let mut command = environment.command(["ls", "tree"]);
    let program = command.get_program().to_str().expect("a plain path").to_owned();
    command = {
        let inner = command;
        let mut script = std::process::Command::new("script");
        script.args([
            "--quiet",
            "--return",
            "--command",
            &format!("{program} ls tree"),
            "/dev/null",
        ]);
        script.env_clear().current_dir(environment.work());
        script.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
        script.stdin(std::process::Stdio::null());
        script
    };
    let output = command.output().expect("script can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("red") && said.contains(r"\x1b[2J"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
}
