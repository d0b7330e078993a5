#!/bin/sh
# test-controls.sh — J5: every detector meets its planted fault.
cd "$(dirname "$0")/../.." || exit 1
make --no-print-directory BUILD="${BUILD:-build}" controls
