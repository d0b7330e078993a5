#!/bin/bash
# /usr/lib/dracut/modules.d/90keybroker/module-setup.sh — the guest program and its socket in a dracut initramfs.

check() {
	require_binaries /usr/local/sbin/keybroker-guest || return 1
	[[ -e ${dracutsysrootdir-}/etc/keybroker/guest.conf ]] || return 1
	return 0
}

depends() {
	echo systemd crypt network
}

installkernel() {
	instmods sev-guest tsm configfs tpm_tis tpm_crb
}

# The initramfs needs the network, whatever the kernel's command line says.
cmdline() {
	printf ' rd.neednet=1'
}

install() {
	local name='' word unit
	inst_multiple /usr/local/sbin/keybroker-guest /etc/keybroker/guest.conf
	# shellcheck source=/dev/null
	. "${dracutsysrootdir-}/etc/keybroker/guest.conf"
	for word in $KEYBROKER_GUEST_ARGS; do
		case "$name" in
		--ca | --attest-ca | --vcek-chain | --bearer-file | --ephemeral-key | --token-command) inst_simple "$word" ;;
		esac
		name=$word
	done
	inst_libdir_file 'libtss2-tcti-device.so*'
	for unit in keybroker-unlock.socket keybroker-unlock@.service; do
		inst_simple "/etc/systemd/system/$unit" "${systemdsystemunitdir:-/usr/lib/systemd/system}/$unit"
	done
	mkdir -p "${initdir:?}/etc/cmdline.d"
	cmdline >"${initdir:?}/etc/cmdline.d/90keybroker.conf"
	$SYSTEMCTL -q --root "$initdir" enable keybroker-unlock.socket
}
