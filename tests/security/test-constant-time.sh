#!/bin/sh
# secret_equal() takes the same path whatever the secrets are: no jump and no address depends on one of their bytes.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
name=test_i09_secrets_are_compared_in_constant_time
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad() {
	echo "[  FAILED  ] $name: $*"
	exit 1
}
if readelf -Ws "$build/libbase.a" 2>/dev/null | grep -q __asan_; then echo "[  SKIPPED ] $name"; exit 0; fi
# shellcheck disable=SC2046
gcc -std=c11 -D_GNU_SOURCE -O2 -I. -Ibroker -o "$tmp/ct" tests/security/constant_time.c "$build/libbase.a" $(pkg-config --libs openssl jansson) || bad "it does not compile"
under() { # exit 9: valgrind found something
	OPENSSL_ia32cap=0 valgrind --quiet --error-exitcode=9 --track-origins=no "$tmp/ct" "$@" >"$tmp/log" 2>&1
}
under control
[ $? = 9 ] || { cat "$tmp/log"; bad "the control, a comparison that stops at the first difference, is not found"; }
under || { cat "$tmp/log"; bad "something depends on a secret's bytes"; }
echo "[       OK ] $name"
