/* tests/soak/client.c — guests that want their keys for hours: each asks, comes back after
 * Retry-After or when the broker is gone, and accepts no reply that does not open to the very key.
 * Must never give up before RETRY_MS, and never count as a success what is none. */
#include "tests/soak/client.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum end { DONE, AGAIN, FINAL };
enum { REFRESH_MS = 1200000, MAX_WAIT_MS = 2000, SOURCES = 8 };
enum { KIND_VTPM, KIND_DISK, KIND_SECRET, KIND_SPARE, KIND_GET, KIND_ONCE, KINDS };

static const struct kind {
	const char *key, *enc, *nonce, *kek_kid; /* kek_kid NULL: the key's thumbprint */
	unsigned weight;                         /* of 1000 */
} kinds[KINDS] = {
	[KIND_VTPM] = {KEY_VTPM, NULL, NULL, KID_PLATFORM, 350},
	[KIND_DISK] = {KEY_DISK, "RSA_AES_KEY_WRAP_256", "ADE0101", KID_GUEST, 290},
	[KIND_SECRET] = {KEY_SECRET, "RSA_AES_KEY_WRAP_384", NULL, NULL, 210},
	[KIND_SPARE] = {KEY_SPARE, NULL, NULL, NULL, 40},
	[KIND_GET] = {KEY_DISK, NULL, NULL, NULL, 105},
	[KIND_ONCE] = {KEY_ONCE, "CKM_RSA_AES_KEY_WRAP", NULL, KID_GUEST, 5},
};

/* ---- connections and tokens ---- */

void client_disconnect(struct client *c)
{
	link_close(c->link);
	c->link = NULL;
}

const char *client_connect(struct client *c, bool is_new)
{
	if (is_new)
		client_disconnect(c);
	if (c->link != NULL)
		return NULL;
	c->at.from = 2 + (unsigned)dice_roll(&c->dice, SOURCES);
	c->t->connections++;
	return link_open(&c->at, &c->link);
}

void client_note(struct client *c, const struct reply *r, const char *code)
{
	char id[64];
	fprintf(c->ids, "%s %s\n", reply_header(r, "x-ms-request-id", id, sizeof id), code);
}

const char *client_attest(struct client *c, const struct place *issuer, json_t *attest,
			  char **token)
{
	c->t->attestations++;
	return guest_attest(issuer, attest, token);
}

static json_t *evidence(const struct client *c, unsigned kind)
{
	switch (kind) {
	case KIND_VTPM:
		return evidence_platform(c->kek);
	case KIND_DISK:
		return evidence_guest(c->kek, kinds[KIND_DISK].nonce);
	default:
		return evidence_container(c->kek, HOST_DATA);
	}
}

/* The token that this kind of request brings: an old one, now and then a fresh one.  With the
 * issuer away, the old one. */
static const char *token_for(struct client *c, unsigned kind)
{
	struct ticket *t = &c->good[kind];
	char *fresh;
	if (t->token != NULL && now_ms() - t->made_ms < REFRESH_MS && dice_roll(&c->dice, 250) != 0)
		return t->token;
	if (client_attest(c, &c->s->in.issuer_at, evidence(c, kind), &fresh) == NULL) {
		free(t->token);
		*t = (struct ticket){fresh, now_ms()};
	}
	return t->token;
}

/* ---- one attempt ---- */

static bool is_the_key(const struct client *c, unsigned kind, const struct released *got)
{
	const uint8_t *want = kind == KIND_SPARE  ? c->s->spare
			      : kind == KIND_ONCE ? c->s->used_once
						  : c->s->secret;
	if (kind == KIND_VTPM || kind == KIND_DISK)
		return got->pkey != NULL &&
		       EVP_PKEY_eq(got->pkey, kind == KIND_VTPM ? c->s->vtpm : c->s->disk) == 1;
	return got->plain_len == KEY_BYTES && memcmp(got->plain, want, KEY_BYTES) == 0;
}

static enum end open_reply(struct client *c, unsigned kind, const struct ask *a,
			   const struct reply *r)
{
	struct released got = {0};
	struct expect want = {.root = c->s->in.root,
			      .host = "localhost",
			      .base_url = c->s->in.base_url,
			      .name = a->name,
			      .api_version = "7.4",
			      .enc = a->enc,
			      .nonce = a->nonce,
			      .kek = c->kek,
			      .kek_kid = kinds[kind].kek_kid == NULL ? c->thumbprint
								     : kinds[kind].kek_kid};
	const char *why = proof_open(r->body, r->len, &want, &got);
	if (why == NULL && !is_the_key(c, kind, &got))
		why = "another key";
	released_free(&got);
	client_note(c, r, "OK");
	c->t->releases++;
	if (why == NULL)
		return DONE;
	c->t->wrong_keys++;
	tally_why(c->t, kinds[kind].key, why);
	return FINAL;
}

/* How long the server wants us to wait. */
static unsigned retry_after_ms(const struct reply *r)
{
	char value[16];
	unsigned long s = strtoul(reply_header(r, "Retry-After", value, sizeof value), NULL, 10);
	return s > 5 ? 5000 : (unsigned)s * 1000;
}

static enum end refused(struct client *c, const char *what, const struct reply *r,
			unsigned *wait_ms)
{
	char code[64];
	if (r->status == 503 || r->status == 429) {
		*wait_ms = retry_after_ms(r);
		return AGAIN;
	}
	tally_why(c->t, what, wrong("status %d %s", r->status, reply_code(r, code, sizeof code)));
	return FINAL;
}

static enum end get_once(struct client *c, unsigned *wait_ms)
{
	struct reply r = {0};
	enum end end = DONE;
	const char *why = client_connect(c, false);
	if (why == NULL)
		why = link_call(c->link, "GET", "/keys/" KEY_DISK "?api-version=7.4",
				"Authorization: Bearer guest\r\n", NULL, &r);
	if (why != NULL || r.will_close)
		client_disconnect(c);
	if (why != NULL)
		end = AGAIN;
	else if (r.status != 200)
		end = refused(c, "GET", &r, wait_ms);
	else if (strstr(r.body, "/keys/" KEY_DISK "/") == NULL ||
		 strstr(r.body, "\"RSA-HSM\"") == NULL)
		end = FINAL;
	else
		c->t->gets++;
	reply_free(&r);
	return end;
}

static enum end release_once(struct client *c, unsigned kind, const char *token, const char *nonce,
			     unsigned *wait_ms)
{
	struct reply r = {0};
	struct ask a = {
		.name = kinds[kind].key, .enc = kinds[kind].enc, .nonce = nonce, .token = token};
	bool was_off = kind == KIND_SPARE && c->s->all->is_spare_off;
	enum end end;
	if (token == NULL) {
		*wait_ms = 200; /* the issuer is away, and this client never had a token */
		return AGAIN;
	}
	const char *why = client_connect(c, false);
	if (why == NULL)
		why = guest_ask(c->link, &a, &r);
	if (why != NULL || r.will_close)
		client_disconnect(c);
	if (why != NULL) {
		end = AGAIN;
	} else if (r.status == 200) {
		end = open_reply(c, kind, &a, &r);
	} else if (r.status == 403 && kind == KIND_SPARE && (was_off || c->s->all->is_spare_off)) {
		client_note(c, &r, "KEY_DISABLED");
		c->t->disabled++;
		*wait_ms = 500;
		end = AGAIN;
	} else {
		end = refused(c, a.name, &r, wait_ms);
	}
	reply_free(&r);
	return end;
}

/* ---- tokens that work once ---- */

static void once_forget(struct client *c)
{
	free(c->once_token);
	free(c->once_nonce);
	c->once_token = c->once_nonce = NULL;
}

static enum end once_prepare(struct client *c, unsigned *wait_ms)
{
	struct reply r = {0};
	enum end end = AGAIN;
	const char *why = client_connect(c, false);
	if (why == NULL)
		why = link_call(c->link, "POST", "/keys/" KEY_ONCE "/nonce?api-version=7.4",
				"Authorization: Bearer guest\r\n", "{}", &r);
	if (why != NULL || r.will_close)
		client_disconnect(c);
	if (why == NULL && r.status != 200)
		end = refused(c, "nonce", &r, wait_ms);
	if (why == NULL && r.status == 200) {
		json_t *j = json_loadb(r.body, r.len, 0, NULL);
		const char *nonce = json_string_value(json_object_get(j, "value"));
		c->once_nonce = strdup(nonce == NULL ? "" : nonce);
		json_decref(j);
		c->t->nonces++;
		json_t *attest = evidence_guest(c->kek, c->once_nonce);
		evidence_set(attest, "nonce", json_string(c->once_nonce));
		evidence_set(
			attest, "exp",
			json_integer((long long)time(NULL) +
				     ONCE_S)); /* soon forgotten: the broker's table stays small */
		if (client_attest(c, &c->s->once.issuer_at, attest, &c->once_token) == NULL)
			end = DONE;
		else
			once_forget(c);
		*wait_ms = 200;
	}
	reply_free(&r);
	return end;
}

/* As a guest does it: the same token again when a reply was lost, and when that was used after all,
 * a fresh one. */
static enum end once(struct client *c, unsigned *wait_ms)
{
	struct reply r = {0};
	enum end end;
	if (c->once_token == NULL) {
		c->is_once_lost = false;
		if ((end = once_prepare(c, wait_ms)) != DONE)
			return end;
	}
	*wait_ms = 0;
	struct ask a = {.name = KEY_ONCE,
			.enc = kinds[KIND_ONCE].enc,
			.nonce = c->once_nonce,
			.token = c->once_token};
	const char *why = client_connect(c, false);
	if (why == NULL)
		why = guest_ask(c->link, &a, &r);
	if (why != NULL || r.will_close)
		client_disconnect(c);
	if (why == NULL && r.status == 200) {
		end = open_reply(c, KIND_ONCE, &a, &r);
		free(c->used_token);
		free(c->used_nonce);
		c->used_token = c->once_token;
		c->used_nonce = c->once_nonce;
		c->used_ms = now_ms();
		c->once_token = c->once_nonce = NULL;
	} else if (why == NULL && r.status == 403 && c->is_once_lost) {
		client_note(c, &r, "REPLAY");
		c->t->reattested++;
		once_forget(c);
		end = AGAIN;
	} else {
		c->is_once_lost = true;
		end = why != NULL ? AGAIN : refused(c, KEY_ONCE, &r, wait_ms);
	}
	reply_free(&r);
	return end;
}

/* ---- one request, however many attempts ---- */

static unsigned choose(struct client *c)
{
	unsigned roll = (unsigned)dice_roll(&c->dice, 1000), kind = 0;
	while (kind < KINDS - 1 && roll >= kinds[kind].weight)
		roll -= kinds[kind++].weight;
	return kind;
}

static enum end attempt(struct client *c, unsigned kind, const char *token, unsigned *wait_ms)
{
	if (kind == KIND_GET)
		return get_once(c, wait_ms);
	if (kind == KIND_ONCE)
		return once(c, wait_ms);
	return release_once(c, kind, token, kinds[kind].nonce, wait_ms);
}

static void good_request(struct client *c)
{
	unsigned kind = choose(c), backoff_ms = 50, fault = c->s->all->fault;
	unsigned long long disabled = c->t->disabled, wrong_keys = c->t->wrong_keys;
	enum end end;
	if (dice_roll(&c->dice, 4) == 0)
		client_disconnect(c);
	once_forget(c);
	c->t->requests++;
	/* A guest has its token before it asks: the issuer's time is not the broker's. */
	const char *token = kind < GOODS ? token_for(c, kind) : NULL;
	unsigned long long from = now_us(), last = now_ms() + RETRY_MS;
	for (;;) {
		unsigned wait_ms = 0;
		end = attempt(c, kind, token, &wait_ms);
		if (end != AGAIN || now_ms() > last)
			break;
		c->t->retries++;
		if (kind < GOODS && token == NULL)
			token = token_for(c, kind);
		unsigned ms = (wait_ms > backoff_ms ? wait_ms : backoff_ms) *
			      (75 + (unsigned)dice_roll(&c->dice, 50)) / 100;
		sleep_ms(ms);
		backoff_ms = backoff_ms * 2 > MAX_WAIT_MS ? MAX_WAIT_MS : backoff_ms * 2;
	}
	if (end != DONE) {
		c->t->lost += c->t->wrong_keys == wrong_keys;
		if (end == AGAIN)
			tally_why(c->t, kinds[kind].key, "not served within 30 s");
		return;
	}
	/* A disabled key is refused at once, as it must be: how long it stayed so is no latency. */
	if (kind == KIND_SPARE && c->t->disabled != disabled)
		return;
	bool is_quiet = fault % 2 == 0 && c->s->all->fault == fault;
	histogram_add(is_quiet ? &c->t->quiet : &c->t->faults, now_us() - from);
}

/* Next one when its time has come; time lost to a fault is not caught up with a burst. */
static void pace(struct client *c, unsigned long long *due_us)
{
	if (!c->s->all->is_paced)
		return;
	unsigned long long interval = c->s->all->interval_us, now = now_us();
	*due_us += interval / 2 + dice_roll(&c->dice, interval + 1);
	if (*due_us < now || *due_us > now + 4 * interval)
		*due_us = now + dice_roll(&c->dice, interval + 1);
	for (now = now_us(); now < *due_us && !c->s->all->stop; now = now_us())
		sleep_ms((unsigned)(*due_us - now > 100000 ? 100 : (*due_us - now) / 1000 + 1));
}

void client_run(struct soak *s, unsigned index, const char *ids)
{
	static struct client c;
	unsigned long long due_us = now_us();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	c = (struct client){.s = s,
			    .t = &s->all->client[index],
			    .dice = {s->seed * 1000 + index},
			    .at = s->in.at};
	c.kek = guest_key(2048);
	c.ids = fopen(ids, "we");
	if (c.kek == NULL || c.ids == NULL)
		_exit(1);
	evidence_thumbprint(c.kek, c.thumbprint);
	while (!s->all->stop) {
		if (s->all->is_hostile && dice_roll(&c.dice, 1000000) < HOSTILE_PER_MILLION)
			hostile_request(&c);
		else
			good_request(&c);
		pace(&c, &due_us);
	}
	client_disconnect(&c);
	_exit(fclose(c.ids) == 0 ? 0 : 1);
}
