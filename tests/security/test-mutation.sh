#!/bin/sh
# test-mutation.sh — J4: every SAMPLE-th (15th) mutant of policy/ and of the wrapping.  `make mutation` tries them all.
cd "$(dirname "$0")/../.." || exit 1
if make --no-print-directory BUILD="${BUILD:-build}" mutation SAMPLE="${SAMPLE:-15}"; then
	echo '[       OK ] test_j04_mutants_are_noticed'
else
	echo '[  FAILED  ] test_j04_mutants_are_noticed'
	exit 1
fi
