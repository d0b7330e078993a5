/* broker/vault/issuers.c — key sets of the token issuers.  Decides which set is in force: the
 * newest one that parses, unless it is too old.  Trusts the fetcher's files for origin and time
 * (keyset.c checks both); parses their keys itself.  Must never hand out a set older than
 * max_stale_s. */
#include "vault/issuers.h"

#include <sys/socket.h>

#include "base/log.h"
#include "policy/jwks.h"
#include "process/keyset.h"
#include "process/process.h"

static enum kb_err parse_keys(struct vault_issuer *issuer, struct span document)
{
	struct jwks *keys;
	struct jwks_report report;
	KB_AUTO(buf) struct buf why;
	enum kb_err err = jwks_parse(document, &keys, &report);

	buf_init(&why, JWKS_REPORT_BYTES);
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
	log_event(LOG_INFO, "jwks.loaded", "issuer", issuer->config->rules.name, "keys",
		  log_i64(report.kept), "dropped", log_i64(report.dropped), "first_drop",
		  kb_err_name(report.first_drop), "why", text, NULL);
	return KB_OK;
}

static void publish(const struct vault_issuer *issuer, bool is_in_use, enum kb_err fault)
{
	atomic_store_explicit(&issuer->use->fetched_s, issuer->fetched_s, memory_order_relaxed);
	atomic_store_explicit(&issuer->use->fault, fault, memory_order_relaxed);
	atomic_store_explicit(&issuer->use->is_in_use, is_in_use, memory_order_relaxed);
}

enum kb_err vault_issuer_open(struct vault_issuer *issuer, const struct issuer_config *config,
			      uint32_t index, const struct process_start *start)
{
	*issuer = (struct vault_issuer){
		.config = config, .start = start, .index = index, .use = &start->page->use[index]};
	config_origin(config, &issuer->origin);
	if (config->source != KEYS_JWKS_FILE)
		return KB_OK;
	enum kb_err err = parse_keys(issuer, config->jwks_file);
	publish(issuer, err == KB_OK, err);
	return err;
}

const struct jwks *vault_issuer_keys(struct vault_issuer *issuer, const char *state_dir,
				     int64_t now_s)
{
	const char *name = issuer->config->rules.name;

	if (issuer->config->source == KEYS_JWKS_FILE)
		return issuer->keys; /* pinned: as old as the configuration */
	uint64_t stamp = keyset_stamp(state_dir, name, &issuer->origin);
	if (stamp != 0 && stamp != issuer->stamp) {
		struct keyset set;
		if (keyset_read(state_dir, name, &issuer->origin, &set) == KB_OK) {
			/* A set that does not parse does not replace the old one.  Its stamp is
			 * saved all the same, so that it is parsed once. */
			if (parse_keys(issuer, set.document) == KB_OK)
				issuer->fetched_s = set.fetched_s;
			issuer->stamp = stamp;
			keyset_free(&set);
		}
	}
	bool is_usable =
		issuer->keys != NULL && now_s - issuer->fetched_s <= issuer->config->max_stale_s;
	publish(issuer, is_usable, is_usable ? KB_OK : KB_E_ISSUER_UNAVAILABLE);
	return is_usable ? issuer->keys : NULL;
}

/* When the fetcher last tried; 0: never, or it says a time that is to come. */
static int64_t tried_s(const struct vault_issuer *issuer, int64_t now_s)
{
	const struct issuer_fetch *fetch =
		shared_fetch(issuer->start->shared, issuer->start->generation);
	int64_t at_s = fetch == NULL ? 0 : atomic_load(&fetch[issuer->index].attempt_s);

	return at_s > 0 && at_s <= now_s ? at_s : 0;
}

bool vault_issuer_fetch(const struct vault_issuer *issuer, int64_t now_s)
{
	if (now_s - tried_s(issuer, now_s) < issuer->config->min_interval_s)
		return false;
	/* When the socket is full the fetcher has requests enough to wake up. */
	(void)send(FD_VAULT_FETCHER, &issuer->index, sizeof issuer->index,
		   MSG_DONTWAIT | MSG_NOSIGNAL);
	return true;
}

bool vault_issuer_is_fetching(const struct vault_issuer *issuer, int64_t now_s)
{
	return tried_s(issuer, now_s) > issuer->fetched_s;
}
