//! Drivers that the kernel of the host may not have: a Linux kernel that runs as a process of the user (Debian's `user-mode-linux`), with the
//! files of the host as its root and the image as its disk. Needs no loop devices; files get their owners only where the user is root.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ntt_model::Kind;

use crate::corpus::have;
use crate::lab::compare::Aspect;
use crate::lab::make::{Image, utf8};
use crate::lab::referee::{Referee, tool_path};
use crate::lab::tree::{Entry, Tree};

const KERNEL: &str = "linux.uml";

/// Loads a driver that is a module, after those that one of them needs. There may be no `insmod`; 313 is `finit_module`.
const LOAD: &str = r#"for module in lib/crc-itu-t drivers/cdrom/cdrom fs/$driver/$driver fs/nls/nls_utf8; do
    module=$(echo /usr/lib/uml/modules/*/kernel/$module.ko)
    [ ! -f "$module" ] || perl -e 'open(F, "<", $ARGV[0]); my $none = ""; syscall(313, fileno(F), $none, 0)' "$module"
done
"#;
/// A driver may hang on damage; one that writes does not.
const SECONDS_TO_READ: &str = "90";
const SECONDS_TO_MAKE: &str = "300";
/// Ends the kernel: `reboot` with the command to switch off.
const OFF: &str = r#"perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc, 0)'
"#;
/// Files of which every other one is deleted, so that what is written next lies in pieces.
const FRAGMENT: &str = "mkdir mounted/.old
for number in $(seq 60); do head -c $((number * 700)) /dev/zero > mounted/.old/$number; done; sync
for number in $(seq 1 2 60); do rm mounted/.old/$number; done; sync
";

/// Boots the kernel with `image` as `/dev/ubda`, which the script finds mounted at `mounted` in `folder`, its working directory; whether all
/// commands of the script succeeded.
///
/// # Panics
///
/// If the kernel cannot be started.
pub fn run(driver: &str, options: &str, image: &Path, folder: &Path, script: &str) -> bool {
    run_for(SECONDS_TO_MAKE, (driver, options), image, folder, script)
}

fn run_for(
    seconds: &str,
    (driver, options): (&str, &str),
    image: &Path,
    folder: &Path,
    script: &str,
) -> bool {
    let (init, done) = (folder.join("init"), folder.join("done"));
    let text = format!(
        "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin TZ=UTC LC_ALL=C.UTF-8 driver={driver}
cd '{folder}'; exec > said 2>&1; mkdir -p mounted
mount -t proc proc /proc
{LOAD}
end() {{ cd '{folder}'; umount mounted; sync
{OFF}}}
trap end EXIT; set -e
mount -t {driver} -o '{options}' /dev/ubda mounted
{script}
cd '{folder}'; umount mounted; touch done
",
        folder = utf8(folder)
    );
    fs::write(&init, text).expect("written");
    let _no_earlier_one = fs::remove_file(&done);
    let status = Command::new("timeout")
        .args(["-k", "2", seconds, "sh", "-c", "ulimit -c 0; chmod +x \"$1\"; exec \"$0\" \"mem=96M\" rootfstype=hostfs rw con=null con0=null,null \"init=$1\" \"ubd0=$2\""])
        .args([KERNEL, utf8(&init), utf8(image)])
        .env("PATH", tool_path())
        .env("HOME", folder)
        .env("TMPDIR", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let _it_ends_by_a_signal = status.expect("timeout runs");
    done.exists()
}

/// The same, but the kernel stops without unmounting, as if the power had failed after `sync`.
///
/// # Panics
///
/// If the kernel cannot be started.
pub fn run_and_crash(driver: &str, options: &str, image: &Path, folder: &Path, script: &str) -> bool {
    let script = format!("{script}\nsync; touch done; {OFF}");
    run(driver, options, image, folder, &script)
}

/// An image that `format` makes (empty) at the path it gets, filled by a driver with what `fill` writes to a folder; then `more` runs in the mounted volume. `None`
/// without the kernel.
///
/// # Panics
///
/// If the driver does not take the files.
pub fn made(
    name: &str,
    (driver, options): (&str, &str),
    format: impl FnOnce(&Path),
    fill: impl FnOnce(&Path),
    more: &str,
) -> Option<Image> {
    have(KERNEL).then_some(())?;
    Image::in_folder(name, |path, folder| {
        format(path);
        let tree = folder.join("tree");
        fs::create_dir(&tree).expect("a new folder");
        fill(&tree);
        let script = format!(
            "{FRAGMENT}cp -a --sparse=always tree/. mounted/
rm -r mounted/.old
cd mounted; {more}; touch -r ../tree ."
        );
        let is_made = run(driver, options, path, folder, &script);
        let said = fs::read_to_string(folder.join("said")).unwrap_or_default();
        assert!(is_made, "{name}: {said}");
        let truth = Tree::of_folder(&tree);
        fs::remove_dir_all(&tree).expect("removed");
        truth
    })
}

/// What the driver reads from an image, mounted read-only.
pub fn referee(driver: &'static str, options: &'static str, judges: &[Aspect]) -> Referee {
    Referee::new("kernel", &[KERNEL], judges, move |image, out| {
        let copy = out.join("image");
        fs::copy(image, &copy).expect("a copy");
        let files = out.join("files");
        fs::create_dir(&files).expect("a new folder");
        let script = "cp -a --sparse=always mounted/. files/";
        if !run_for(SECONDS_TO_READ, (driver, options), &copy, out, script) {
            // On damage it is no surprise; without any it explains what is missing.
            let said = fs::read_to_string(out.join("said")).unwrap_or_default();
            eprintln!("the driver for {driver} did not read everything: {said}");
        }
        // The host's files take no times of links from here.
        let forget = |entry: &mut Entry| {
            if entry.kind == Some(Kind::Symlink) {
                entry.modified = None;
            }
        };
        Tree::of_folder(&files).without(forget)
    })
}
