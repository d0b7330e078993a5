#!/bin/sh
# test-fuzz.sh — J1: every target over its seeds and for FUZZ_TIME (20) seconds more: no finding, and no fewer than 1,000 inputs a second of CPU.
set -u
cd "$(dirname "$0")/../.." || exit 1
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
make --no-print-directory fuzz TIME="${FUZZ_TIME:-20}" >"$log" 2>&1
rc=$?
for source in tests/fuzz/fuzz_*.c; do
	t=${source##*/fuzz_}
	t=${t%.c}
	if grep -q "^fuzz $t: [0-9]* runs" "$log"; then
		echo "[       OK ] test_j01_fuzz_$t"
	else
		echo "[  FAILED  ] test_j01_fuzz_$t"
		rc=1
	fi
done
grep '^fuzz' "$log"
[ $rc = 0 ] || tail -60 "$log"
exit $rc
