/* tests/e2e/invariants.c — looks at the running broker from outside: files, /proc, metrics, one
 * more release. Trusts the kernel and the ledger's file, not what the broker says of itself, but
 * for I2: how often the HSM worked is only in its metrics. */
#include "tests/e2e/invariants.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	MOST_SECRETS = 16,
	WARM_UP = 24,
	PATIENCE_MS = 10000,
	GOOD_MS = 1000,
	GOOD_TRIES = 4,
	SLACK_KIB = 1536,
	IN_FLIGHT = 128
};

static const char *const process_names[] = {"gateway", "vault", "ledger", "fetcher"};
enum { PROCESSES = 4, VAULT = 1 };

struct measure {
	long rss_kib;
	unsigned fds;
};

static const struct good *good;
static struct measure before[PROCESSES];
/* A secret in the three spellings it could leak in. */
static struct spelling {
	char *bytes;
	size_t len;
	const char *how;
} secret[MOST_SECRETS * 3];
static size_t n_secrets;
static char pin[256];

/* ---- I3: secrets ---- */

static void remember(const char *bytes, size_t len, const char *how)
{
	for (size_t i = 0; i < n_secrets; i++)
		if (secret[i].len == len && memcmp(secret[i].bytes, bytes, len) == 0)
			return;
	if (n_secrets == sizeof secret / sizeof secret[0] ||
	    (secret[n_secrets].bytes = malloc(len)) == NULL)
		abort();
	memcpy(secret[n_secrets].bytes, bytes, len);
	secret[n_secrets].how = how;
	secret[n_secrets++].len = len;
}

void invariants_secret(const void *bytes, size_t len)
{
	char hex[2 * 64 + 1];
	char *b64 = proof_b64url_text(
		bytes, len - len % 3); /* whole groups: it is found inside a longer text, too */

	if (len < 12)
		abort(); /* would be found by chance */
	for (size_t i = 0; i < len && i < 64; i++)
		snprintf(hex + 2 * i, 3, "%02x", ((const uint8_t *)bytes)[i]);
	remember(bytes, len, "a secret's bytes");
	remember(hex, strlen(hex), "a secret in hexadecimal");
	remember(b64, strlen(b64), "a secret in base64url");
	free(b64);
}

const char *invariants_search(const void *bytes, size_t len)
{
	for (size_t i = 0; i < n_secrets; i++)
		if (memmem(bytes, len, secret[i].bytes, secret[i].len) != NULL)
			return secret[i].how;
	return NULL;
}

static const char *search_file(const char *path)
{
	enum { CHUNK = 1 << 20, OVERLAP = 512 };
	static char text[OVERLAP + CHUNK];
	size_t kept = 0;
	const char *found = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	for (ssize_t n; fd >= 0 && found == NULL && (n = read(fd, text + kept, CHUNK)) > 0;) {
		size_t len = kept + (size_t)n;
		found = invariants_search(text, len);
		kept = len < OVERLAP ? len : OVERLAP;
		memmove(text, text + len - kept, kept);
	}
	if (fd >= 0)
		close(fd);
	return found == NULL ? NULL : wrong("I3: %s in %s", found, path);
}

/* Only root can look: the processes are undumpable. */
static const char *search_memory(pid_t pid, const char *process)
{
	enum { LARGEST = 256 << 20 }; /* above that it is a sanitizer's shadow */
	static char *text;
	char path[64], line[512];
	const char *found = NULL;
	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	FILE *maps = fopen(path, "r");
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	int mem = open(path, O_RDONLY | O_CLOEXEC);
	if (text == NULL && (text = malloc(LARGEST)) == NULL)
		abort();
	while (maps != NULL && mem >= 0 && found == NULL &&
	       fgets(line, sizeof line, maps) != NULL) {
		unsigned long from, to;
		char rights[8];
		if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 ||
		    strncmp(rights, "rw", 2) != 0 || to - from > LARGEST ||
		    strstr(line, "[v") != NULL)
			continue;
		ssize_t n = pread(mem, text, to - from, (off_t)from);
		if (n > 0)
			found = invariants_search(text, (size_t)n);
	}
	if (maps != NULL)
		fclose(maps);
	if (mem >= 0)
		close(mem);
	return found == NULL ? NULL : wrong("I3: %s in the memory of %s", found, process);
}

static const char *no_secret_outside(struct instance *in)
{
	const char *why = search_file(in->log);
	char *text = ledger_text(in);
	const char *found = invariants_search(text, strlen(text));
	free(text);
	if (why == NULL && found != NULL)
		why = wrong("I3: %s in the ledger", found);
	for (unsigned r = 0; r < PROCESSES && why == NULL && geteuid() == 0; r++) {
		char process[32];
		snprintf(process, sizeof process, "--process %s", process_names[r]);
		pid_t pid;
		for (unsigned nth = 0;
		     r != VAULT && why == NULL && (pid = broker_process(in, process, nth)) > 0;
		     nth++)
			why = search_memory(pid, process_names[r]);
	}
	return why;
}

/* ---- I1 and I7: the ledger ---- */

static bool has_release_record(struct instance *in, const char *request_id)
{
	char part[96];
	bool found = false;
	snprintf(part, sizeof part, "\"request\":\"%s\"", request_id);
	char *text = ledger_text(in);
	for (char *line = text, *end; line != NULL && (end = strchr(line, '\n')) != NULL;
	     line = end + 1) {
		*end = '\0';
		found = found || (strstr(line, part) != NULL &&
				  strstr(line, "\"outcome\":\"released\"") != NULL);
	}
	free(text);
	return found;
}

const char *invariants_reply(struct instance *in, const struct reply *r)
{
	char id[64];
	const char *found = invariants_search(r->head, strlen(r->head));
	if (found == NULL && r->body != NULL)
		found = invariants_search(r->body, r->len);
	if (found != NULL)
		return wrong("I3: %s in a reply", found);
	if (r->status != 200 || r->body == NULL || strncmp(r->body, "{\"value\":\"", 10) != 0)
		return NULL;
	reply_header(r, "x-ms-request-id", id, sizeof id);
	return has_release_record(in, id)
		       ? NULL
		       : wrong("I1: reply %s carries a key and has no record", id);
}

static const char *ledger_verifies(struct instance *in)
{
	char *out = NULL;
	const char *why = NULL;
	if (CTL(in, &out, "ledger", "verify") != 0)
		why = wrong("I7: %.300s", out == NULL ? "" : out);
	free(out);
	return why;
}

/* ---- I2: what the HSM did ---- */

/* Sum of all lines of a metric whose labels contain one of the codes (NULL: any). */
static double sum_of(const char *text, const char *name, const char *const *codes)
{
	double sum = 0;
	size_t n = strlen(name);
	for (const char *line = text; line != NULL && *line != '\0';
	     line = strchr(line, '\n') == NULL ? NULL : strchr(line, '\n') + 1) {
		if (strncmp(line, name, n) != 0 || (line[n] != ' ' && line[n] != '{'))
			continue;
		size_t len = strcspn(line, "\n");
		const char *value = memrchr(line, ' ', len);
		bool counts = codes == NULL;
		for (size_t i = 0; codes != NULL && codes[i] != NULL; i++)
			counts = counts || memmem(line, len, codes[i], strlen(codes[i])) != NULL;
		if (counts && value != NULL)
			sum += strtod(value, NULL);
	}
	return sum;
}

/* Only a request that was granted a key gets as far as the HSM: then there is a release, or a
 * refusal that comes after the grant, or the process ended before its answer. */
static const char *no_work_without_grant(struct instance *in)
{
	static const char *const after_grant[] = {"code=\"HSM",
						  "code=\"WRAP",
						  "code=\"REPLAY",
						  "code=\"LEDGER",
						  "code=\"PROCESS_LOST",
						  "code=\"NO_MEMORY",
						  NULL};
	char *text = NULL;
	if (metrics_get(in, "/metrics", &text) != 200) {
		free(text);
		return "I2: no metrics";
	}
	double worked = sum_of(text, "keybroker_hsm_seconds_count", NULL);
	double granted = sum_of(text, "keybroker_releases_total", NULL) +
			 sum_of(text, "keybroker_refusals_total", after_grant) +
			 IN_FLIGHT * sum_of(text, "keybroker_process_restarts_total", NULL);
	free(text);
	return worked <= granted
		       ? NULL
		       : wrong("I2: the HSM worked for %.0f requests, %.0f were granted a key",
			       worked, granted);
}

/* ---- I4 and I5 ---- */

static const char *one_release(struct instance *in, unsigned long long *took_ms)
{
	struct released got = {0};
	struct reply r = {0};
	struct link *l = NULL;
	unsigned long long from = now_ms();
	struct expect want = good->want;
	want.name = good->ask.name;
	want.version = good->ask.version;
	want.api_version = good->ask.api_version == NULL ? "7.4" : good->ask.api_version;
	want.enc = good->ask.enc;
	want.nonce = good->ask.nonce;
	const char *why = link_open(&in->at, &l);
	if (why == NULL)
		why = guest_ask(l, &good->ask, &r);
	*took_ms = now_ms() - from;
	if (why == NULL && r.status != 200)
		why = wrong("status %d %.200s", r.status, r.body);
	if (why == NULL && (why = proof_open(r.body, r.len, &want, &got)) == NULL) {
		if (got.plain_len != good->plain_len ||
		    memcmp(got.plain, good->plain, good->plain_len) != 0)
			why = "another key";
		released_free(&got);
	}
	if (why == NULL)
		why = invariants_reply(in, &r);
	reply_free(&r);
	link_close(l);
	return why;
}

static const char *good_request_succeeds(struct instance *in)
{
	unsigned long long took = 0;
	const char *why = NULL;
	/* A busy machine may delay any of them: a broker that is in trouble is slow with all. */
	for (unsigned i = 0; i < GOOD_TRIES; i++) {
		why = one_release(in, &took);
		if (why == NULL && took < GOOD_MS)
			return NULL;
	}
	return why != NULL ? wrong("I4: %s", why)
			   : wrong("I4: %u good requests were slow, the last one took %llu ms",
				   GOOD_TRIES, took);
}

static struct measure measure_process(pid_t pid)
{
	struct measure m = {0};
	char path[64], line[256];
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	FILE *f = fopen(path, "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		sscanf(line, "RssAnon: %ld",
		       &m.rss_kib); /* looking into a process maps its files' pages */
	if (f != NULL)
		fclose(f);
	for (int fd = 0; fd < 4096; fd++) {
		snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
		char to[8];
		m.fds += readlink(path, to, sizeof to) > 0;
	}
	return m;
}

/* The largest of each kind. */
static void measure_processes(struct instance *in, struct measure out[static PROCESSES])
{
	for (unsigned r = 0; r < PROCESSES; r++) {
		char process[32];
		pid_t pid;
		out[r] = (struct measure){0};
		snprintf(process, sizeof process, "--process %s", process_names[r]);
		for (unsigned nth = 0; (pid = broker_process(in, process, nth)) > 0; nth++) {
			struct measure m = measure_process(pid);
			if (m.rss_kib > out[r].rss_kib)
				out[r].rss_kib = m.rss_kib;
			if (m.fds > out[r].fds)
				out[r].fds = m.fds;
		}
	}
}

static const char *resources_as_before(struct instance *in)
{
	struct measure now[PROCESSES];
	measure_processes(in, now);
	for (unsigned r = 0; r < PROCESSES; r++) {
		if (now[r].fds > before[r].fds)
			return wrong("I5: %s has %u descriptors, before %u", process_names[r],
				     now[r].fds, before[r].fds);
#ifndef __SANITIZE_ADDRESS__ /* it keeps freed memory back */
		if (now[r].rss_kib > before[r].rss_kib + before[r].rss_kib / 10 + SLACK_KIB)
			return wrong("I5: %s has %ld KiB, before %ld", process_names[r],
				     now[r].rss_kib, before[r].rss_kib);
#endif
	}
	return NULL;
}

/* ---- all of them ---- */

static const char *within(struct instance *in, const char *(*check)(struct instance *))
{
	unsigned long long end = now_ms() + PATIENCE_MS;
	const char *why;
	while ((why = check(in)) != NULL && now_ms() < end)
		sleep_ms(50);
	return why;
}

const char *invariants_begin(struct instance *in, const struct good *g)
{
	char path[160];
	const char *why = NULL;
	unsigned long long took;
	good = g;
	snprintf(path, sizeof path, "%s/hsm/pin", in->dir);
	FILE *f = fopen(path, "r");
	if (f == NULL || fgets(pin, sizeof pin, f) == NULL)
		why = wrong("%s: %s", path, strerror(errno));
	if (f != NULL)
		fclose(f);
	pin[strcspn(pin, "\r\n")] = '\0';
	if (why == NULL) {
		invariants_secret(pin, strlen(pin));
		invariants_secret(g->plain, g->plain_len);
	}
	for (unsigned i = 0; why == NULL && i < WARM_UP; i++)
		why = one_release(in, &took);
	if (why == NULL)
		measure_processes(in, before);
	return why;
}

void invariants_allow(const char *process, unsigned fds)
{
	for (unsigned r = 0; r < PROCESSES; r++)
		if (strcmp(process_names[r], process) == 0 && before[r].fds < fds)
			before[r].fds = fds;
}

const char *invariants_hold(struct instance *in)
{
	const char *why = good_request_succeeds(in); /* I4, I1 */
	if (why == NULL)
		why = within(in, no_work_without_grant);
	if (why == NULL)
		why = no_secret_outside(in);
	if (why == NULL)
		why = within(in, resources_as_before);
	if (why == NULL)
		why = broker_log_clean(in) == NULL ? NULL : "I6: the broker's log is not clean";
	return why != NULL ? why : ledger_verifies(in);
}
