#!/bin/sh
# Measures the loss scores of all formats over 100 seeds and writes them to docs/formats/coverage.md: sh scripts/loss.sh [FORMAT]
#
# FORMAT is part of the name of a test, as fat. It takes minutes for each: every seed runs every referee.
set -eu
cd "$(dirname "$0")/.."
NTT_COVERAGE=write cargo test -p ntt-filesystem --test integration "loss_score${1:+_of_$1}" -- --ignored --nocapture --test-threads=1
