/* tests/soak/recount.c — every answer that a client was given, against the ledger: exactly one
 * record, with the outcome and the code that the client saw. Reads files of any size in passes,
 * each over a share of the request ids: memory is that of one share.  Trusts neither side. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "tests/soak/soak.h"

enum { SHARE = 1 << 20, TABLE = 1 << 21 };

struct entry {
	uint8_t id[16]; /* all zero: free */
	uint8_t code, seen;
};
struct table {
	struct entry *entry;
	unsigned used;
};
struct pass {
	unsigned share, shares;
	struct table ids, used; /* request ids; single-use tokens */
	struct recount *out;
};

void ids_path(const struct soak *s, unsigned index, char *path, size_t size)
{
	snprintf(path, size, "%s/answers-%u", s->in.dir, index);
}

static void found(struct recount *out, unsigned long long *what, const char *fmt, const char *text)
{
	if ((*what)++ == 0 && out->first[0] == '\0')
		snprintf(out->first, sizeof out->first, "%s: %.80s", fmt, text);
}

/* ---- tables ---- */

static uint64_t hash(const uint8_t id[static 16])
{
	uint64_t h = 0;
	for (unsigned i = 0; i < 16; i++)
		h = (h ^ id[i]) * UINT64_C(0x100000001b3);
	return h ^ h >> 29;
}

/* The id's entry, or the free one where it belongs. */
static struct entry *find(const struct table *t, const uint8_t id[static 16])
{
	static const uint8_t zero[16];
	uint64_t at = hash(id);
	while (memcmp(t->entry[at % TABLE].id, zero, 16) != 0 &&
	       memcmp(t->entry[at % TABLE].id, id, 16) != 0)
		at++;
	return &t->entry[at % TABLE];
}

/* true: it was there */
static bool add(struct table *t, const uint8_t id[static 16], struct entry **e)
{
	*e = find(t, id);
	if (memcmp((*e)->id, id, 16) == 0)
		return true;
	if (++t->used >= TABLE - 1)
		abort(); /* a share is half of this: the hash would have to be very bad */
	memcpy((*e)->id, id, 16);
	return false;
}

/* 16 bytes of hexadecimal text, hyphens allowed. */
static bool read_id(const char *text, uint8_t id[static 16])
{
	unsigned n = 0;
	for (; n < 32; text++) {
		static const char digits[] = "0123456789abcdef";
		const char *digit = *text == '\0' ? NULL : strchr(digits, *text);
		if (*text == '-')
			continue;
		if (digit == NULL)
			return false;
		id[n / 2] = (uint8_t)(id[n / 2] << 4 | (digit - digits));
		n++;
	}
	return true;
}

static unsigned code_index(struct recount *out, const char *name)
{
	unsigned i = 0;
	while (i < out->n_codes && strcmp(out->code[i].name, name) != 0)
		i++;
	if (i == out->n_codes && i < CODES - 1)
		snprintf(out->code[out->n_codes++].name, sizeof out->code[0].name, "%s", name);
	return i;
}

/* ---- the clients' side ---- */

static const char *read_answers(struct soak *s, unsigned index, struct pass *p)
{
	char path[160], text[40], code[32];
	uint8_t id[16] = {0};
	struct entry *e;
	const char *why = NULL;
	ids_path(s, index, path, sizeof path);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return wrong("%s cannot be read", path);
	while (why == NULL && fscanf(f, "%39s %31s", text, code) == 2) {
		if (!read_id(text, id)) {
			why = wrong("an answer came without a request id: %s %s", text, code);
		} else if (hash(id) / TABLE % p->shares == p->share) {
			p->out->ids++;
			if (add(&p->ids, id, &e))
				found(p->out, &p->out->delivered_twice,
				      "one request id in two answers", text);
			e->code = (uint8_t)code_index(p->out, code);
		}
	}
	fclose(f);
	return why;
}

/* ---- the ledger's side ---- */

/* A member's text value, which has no escapes where we look. */
static bool member(const char *line, const char *name, char *value, size_t size)
{
	const char *at = strstr(line, name);
	if (at == NULL)
		return false;
	at += strlen(name);
	snprintf(value, size, "%.*s", (int)strcspn(at, "\""), at);
	return true;
}

static void take_line(struct pass *p, const char *line)
{
	char request[64], outcome[16], code[32], replay[80];
	uint8_t id[16] = {0};
	struct entry *e;
	struct recount *out = p->out;
	if (strstr(line, "\"event\":\"release\"") == NULL ||
	    !member(line, "\"request\":\"", request, sizeof request) ||
	    !member(line, "\"outcome\":\"", outcome, sizeof outcome) ||
	    !member(line, "\"code\":\"", code, sizeof code) || !read_id(request, id))
		return;
	bool is_release = strcmp(outcome, "released") == 0;
	if (hash(id) / TABLE % p->shares == p->share) {
		unsigned at = code_index(out, code);
		out->records++;
		out->code[at].n++;
		out->released += is_release;
		out->refused += !is_release;
		e = find(&p->ids, id);
		if (memcmp(e->id, id, 16) != 0) {
			out->unseen += is_release;
		} else {
			if (e->seen != 0)
				found(out, &out->repeated, "two records of one request", request);
			e->seen = 1;
			if (e->code != at || is_release != (strcmp(code, "OK") == 0))
				found(out, &out->other_code, "the record says something else",
				      wrong("%s %s", request, code));
		}
	}
	if (is_release && member(line, "\"replay\":\"", replay, sizeof replay) &&
	    read_id(replay, id) && hash(id) / TABLE % p->shares == p->share &&
	    add(&p->used, id, &e))
		found(out, &out->used_twice, "a single-use token was used twice", request);
}

static int is_segment(const struct dirent *e)
{
	const char *dot = strrchr(e->d_name, '.');
	return dot != NULL && strcmp(dot, ".jsonl") == 0;
}

static const char *read_ledger(struct soak *s, struct pass *p)
{
	char dir[128], path[512], *line = NULL;
	size_t cap = 0;
	struct dirent **names = NULL;
	snprintf(dir, sizeof dir, "%s/state/ledger", s->in.dir);
	int n = scandir(dir, &names, is_segment, alphasort);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
		FILE *f = fopen(path, "re");
		while (f != NULL && getline(&line, &cap, f) > 0)
			take_line(p, line);
		if (f != NULL)
			fclose(f);
		free(names[i]);
	}
	free(names);
	free(line);
	return n > 0 ? NULL : "no ledger";
}

/* ---- */

/* What may happen to a request here: what the hostile ones are refused with, and what a fault does
 * to a good one. */
static bool is_expected(const char *code)
{
	static const char *const all[] = {"OK",           "TOKEN_SIGNATURE", "TOKEN_ALG",
					  "JSON_DEPTH",   "TOKEN_FORMAT",    "EXPIRED",
					  "NOT_YET",      "ISSUER",          "KID_UNKNOWN",
					  "KID_PENDING",  "DEBUG_EVIDENCE",  "POLICY",
					  "KEY_BINDING",  "KEY_PRIVATE",     "REPLAY",
					  "KEY_DISABLED", "KEY_NOT_FOUND",   "ISSUER_UNAVAILABLE"};
	for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++)
		if (strcmp(code, all[i]) == 0)
			return true;
	return strncmp(code, "HSM", 3) == 0;
}

const char *recount(struct soak *s, unsigned n_files, struct recount *out)
{
	unsigned long long all = 0;
	const char *why = NULL;
	struct pass p = {.out = out, .shares = 1};
	memset(out, 0, sizeof *out);
	for (unsigned i = 0; i <= CLIENTS; i++)
		all += s->all->client[i].requests + s->all->client[i].retries +
		       s->all->client[i].hostile;
	p.shares = (unsigned)(all / SHARE) + 1;
	p.ids.entry = malloc(TABLE * sizeof *p.ids.entry);
	p.used.entry = malloc(TABLE * sizeof *p.used.entry);
	if (p.ids.entry == NULL || p.used.entry == NULL)
		why = "no memory";
	for (p.share = 0; p.share < p.shares && why == NULL; p.share++) {
		memset(p.ids.entry, 0, TABLE * sizeof *p.ids.entry);
		memset(p.used.entry, 0, TABLE * sizeof *p.used.entry);
		p.ids.used = p.used.used = 0;
		for (unsigned i = 0; i < n_files && why == NULL; i++)
			why = read_answers(s, i, &p);
		if (why == NULL)
			why = read_ledger(s, &p);
		for (unsigned i = 0; i < TABLE && why == NULL; i++)
			if (memcmp(p.ids.entry[i].id, (const uint8_t[16]){0}, 16) != 0 &&
			    p.ids.entry[i].seen == 0)
				found(out, &out->missing, "an answer without a record",
				      out->code[p.ids.entry[i].code].name);
	}
	for (unsigned i = 0; i < out->n_codes; i++)
		out->code[i].is_expected = is_expected(out->code[i].name);
	free(p.ids.entry);
	free(p.used.entry);
	return why;
}
