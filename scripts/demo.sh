#!/bin/sh
# Builds ntt and takes the demo image into an archive: sh scripts/demo.sh [ARCHIVE]
#
# On a fresh Debian machine with Rust this is all there is to do: what the build needs (a C compiler) is installed first if it is missing.
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh
install_packages gcc libc6-dev gzip

cargo build --release --package ntt
archive=${1:-$(mktemp -d)/archive}
image=$(mktemp -d)/demo.img
gzip -dc test_data/demo.img.gz > "$image"
ntt=target/release/ntt
set -x
$ntt --archive "$archive" ingest "$image" --label 'the demo disk'
$ntt --archive "$archive" medium list
$ntt --archive "$archive" find letter
