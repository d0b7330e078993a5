#!/bin/sh
# Every file that is trusted, with everything that makes it untrusted: its mode, its owner, each directory above it. The same is refused by
# `check`, by `keybrokerd -t` and by the start, and each names the path. As root, judged for another user; and not as root.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
failed=0
t() {
	if "$1"; then echo "[       OK ] $1"; else
		echo "[  FAILED  ] $1"
		failed=1
	fi
}
ctl() { "$build/keybrokerctl" -c "$in/keybroker.json" "$@"; }

# $1: what was done; $2: the path that must be named. Root's start reads what the service's user cannot: $3 says so.
refused() {
	local bad=0
	ctl check >"$tmp/check" 2>&1 && bad=1
	"$build/keybrokerd" -t -c "$in/keybroker.json" >"$tmp/test" 2>&1 && bad=1
	timeout 20 "$build/keybrokerd" -c "$in/keybroker.json" >"$tmp/start" 2>&1
	[ $? = 1 ] || [ -n "${3:-}" ] || bad=1
	for said in check test start; do
		[ "$said${3:-}" = startreads ] || grep -qF "$2" "$tmp/$said" || bad=1
	done
	[ $bad = 0 ] || { echo "$1: not refused by all, naming $2:"; head -3 "$tmp/check" "$tmp/test" "$tmp/start"; }
	return $bad
}

# The path itself, and each directory above it within the temporary directory.
way() {
	local at=$1
	while [ "$at" != "$tmp" ]; do
		echo "$at"
		at=$(dirname "$at")
	done
}

files='keybroker.json issuers.d/issuer.json issuers.d/ca.pem keys.d/key.json policies/cvm.json tls/server.pem tls/server.key tls/client.pem
	tls/signer-chain.pem bearers hsm/pin hsm/softhsm2.conf hsm/tokens state state/ledger state/issuers'

test_e16_each_file_and_each_directory_above() {
	local bad=0
	ctl check || return 1
	for file in $files; do
		for at in $(way "$in/$file"); do
			was=$(stat -c '%a %u' "$at")
			mode=666
			[ ! -d "$at" ] || mode=777
			chmod $mode "$at"
			refused "chmod $mode $at" "$at" || bad=1
			chmod "${was% *}" "$at"
			[ "$(id -u)" = 0 ] || continue
			chown 12345 "$at"
			refused "chown 12345 $at" "$at" || bad=1
			chown "${was#* }" "$at"
			chmod "${was% *}" "$at"
		done
	done
	ctl check >/dev/null && return $bad
}

# The PIN is for its owner alone, in all tools.
test_e16_pin_modes() {
	local bad=0
	for mode in 640 604 660 644; do
		chmod $mode "$in/hsm/pin"
		refused "PIN $mode" "$in/hsm/pin" || bad=1
		ctl check --hsm >/dev/null 2>&1 && bad=1
		ctl key disable key >/dev/null 2>&1 && bad=1
	done
	chmod 600 "$in/hsm/pin"
	return $bad
}

# As root: what root can read and the broker's user cannot.
test_e16_readable_for_the_service() {
	local bad=0
	[ "$(id -u)" = 0 ] || return 0
	for file in issuers.d/issuer.json keys.d/key.json policies/cvm.json tls/server.key bearers hsm/softhsm2.conf tls keys.d; do
		was=$(stat -c %a "$in/$file")
		chmod go= "$in/$file"
		ctl check 2>&1 | grep -q "$in/$file.*user nobody" || { echo "check does not refuse $file"; bad=1; }
		"$build/keybrokerd" -t -c "$in/keybroker.json" 2>&1 | grep -q "$in/$file.*user nobody" || bad=1
		chmod "$was" "$in/$file"
	done
	ctl check >/dev/null && return $bad
}

# An instance that was given to the user as a whole: root's keybrokerctl acts as that user, root's keybrokerd refuses.
test_e17_everything_is_the_users() {
	[ "$(id -u)" = 0 ] || return 0
	cp -a "$in" "$tmp/given" && sed -i "s|$in|$tmp/given|" "$tmp/given/hsm/softhsm2.conf" && chown -R nobody "$tmp/given" || return 1
	"$build/keybrokerctl" -c "$tmp/given/keybroker.json" key create theirs --kty oct-HSM --policy "$tmp/given/policies/cvm.json" &&
		[ "$(stat -c %U "$tmp/given/keys.d/theirs.json")" = nobody ] && "$build/keybrokerctl" -c "$tmp/given/keybroker.json" check --hsm &&
		[ -z "$(find "$tmp/given" ! -user nobody)" ] || return 1
	"$build/keybrokerd" -c "$tmp/given/keybroker.json" 2>&1 | grep -q 'orders of root alone'
}

# certbot renews by exchanging a link, Kubernetes the directory that links lead through.
test_e18_renewal_by_links() {
	mkdir -p "$in/live" "$in/archive" "$in/secret/..1" "$in/secret/..2" && chmod 755 "$in/live" "$in/archive" "$in/secret" "$in/secret"/..? || return 1
	for n in 1 2; do
		cp -p "$in/tls/server.pem" "$in/archive/server$n.pem" && cp -p "$in/tls/server.key" "$in/secret/..$n/server.key" || return 1
	done
	ln -s ../archive/server1.pem "$in/live/server.pem" && ln -s ..1 "$in/secret/..data" && ln -s ..data/server.key "$in/secret/server.key" &&
		sed -i 's|tls/server.pem|live/server.pem|; s|tls/server.key|secret/server.key|' "$in/keybroker.json" && ctl check || return 1
	ln -s ../archive/server2.pem "$in/live/new" && mv -T "$in/live/new" "$in/live/server.pem" && ln -s ..2 "$in/secret/new" &&
		mv -T "$in/secret/new" "$in/secret/..data" && rm -r "$in/secret/..1" "$in/archive/server1.pem" && ctl check || return 1
	chmod 777 "$in/secret/..2"
	refused 'chmod of the directory behind' "$in/secret/..2" && chmod 755 "$in/secret/..2" && chmod 777 "$in/archive" &&
		refused 'chmod of the archive' "$in/archive" && chmod 755 "$in/archive" && ctl check
}

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
in=$tmp/above/i
chmod 755 "$tmp" && mkdir "$tmp/above" && chmod 755 "$tmp/above" || exit 1
user=
[ "$(id -u)" != 0 ] || user='--user nobody'
# shellcheck disable=SC2086
"$build/keybrokerctl" init "$in" $user --port $((20000 + $$ % 10000)) --metrics 0 --issuer https://issuer.example 2>/dev/null || exit 1
cp -p "$in/tls/root.pem" "$in/issuers.d/ca.pem" && cp -p "$in/tls/root.pem" "$in/tls/client.pem" && sed "s/.*/$(printf x | sha256sum | cut -c1-64)/" "$in/hsm/softhsm2.conf" | head -1 >"$in/bearers" &&
	chmod 644 "$in/bearers" && sed -i 's|"discovery": true|"discovery": true, "ca_file": "ca.pem"|' "$in/issuers.d/issuer.json" &&
	sed -i 's|"client_ca": null|"client_ca": "tls/client.pem"|; s|"auth": "none"|"auth": "bearer_file", "bearer_file": "bearers"|' "$in/keybroker.json" &&
	ctl key create key --kty oct-HSM --policy "$in/policies/cvm.json" 2>/dev/null || exit 1
for test in $(sed -n "s/^\(test_[a-z0-9_]*\)() {\$/\1/p" tests/e2e/test-trust.sh); do
	t "$test"
done
[ "$failed" = 0 ]
