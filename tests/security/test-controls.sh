#!/bin/sh
# Every detector meets its planted fault.
cd "$(dirname "$0")/../.." || exit 1
unset RESULTS PROGRESS # the test runner is among what is controlled
make --no-print-directory BUILD="${BUILD:-build}" controls
