#!/bin/sh
# test-controls.sh — J5: every detector meets its planted fault.
cd "$(dirname "$0")/../.." || exit 1
unset RESULTS PROGRESS # the runner is among what is controlled
make --no-print-directory BUILD="${BUILD:-build}" controls
