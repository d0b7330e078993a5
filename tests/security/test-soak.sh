#!/bin/sh
# The short form of B18: a soak of two minutes, mixed load and faults; it judges growth itself.  The whole day is `make soak MINUTES=1440`.
cd "$(dirname "$0")/../.." || exit 1
if out=$(make --no-print-directory BUILD="${BUILD:-build}" MINUTES="${SOAK_MINUTES:-2}" run-soak 2>&1); then
	echo '[       OK ] test_b18_short_soak'
else
	printf '%s\n' "$out" | tail -40
	echo '[  FAILED  ] test_b18_short_soak'
	exit 1
fi
