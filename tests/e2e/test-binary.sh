#!/bin/sh
# The programs as they were linked: position independent, read-only after relocation, no executable stack, and built with stack protector, FORTIFY and CET.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
programs="$build/keybrokerd $build/keybrokerctl $build/keybroker-guest"
failed=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# each PROGRAM in CHECK must hold; and the control, a program that was built without, must not
weak=$tmp/weak
printf 'int main(void) { return 0; }\n' >"$tmp/weak.c"
${CC:-gcc} -no-pie -fno-pie -fno-stack-protector -fcf-protection=none -U_FORTIFY_SOURCE -Wl,-z,norelro,-z,lazy,-z,execstack -o "$weak" "$tmp/weak.c" 2>/dev/null ||
	{ echo "[  FAILED  ] test_i10_control"; exit 1; }
echo "[       OK ] test_i10_control"
t() {
	bad=
	for p in $programs; do "$1" "$p" || bad="$bad $p"; done
	if "$1" "$weak"; then bad="$bad (and the control passes)"; fi
	if [ -z "$bad" ]; then echo "[       OK ] $1"; else
		echo "[  FAILED  ] $1:$bad"
		failed=1
	fi
}

test_i10_position_independent() {
	readelf -Wh "$1" | grep -q 'Type: *DYN' && readelf -Wd "$1" | grep -q 'FLAGS_1.*PIE'
}
test_i10_full_relro() {
	readelf -Wl "$1" | grep -q GNU_RELRO && readelf -Wd "$1" | grep -q 'FLAGS.*NOW'
}
test_i10_stack_is_not_executable() {
	readelf -Wl "$1" | grep GNU_STACK | grep -q ' RW '
}
test_i10_no_writable_code() {
	readelf -Wl "$1" | grep -q 'LOAD.* R E ' && ! readelf -Wl "$1" | grep LOAD | grep -q 'RWE' && test_i10_stack_is_not_executable "$1"
}
test_i10_no_run_path() { # where libraries come from is the system's say
	! readelf -Wd "$1" | grep -qE 'RPATH|RUNPATH' && test_i10_position_independent "$1"
}
test_i10_stack_protector() {
	readelf -Ws "$1" | grep -q __stack_chk_fail
}
test_i10_fortify() {
	[ "$(readelf -Ws "$1" | grep -cE ' __(snprintf|memcpy|memset|read|fprintf|vsnprintf)_chk')" -ge 2 ]
}
# Of each object of ours: the linker drops the mark because Debian's start-up code has none, and no kernel of today enforces it without.
test_i10_cet() {
	set -- "$(dirname "$1")" "$1"
	[ "$2" != "$weak" ] || { readelf -n "$weak" | grep -q 'IBT, SHSTK'; return; }
	n=0
	for o in "$1"/broker/*.o "$1"/broker/*/*.o "$1"/policy/*.o "$1"/keystore/*.o; do
		readelf -n "$o" | grep -q 'IBT, SHSTK' || { echo "$o has no mark"; return 1; }
		n=$((n + 1))
	done
	[ $n -gt 50 ]
}

t test_i10_position_independent
t test_i10_full_relro
t test_i10_stack_is_not_executable
t test_i10_no_writable_code
t test_i10_no_run_path
if readelf -Ws "$build/keybrokerd" | grep -qE '__asan_init|__ubsan_handle|__gcov_'; then # HARDEN= : a build for tests
	for name in stack_protector fortify cet; do echo "[  SKIPPED ] test_i10_$name"; done
else
	t test_i10_stack_protector
	t test_i10_fortify
	case $(uname -m) in x86_64) t test_i10_cet ;; *) echo "[  SKIPPED ] test_i10_cet" ;; esac
fi
[ "$failed" = 0 ]
