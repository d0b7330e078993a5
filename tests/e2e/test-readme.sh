#!/bin/sh
# README's table of limits is broker/base/limits.h, each name with its value; and the commands it shows exist.
set -u
cd "$(dirname "$0")/../.." || exit 1
ctl=${BUILD:-build}/keybrokerctl
failed=0
t() {
	if "$1"; then echo "[       OK ] $1"; else
		echo "[  FAILED  ] $1"
		failed=1
	fi
}

# NAME|value, from either file: parentheses, blanks and backslashes aside.  The preprocessor joins lines and takes comments out.
header() { gcc -dD -E -P broker/base/limits.h | sed -n 's/^#define \(KB_[A-Z0-9_]*\)  *\(.*[^ ]\) *$/\1|\2/p' | tr -d '() '; }
table() { sed -n 's/^| `\(KB_[A-Z0-9_]*\)` | \([^|]*[^| ]\) *|.*/\1|\2/p' README.md | tr -d '() \\'; }

test_readme_limits_are_those_of_the_header() {
	[ "$(header | grep -c .)" -gt 50 ] && header >"$tmp/a" && table >"$tmp/b" && diff "$tmp/a" "$tmp/b"
}

test_readme_commands_exist() {
	grep -oE '^ +(build/)?keybrokerctl [-a-z/. ]*' README.md | sed 's/.*keybrokerctl *//; s/-c [^ ]* *//' | grep -oE '^[a-z]+( (create|import|list|verify|show|tail))?' |
		sort -u >"$tmp/commands"
	[ -s "$tmp/commands" ] || return 1
	while read -r command; do
		# shellcheck disable=SC2086
		"$ctl" $command --help >/dev/null || return 1
	done <"$tmp/commands"
}

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
t test_readme_limits_are_those_of_the_header
t test_readme_commands_exist
[ "$failed" = 0 ]
