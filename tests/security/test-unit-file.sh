#!/bin/sh
# The systemd unit: its exposure by systemd's own measure, and that it leaves the broker the calls it needs to give up the others.
set -u
cd "$(dirname "$0")/../.." || exit 1
unit=conf/keybroker.service
failed=0
t() {
	if "$1"; then echo "[       OK ] $1"; else
		echo "[  FAILED  ] $1"
		failed=1
	fi
}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
command -v systemd-analyze >/dev/null || { echo "[  FAILED  ] test_i08_unit_exposure: systemd-analyze is missing (package systemd)"; exit 1; }

score() { # unit file: tenths
	systemd-analyze security --offline=true --no-pager "$1" 2>/dev/null | sed -n 's/.*Overall exposure level.*: \([0-9]*\)\.\([0-9]\).*/\1\2/p'
}

test_i08_unit_exposure_is_at_most_2_5() {
	n=$(score $unit)
	[ -n "$n" ] && echo "exposure: $n tenths" && [ "$n" -le 25 ] || return 1
	# The control: without its system call filter it must be worse than that.
	grep -v '^SystemCallFilter\|^RestrictAddressFamilies\|^ProtectSystem\|^CapabilityBoundingSet' $unit >"$tmp/keybroker.service"
	n=$(score "$tmp/keybroker.service")
	[ -n "$n" ] && [ "$n" -gt 25 ]
}

test_i08_unit_is_understood() {
	sed 's#/usr/local/sbin/keybrokerd#/bin/true#; s/^User=.*/User=nobody/; s/^Group=.*//' $unit >"$tmp/keybroker.service"
	! systemd-analyze verify --man=no "$tmp/keybroker.service" 2>&1 | grep keybroker.service | grep -v "Special user"
}

# Groups resolved by awk: what the unit allows, minus what it takes away again, plus what it allows after that.
allowed() {
	systemd-analyze syscall-filter --no-pager 2>/dev/null | awk -v unit=$unit '
		/^@/ { group = $1; next }
		/^ +[^# ]/ && group != "" { member[group] = member[group] " " $1 }
		function each(name, value,   list, n, i) {
			if (name !~ /^@/) { if (value) is_allowed[name] = 1; else delete is_allowed[name]; return }
			n = split(member[name], list, " ")
			for (i = 1; i <= n; i++) each(list[i], value)
		}
		END {
			while ((getline line < unit) > 0) {
				if (line !~ /^SystemCallFilter=/) continue
				sub(/^SystemCallFilter=/, "", line)
				value = line !~ /^~/
				sub(/^~/, "", line)
				n = split(line, names, " ")
				for (i = 1; i <= n; i++) each(names[i], value)
			}
			each("@default", 1)
			for (name in is_allowed) print name
		}' | sort -u
}

# Calls of the processes: the table.  sched_setscheduler is there for client libraries of network HSMs only, which live without.
test_i08_unit_allows_what_the_processes_do() {
	allowed >"$tmp/allowed"
	sed -n '/^static const struct rule rules/,/^};/s/.*\(CALL\|FAIL\)[1-3]\{0,1\}(\([a-z0-9_]*\).*/\2/p' broker/process/sandbox_syscalls.c |
		grep -v sched_setscheduler | sort -u >"$tmp/needed"
	printf '%s\n' seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self prctl prlimit64 execveat clone close_range mlock2 setsockopt |
		sort -u - "$tmp/needed" >"$tmp/all"
	[ "$(wc -l <"$tmp/needed")" -gt 50 ] && [ "$(wc -l <"$tmp/allowed")" -gt 100 ] || return 1
	missing=$(comm -23 "$tmp/all" "$tmp/allowed")
	[ -z "$missing" ] || { echo "the unit denies: $missing"; return 1; }
	# The control: mounting is denied.
	! grep -qx mount "$tmp/allowed"
}

t test_i08_unit_exposure_is_at_most_2_5
t test_i08_unit_is_understood
t test_i08_unit_allows_what_the_processes_do
[ "$failed" = 0 ]
