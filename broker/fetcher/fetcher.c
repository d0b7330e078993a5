/* broker/fetcher/fetcher.c — the fetcher process: fetches each issuer's metadata and key set and
 * writes the set to state/issuers.  Decides when to fetch, and whether the document is a key set;
 * the vaults parse it again.  Trusts TLS for the origin.  Holds nothing secret.  Must never replace
 * a key set by a document that is none, nor let one issuer wait for another. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "fetcher/fetch.h"
#include "policy/jwks.h"
#include "process/attempt.h"
#include "process/confine.h"
#include "process/frame.h"
#include "process/keyset.h"
#include "process/process.h"

enum {
	/* Between attempts without a usable set: ready again within 5 s after the issuer is. */
	COLD_MS = 2000,
	COLD_LATER_MS = 4000, /* … after COLD_ATTEMPTS */
	COLD_ATTEMPTS = 5,
	BACKOFF_MAX_S = 300,
	LOG_AGAIN_MS = 60000, /* at most one line for each changed cause of a lasting failure */
	TICK_MS = 1000,
	MAX_METADATA = 64 * 1024,
	MAX_URL = 1024,
};

enum phase { PHASE_IDLE, PHASE_METADATA, PHASE_KEYS };

struct feed { /* one issuer */
	const struct issuer_config *config;
	struct keyset_origin origin;
	struct issuer_fetch *slot; /* in our page */
	enum phase phase;
	struct fetch *fetch; /* under way, NULL in PHASE_IDLE */
	char *url;           /* of PHASE_METADATA or PHASE_KEYS */
	int64_t next_ms;     /* when to fetch next; monotonic */
	int64_t attempt_ms;  /* when the last attempt began */
	bool has_attempt;
	int64_t fetched_s;   /* wall clock, of the set in the file; 0: none */
	struct attempt told; /* what its .attempt file has */
	int64_t told_ms;
	uint64_t asked;          /* the question that the attempt under way answers; 0: none */
	char note[ATTEMPT_TEXT]; /* of that attempt */
	unsigned failures;       /* since the last success */
	enum kb_err logged;      /* last outcome in the log; KB_E_BUG: none yet */
	int64_t logged_ms;
	uint8_t *document; /* the set in the file, to distinguish a change from a refresh */
	size_t document_len;
};

struct fetcher {
	const struct config *config;
	struct process_stats *self;
	struct process_health *health;
	struct fetch_set *set;
	struct feed *feed;
	bool is_requests_closed; /* all vaults have ended */
	const struct shared *shared;
	uint32_t generation;
	int64_t looked_ms, swept_ms; /* at the files of state/issuers */
};

/* ---- scheduling ---- */

/* Up to a tenth less, so that many brokers do not fetch at the same moment. */
static int64_t jittered(int64_t ms)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
		return ms;
	return ms - ms / 10 * (random % 1024) / 1024;
}

static bool is_usable(const struct feed *f, int64_t now_s)
{
	int64_t age_s;

	return keyset_age(f->fetched_s, now_s, f->config->max_stale_s, &age_s) == KB_OK;
}

static int64_t retry_ms(const struct feed *f, int64_t now_s)
{
	if (!is_usable(f, now_s))
		return f->failures <= COLD_ATTEMPTS ? COLD_MS : COLD_LATER_MS;
	int64_t wait_s = f->config->min_interval_s;
	for (unsigned i = 1; i < f->failures && wait_s < BACKOFF_MAX_S; i++)
		wait_s *= 2;
	if (wait_s > BACKOFF_MAX_S && BACKOFF_MAX_S > f->config->min_interval_s)
		wait_s = BACKOFF_MAX_S;
	return jittered(wait_s * 1000);
}

static int64_t fresh_for_s(int64_t max_age_s)
{
	if (max_age_s < 0)
		return KB_FRESH_DEFAULT_S;
	return max_age_s < KB_FRESH_MIN_S   ? KB_FRESH_MIN_S
	       : max_age_s > KB_FRESH_MAX_S ? KB_FRESH_MAX_S
					    : max_age_s;
}

/* After three quarters of the remaining freshness: one failed attempt leaves time for another. */
static void plan_refresh(struct feed *f, int64_t left_s)
{
	f->next_ms = clock_mono_ms() + (left_s > 0 ? jittered(left_s * 750) : 0);
}

/* ---- statistics and log ---- */

static void publish(struct feed *f, enum kb_err err, unsigned keys)
{
	atomic_store(&f->slot->fault, err);
	if (err != KB_OK)
		return;
	atomic_store(&f->slot->keys, keys);
	atomic_store(&f->slot->fetched_s, f->fetched_s);
}

/* Tell the operator's tools.  The same failure again is written once a minute. */
static void tell(const struct fetcher *r, struct feed *f, enum kb_err err, const char *detail)
{
	struct attempt now = {.at_s = clock_wall_s(), .outcome = err, .asked = f->asked};
	int64_t now_ms = clock_mono_ms();

	f->asked = 0;
	snprintf(now.detail, sizeof now.detail, "%s", detail);
	if (err == KB_OK) {
		snprintf(now.note, sizeof now.note, "%s", f->note);
		now.keys = atomic_load(&f->slot->keys);
		if (f->note[0] != '\0' && strcmp(f->note, f->told.note) != 0)
			log_event(LOG_WARN, "issuer.note", "issuer", f->config->rules.name, "note",
				  f->note, NULL);
	}
	if (err != KB_OK && err == f->told.outcome && now.asked == 0 && f->told_ms != 0 &&
	    now_ms - f->told_ms < LOG_AGAIN_MS)
		return;
	f->told = now;
	f->told_ms = now_ms;
	if (attempt_write(r->config->state_dir, f->config->rules.name, &f->origin, &now) != KB_OK)
		log_event(LOG_WARN, "issuer.attempt_unwritten", "issuer", f->config->rules.name,
			  NULL);
}

/* One line for each change of state.  The cause of a failure may differ each time: log it once a
 * minute. */
static void log_outcome(struct feed *f, enum kb_err err, const char *detail)
{
	int64_t now_ms = clock_mono_ms();
	bool is_change = f->logged == KB_E_BUG || (f->logged == KB_OK) != (err == KB_OK);

	if (!is_change && (f->logged == err || now_ms - f->logged_ms < LOG_AGAIN_MS))
		return;
	f->logged = err;
	f->logged_ms = now_ms;
	if (err == KB_OK)
		log_event(LOG_INFO, "issuer.fetched", "issuer", f->config->rules.name, NULL);
	else
		log_event(LOG_WARN, "issuer.fetch_failed", "issuer", f->config->rules.name, "err",
			  kb_err_name(err), "detail", detail, "url", f->url, "usable",
			  is_usable(f, clock_wall_s()) ? "yes" : "no", NULL);
}

static void save_document(struct feed *f, struct span document, const struct jwks_report *report)
{
	if (f->document != NULL && span_eq(document, span_of(f->document, f->document_len)))
		return;
	KB_AUTO(buf) struct buf why;
	buf_init(&why, JWKS_REPORT_BYTES);
	jwks_report_text(report, &why);
	buf_add(&why, "", 1);
	log_event(LOG_INFO, "issuer.keys", "issuer", f->config->rules.name, "keys",
		  log_i64(report->kept), "dropped", log_i64(report->dropped), "why",
		  buf_ok(&why) == KB_OK ? (const char *)why.p : "", NULL);
	free(f->document);
	f->document_len = 0;
	/* Without memory the next refresh is logged as a change, which does no harm. */
	f->document = malloc(document.len);
	if (f->document != NULL) {
		memcpy(f->document, document.p, document.len);
		f->document_len = document.len;
	}
}

/* ---- one attempt ---- */

static enum kb_err start_fetch(struct fetcher *r, struct feed *f, enum phase phase, const char *url,
			       size_t max_bytes)
{
	char *copy = strdup(url);

	if (copy == NULL)
		return KB_E_NOMEM;
	free(f->url);
	f->url = copy;
	f->phase = phase;
	struct fetch_params p = {.url = f->url,
				 .ca = f->config->ca,
				 .allow_private_addresses = f->config->allow_private_addresses,
				 .proxy = f->config->proxy,
				 .max_bytes = max_bytes,
				 .owner = f};
	return fetch_start(r->set, &p, &f->fetch);
}

static void finish(struct fetcher *r, struct feed *f, enum kb_err err, const char *detail)
{
	f->phase = PHASE_IDLE;
	stats_count(r->self, COUNT_FETCHES, 1);
	log_outcome(f, err, detail);
	tell(r, f, err, detail);
	if (err == KB_OK) {
		f->failures = 0;
		return; /* next_ms is set by the freshness */
	}
	stats_count(r->self, COUNT_FETCH_ERRORS, 1);
	publish(f, err, 0);
	f->failures++;
	f->next_ms = clock_mono_ms() + retry_ms(f, clock_wall_s());
}

static struct span without_slash(struct span s)
{
	return s.len > 0 && s.p[s.len - 1] == '/' ? span_sub(s, 0, s.len - 1) : s;
}

static void attempt(struct fetcher *r, struct feed *f)
{
	enum kb_err err;
	char url[KB_MAX_ISS + 64];
	struct span issuer = without_slash(span_str(f->config->rules.issuer));

	f->attempt_ms = clock_mono_ms();
	f->has_attempt = true;
	f->note[0] = '\0';
	atomic_store(&f->slot->attempt_s, clock_wall_s());
	if (f->config->source == KEYS_DISCOVERY) {
		snprintf(url, sizeof url, "%.*s/.well-known/openid-configuration", (int)issuer.len,
			 (const char *)issuer.p);
		err = start_fetch(r, f, PHASE_METADATA, url, MAX_METADATA);
	} else {
		err = start_fetch(r, f, PHASE_KEYS, f->config->jwks_uri, KB_MAX_JWKS);
	}
	if (err != KB_OK)
		finish(r, f, err, "");
}

/* A part of a text that someone else wrote; escaped by whoever shows it. */
enum { QUOTE = 72 };
#define QUOTED(s) (int)((s).len < QUOTE ? (s).len : QUOTE), (s).len > 0 ? (const char *)(s).p : ""

/* What a member of the metadata is, and what was expected. */
static enum kb_err metadata_fault(const struct json_t *doc, const char *member,
				  const char *expected, char why[static ATTEMPT_TEXT])
{
	struct span is = span_of(NULL, 0);

	if (json_get_str(doc, member, MAX_METADATA, &is) == KB_OK)
		snprintf(why, ATTEMPT_TEXT, "\"%s\" of the metadata is \"%.*s\"%s, expected %s",
			 member, QUOTED(is), is.len > QUOTE ? " (cut)" : "", expected);
	else
		snprintf(why, ATTEMPT_TEXT, "\"%s\" of the metadata is %s, expected %s", member,
			 json_has(doc, member) ? "no string" : "absent", expected);
	return KB_E_FETCH_CONTENT;
}

/* OpenID Connect Discovery 1.0 section 4.3: the metadata must name this issuer.  Its keys are
 * fetched over https only. */
static enum kb_err read_metadata(struct feed *f, struct span body, char url[static MAX_URL + 1],
				 char why[static ATTEMPT_TEXT])
{
	enum kb_err err;
	struct span issuer, uri, ours = span_str(f->config->rules.issuer);
	char expected[QUOTE + 8];
	KB_AUTO(json) struct json_t *doc = NULL;

	if ((err = json_load_strict(body, MAX_METADATA, &doc, NULL)) != KB_OK)
		return err;
	if (!json_isa_obj(doc)) {
		snprintf(why, ATTEMPT_TEXT, "the metadata are no JSON object");
		return KB_E_FETCH_CONTENT;
	}
	snprintf(expected, sizeof expected, "\"%.*s\"", QUOTED(ours));
	if (json_get_str(doc, "issuer", KB_MAX_ISS, &issuer) != KB_OK ||
	    !span_eq(without_slash(issuer), without_slash(ours)))
		return metadata_fault(doc, "issuer", expected, why);
	if (json_get_str(doc, "jwks_uri", MAX_URL, &uri) != KB_OK || uri.len < 9 ||
	    memcmp(uri.p, "https://", 8) != 0 || span_find(uri, 0, 0) < uri.len)
		return metadata_fault(doc, "jwks_uri", "an https URL", why);
	if (!span_eq(issuer, ours))
		snprintf(f->note, sizeof f->note,
			 "the issuer's metadata spell it \"%.*s\", its file in issuers.d %s: the "
			 "file must have what the tokens' \"iss\" has, letter by letter",
			 QUOTED(issuer), expected);
	memcpy(url, uri.p, uri.len);
	url[uri.len] = '\0';
	return KB_OK;
}

static enum kb_err take_keys(struct fetcher *r, struct feed *f, const struct fetch *done,
			     char why[static ATTEMPT_TEXT])
{
	enum kb_err err;
	struct jwks_report report = {0};
	KB_AUTO(jwks) struct jwks *set = NULL;
	struct span document = fetch_body(done);
	int64_t now_s = clock_wall_s(), fresh_s = fresh_for_s(fetch_max_age(done));

	if (!clock_is_set(now_s))
		return KB_E_CLOCK_UNSET; /* the age of the set would be unknown */
	if ((err = jwks_parse(document, &set, &report)) != KB_OK) {
		KB_AUTO(buf) struct buf text;
		buf_init(&text, JWKS_REPORT_BYTES);
		jwks_report_text(&report, &text);
		if (buf_ok(&text) == KB_OK)
			snprintf(why, ATTEMPT_TEXT, "%.*s", (int)text.len,
				 text.len > 0 ? (const char *)text.p : "");
		return err;
	}
	if ((err = keyset_write(r->config->state_dir, f->config->rules.name, &f->origin, now_s,
				now_s + fresh_s, document)) != KB_OK)
		return err;
	f->fetched_s = now_s;
	save_document(f, document, &report);
	publish(f, KB_OK, (unsigned)jwks_count(set));
	plan_refresh(f, fresh_s);
	return KB_OK;
}

static void take_fetch(struct fetcher *r, struct fetch *done)
{
	struct feed *f = fetch_owner(done);
	char url[MAX_URL + 1], detail[ATTEMPT_TEXT] = "";
	enum kb_err err = fetch_outcome(done);

	if (err != KB_OK)
		snprintf(detail, sizeof detail, "%s", fetch_detail(done));

	f->fetch = NULL;
	if (err == KB_OK && f->phase == PHASE_METADATA) {
		if ((err = read_metadata(f, fetch_body(done), url, detail)) == KB_OK &&
		    (err = start_fetch(r, f, PHASE_KEYS, url, KB_MAX_JWKS)) == KB_OK) {
			fetch_free(done);
			return;
		}
	} else if (err == KB_OK) {
		err = take_keys(r, f, done, detail);
	}
	finish(r, f, err, detail);
	fetch_free(done);
}

/* ---- the process ---- */

/* Requests of vaults to fetch an issuer now.  It is fetched as soon as min_interval_s allows, once
 * for all requests. */
static void take_requests(struct fetcher *r)
{
	uint32_t index;
	ssize_t n;

	while ((n = recv(FD_FETCHER_REQUESTS, &index, sizeof index, MSG_DONTWAIT | MSG_TRUNC)) >
		       0 ||
	       (n == 0 && !frame_at_end(FD_FETCHER_REQUESTS))) {
		if (n != sizeof index || index >= r->config->n_issuers) {
			stats_count(r->self, COUNT_FRAMES_BAD, 1);
			continue;
		}
		struct feed *f = &r->feed[index];
		if (f->config->source == KEYS_JWKS_FILE || f->phase != PHASE_IDLE)
			continue;
		int64_t soonest_ms =
			f->has_attempt ? f->attempt_ms + f->config->min_interval_s * 1000 : 0;
		if (soonest_ms < f->next_ms)
			f->next_ms = soonest_ms;
	}
	r->is_requests_closed = n == 0;
}

/* A set from before a restart is used up to its age when its origin is the same.  Otherwise there
 * is none, and it is fetched at once.  Also when its time is in the future: the clock went back. */
static void load_file(struct fetcher *r, struct feed *f)
{
	struct keyset k;
	struct jwks_report report = {0};
	KB_AUTO(jwks) struct jwks *set = NULL;
	int64_t now_s = clock_wall_s(), age_s;

	enum kb_err err = keyset_read(r->config->state_dir, f->config->rules.name, &f->origin, &k);
	bool is_read = err == KB_OK;
	if (is_read &&
	    (err = keyset_age(k.fetched_s, now_s, f->config->max_stale_s, &age_s)) == KB_OK)
		err = jwks_parse(k.document, &set, &report);
	if (err != KB_OK && err != KB_E_FILE)
		log_event(LOG_WARN, "issuer.keys_ignored", "issuer", f->config->rules.name, "err",
			  kb_err_name(err), "why", kb_err_text(err), NULL);
	if (err == KB_OK) {
		f->fetched_s = k.fetched_s;
		save_document(f, k.document, &report);
		publish(f, KB_OK, (unsigned)jwks_count(set));
		plan_refresh(f, k.fresh_until_s - now_s < KB_FRESH_MAX_S ? k.fresh_until_s - now_s
									 : 0);
	}
	if (is_read)
		keyset_free(&k);
}

static void begin_feed(struct fetcher *r, struct feed *f, const struct issuer_config *config,
		       struct issuer_fetch *slot)
{
	KB_AUTO(jwks) struct jwks *set = NULL;

	f->config = config;
	f->logged = KB_E_BUG;
	f->next_ms = clock_mono_ms();
	config_origin(config, &f->origin);
	f->slot = slot;
	if (config->source != KEYS_JWKS_FILE) {
		load_file(r, f);
		return;
	}
	/* Pinned keys are part of the configuration: never fetched and never stale. */
	enum kb_err err = jwks_parse(config->jwks_file, &set, NULL);
	f->fetched_s = clock_wall_s();
	publish(f, err, err == KB_OK ? (unsigned)jwks_count(set) : 0);
}

/* ---- the files of state/issuers ---- */

/* Someone removed the set: workers that start from now on have none. */
static void notice_loss(struct fetcher *r, struct feed *f)
{
	if (f->fetched_s == 0 ||
	    keyset_stamp(r->config->state_dir, f->config->rules.name, &f->origin) != 0)
		return;
	log_event(LOG_WARN, "issuer.keys_gone", "issuer", f->config->rules.name, NULL);
	f->fetched_s = 0;
	atomic_store(&f->slot->fetched_s, 0);
	atomic_store(&f->slot->keys, 0);
}

/* Only the accepting generation's fetcher, when no older one can live any more. */
static void sweep(struct fetcher *r, int64_t now_ms)
{
	struct keyset_file used[KB_MAX_ISSUERS];

	if (now_ms - r->swept_ms < KB_KEYSET_SWEEP_S * 1000)
		return;
	r->swept_ms = now_ms;
	if (atomic_load(&r->shared->board->generation) != r->generation)
		return;
	for (size_t i = 0; i < r->config->n_issuers; i++)
		used[i] = (struct keyset_file){.name = r->feed[i].config->rules.name,
					       .origin = &r->feed[i].origin};
	unsigned n = keyset_sweep(r->config->state_dir, used, r->config->n_issuers, clock_wall_s());
	if (n > 0)
		log_event(LOG_INFO, "issuer.swept", "files", log_i64(n), NULL);
}

static void look_at_files(struct fetcher *r, int64_t now_ms)
{
	if (now_ms - r->looked_ms < TICK_MS)
		return;
	r->looked_ms = now_ms;
	for (size_t i = 0; i < r->config->n_issuers; i++) {
		struct feed *f = &r->feed[i];
		if (f->config->source == KEYS_JWKS_FILE || f->phase != PHASE_IDLE)
			continue;
		notice_loss(r, f);
		/* An operator's question does not wait for min_interval. */
		f->asked = attempt_take(r->config->state_dir, f->config->rules.name, &f->origin);
		if (f->asked != 0)
			attempt(r, f);
	}
	sweep(r, now_ms);
}

static bool is_due(const struct feed *f, int64_t now_ms, int64_t now_s)
{
	if (f->config->source == KEYS_JWKS_FILE || f->phase != PHASE_IDLE)
		return false;
	/* Without a usable set the longest wait is COLD_LATER_MS. */
	return now_ms >= f->next_ms ||
	       (!is_usable(f, now_s) &&
		(!f->has_attempt || now_ms - f->attempt_ms >= COLD_LATER_MS));
}

/* Until the supervisor drains this process, or has ended. */
static enum kb_err serve(struct fetcher *r)
{
	enum kb_err err;
	struct fetch *done;

	for (;;) {
		struct pollfd extra[2] = {{.fd = FD_CONTROL, .events = POLLIN},
					  {.fd = FD_FETCHER_REQUESTS, .events = POLLIN}};
		int64_t now_ms = clock_mono_ms(), now_s = clock_wall_s();
		health_beat(r->health);
		look_at_files(r, now_ms);
		for (size_t i = 0; i < r->config->n_issuers; i++)
			if (is_due(&r->feed[i], now_ms, now_s))
				attempt(r, &r->feed[i]);
		const char *replaced = confine_outdated();
		if (replaced != NULL) {
			log_event(LOG_INFO, "fetcher.outdated", "replaced", replaced, NULL);
			return KB_E_FILE; /* the restarted process reads the new file */
		}
		if ((err = fetch_wait(r->set, extra, r->is_requests_closed ? 1 : 2, TICK_MS,
				      &done)) != KB_OK)
			return err;
		if (done != NULL)
			take_fetch(r, done);
		if (!r->is_requests_closed && extra[1].revents != 0)
			take_requests(r);
		if (extra[0].revents != 0) {
			struct control_message m;
			size_t n_fds = 0;
			if (control_recv(FD_CONTROL, &m, NULL, &n_fds) != KB_OK ||
			    m.type == CONTROL_DRAIN)
				return KB_OK;
		}
	}
}

static void free_feeds(struct fetcher *r)
{
	for (size_t i = 0; r->feed != NULL && i < r->config->n_issuers; i++) {
		fetch_free(r->feed[i].fetch);
		free(r->feed[i].url);
		free(r->feed[i].document);
	}
	free(r->feed);
}

static int fail(const struct process_start *start, enum kb_err err, int code)
{
	health_fail(start->health, err);
	log_event(LOG_ERROR, "fetcher.start", "err", kb_err_name(err), NULL);
	if (control_send(FD_CONTROL, CONTROL_FAILED, start->generation, err) != KB_OK)
		log_event(LOG_WARN, "control.lost", NULL);
	return code;
}

int fetcher_main(const struct process_start *start)
{
	KB_AUTO(snapshot) struct snapshot *src = NULL;
	KB_AUTO(config) struct config *config = NULL;
	KB_AUTO(fetch_set) struct fetch_set *set = NULL;
	struct config_faults faults = {0};
	struct fetcher r = {.self = start->stats,
			    .health = start->health,
			    .shared = start->shared,
			    .generation = start->generation,
			    .looked_ms = clock_mono_ms() - TICK_MS,
			    .swept_ms = clock_mono_ms()};

	enum kb_err err = snapshot_archive(FD_ARCHIVE, &src);
	if (err == KB_OK)
		err = config_load(src, start->config_path, CONFIG_FETCHER, &config, &faults);
	config_faults_free(&faults); /* the supervisor has read the same bytes and logged them */
	if (err != KB_OK)
		return fail(start, err, PROCESS_EXIT_CONFIG);
	r.config = config;
	if ((err = fetch_set_new(&set)) != KB_OK)
		return fail(start, err, PROCESS_EXIT_RESTART);
	r.set = set;
	r.feed = calloc(config->n_issuers, sizeof *r.feed);
	if (r.feed == NULL)
		return fail(start, KB_E_NOMEM, PROCESS_EXIT_RESTART);
	for (size_t i = 0; i < config->n_issuers; i++)
		begin_feed(&r, &r.feed[i], &config->issuers[i], &start->page->fetch[i]);
	if ((err = confine_process(start, config, 0)) != KB_OK) {
		free_feeds(&r);
		return fail(start, err, PROCESS_EXIT_RESTART);
	}
	health_set(start->health, HEALTH_READY);
	err = control_send(FD_CONTROL, CONTROL_READY, start->generation, 0);
	if (err == KB_OK)
		err = serve(&r);
	if (err != KB_OK)
		log_event(LOG_ERROR, "fetcher.end", "err", kb_err_name(err), NULL);
	free_feeds(&r);
	return err == KB_OK ? PROCESS_EXIT_OK : PROCESS_EXIT_RESTART;
}
