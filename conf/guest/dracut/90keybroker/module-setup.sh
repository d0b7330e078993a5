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

# dracut writes with umask 077, but into an image that is there, with the mode that it has.
private() {
	if [[ ${uefi-} == yes ]]; then
		dwarn "keybroker: $1 becomes part of a UEFI image. The EFI system partition has no file modes: mount it with umask=0077."
	fi
	if [[ -e ${outfile-} ]] && ! chmod go= "$outfile"; then
		dfatal "keybroker: the initramfs would hold $1, and $outfile, which is to be replaced, can be read by others"
		exit 1
	fi
}

file() {
	[[ -n $(find -L "${dracutsysrootdir-}$1" -maxdepth 0 -perm -004 2>/dev/null) ]] || private "$1"
	inst_simple "$1"
}

install() {
	local files kind path unit guest=${KEYBROKER_GUEST:-/usr/local/sbin/keybroker-guest}
	inst_multiple /usr/local/sbin/keybroker-guest
	file /etc/keybroker/guest.conf
	# shellcheck source=/dev/null
	. "${dracutsysrootdir-}/etc/keybroker/guest.conf"
	# shellcheck disable=SC2086
	files=$("$guest" files $KEYBROKER_GUEST_ARGS) || {
		dfatal "keybroker: KEYBROKER_GUEST_ARGS in guest.conf has options that keybroker-guest does not take"
		exit 1
	}
	while read -r kind path; do
		case "$kind" in
		public) file "$path" ;;
		program) file "$(command -v "$path")" ;;
		secret)
			private "$path"
			inst_simple "$path"
			;;
		esac
	done <<<"$files"
	inst_libdir_file 'libtss2-tcti-device.so*'
	for unit in keybroker-unlock.socket keybroker-unlock@.service; do
		inst_simple "/etc/systemd/system/$unit" "${systemdsystemunitdir:-/usr/lib/systemd/system}/$unit"
	done
	mkdir -p "${initdir:?}/etc/cmdline.d"
	cmdline >"${initdir:?}/etc/cmdline.d/90keybroker.conf"
	$SYSTEMCTL -q --root "$initdir" enable keybroker-unlock.socket
}
