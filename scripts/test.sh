#!/bin/sh
# Installs what the tests compare with, then checks and tests everything: sh scripts/test.sh
#
# With NTT_CORPUS=FOLDER the tests run on the public images in that folder too; without it they say that they skipped them.
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh
install_packages $(cat scripts/test-packages.txt)
install_postgresql
PATH=$PATH:/usr/sbin:/sbin

cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --quiet
cargo test --workspace --doc --quiet
if ! cargo nextest --version > /dev/null 2>&1; then
    exec cargo test --workspace --quiet
fi

# The tests of file systems write, read and remove small files by the hundred thousand. A journal gives the inodes of removed files back minutes later, and until
# then every new file looks through all of them: in memory these tests take half the time. All others stay on the disk.
formats='package(ntt-filesystem) and kind(test)'
folder=$(mktemp -d)
if [ "$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)" -gt 3000000 ] && mount -t tmpfs -o mode=1777 ntt-tests "$folder" 2> /dev/null; then
    trap 'umount -l "$folder"; rmdir "$folder"' EXIT
else
    trap 'rm -rf "$folder"' EXIT
fi
trap 'exit 130' INT TERM
status=0
TMPDIR=$folder cargo nextest run --workspace -E "$formats" || status=$?
cargo nextest run --workspace -E "not ($formats)" || status=$?
exit $status
