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
const LOAD: &str = r#"kernel=$(echo /usr/lib/uml/modules/*/kernel)
perl -e 'for (@ARGV) { open(F, "<", $_) or next; my $none = ""; syscall(313, fileno(F), $none, 0) }' \
    "$kernel/lib/crc-itu-t.ko" "$kernel/drivers/cdrom/cdrom.ko" "$kernel/fs/$driver/$driver.ko" "$kernel/fs/nls/nls_utf8.ko"
"#;
/// Of the start of the kernel, half is measuring what RAID could compute, and setting up what no test uses.
const QUICKLY: &str =
    "quiet initcall_blacklist=raid6_select_algo,calibrate_xor_blocks,init_btrfs_fs,init_zswap";
/// Starts it: `$0` is the kernel, `$1` what it is to run, `$2` the image, `$3` more words for it, `$4` the seconds of computing. Its helpers outlive it
/// when it is stopped for these; `timeout` made them one group.
const START: &str = r#"ulimit -c 0; ulimit -t "$4"; chmod +x "$1"
"$0" mem=96M rootfstype=hostfs rw con=null con0=null,null "init=$1" "ubd0=$2" $3; kill -KILL 0"#;

/// What a run may take.
struct Patience {
    /// Seconds by the clock.
    seconds: u32,
    /// Seconds of computing. A sound image of the lab takes some 4 with its files in memory, 13 on a disk whose journal is busy.
    computing: u32,
}
/// A driver may hang on damage, or read the same directory for ever.
const TO_READ: Patience = Patience {
    seconds: 90,
    computing: 25,
};
/// One that writes does not.
const TO_MAKE: Patience = Patience {
    seconds: 300,
    computing: 300,
};
/// Ends the kernel: `reboot` with the command to switch off.
const OFF: &str = r#"perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc, 0)'
"#;
/// Files of which every other one is deleted, so that what is written next lies in pieces.
const FRAGMENT: &str = r#"perl -e '
    my $old = "mounted/.old";
    mkdir $old or die;
    for (1 .. 60) { open(F, ">", "$old/$_") or die; print F "\0" x ($_ * 700) or die; close(F) or die }
    syscall(162);
    for (1 .. 30) { unlink("$old/" . (2 * $_ - 1)) or die }
    syscall(162)'
"#;
/// Has what is read on the host's disk after 2 seconds, not 35: a kernel that is killed takes along what it holds back.
const WRITE_SOON: &str =
    "for when in expire writeback; do echo 100 > /proc/sys/vm/dirty_${when}_centisecs; done
";

/// Boots the kernel with `image` as `/dev/ubda`, which the script finds mounted at `mounted` in `folder`, its working directory; whether all
/// commands of the script succeeded.
///
/// # Panics
///
/// If the kernel cannot be started.
pub fn run(driver: &str, options: &str, image: &Path, folder: &Path, script: &str) -> bool {
    run_for(&TO_MAKE, (driver, options), image, folder, script)
}

fn run_for(
    patience: &Patience,
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
        .args(["-k", "2", &patience.seconds.to_string(), "sh", "-c", START])
        .args([
            KERNEL,
            utf8(&init),
            utf8(image),
            QUICKLY,
            &patience.computing.to_string(),
        ])
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
        let script = format!("{WRITE_SOON}cp -a --sparse=always mounted/. files/");
        if !run_for(&TO_READ, (driver, options), &copy, out, &script) {
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
