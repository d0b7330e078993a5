/* broker/guest/client.c — decides which server is asked next and when to stop. Follows Retry-After
 * only within its own limits. Must never ask again after a refusal: the answer would be the same,
 * and would fill the ledger. */
#include "guest/client.h"

#include <openssl/rand.h>
#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "guest/race.h"
#include "guest/retry.h"

/* error.code and error.message of a refusal: {"error":{…}}. */
static void say_error(const struct http_reply *r)
{
	KB_AUTO(json) struct json_t *doc = NULL;
	const struct json_t *error;
	struct span text;

	if (json_load_strict(buf_span(&r->body), KB_GUEST_REPLY, &doc, NULL) != KB_OK ||
	    json_get_obj(doc, "error", &error) != KB_OK)
		return;
	if (json_get_str(error, "code", KB_GUEST_REPLY, &text) == KB_OK)
		message("  it says: %s", plain(text));
	if (json_get_str(error, "message", KB_GUEST_REPLY, &text) == KB_OK)
		message("  it says: %s", plain(text));
}

static void say_refused(const struct url *url, const struct http_reply *r)
{
	message("%s refused: status %d", url->authority, r->status);
	say_error(r);
	if (r->request_id[0] != '\0')
		message("  request id: %s", r->request_id);
	switch (r->status) {
	case 400:
		message("check: --api-version, and that the token is an attestation token");
		break;
	case 401:
		message("check: --bearer-file; the server wants a credential");
		break;
	case 403:
		message("check: the server's ledger says which condition failed; its administrator "
			"finds it by the request id");
		break;
	case 404:
		message("check: --key and the path of the URL");
		break;
	default:
		break;
	}
}

static bool is_busy(int status)
{
	return status >= 500 || status == 408 || status == 429;
}

/* One request on one connection, which ends with it. */
static enum guest_exit ask_one(const struct client *c, const struct client_call *asked,
			       const struct url *url, struct http_link *l, unsigned *retry_after_s)
{
	KB_AUTO(http_reply) struct http_reply r;
	char why[HTTP_WHY];
	int64_t soon = clock_mono_ms() + KB_GUEST_CALL_MS;
	const struct http_call call = {
		.url = url,
		.target = asked->target,
		.body = asked->body,
		.bearer = c->bearer,
		.deadline_ms = soon < c->deadline_ms ? soon : c->deadline_ms,
	};

	http_reply_init(&r);
	enum kb_err err = http_post(l, &call, &r, why);
	http_close(l);
	if (err == KB_E_FETCH_CONNECT || err == KB_E_FETCH_TLS || err == KB_E_FETCH_TIMEOUT ||
	    err == KB_E_NOMEM) {
		message("%s: call: %s", l->at, why);
		return GUEST_UNREACHABLE;
	}
	if (err != KB_OK) {
		message("%s: call: %s", l->at, why);
		return GUEST_BAD_REPLY;
	}
	if (r.status == 200)
		return asked->judge(asked->ctx, url, &r);
	if (is_busy(r.status)) {
		message("%s cannot serve now: status %d", url->authority, r.status);
		*retry_after_s =
			r.retry_after_s > *retry_after_s ? r.retry_after_s : *retry_after_s;
		return GUEST_UNREACHABLE;
	}
	if (r.status >= 400) {
		say_refused(url, &r);
		return GUEST_REFUSED;
	}
	message("%s answered with status %d, which is no answer to this call", url->authority,
		r.status);
	return GUEST_BAD_REPLY;
}

/* False: the deadline comes first. */
static bool rest(const struct client *c, unsigned round, unsigned retry_after_s)
{
	uint32_t chance = 0;

	if (RAND_bytes((uint8_t *)&chance, sizeof chance) != 1)
		return false;
	int64_t wait = retry_wait_ms(round, chance, retry_after_s);
	if (clock_mono_ms() + wait >= c->deadline_ms)
		return false;
	message("next attempt in %lld.%lld s", (long long)(wait / 1000),
		(long long)(wait % 1000 / 100));
	poll(NULL, 0, (int)wait);
	return true;
}

static bool is_any_left(const bool *is_out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!is_out[i])
			return true;
	return false;
}

enum guest_exit client_ask(const struct client *c, struct client_call *call)
{
	bool is_bad[KB_GUEST_URLS] = {false}, is_out[KB_GUEST_URLS], is_sent = false;
	enum guest_exit result;
	struct http_link l;
	size_t i;

	for (unsigned round = 0;; round++) {
		unsigned retry_after_s = 0;
		memcpy(is_out, is_bad, sizeof is_out);
		while (is_any_left(is_out, c->n_urls)) {
			if (is_sent && call->renew != NULL) {
				if ((result = call->renew(call->ctx, &call->body)) != GUEST_OK)
					return result;
				is_sent = false;
			}
			if (race(c->urls, c->n_urls, is_out, c->tls, c->deadline_ms, &l, &i) !=
			    KB_OK)
				break;
			result = ask_one(c, call, &c->urls[i], &l, &retry_after_s);
			if (result == GUEST_REFUSED && is_sent)
				message("check: the same request was sent before: where a token "
					"counts once, it is used up; run again with a new one");
			is_bad[i] = result == GUEST_BAD_REPLY;
			is_out[i] = is_sent = true;
			if (result != GUEST_UNREACHABLE && result != GUEST_BAD_REPLY)
				return result;
			if (!is_any_left(is_bad, c->n_urls))
				return GUEST_BAD_REPLY;
		}
		if (clock_mono_ms() < c->deadline_ms && rest(c, round, retry_after_s))
			continue;
		message("gave up: no server answered within --timeout");
		message("check: the network of this machine (address, route, name resolution), and "
			"that the server runs");
		for (i = 0; i < c->n_urls; i++)
			if (is_bad[i])
				return GUEST_BAD_REPLY;
		return GUEST_UNREACHABLE;
	}
}
