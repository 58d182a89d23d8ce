//! The archive outlives the program and its database: it is restored with common tools, and the catalogue is made again from it.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use ntt_testkit::corpus::have;

use super::environment::{Environment, restored_code};

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../scripts/restore-without-ntt.sh"
);
/// What the script may use: the six tools of the promise, and what every Unix has.
const TOOLS: [&str; 20] = [
    "tar", "find", "b3sum", "zstd", "jq", "awk", "sh", "mkdir", "cp", "ln", "chmod", "touch", "base64",
    "tail", "mktemp", "rm", "cat", "printf", "sort", "sed",
];

fn demo_image() -> Vec<u8> {
    let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../test_data/demo.img.gz");
    let packed = std::fs::File::open(packed).expect("the demo image");
    let mut image = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(packed);
    decoder.read_to_end(&mut image).expect("a sound image");
    image
}

/// A tree of names that scripts get wrong.
fn odd_names(env: &Environment) -> PathBuf {
    for name in [
        &b"plain"[..],
        b"-rf",
        b"back\\slash",
        b"new\nline",
        b"ends with\n",
        b"not\xff utf-8",
        b" blank ",
        b"dir\xfe/*",
        b"dir/$(id)",
        b"empty/",
    ] {
        let path = Path::new("odd").join(OsStr::from_bytes(name));
        if name.ends_with(b"/") {
            std::fs::create_dir_all(env.work().join(path)).expect("a directory");
        } else {
            env.write(path, name);
        }
    }
    let root = env.work().join("odd");
    env.write("odd/dir/large", &vec![7; 2 << 20]);
    symlink(OsStr::from_bytes(b"to \xff\n"), root.join("dir/link")).expect("a link");
    std::fs::hard_link(root.join("plain"), root.join("dir/second name")).expect("a link");
    root
}

/// A directory that holds links to the tools and nothing else; `None` if one is not installed.
fn only_tools(env: &Environment) -> Option<PathBuf> {
    let bin = env.work().join("bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    for tool in TOOLS {
        if !have(tool) {
            return None;
        }
        let path = std::env::var_os("PATH")?;
        let found = std::env::split_paths(&path)
            .map(|folder| folder.join(tool))
            .find(|tool| tool.is_file())?;
        symlink(found, bin.join(tool)).expect("a link");
    }
    Some(bin)
}

/// Every path below `root` with kind, mode, time, link count, target and digest.
fn facts(root: &Path) -> Vec<u8> {
    let script = "find . -mindepth 1 -printf '%y %m %T@ %n %l %P\\0' | sort -z; \
                  find . -type f -print0 | sort -z | xargs -0 b3sum --no-names";
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(root)
        .output()
        .expect("find");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn media(env: &Environment) -> Vec<String> {
    let entries = std::fs::read_dir(env.archive().join("media")).expect("media");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.into_string().expect("hexadecimal"))
        .collect()
}

fn restore(env: &Environment, bin: &Path, medium: &str) -> PathBuf {
    let dest = env.work().join(medium);
    let output = Command::new(bin.join("sh"))
        .arg(SCRIPT)
        .args([env.archive().as_os_str(), OsStr::new(medium), dest.as_os_str()])
        .env_clear()
        .env("PATH", bin)
        .output()
        .expect("sh");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    dest
}

#[test]
fn r36_a_medium_is_restored_with_common_tools_and_no_database() {
    let env = Environment::new();
    let Some(bin) = only_tools(&env) else {
        return;
    };
    let odd = odd_names(&env);
    let image = env.write("demo.img", &demo_image());
    let _ = env
        .ntt([OsStr::new("ingest"), odd.as_os_str(), image.as_os_str()])
        .code(0);
    let restored = env.work().join("by-ntt");
    let _ = env
        .ntt([
            OsStr::new("restore"),
            OsStr::new("demo.img"),
            restored.as_os_str(),
        ])
        .code(restored_code());
    std::fs::remove_file(env.archive().join("catalogue.db")).expect("the catalogue");
    let trees: Vec<PathBuf> = media(&env)
        .iter()
        .map(|medium| restore(&env, &bin, medium))
        .collect();
    let odd_again = trees.iter().find(|tree| !tree.join("volume-2").exists());
    let again = odd_again.expect("the directory medium").join("volume-1");
    assert_eq!(
        facts(&again).escape_ascii().to_string(),
        facts(&odd).escape_ascii().to_string()
    );
    let demo = trees
        .iter()
        .find(|tree| tree.join("volume-2").exists())
        .expect("the image");
    let digests = "find . -type f -print0 | sort -z | xargs -0 b3sum --no-names | sort";
    let list = |root: &Path| {
        let output = Command::new("sh")
            .args(["-c", digests])
            .current_dir(root)
            .output()
            .expect("sh");
        String::from_utf8(output.stdout).expect("digests")
    };
    assert_eq!(list(demo), list(&restored));
}

/// R3: the paths of a copy stand in the manifest of the other medium. The script follows it, and says which it is if it is not there.
#[test]
fn r3_a_copy_of_a_volume_is_restored_with_common_tools() {
    let env = Environment::new();
    let Some(bin) = only_tools(&env) else {
        return;
    };
    let mut image = demo_image();
    env.write("demo.img", &image);
    image.extend_from_slice(&[0; 1024]);
    env.write("copy.img", &image);
    let _ = env.ntt(["ingest", "demo.img", "copy.img"]).code(0);
    let (demo, copy) = (env.medium("demo.img"), env.medium("copy.img"));
    let (original, restored) = (restore(&env, &bin, &demo), restore(&env, &bin, &copy));
    for volume in ["volume-1", "volume-2"] {
        let (original, copy) = (facts(&original.join(volume)), facts(&restored.join(volume)));
        assert!(!copy.is_empty());
        assert_eq!(
            copy.escape_ascii().to_string(),
            original.escape_ascii().to_string()
        );
    }

    std::fs::remove_dir_all(env.archive().join("media").join(&demo)).expect("a manifest less");
    let output = Command::new(bin.join("sh"))
        .arg(SCRIPT)
        .args([env.archive().as_os_str(), OsStr::new(&copy)])
        .arg(env.work().join("nothing"))
        .env_clear()
        .env("PATH", &bin)
        .output()
        .expect("sh");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("a copy of volume 2 of medium {demo}")),
        "{said}"
    );
}

/// An archive with damage, labels, a volume known from another medium, and exclusions.
fn eventful_archive(env: &Environment) {
    let mut image = demo_image();
    let len = image.len();
    let demo = env.write("demo.img", &image);
    image.extend_from_slice(&[0; 1024]);
    let hurt = env.write("hurt.img", &image);
    let (gap, half) = (len / 4, len / 2);
    let map = format!(
        "0x0 ? 1\n0x0 {half:#x} +\n{half:#x} {gap:#x} -\n{:#x} {:#x} +\n",
        half + gap,
        image.len() - half - gap
    );
    env.write("hurt.img.map", map.as_bytes());
    let twin = env.write("twin.img", &[image.as_slice(), &[0; 512]].concat());
    let odd = odd_names(env);
    for source in [&hurt, &demo, &twin, &odd] {
        let run = env
            .command([OsStr::new("ingest"), source.as_os_str()])
            .output()
            .expect("ntt");
        assert!(run.status.code().is_some_and(|code| code < 10), "{run:?}");
    }
    let rules = env.write(
        "rules.toml",
        b"[[rule]]\nname = \"letters\"\nglob = \"**/*.txt\"\n",
    );
    let _ = env
        .ntt([OsStr::new("exclude"), OsStr::new("demo.img"), rules.as_os_str()])
        .code(0);
    let _ = env.ntt(["medium", "label", "twin.img", "the twin"]).code(0);
    let _ = env.ntt(["medium", "label", "the twin", "the other one"]).code(0);
    let _ = env.ntt(["verify"]).code(0);
}

fn dump(env: &Environment) -> String {
    env.ntt(["doctor", "--dump-catalogue"]).code(0)
}

#[test]
fn r37_the_catalogue_is_made_again_from_the_archive_row_for_row() {
    let env = Environment::new();
    eventful_archive(&env);
    let before = dump(&env);
    for table in [
        "evidence",
        "same_as\":1",
        "attempt",
        "Damaged",
        "letters",
        "the other one",
        "finding",
        "event",
    ] {
        let table = table.to_lowercase();
        assert!(
            before.to_lowercase().contains(&table),
            "{table} is not in the archive of the test\n{before}"
        );
    }
    std::fs::remove_file(env.archive().join("catalogue.db")).expect("the catalogue");
    let _ = env.ntt(["doctor", "--rebuild-catalogue"]).code(0);
    assert!(before == dump(&env), "the dumps differ");
    let _ = env.ntt(["doctor"]).code(0);
}

#[test]
fn r37_a_damaged_manifest_is_named_and_replaces_nothing() {
    let env = Environment::new();
    let odd = odd_names(&env);
    let _ = env.ntt([OsStr::new("ingest"), odd.as_os_str()]).code(0);
    let before = dump(&env);
    let medium = media(&env).remove(0);
    let manifest = env
        .archive()
        .join("media")
        .join(medium)
        .join("manifest.jsonl.zst");
    let mut bytes = std::fs::read(&manifest).expect("a manifest");
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&manifest, bytes).expect("a cut manifest");
    let said = env.ntt(["doctor", "--rebuild-catalogue"]).stderr(1);
    assert!(said.contains("manifest.jsonl.zst, line "), "{said}");
    assert!(before == dump(&env), "the catalogue changed");
    assert!(!env.archive().join("catalogue.db.new").exists());
}
