/* tests/soak/report.c — the table at the end, and the verdict.  Decides what the soak passes or
 * fails by; every line that decides says so with ✓ or ✗. */
#include "tests/soak/report.h"

#include <stdio.h>
#include <string.h>

static const double p99_limit_ms = 5000;

void report_fault(struct report *r, const char *why)
{
	printf("  ✗ %s\n", why);
	if (r->n_found < MAX_FOUND)
		snprintf(r->found[r->n_found], sizeof r->found[0], "%s", why);
	r->n_found++;
}

/* ---- how processes ended ---- */

/* A member's value without its quotes, "" when it is not there. */
static const char *value_of(const char *line, const char *name, char *value, size_t size)
{
	const char *at = strstr(line, name);
	value[0] = '\0';
	if (at != NULL) {
		at += strlen(name);
		at += *at == '"';
		snprintf(value, size, "%.*s", (int)strcspn(at, "\",}"), at);
	}
	return value;
}

static void count_end(struct report *r, const char *what, bool is_bad)
{
	unsigned i = 0;
	while (i < r->n_ends && strcmp(r->end[i].what, what) != 0)
		i++;
	if (i == MAX_ENDS)
		return;
	if (i == r->n_ends)
		snprintf(r->end[r->n_ends++].what, sizeof r->end[0].what, "%s", what);
	r->end[i].n++;
	r->end[i].is_bad = is_bad;
}

/* SIGKILL is ours, or the watchdog's; SIGTERM ends the fetcher of an old generation; a number that
 * an exit has is the process's own wish.  Any other signal is a crash, or the sandbox's verdict
 * (31). */
void report_ends(struct report *r, const char *log)
{
	char line[4096], process[32], how[16], what[64];
	FILE *f = fopen(log, "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		if (strstr(line, "\"event\":\"process.ended\"") == NULL)
			continue;
		value_of(line, "\"name\":", process, sizeof process);
		bool is_signal = value_of(line, "\"signal\":", how, sizeof how)[0] != '\0';
		if (!is_signal)
			value_of(line, "\"exit_code\":", how, sizeof how);
		snprintf(what, sizeof what, "%s %s %s", process, is_signal ? "signal" : "exit",
			 how);
		count_end(r, what,
			  is_signal && strcmp(how, "9") != 0 &&
				  strcmp(what, "fetcher signal 15") != 0);
	}
	if (f != NULL)
		fclose(f);
}

/* ---- sums ---- */

struct sums {
	unsigned long long requests, releases, gets, nonces, retries, connections, attestations,
		lost, wrong_keys, disabled, reattested, hostile, hostile_open, hostile_wrong;
	double quiet[3], faults[3]; /* p50, p99, p99.9 in ms */
};

static struct sums sums_of(const struct shared *all)
{
	static const double shares[3] = {0.5, 0.99, 0.999};
	const struct histogram *quiet[CLIENTS], *faults[CLIENTS];
	struct sums n = {0};
	for (unsigned i = 0; i <= CLIENTS; i++) {
		const struct tally *t = &all->client[i];
		n.requests += t->requests;
		n.releases += t->releases;
		n.gets += t->gets;
		n.nonces += t->nonces;
		n.retries += t->retries;
		n.connections += t->connections;
		n.attestations += t->attestations;
		n.lost += t->lost;
		n.wrong_keys += t->wrong_keys;
		n.disabled += t->disabled;
		n.reattested += t->reattested;
		n.hostile += t->hostile;
		n.hostile_open += t->hostile_open;
		n.hostile_wrong += t->hostile_wrong;
		if (i < CLIENTS) {
			quiet[i] = &t->quiet;
			faults[i] = &t->faults;
		}
	}
	for (unsigned i = 0; i < 3; i++) {
		n.quiet[i] = histogram_ms(quiet, CLIENTS, shares[i]);
		n.faults[i] = histogram_ms(faults, CLIENTS, shares[i]);
	}
	return n;
}

/* ---- the table ---- */

static bool is_good;

static void must(const char *what, double is, double limit, const char *unit)
{
	bool holds = is <= limit;
	printf("  %-52s %10.0f %-3s  %s\n", what, is, unit, holds ? "✓" : "✗");
	is_good &= holds;
}

static void must_none(const char *what, unsigned long long n)
{
	must(what, (double)n, 0, "");
}

static void print_growth(const struct shared *all, const struct soak *s)
{
	printf("\ngrowth of own memory (without pages of files), by a straight line through the "
	       "second half of the run; processes are replaced until its "
	       "last "
	       "%llu s\n  a process fails above 1 MiB/h, three standard errors apart, once that "
	       "makes more than its floor; or when it keeps "
	       "descriptors\n",
	       s->tail_s);
	for (unsigned i = 0; i < all->n_growth; i++) {
		const struct growth *g = &all->growth[i];
		if (!g->is_judged) {
			printf("  %-11s %6ld KiB resident   too young to judge\n", g->process,
			       g->rss_kib);
			continue;
		}
		printf("  %-11s %6ld KiB resident   %+6.0f KiB (floor %4.0f) in %4.0f s   %+8.0f ± "
		       "%.0f KiB/h   descriptors %+.0f (%+.0f/h)  %s\n",
		       g->process, g->rss_kib, g->kib, g->floor_kib, g->seconds, g->kib_per_hour,
		       g->error_kib_per_hour, g->descriptors, g->descriptors_per_hour,
		       g->is_good ? "✓" : "✗");
		is_good &= g->is_good;
	}
	if (!all->are_descriptors_seen) {
		printf("  ✗ descriptors could not be counted\n");
		is_good = false;
	}
}

static void print_faults(const struct report *r)
{
	unsigned n = 0;
	for (unsigned i = 0; i < fault_count; i++)
		n += r->fault[i].n;
	printf("\n%u faults, %.0f workers killed by the watchdog; with the time until all "
	       "processes were back\n",
	       n, r->killed_hung);
	for (unsigned i = 0; i < fault_count; i++)
		printf("  %-28s %4u   slowest %6.2f s\n", fault_table[i].name, r->fault[i].n,
		       (double)r->fault[i].slowest_ms / 1e3);
	for (unsigned i = 0; i < r->n_ends; i++)
		printf("  ended: %-28s %4u  %s\n", r->end[i].what, r->end[i].n,
		       r->end[i].is_bad ? "✗" : "");
}

static void print_ledger(const struct report *r)
{
	const struct recount *l = &r->ledger;
	printf("\nledger: %llu records, %llu releases (%llu whose reply no client got), %llu "
	       "refusals\n  refused:",
	       l->records, l->released, l->unseen, l->refused);
	for (unsigned i = 0; i < l->n_codes; i++)
		if (strcmp(l->code[i].name, "OK") != 0)
			printf(" %s %llu%s", l->code[i].name, l->code[i].n,
			       l->code[i].is_expected ? "" : " ✗");
	printf("\n");
	if (l->first[0] != '\0')
		printf("  first: %s\n", l->first);
}

static void print_latency(const char *when, const double ms[static 3])
{
	printf("  %-20s p50 %8.1f   p99 %8.1f   p99.9 %8.1f ms\n", when, ms[0], ms[1], ms[2]);
}

bool report_print(struct report *r, const struct soak *s)
{
	struct sums n = sums_of(s->all);
	const struct recount *l = &r->ledger;
	unsigned long long unexpected = 0, crashes = 0;
	is_good = true;
	printf("\n%llu requests on %llu connections, %llu fresh attestations: %llu releases, %llu "
	       "GETs, %llu nonces; %llu retries, %llu attested "
	       "again\n",
	       n.requests, n.connections, n.attestations, n.releases, n.gets, n.nonces, n.retries,
	       n.reattested);
	printf("%llu hostile requests, %llu of them unanswered while processes were away; %llu "
	       "times the disabled key was refused\n",
	       n.hostile, n.hostile_open, n.disabled);
	print_latency("quiet", n.quiet);
	print_latency("through the faults", n.faults);
	print_faults(r);
	print_ledger(r);
	print_growth(s->all, s);
	for (unsigned i = 0; i < l->n_codes; i++)
		unexpected += l->code[i].is_expected ? 0 : l->code[i].n;
	for (unsigned i = 0; i < r->n_ends; i++)
		crashes += r->end[i].is_bad ? r->end[i].n : 0;
	printf("\nSEED=%llu, %llu s\n", s->seed, s->seconds);
	must_none("requests lost", n.lost);
	must_none("wrong keys", n.wrong_keys);
	must_none("hostile requests not answered as they must be", n.hostile_wrong);
	must_none("answers without a record", l->missing);
	must_none("answers with more than one record", l->repeated + l->delivered_twice);
	must_none("records that say something else than the answer", l->other_code);
	must_none("single-use tokens used twice", l->used_twice);
	must_none("refusals by a code that nothing here explains", unexpected);
	must_none("processes that crashed, or were ended by their sandbox", crashes);
	must_none("processes left behind", r->left);
	must_none("faults that did not heal, and other findings", r->n_found);
	must("p99 through the faults", n.faults[1], p99_limit_ms - 1, "ms");
	for (unsigned i = 0; i <= CLIENTS; i++)
		for (unsigned k = 0; k < WHYS && s->all->client[i].why[k][0] != '\0'; k++)
			printf("  client %u: %s\n", i, s->all->client[i].why[k]);
	for (unsigned i = 0; i < r->n_found && i < MAX_FOUND; i++)
		printf("  found: %s\n", r->found[i]);
	printf("soak: %s\n", is_good ? "1 passed, 0 failed" : "0 passed, 1 failed");
	return is_good;
}

/* ---- the same as JSON ---- */

static json_t *latency_json(const double ms[static 3])
{
	return json_pack("{s:f, s:f, s:f}", "p50", ms[0], "p99", ms[1], "p99.9", ms[2]);
}

static void set(json_t *j, const char *name, unsigned long long n)
{
	json_object_set_new(j, name, json_integer((json_int_t)n));
}

const char *report_json(const struct report *r, const struct soak *s, const char *path)
{
	struct sums n = sums_of(s->all);
	const struct recount *l = &r->ledger;
	json_t *j = json_object(), *codes = json_object(), *faults = json_object(),
	       *ends = json_object(), *growth = json_array(), *found = json_array();
	json_object_set_new(j, "passed", json_boolean(is_good));
	json_object_set_new(j, "capacity_per_s", json_real(r->capacity));
	set(j, "seed", s->seed);
	set(j, "seconds", s->seconds);
	set(j, "requests", n.requests);
	set(j, "releases", n.releases);
	set(j, "retries", n.retries);
	set(j, "connections", n.connections);
	set(j, "attestations", n.attestations);
	set(j, "hostile", n.hostile);
	set(j, "hostile_unanswered", n.hostile_open);
	set(j, "hostile_wrong", n.hostile_wrong);
	set(j, "lost", n.lost);
	set(j, "wrong_keys", n.wrong_keys);
	set(j, "records", l->records);
	set(j, "answers_without_record", l->missing);
	set(j, "answers_with_two_records", l->repeated + l->delivered_twice);
	set(j, "other_code", l->other_code);
	set(j, "used_twice", l->used_twice);
	set(j, "recorded_but_not_received", l->unseen);
	set(j, "processes_left", r->left);
	for (unsigned i = 0; i < l->n_codes; i++)
		set(codes, l->code[i].name, l->code[i].n);
	for (unsigned i = 0; i < fault_count; i++)
		json_object_set_new(faults, fault_table[i].name,
				    json_pack("{s:i, s:I}", "n", r->fault[i].n, "slowest_ms",
					      (json_int_t)r->fault[i].slowest_ms));
	for (unsigned i = 0; i < r->n_ends; i++)
		set(ends, r->end[i].what, r->end[i].n);
	for (unsigned i = 0; i < s->all->n_growth; i++) {
		const struct growth *g = &s->all->growth[i];
		json_array_append_new(
			growth,
			json_pack("{s:s, s:b, s:b, s:f, s:f, s:f, s:f, s:f}", "process", g->process,
				  "judged", g->is_judged, "good", g->is_good, "seconds", g->seconds,
				  "kib", g->kib, "kib_per_hour", g->kib_per_hour, "descriptors",
				  g->descriptors, "descriptors_per_hour", g->descriptors_per_hour));
	}
	for (unsigned i = 0; i < r->n_found && i < MAX_FOUND; i++)
		json_array_append_new(found, json_string(r->found[i]));
	json_object_set_new(j, "codes", codes);
	json_object_set_new(j, "faults", faults);
	json_object_set_new(j, "processes_ended", ends);
	json_object_set_new(j, "growth", growth);
	json_object_set_new(j, "found", found);
	json_object_set_new(j, "latency_quiet_ms", latency_json(n.quiet));
	json_object_set_new(j, "latency_faults_ms", latency_json(n.faults));
	int failed = json_dump_file(j, path, JSON_INDENT(2));
	json_decref(j);
	return failed == 0 ? NULL : wrong("%s cannot be written", path);
}
