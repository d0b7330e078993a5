#!/bin/sh
# Two builds of one source, in directories of different names and at different times, are byte for byte the same.
set -u
cd "$(dirname "$0")/../.." || exit 1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
name=test_i11_two_builds_are_one
bad() {
	echo "[  FAILED  ] $name: $*"
	exit 1
}

one=$tmp/a two=$tmp/another/directory/of/a/longer/name
for d in "$one" "$two"; do
	mkdir -p "$d" && cp -r Makefile broker policy keystore tests "$d" || bad "cannot copy"
done
sleep 1
find "$two" -exec touch {} + # other times of the files
build() { # directory, more flags
	MAKEFLAGS='' make --no-print-directory -C "$1" -j"$(nproc)" BUILD=build ${2:+"$2"} all >"$tmp/log" 2>&1 || { tail -5 "$tmp/log"; bad "make in $1"; }
}
build "$one"
build "$two"
for p in keybrokerd keybrokerctl keybroker-guest; do
	cmp "$one/build/$p" "$two/build/$p" || bad "$p differs"
done
# The control: the comparison sees a difference of one character in a source.
sed -i 's/"0\.\([0-9]\)/"9.\1/' "$two/broker/base/version.h" || bad "the version is elsewhere"
build "$two"
cmp -s "$one/build/keybrokerd" "$two/build/keybrokerd" && bad "a changed source is not seen"
echo "[       OK ] $name"
