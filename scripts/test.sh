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
if cargo nextest --version > /dev/null 2>&1; then
    cargo nextest run --workspace
else
    cargo test --workspace --quiet
fi
