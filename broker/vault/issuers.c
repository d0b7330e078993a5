/* broker/vault/issuers.c — key sets of the token issuers.  Decides which set is in force: the
 * newest one that parses, unless it is too old or of a time that is to come, and whether a key that
 * it does not have may still come.  Trusts the fetcher's files for origin and time (keyset.c checks
 * both); parses their keys itself.  Must never hand out a set older than max_stale_s. */
#include "vault/issuers.h"

#include <sys/socket.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/limits.h"
#include "base/log.h"
#include "policy/jwks.h"
#include "process/keyset.h"
#include "process/process.h"

static enum kb_err parse_keys(struct vault_issuer *issuer, struct span document)
{
	struct jwks *keys;
	struct jwks_report report;
	uint8_t digest[32];
	KB_AUTO(buf) struct buf why;

	buf_init(&why, JWKS_REPORT_BYTES);
	/* Fetched again without a change, as tokens of strangers can have it. */
	digest_sha256(document, digest);
	if (issuer->keys != NULL && memcmp(digest, issuer->digest, sizeof digest) == 0)
		return KB_OK;
	enum kb_err err = jwks_parse(document, &keys, &report);

	jwks_report_text(&report, &why);
	buf_add(&why, "", 1);
	const char *text = buf_ok(&why) == KB_OK ? (const char *)why.p : "";
	if (err != KB_OK) {
		log_event(LOG_WARN, "jwks.rejected", "issuer", issuer->config->rules.name, "err",
			  kb_err_name(err), "why", text, NULL);
		return err;
	}
	jwks_free(issuer->keys);
	issuer->keys = keys;
	memcpy(issuer->digest, digest, sizeof digest);
	log_event(LOG_INFO, "jwks.loaded", "issuer", issuer->config->rules.name, "keys",
		  log_i64(report.kept), "dropped", log_i64(report.dropped), "first_drop",
		  kb_err_name(report.first_drop), "why", text, NULL);
	return KB_OK;
}

/* What /readyz shows; a change is an event. */
static void publish(const struct vault_issuer *issuer, enum kb_err fault)
{
	struct issuer_use *use = issuer->use;
	const unsigned before = atomic_load_explicit(&use->fault, memory_order_relaxed);

	if (before != (unsigned)fault && (fault == KB_E_KEYSET_AHEAD || fault == KB_E_KEYSET_STALE))
		log_event(LOG_WARN, "jwks.unusable", "issuer", issuer->config->rules.name, "err",
			  kb_err_name(fault), "fetched", log_i64(issuer->fetched_s), NULL);
	atomic_store_explicit(&use->fetched_s, issuer->fetched_s, memory_order_relaxed);
	atomic_store_explicit(&use->keys,
			      issuer->keys == NULL ? 0 : (unsigned)jwks_count(issuer->keys),
			      memory_order_relaxed);
	atomic_store_explicit(&use->fault, fault, memory_order_relaxed);
	atomic_store_explicit(&use->is_in_use, fault == KB_OK, memory_order_relaxed);
}

enum kb_err vault_issuer_open(struct vault_issuer *issuer, const struct issuer_config *config,
			      uint32_t index, const struct process_start *start,
			      const char *state_dir)
{
	*issuer = (struct vault_issuer){.config = config,
					.start = start,
					.index = index,
					.use = &start->page->use[index],
					.asked_s = -1};
	config_origin(config, &issuer->origin);
	if (config->source != KEYS_JWKS_FILE) {
		(void)vault_issuer_keys(issuer, state_dir, clock_wall_s());
		return KB_OK;
	}
	enum kb_err err = parse_keys(issuer, config->jwks_file);
	publish(issuer, err);
	return err;
}

const struct jwks *vault_issuer_keys(struct vault_issuer *issuer, const char *state_dir,
				     int64_t now_s)
{
	const char *name = issuer->config->rules.name;
	int64_t age_s;

	if (issuer->config->source == KEYS_JWKS_FILE)
		return issuer->keys; /* pinned: as old as the configuration */
	uint64_t stamp = keyset_stamp(state_dir, name, &issuer->origin);
	if (stamp != 0 && stamp != issuer->stamp) {
		struct keyset set;
		if (keyset_read(state_dir, name, &issuer->origin, &set) == KB_OK) {
			/* A set that does not parse does not replace the old one.  Its stamp is
			 * saved all the same, so that it is parsed once. */
			if (parse_keys(issuer, set.document) == KB_OK) {
				issuer->before_s = issuer->fetched_s;
				issuer->fetched_s = set.fetched_s;
			}
			issuer->stamp = stamp;
			keyset_free(&set);
		}
	}
	enum kb_err err = issuer->keys == NULL ? KB_E_ISSUER_UNAVAILABLE
					       : keyset_age(issuer->fetched_s, now_s,
							    issuer->config->max_stale_s, &age_s);
	publish(issuer, err);
	return err == KB_OK ? issuer->keys : NULL;
}

/* ---- keys that are not there ---- */

/* When the fetcher last tried; 0: never, or it says a time that may not be used. */
static int64_t tried_s(const struct vault_issuer *issuer, int64_t now_s)
{
	const struct issuer_fetch *fetch =
		shared_fetch(issuer->start->shared, issuer->start->generation);
	int64_t at_s = fetch == NULL ? 0 : atomic_load(&fetch[issuer->index].attempt_s), age_s;

	return clock_age(at_s, now_s, &age_s) ? at_s : 0;
}

/* Once for each set; again when that had no effect within min_interval_s. */
static void ask_fetcher(struct vault_issuer *issuer, int64_t now_s)
{
	if (issuer->asked_s == issuer->fetched_s &&
	    now_s - tried_s(issuer, now_s) < issuer->config->min_interval_s)
		return;
	issuer->asked_s = issuer->fetched_s;
	/* When the socket is full the fetcher has requests enough to wake up. */
	(void)send(FD_VAULT_FETCHER, &issuer->index, sizeof issuer->index,
		   MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A kid and the set that did not have it. */
static uint64_t miss_of(struct span kid, int64_t fetched_s)
{
	uint32_t hash = 2166136261U; /* FNV-1a: a collision makes a no come one fetch earlier */

	for (size_t i = 0; i < kid.len; i++)
		hash = (hash ^ kid.p[i]) * 16777619U;
	return (uint64_t)hash << 32 | (uint32_t)fetched_s;
}

/* A worker of this generation has noted it. */
static bool is_noted(const struct vault_issuer *issuer, uint64_t miss)
{
	const struct shared *shared = issuer->start->shared;

	for (unsigned i = SLOT_FIRST; i < PROCESS_SLOTS; i++) {
		if (!shared_is(shared, i, PROCESS_VAULT, issuer->start->generation))
			continue;
		const struct issuer_use *use = &shared->page[i]->use[issuer->index];
		for (unsigned m = 0; m < KB_KID_MISSES; m++)
			if (atomic_load_explicit(&use->missed[m], memory_order_relaxed) == miss)
				return true;
	}
	return false;
}

bool vault_issuer_may_change(struct vault_issuer *issuer, struct span kid, int64_t now_s,
			     uint16_t *retry_s)
{
	int64_t age_s;

	*retry_s = KB_RETRY_AFTER_S;
	if (issuer->config->source == KEYS_JWKS_FILE)
		return false;
	/* The newest attempt has brought nothing yet: it is under way, or it failed.  What it began
	 * with may be older than this token, so it is not the fetch that makes a no final. */
	if (atomic_load(&issuer->use->is_in_use) == 0 ||
	    tried_s(issuer, now_s) > issuer->fetched_s) {
		ask_fetcher(issuer, now_s);
		return true;
	}
	const uint64_t miss = miss_of(kid, issuer->fetched_s);
	if (!clock_age(issuer->fetched_s, now_s, &age_s))
		return true; /* not in use, which was asked above */
	const int64_t left_s = issuer->config->min_interval_s - age_s;
	if (left_s > 0 && issuer->before_s != 0 && is_noted(issuer, miss_of(kid, issuer->before_s)))
		return false;
	if (!is_noted(issuer, miss))
		atomic_store_explicit(&issuer->use->missed[issuer->next_miss++ % KB_KID_MISSES],
				      miss, memory_order_relaxed);
	ask_fetcher(issuer, now_s);
	if (left_s > KB_RETRY_AFTER_S)
		*retry_s = (uint16_t)left_s; /* min_interval is at most an hour */
	return true;
}
