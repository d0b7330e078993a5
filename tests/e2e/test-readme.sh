#!/bin/sh
# The documents: their links lead somewhere, the commands that they show exist, keybroker-limits(7) names each limit and refusals.md each code.
set -u
cd "$(dirname "$0")/../.." || exit 1
ctl=${BUILD:-build}/keybrokerctl
documents=$(find . -name '*.md' ! -path './build*' ! -path './tests/vectors/*' ! -path '*/node_modules/*' ! -path '*/.node/*')
failed=0
t() {
	if "$1"; then echo "[       OK ] $1"; else
		echo "[  FAILED  ] $1"
		failed=1
	fi
}

# tests/limits-page reads the header by its own rules; here the compiler reads it.
test_readme_limits_page_names_each_limit() {
	# shellcheck disable=SC2086
	${CC:-cc} -E -dM broker/base/limits.h | sed -n 's/^#define \(KB_[A-Z0-9_]*\) [^ ].*/\1/p' | sort >"$tmp/a"
	sed -n 's/^\.It Dv \(KB_[A-Z0-9_]*\) Pq [0-9].*/\1/p' broker/keybroker-limits.7 | sort >"$tmp/b"
	[ "$(grep -c . "$tmp/a")" -gt 50 ] && diff "$tmp/a" "$tmp/b"
}

test_readme_refusals_name_each_code() {
	sed -n 's/.*"\([A-Z][A-Z0-9_]*\)").*/\1/p' broker/base/err.h | grep -vx OK >"$tmp/codes"
	[ "$(grep -c . "$tmp/codes")" -gt 50 ] || return 1
	local missing=0
	while read -r code; do
		grep -q "\`$code\`" conf/doc/refusals.md || { echo "conf/doc/refusals.md: no $code"; missing=1; }
	done <"$tmp/codes"
	[ $missing = 0 ]
}

# [text](path) in every document: the path exists, seen from the document.
test_readme_links_exist() {
	local missing=0
	for document in $documents; do
		grep -oE '\]\([^)#]+' "$document" | sed 's/^](//' | grep -v '^https*:' >"$tmp/links"
		while read -r path; do
			[ -e "$(dirname "$document")/$path" ] || { echo "$document: no $path"; missing=1; }
		done <"$tmp/links"
	done
	[ $missing = 0 ]
}

test_readme_commands_exist() {
	# shellcheck disable=SC2086
	grep -hoE '^ +(build/)?keybrokerctl [-a-z/. ]*' $documents | sed 's/.*keybrokerctl *//; s/-c [^ ]* *//' | grep -oE '^[a-z]+( (create|import|list|show|rotate|disable|enable|delete|verify|tail))?' |
		sort -u >"$tmp/commands"
	[ -s "$tmp/commands" ] || return 1
	while read -r command; do
		# shellcheck disable=SC2086
		"$ctl" $command --help >/dev/null || return 1
	done <"$tmp/commands"
}

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
t test_readme_limits_page_names_each_limit
t test_readme_refusals_name_each_code
t test_readme_links_exist
t test_readme_commands_exist
[ "$failed" = 0 ]
