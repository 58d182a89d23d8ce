#!/bin/sh
# Fuzzes every parser for SECONDS each (default 60): sh scripts/fuzz.sh [SECONDS [TARGET...]]
#
# Needs a nightly toolchain and cargo-fuzz (cargo install cargo-fuzz --locked). Makes the fixtures first.
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh
install_packages dosfstools mtools e2fsprogs genisoimage fdisk gzip hfsutils ntfs-3g qemu-utils ewf-tools xfsprogs makefs btrfs-progs squashfs-tools genromfs \
    jfsutils reiserfsprogs user-mode-linux
PATH=$PATH:/usr/sbin:/sbin
seconds=${1:-60}
[ $# -eq 0 ] || shift
fixtures=fuzz/fixtures
if [ ! -d "$fixtures" ]; then
    work=$(mktemp -d)
    mkdir -p "$work/tree/a/b" "$fixtures"
    seq 1 3000 > "$work/tree/a/A long name of a file.txt"
    seq 1 300 > "$work/tree/a/b/short.txt"
    ln -s a/b "$work/tree/link"
    ln "$work/tree/a/b/short.txt" "$work/tree/hard"
    truncate -s 256K "$work/fat.img"
    mkfs.fat -F 12 "$work/fat.img" > /dev/null
    mcopy -m -s -i "$work/fat.img" "$work/tree/a" ::
    truncate -s 512K "$work/ext.img"
    mke2fs -q -t ext4 -O inline_data,^has_journal -I 256 -b 1024 -N 32 -d "$work/tree" "$work/ext.img"
    genisoimage -quiet -J -R -o "$work/iso9660.img" "$work/tree"
    truncate -s 1100K "$work/ntfs.img"
    mkntfs -F -q -Q "$work/ntfs.img" > /dev/null 2>&1
    ntfscp "$work/ntfs.img" "$work/tree/a/A long name of a file.txt" big.txt
    ntfscp "$work/ntfs.img" "$work/tree/a/b/short.txt" small.txt
    ntfscp -N stream "$work/ntfs.img" "$work/tree/a/b/short.txt" small.txt
    # Small file systems are refused but to the tests of XFS itself.
    truncate -s 17M "$work/xfs.img"
    printf 'boot\n0 0\nd--755 0 0\na d--755 0 0\n' > "$work/xfs.proto"
    for number in $(seq 60); do
        printf 'a-file-with-the-number-%s ---644 0 0 %s\n' "$number" "$work/tree/a/b/short.txt" >> "$work/xfs.proto"
    done
    printf '$\nlink l--777 0 0 target\npipe p--644 0 0\n$\n' >> "$work/xfs.proto"
    TEST_DIR=1 TEST_DEV=1 QA_CHECK_FS=1 mkfs.xfs -q -b size=1024 -d agcount=1 -p "$work/xfs.proto" "$work/xfs.img"
    makefs -t ffs -M 1m -o version=2,bsize=4096,fsize=512 "$work/ufs.img" "$work/tree" > /dev/null
    truncate -s 32M "$work/btrfs.img"
    mkfs.btrfs -q -M -m single -d single -n 4096 --rootdir "$work/tree" "$work/btrfs.img"
    mksquashfs "$work/tree" "$work/squashfs.img" -quiet -no-progress -noI -b 4096
    mkfs.cramfs "$work/tree" "$work/cramfs.img" > /dev/null
    genromfs -d "$work/tree" -f "$work/romfs.img"
    for driver in jfs minix reiserfs; do
        cargo run -q -p ntt-testkit --example uml -- "$driver" "$work/$driver.img" "$work/tree"
    done
    genisoimage -quiet -udf -o "$work/udf.img" "$work/tree"
    truncate -s 1M "$work/disk.img"
    printf 'label: dos\nstart=64, size=600, type=1\nstart=700, size=1300, type=5\nstart=701, size=400, type=83\nstart=1201, size=600, type=6\n' |
        sfdisk -q "$work/disk.img"
    dd if="$work/fat.img" of="$work/disk.img" bs=512 seek=64 conv=notrunc status=none
    truncate -s 800K "$work/hfs.img"
    HOME=$work hformat -l Fuzz "$work/hfs.img" > /dev/null
    HOME=$work hmkdir :a
    HOME=$work hcopy -r "$work/tree/a/A long name of a file.txt" ":a:A long name"
    HOME=$work hcopy -r "$work/tree/a/b/short.txt" ":a:short"
    HOME=$work humount
    cargo run -q -p ntt-testkit --example apple -- apfs "$work/apfs.img"
    cargo run -q -p ntt-testkit --example apple -- hfsplus "$work/hfsplus.img"
    cargo run -q -p ntt-testkit --example apple -- mfs "$work/mfs.img"
    cargo run -q -p ntt-testkit --example members -- "$work/members.img"
    for format in qcow2 vpc vhdx vmdk vdi; do
        qemu-img convert -f raw -O "$format" "$work/fat.img" "$work/disk.$format"
        mv "$work/disk.$format" "$fixtures/"
    done
    qemu-img convert -c -f raw -O qcow2 "$work/fat.img" "$fixtures/disk.qcow2"
    # qemu-img 7.2 makes it, and then exits with 1.
    qemu-img convert -c -f raw -O qcow "$work/fat.img" "$fixtures/disk.qcow" || [ -s "$fixtures/disk.qcow" ]
    (cd "$work" && ewfacquire -u -q -c fast -t case fat.img > /dev/null) && mv "$work/case.E01" "$fixtures/"
    cargo run -q -p ntt-testkit --example apple -- dmg "$fixtures/disk.dmg"
    mv "$work"/*.img "$fixtures/"
    rm -rf "$work"
fi
[ $# -gt 0 ] || set -- mapfile volume managers tree fat exfat ext iso9660 ntfs jfs minix reiserfs xfs btrfs squashfs cramfs romfs udf ufs apfs hfsplus hfs mfs codec container \
    container_ewf container_qcow1 container_qcow2 container_vhd container_vhdx container_vmdk container_vdi container_udif search
for target in "$@"; do
    cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -max_len=600 -timeout=20 -rss_limit_mb=512
done
