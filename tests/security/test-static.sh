#!/bin/bash
# test-static.sh — J3: gcc's -fanalyzer, clang-tidy and cppcheck over the product, valgrind over the unit tests of the layers that judge.
# (AddressSanitizer and UBSan: `make asan`, which runs everything.)
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
failed=0
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
say() { # NAME, exit code, log
	if [ "$2" = 0 ]; then
		echo "[       OK ] test_j03_$1"
	else
		tail -40 "$3"
		echo "[  FAILED  ] test_j03_$1"
		failed=1
	fi
}
flags="-std=c11 -D_GNU_SOURCE -I. -Ibroker $(pkg-config --cflags openssl p11-kit-1 cjose libevent jansson libcurl libseccomp)"

# gcc 12 does not follow what a struct owns (every member that is filled is a leak to it: LeakSanitizer finds the real ones), nor the out-parameters of
# OpenSSL and jansson (use-of-uninitialized: valgrind below, clang-tidy), nor CMSG_FIRSTHDR (null-dereference).  Double frees, use after free, … it does.
ls broker/*.c broker/*/*.c policy/*.c keystore/*.c | xargs -P "$(nproc)" -n 1 sh -c \
	'gcc '"$flags"' -O1 -fanalyzer -Wno-analyzer-use-of-uninitialized-value -Wno-analyzer-malloc-leak -Wno-analyzer-null-dereference -c -o /dev/null "$1" 2>&1' sh >"$dir/analyzer"
! grep -q 'Wanalyzer' "$dir/analyzer"
say gcc_analyzer $? "$dir/analyzer"

make --no-print-directory lint >"$dir/lint" 2>&1
say clang_tidy_and_cppcheck $? "$dir/lint"

make --no-print-directory BUILD="$BUILD" $(for t in claims scalar rules explain kwp b64url bytes chain frame; do echo "$BUILD/unit/test_$t"; done) >"$dir/make" 2>&1 || cat "$dir/make"
: >"$dir/valgrind"
mkdir "$dir/keys" # RSA keys made outside of valgrind: it takes minutes inside
export MINT_KEYS=$dir/keys
for t in claims scalar rules explain kwp b64url bytes chain frame; do
	"$BUILD/unit/test_$t" >/dev/null 2>&1
	timeout 300 valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite "$BUILD/unit/test_$t" >"$dir/one" 2>&1 || cat "$dir/one" >>"$dir/valgrind"
done
[ ! -s "$dir/valgrind" ]
say valgrind $? "$dir/valgrind"
exit $failed
