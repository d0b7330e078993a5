#!/bin/sh
# test-differential.sh — J2: the token gate against a second implementation, COUNT (10,000) tokens.
cd "$(dirname "$0")/../.." || exit 1
if make --no-print-directory BUILD="${BUILD:-build}" differential COUNT="${COUNT:-10000}"; then
	echo '[       OK ] test_j02_differential_token_gate'
else
	echo '[  FAILED  ] test_j02_differential_token_gate'
	exit 1
fi
