#!/bin/sh
# conf/guest: every file is loaded the way the boot loads it, with stand-ins for the initramfs builders' own functions.
# What the socket and the key script hand over is test_guest's to show.  Prints one line a test, in cmocka's form.
set -u
cd "$(dirname "$0")/../.." || exit 1
guest=$PWD/${BUILD:-build}/keybroker-guest
conf=$PWD/conf/guest
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0
t() {
	if "$1"; then echo "[       OK ] $1"; else
		echo "[  FAILED  ] $1"
		failed=1
	fi
}
has() { # file, line
	grep -qxF -e "$2" "$1" && return 0
	echo "  no line '$2' in:"
	sed 's/^/  | /' "$1"
	return 1
}

test_guest_boot_scripts_parse() {
	for f in "$conf/keyscript" "$conf/initramfs-tools/hook" "$conf/initramfs-tools/local-top"; do
		sh -n "$f" && [ -x "$f" ] || return 1
	done
	sh -n "$conf/initramfs-tools/umask" || return 1
	bash -n "$conf/dracut/90keybroker/module-setup.sh"
}

test_guest_boot_units_verify() {
	command -v systemd-analyze >/dev/null || return 0
	mkdir -p "$tmp/units"
	cp "$conf"/keybroker-unlock.socket "$conf"/keybroker-unlock@.service "$tmp/units"
	# The program is not installed here, its manual page neither.
	sed -i "s|^ExecStart=[^ ]*|ExecStart=$guest|; /^Documentation=/d; s|^EnvironmentFile=.*|EnvironmentFile=$conf/guest.conf|" "$tmp"/units/*
	cp "$tmp/units/keybroker-unlock@.service" "$tmp/units/keybroker-unlock@0.service"
	# What it says about other units of this machine is not about ours.
	SYSTEMD_UNIT_PATH="$tmp/units:" systemd-analyze verify "$tmp/units/keybroker-unlock.socket" "$tmp/units/keybroker-unlock@0.service" >"$tmp/verify" 2>&1
	! grep keybroker "$tmp/verify"
}

# The options in guest.conf are the program's own: with a trust anchor that is not there, that is what it stops at.
test_guest_boot_conf_is_understood() {
	# shellcheck source=/dev/null
	. "$conf/guest.conf"
	# shellcheck disable=SC2086
	"$guest" release $KEYBROKER_GUEST_ARGS --out stdout 2>"$tmp/err" | cat
	grep -q -- '--ca /etc/keybroker/guest-ca.pem: no certificate' "$tmp/err" || { cat "$tmp/err"; return 1; }
}

test_guest_boot_crypttab_names_the_socket() {
	socket=$(sed -n 's/^ListenStream=//p' "$conf/keybroker-unlock.socket")
	[ -n "$socket" ] && [ "$(awk '$1 == "root" {print $3}' "$conf/crypttab")" = "$socket" ] && awk '$1 == "#root" {print $4}' "$conf/crypttab" | grep -q keyscript=
}

test_guest_boot_initramfs_hook_copies() {
	cat >"$tmp/hook-functions" <<-'EOF'
		copy_exec() { echo "exec $*" >>"$log"; }
		copy_file() { echo "file $*" >>"$log"; }
		manual_add_modules() { echo "modules $*" >>"$log"; }
	EOF
	: >"$tmp/log"
	[ -z "$("$conf/initramfs-tools/hook" prereqs)" ] || return 1
	# The trust anchors of the example, where everybody may read them.
	sed "s#/etc/keybroker/guest-ca.pem#$tmp/ca.pem#; s#/etc/ssl/certs/ca-certificates.crt#$tmp/roots.pem#" "$conf/guest.conf" >"$tmp/guest.conf"
	: >"$tmp/ca.pem"
	: >"$tmp/roots.pem"
	chmod 644 "$tmp/guest.conf" "$tmp/ca.pem" "$tmp/roots.pem"
	log=$tmp/log KEYBROKER_HOOK_FUNCTIONS=$tmp/hook-functions KEYBROKER_GUEST=$guest KEYBROKER_CONF=$tmp/guest.conf "$conf/initramfs-tools/hook" || return 1
	has "$tmp/log" "exec $guest /usr/local/sbin" &&
		has "$tmp/log" 'exec /usr/local/lib/keybroker/keyscript /usr/local/lib/keybroker' &&
		has "$tmp/log" "file config $tmp/guest.conf /etc/keybroker/guest.conf" &&
		has "$tmp/log" "file config $tmp/ca.pem" &&
		has "$tmp/log" "file config $tmp/roots.pem" &&
		has "$tmp/log" 'modules sev-guest tsm configfs tpm_tis tpm_crb'
}

# A credential only in an image that others cannot read, however the option is spelled, and whatever file is not everybody's.
hook() { # umask, the options
	printf 'KEYBROKER_GUEST_ARGS="%s"\n' "$2" >"$tmp/hook.conf"
	chmod "${3:-644}" "$tmp/hook.conf"
	: >"$tmp/log"
	(
		umask "$1"
		log=$tmp/log KEYBROKER_HOOK_FUNCTIONS=$tmp/hook-functions KEYBROKER_GUEST=$guest KEYBROKER_CONF=$tmp/hook.conf "$conf/initramfs-tools/hook" 2>"$tmp/err"
	)
}
test_b24_initramfs_hook_keeps_secrets() {
	echo public >"$tmp/public" && echo secret >"$tmp/s3cret" && chmod 644 "$tmp/public" "$tmp/s3cret" || return 1
	for option in "--bearer-file $tmp/s3cret" "--bearer-file=$tmp/s3cret" "--bear $tmp/s3cret" "--ephemeral-key $tmp/s3cret" \
		"--ca $tmp/public --token=$tmp/s3cret"; do
		for mask in 0022 0027 0070 0007 0000; do
			! hook $mask "$option" && grep -q 'UMASK=0077' "$tmp/err" && ! grep -q s3cret "$tmp/log" || { echo "  $mask $option"; return 1; }
		done
		hook 0077 "$option" && has "$tmp/log" "file config $tmp/s3cret" || return 1
	done
	hook 0022 "--ca $tmp/public" && has "$tmp/log" "file config $tmp/public" || return 1
	chmod 640 "$tmp/public"
	! hook 0022 "--ca $tmp/public" && hook 0077 "--ca $tmp/public" && ! hook 0022 '--timeout 5' 640 && hook 0022 "--token fd:7" &&
		! hook 0077 '--nonsense' && grep -q 'does not take' "$tmp/err" || return 1
	printf '#!/bin/sh\nPASSWORD=x\n' >"$tmp/program" && chmod 755 "$tmp/program" && hook 0022 "--token-command $tmp/program" &&
		has "$tmp/log" "exec $tmp/program" && chmod 750 "$tmp/program" && ! hook 0022 "--token-command $tmp/program" &&
		! hook 0077 "--token-command /nonexistent" || return 1
	# What is installed makes the mode right, for mkinitramfs reads it.
	[ "$(. "$conf/initramfs-tools/umask" && echo "$UMASK")" = 0077 ] && grep -q 'umask $(DESTDIR)/etc/initramfs-tools/conf.d/keybroker' Makefile || return 1
	# A file that another hook has copied (1) is no fault; one that is not there (2) is.
	sed 's/^copy_file() {.*/copy_file() { return 1; }/' "$tmp/hook-functions" >"$tmp/f" && cp "$tmp/f" "$tmp/hook-functions" && hook 0077 "--ca $tmp/public" || return 1
	sed 's/return 1/return 2/' "$tmp/f" >"$tmp/hook-functions" && ! hook 0077 "--ca $tmp/public"
}

test_guest_boot_local_top_brings_up_the_network() {
	printf '%s\n' 'configure_networking() { echo network >>"$log"; }' 'modprobe() { echo "modprobe $*" >>"$log"; }' 'mount() { echo "mount $*" >>"$log"; }' >"$tmp/functions"
	mkdir -p "$tmp/net"
	printf "DEVICE='eth0'\nIPV4DNS0='192.0.2.1'\nIPV4DNS1='0.0.0.0'\n" >"$tmp/net/net-eth0.conf"
	: >"$tmp/log"
	log=$tmp/log KEYBROKER_FUNCTIONS=$tmp/functions KEYBROKER_NET_DIR=$tmp/net KEYBROKER_RESOLV=$tmp/resolv.conf "$conf/initramfs-tools/local-top" || return 1
	has "$tmp/log" network && has "$tmp/log" 'modprobe -q sev-guest' && [ "$(cat "$tmp/resolv.conf")" = 'nameserver 192.0.2.1' ]
}

# An image that is there is written into, with the mode that it has.
test_b24_dracut_keeps_secrets() {
	root=$tmp/root-secret
	mkdir -p "$root/etc/keybroker" "$tmp/init/etc/cmdline.d"
	: >"$root/etc/keybroker/guest-ca.pem"
	echo 'KEYBROKER_GUEST_ARGS="--bearer-file=/etc/keybroker/bearer --ca /etc/keybroker/guest-ca.pem"' >"$root/etc/keybroker/guest.conf"
	uefi=yes dracut_install && [ "$(stat -c %a "$tmp/image")" = 600 ] && has "$tmp/log" 'inst /etc/keybroker/bearer' &&
		has "$tmp/log" 'inst /etc/keybroker/guest-ca.pem' && grep -q '^warning .*umask=0077' "$tmp/log" || return 1
	echo 'KEYBROKER_GUEST_ARGS="--ca /etc/keybroker/guest-ca.pem"' >"$root/etc/keybroker/guest.conf"
	dracut_install && [ "$(stat -c %a "$tmp/image")" = 644 ] || return 1
	chmod 600 "$root/etc/keybroker/guest.conf"
	dracut_install && [ "$(stat -c %a "$tmp/image")" = 600 ]
}

dracut_install() { # the module's functions, as dracut calls them
	: >"$tmp/log"
	echo old >"$tmp/image"
	chmod 644 "$tmp/image"
	log=$tmp/log initdir=$tmp/init dracutsysrootdir=$root KEYBROKER_GUEST=$guest outfile=$tmp/image uefi=${uefi-no} SYSTEMCTL="echo systemctl" bash -eu -c '
		require_binaries() { echo "require $*" >>"$log"; }
		instmods() { echo "modules $*" >>"$log"; }
		inst_multiple() { for f; do echo "inst $f" >>"$log"; done; }
		inst_simple() { echo "inst $*" >>"$log"; }
		inst_libdir_file() { echo "lib $*" >>"$log"; }
		dwarn() { echo "warning $*" >>"$log"; }
		dfatal() { echo "fatal $*" >>"$log"; }
		. "$1"
		check && [ "$(depends)" = "systemd crypt network" ] && installkernel && install >>"$log"
	' bash "$conf/dracut/90keybroker/module-setup.sh"
}

test_guest_boot_dracut_module_installs() {
	root=$tmp/root
	mkdir -p "$root/etc/keybroker" "$tmp/init/etc/cmdline.d"
	sed 's#/etc/ssl/certs/ca-certificates.crt#/etc/keybroker/guest-ca.pem#' "$conf/guest.conf" >"$root/etc/keybroker/guest.conf"
	: >"$root/etc/keybroker/guest-ca.pem"
	dracut_install || return 1
	has "$tmp/log" 'inst /usr/local/sbin/keybroker-guest' && has "$tmp/log" 'inst /etc/keybroker/guest-ca.pem' &&
		has "$tmp/log" 'inst /etc/systemd/system/keybroker-unlock.socket /usr/lib/systemd/system/keybroker-unlock.socket' &&
		has "$tmp/log" "systemctl -q --root $tmp/init enable keybroker-unlock.socket" && has "$tmp/log" 'lib libtss2-tcti-device.so*' &&
		[ "$(cat "$tmp/init/etc/cmdline.d/90keybroker.conf")" = ' rd.neednet=1' ] || return 1
	# Without a configuration there is nothing to install.
	rm "$root/etc/keybroker/guest.conf"
	! log=$tmp/log dracutsysrootdir=$root bash -c 'require_binaries() { :; }; . "$1"; check' bash "$conf/dracut/90keybroker/module-setup.sh"
}

# Every option in the help is in the manual page, and every exit code.
test_guest_manual_is_complete() {
	page=broker/keybroker-guest.8
	for option in $("$guest" --help | grep -oE '^  --[a-z-]+' | tr -d ' -' | sort -u); do
		tr -d '\\-' <$page | grep -qE "(Fl|Op Fl) *$option" || { echo "  no --$option"; return 1; }
	done
	for code in 0 2 10 11 12 13 14 15; do
		grep -q "^\.It $code\$" $page || { echo "  no exit code $code"; return 1; }
	done
	! command -v mandoc >/dev/null || mandoc -Tlint -W warning $page
}

t test_guest_boot_scripts_parse
t test_guest_boot_units_verify
t test_guest_boot_conf_is_understood
t test_guest_boot_crypttab_names_the_socket
t test_guest_boot_initramfs_hook_copies
t test_b24_initramfs_hook_keeps_secrets
t test_guest_boot_local_top_brings_up_the_network
t test_guest_boot_dracut_module_installs
t test_b24_dracut_keeps_secrets
t test_guest_manual_is_complete
[ "$failed" = 0 ]
