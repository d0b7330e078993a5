# judge.awk — the list and the results of tests, item by item.
#   awk -f judge.awk [-v only=C] [-v json=FILE] LIST RESULTS
# RESULTS (tests/run-unit writes them): OK|FAILED|SKIPPED <tab> program <tab> test.  Prints one line an item, in the list's order, then the count; exit 1
# unless every item holds or says why it is not tried, and those are at most 8, and no test without an id failed.
function trim(s) { sub(/^[ \t]+/, "", s); sub(/[ \t]+$/, "", s); return s }
function quote(s) { gsub(/[\\"]/, "\\\\&", s); gsub(/[\001-\037]/, " ", s); return "\"" s "\"" }
function fault(text) { print "security: " text; faults++ }

BEGIN { FS = "|"; MAX_SKIPPED = 8 }

# ---- the list ----
NR == FNR {
	if ($0 ~ /^#/ || trim($0) == "")
		next
	id = trim($1)
	if (id !~ /^[A-J][0-9][0-9]$/ || trim($2) == "")
		fault("the list, line " FNR ": no id or no title")
	if (id in title)
		fault("the list has " id " twice")
	order[++n_items] = id
	title[id] = trim($2)
	for (i = 3; i <= NF; i++) {
		s = trim($i)
		if (sub(/^not tried: */, "", s))
			reason[id] = s
		else if (sub(/^note: */, "", s))
			note[id] = s
		else if (s != "")
			fault("the list, line " FNR ": what is \"" s "\"?")
	}
	next
}

# ---- the results: a test counts for every id that its name begins with ----
{
	n = split($0, part, "\t")
	if (n < 3)
		next
	rest = part[3]
	sub(/^test_/, "", rest)
	if (part[1] == "FAILED" && rest !~ /^[a-j][0-9][0-9]_/)
		others = others (others == "" ? "" : ", ") part[3] (part[3] == part[2] ? "" : " (" part[2] ")")
	while (match(rest, /^[a-j][0-9][0-9]_/)) {
		id = toupper(substr(rest, 1, 3))
		rest = substr(rest, 5)
		if (id == "B64")
			continue # base64: these tests have no item
		if (!(id in title)) {
			fault(part[3] " in " part[2] ": the list has no " id)
			continue
		}
		if (part[1] == "OK")
			ok[id]++
		else if (part[1] == "SKIPPED")
			skipped[id]++
		else
			bad[id] = bad[id] (bad[id] == "" ? "" : ", ") part[3] " (" part[2] ")"
		tests[id] = tests[id] (tests[id] == "" ? "" : ",") sprintf("{\"name\":%s,\"program\":%s,\"result\":\"%s\"}", quote(part[3]), quote(part[2]), part[1])
	}
}

function say(id, status, text) {
	printf "%s %s%s\n", id, status, text
	if (json != "")
		printf "%s{\"item\":\"%s\",\"title\":%s,\"status\":\"%s\",\"text\":%s,\"note\":%s,\"tests\":[%s]}", n_json++ ? ",\n" : "", id, quote(title[id]), status,
			quote(trim(text)), quote(note[id]), tests[id] >json
}

END {
	if (json != "")
		printf "{\"items\":[\n" >json
	for (k = 1; k <= n_items; k++) {
		id = order[k]
		if (only != "" && index(id, toupper(only)) != 1)
			continue
		if (id in reason && (ok[id] > 0 || bad[id] != "")) {
			failed++
			say(id, "fails", ": the list says \"not tried\", but there is a test")
		} else if (id in reason) {
			not_tried++
			say(id, "not tried", ": " reason[id])
		} else if (bad[id] != "") {
			failed++
			say(id, "fails", ": " bad[id])
		} else if (ok[id] > 0) {
			passed++
			say(id, "holds", sprintf(" (%d test%s%s)%s", ok[id], ok[id] == 1 ? "" : "s", skipped[id] ? ", " skipped[id] " skipped" : "",
				note[id] == "" ? "" : "; " note[id]))
		} else if (skipped[id] > 0) {
			not_tried++
			say(id, "not tried", ": its tests skip themselves on this machine")
		} else {
			failed++
			say(id, "fails", ": no test")
		}
	}
	if (others != "")
		fault("beside the list: " others " failed")
	printf "%d passed, %d failed, %d skipped\n", passed, failed, not_tried
	if (json != "")
		printf "\n],\"passed\":%d,\"failed\":%d,\"skipped\":%d}\n", passed, failed, not_tried >json
	if (passed + failed + not_tried == 0)
		fault("no item was looked at")
	exit failed > 0 || faults > 0 || not_tried > MAX_SKIPPED
}
