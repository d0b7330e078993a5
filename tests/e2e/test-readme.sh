#!/bin/sh
# The documents: their links lead somewhere, the commands that they show exist, keybroker-limits(7) names each limit and refusals.md each code; README installs.
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
	grep -hoE '^ +(build/)?keybrokerctl [-a-z/. ]*' $documents | sed 's/.*keybrokerctl *//; s/-c [^ ]* *//' | grep -oE '^[a-z]+( (create|import|list|show|rotate|disable|enable|delete|verify|tail|archive|refresh))?' |
		sort -u >"$tmp/commands"
	[ -s "$tmp/commands" ] || return 1
	while read -r command; do
		# shellcheck disable=SC2086
		"$ctl" $command --help >/dev/null || return 1
	done <"$tmp/commands"
}

# The commands of README's Install, word for word, on this machine's files: in namespaces of their own, with layers over /etc, /usr and
# /var that are gone at the end. $1: when a key is made: before or after the line of systemd-tmpfiles.
install_as_written() {
	cat >"$tmp/install" <<-'EOF'
		set -eu
		fail() { echo "install, key $when: $*"; tail -5 "$tmp/broker.log" 2>&1; exit 1; }
		ip link set lo up
		mount -t tmpfs none "$tmp/layers"
		for d in etc usr var; do
			mkdir -p "$tmp/layers/$d/upper" "$tmp/layers/$d/work"
			mount -t overlay none -o "lowerdir=/$d,upperdir=$tmp/layers/$d/upper,workdir=$tmp/layers/$d/work" "/$d"
		done
		PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
		# What is built is not built again; there is no systemd to start the unit, so its user and capability come from setpriv.
		make() { command make -s -o all BUILD="$BUILD" "$@"; }
		systemctl() {
			[ "$1" = enable ] || return 0
			setpriv --reuid keybroker --regid keybroker --init-groups --inh-caps +net_bind_service --ambient-caps +net_bind_service \
				$(sed -n 's/^ExecStart=//p' /etc/systemd/system/keybroker.service) >"$tmp/broker.log" 2>&1 &
			broker=$!
			trap 'kill "$broker" 2>/dev/null || true' EXIT
		}
		key() {
			keybrokerctl key create "$1" --kty RSA-HSM --policy /etc/keybroker/policies/cvm.json 2>"$tmp/key" || fail "$(cat "$tmp/key")"
		}
		umask 077 # the worst that root may have
		sed -n '/^## Install/,/^## /s/^    //p' README.md >"$tmp/lines"
		[ "$(grep -c . "$tmp/lines")" -gt 5 ] || fail 'README has no commands'
		while read -r line; do
			case $when$line in beforesystemd-tmpfiles*) key made-before ;; esac
			case $line in systemctl*) [ "$when" = before ] || key made-after ;; esac
			eval "$line" >"$tmp/said" 2>&1 </dev/null || fail "$line: $(cat "$tmp/said")"
		done <"$tmp/lines"
		n=0
		: >>"$tmp/broker.log"
		until grep -q '"broker.ready"' "$tmp/broker.log"; do
			kill -0 "$broker" && [ "$n" -lt 300 ] || fail 'the broker does not serve'
			n=$((n + 1))
			sleep 0.1
		done
		for who in 'runuser -u keybroker --' ''; do
			for command in 'check --hsm' 'key list' 'ledger verify' 'key show made-'$when "key disable made-$when --reload" "key enable made-$when --reload"; do
				case $who$command in run*able*) continue ;; esac # keys.d is root's
				$who keybrokerctl $command >"$tmp/said" 2>&1 || fail "$who keybrokerctl $command: $(cat "$tmp/said")"
			done
			$who keybrokerd -t -c /etc/keybroker/keybroker.json || fail "$who keybrokerd -t"
		done
		# As written under "First policy".
		keybrokerctl key create app-key --kty RSA-HSM --policy /etc/keybroker/policies/cvm.json --reload >"$tmp/said" 2>&1 || fail "$(cat "$tmp/said")"
		tr '\0' '\n' <"/proc/$(pgrep -P "$broker" -f 'keybrokerd: vault' | head -1)/environ" >"$tmp/environ"
		# A sanitizer starts its processes with the environment that they had.
		[ ! -s "$tmp/environ" ] || grep -q __asan_init "$BUILD/keybrokerd" || fail "environment of a vault: $(cat "$tmp/environ")"
		kill "$broker"
		wait "$broker" || fail 'the broker ended badly'
	EOF
	mkdir -p "$tmp/layers"
	chmod 755 "$tmp"
	when=$1 tmp=$tmp BUILD=${BUILD:-build} SECRET_OF_THE_SHELL=1 unshare -mn sh "$tmp/install"
}

test_e17_readme_install_key_made_before() {
	[ -n "$namespaces" ] || return 0
	install_as_written before
}

test_e17_readme_install_key_made_after() {
	[ -n "$namespaces" ] || return 0
	install_as_written after
}

tmp=$(mktemp -d) || exit 1
# Root alone can have them, and not in every container.
namespaces=$(mkdir "$tmp/ns" "$tmp/ns/a" "$tmp/ns/b" "$tmp/ns/c" && cd "$tmp/ns" && unshare -mn sh -c 'command -v ip systemd-tmpfiles setpriv >/dev/null && mount -t tmpfs none a && mkdir a/u a/w && mount -t overlay none -o lowerdir=b,upperdir=a/u,workdir=a/w c && echo yes' 2>/dev/null)
[ -n "$namespaces" ] || echo 'not tried: README Install, which needs root, namespaces, overlayfs and systemd-tmpfiles'
trap 'rm -rf "$tmp"' EXIT
t test_readme_limits_page_names_each_limit
t test_readme_refusals_name_each_code
t test_readme_links_exist
t test_readme_commands_exist
t test_e17_readme_install_key_made_before
t test_e17_readme_install_key_made_after
[ "$failed" = 0 ]
