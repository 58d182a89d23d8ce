//! The readers of file systems against the programs that list and read the same image.

use std::io;

use crate::measure::{Candidate, rounds};
use crate::scan::fill;
use crate::{Setting, shell};

/// Files of a directory: what mcopy takes to fill one grows with its square.
const FILES_PER_DIRECTORY: u64 = 200;
/// Bytes of a file.
const FILE_BYTES: usize = 2000;

/// How an image of a format is made and read; lines of shell in which `$tree` is a folder of `$files` files, `$image` the image, `$out` a new folder, and
/// `$extremes` a program that makes an image of one directory with many empty files where Debian has none that fills one.
struct Format {
    name: &'static str,
    /// As `list --only` calls it.
    family: &'static str,
    make: &'static str,
    /// Name, how it lists, how it reads all contents; empty if it cannot.
    referees: &'static [(&'static str, &'static str, &'static str)],
}

/// Of each format those programs that can read it, as far as Debian has them. The kernel's own drivers are asked through a mount.
const FORMATS: &[Format] = &[
    Format {
        name: "ext4",
        family: "ext",
        make: "truncate -s 600M $image && mke2fs -q -t ext4 -N 120000 -d $tree $image",
        referees: &[
            FLS,
            ("7z", "7z l -slt -tExt $image", "7z x -so -tExt $image"),
            KERNEL,
        ],
    },
    Format {
        name: "FAT32",
        family: "fat",
        make: "truncate -s 600M $image && mkfs.fat -F 32 -s 4 $image && mcopy -s -i $image $tree/* ::",
        referees: &[
            FLS,
            ("7z", "7z l -slt -tFAT $image", "7z x -so -tFAT $image"),
            (
                "mtools",
                "mdir -s -b -i $image ::",
                "mcopy -s -n -i $image '::*' $out",
            ),
        ],
    },
    Format {
        name: "exFAT",
        family: "exfat",
        make: "truncate -s 600M $image && mkfs.exfat $image && mkdir -p $out && loop=$(losetup -f --show $image) && mount.exfat-fuse $loop $out && { cp -r $tree/. $out; umount $out; losetup -d $loop; }",
        referees: &[FLS],
    },
    Format {
        name: "NTFS",
        family: "ntfs",
        make: "truncate -s 600M $image && mkntfs -F -q -Q $image && mkdir -p $out && ntfs-3g $image $out && { cp -r $tree/. $out; umount $out; }",
        referees: &[
            FLS,
            ("7z", "7z l -slt -tNTFS $image", "7z x -so -tNTFS $image"),
            ("ntfsls", "ntfsls -R -l $image", ""),
        ],
    },
    Format {
        name: "HFS+",
        family: "hfsplus",
        make: "$extremes hfsplus-wide $files $image",
        referees: &[("7z", "7z l -slt -tHFS $image", "")],
    },
    Format {
        name: "ISO 9660, Rock Ridge",
        family: "iso9660",
        make: "genisoimage -quiet -R -o $image $tree",
        referees: &[
            FLS,
            ("7z", "7z l -slt -tIso $image", "7z x -so -tIso $image"),
            ("isoinfo", "isoinfo -R -l -i $image", ""),
            ("bsdtar", "bsdtar -tf $image", "bsdtar -xOf $image"),
        ],
    },
    Format {
        name: "UDF",
        family: "udf",
        make: "genisoimage -quiet -udf -o $image $tree",
        referees: &[("7z", "7z l -slt -tUdf $image", "7z x -so -tUdf $image")],
    },
    Format {
        name: "UFS1",
        family: "ufs",
        make: "makefs -t ffs -M 600m -o version=1 $image $tree",
        referees: &[FLS],
    },
    Format {
        name: "XFS",
        family: "xfs",
        make: "truncate -s 600M $image && mkfs.xfs -q $image && mkdir -p $out && mount -o loop $image $out && { cp -r $tree/. $out; umount $out; }",
        referees: &[KERNEL],
    },
    Format {
        name: "btrfs",
        family: "btrfs",
        make: "truncate -s 900M $image && mkfs.btrfs -q --rootdir $tree $image",
        referees: &[KERNEL],
    },
    Format {
        name: "squashfs",
        family: "squashfs",
        make: "mksquashfs $tree $image -quiet -no-progress",
        referees: &[
            (
                "unsquashfs",
                "unsquashfs -ll $image",
                "unsquashfs -q -n -processors 1 -d $out/x $image",
            ),
            ("7z", "7z l -slt -tSquashFS $image", "7z x -so -tSquashFS $image"),
            KERNEL,
        ],
    },
    Format {
        name: "cramfs",
        family: "cramfs",
        make: "mkfs.cramfs $tree $image",
        referees: &[("7z", "7z l -slt -tCramFS $image", "7z x -so -tCramFS $image")],
    },
];

const FLS: (&str, &str, &str) = ("sleuthkit", "fls -r -p $image", "tsk_recover -a $image $out");
/// Mounting and unmounting are counted: a reader opens the volume, too.
const KERNEL: (&str, &str, &str) = (
    "kernel, mounted",
    "mount -o loop,ro $image $out && { find $out -printf '%p %i %s %m %T@\\n'; umount $out; }",
    "mount -o loop,ro $image $out && { find $out -type f -exec cat {} +; umount $out; }",
);

/// Measures every format and prints the table.
pub(crate) fn run(files: u64, setting: &Setting) -> io::Result<()> {
    let list = setting.program("examples/list")?;
    let extremes = setting.program("examples/extremes")?;
    let folder = setting.work_dir()?;
    let place = |name: &str| shell::text(&folder.path().join(name));
    let (tree, image, out) = (place("tree"), place("image"), place("out"));
    std::fs::create_dir(&tree)?;
    fill(
        &tree,
        files / FILES_PER_DIRECTORY,
        FILES_PER_DIRECTORY,
        FILE_BYTES,
    )?;
    println!(
        "## Readers: {files} files of {FILE_BYTES} bytes, in the page cache, median of {} runs\n",
        setting.runs
    );
    println!("| format | program | list, CPU s | entries / CPU s | read, CPU s |");
    println!("|---|---|---:|---:|---:|");
    for format in FORMATS {
        let line = |line: &str| {
            format!("tree={tree}; image={image}; out={out}; files={files}; extremes={extremes}; {line}")
        };
        shell::run(&line(&format!(
            "rm -rf $image $out; {{ {}; }} > /dev/null 2>&1",
            format.make
        )))?;
        let fresh = line("rm -rf $out; mkdir $out; cat $image > /dev/null");
        let ours = |flag: &str| format!("{list} $image --only={} {flag}", format.family);
        let (to_list, to_read) = (ours(""), ours("--cat"));
        let programs = [&[("ntt", to_list.as_str(), to_read.as_str())], format.referees].concat();
        let candidates: Vec<Candidate> = programs
            .iter()
            .flat_map(|(name, list, read)| [(*name, *list), (*name, *read)])
            .map(|(name, work)| Candidate {
                name,
                // Programs that only warn are still measured; what one cannot do costs nothing.
                line: line(&format!("{{ :; {work}\n}} || [ $? -le 2 ]")),
                prepare: fresh.clone(),
                once: false,
            })
            .collect();
        let usages = rounds(setting.runs, &candidates)?;
        for ((name, _, read), used) in programs.iter().zip(usages.chunks(2)) {
            let [listing, reading] = used else { continue };
            let reading = match *read {
                "" => "-".to_owned(),
                _ => format!("{:.2}", reading.cpu_s),
            };
            let speed = files as f64 / listing.cpu_s;
            println!(
                "| {} | {name} | {:.2} | {speed:.0} | {reading} |",
                format.name, listing.cpu_s
            );
        }
    }
    println!();
    Ok(())
}
