/* broker/guest/client.c — decides which server is asked next and when to stop. Follows Retry-After
 * only within its own limits. Must never ask again after a refusal: the answer would be the same,
 * and would fill the ledger. */
#include "guest/client.h"

#include <openssl/rand.h>
#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
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

static enum guest_exit ask_one(const struct client *c, const struct url *url, const char *target,
			       struct span body, client_judge *judge, void *ctx,
			       unsigned *retry_after_s)
{
	KB_AUTO(http_reply) struct http_reply r;
	char why[HTTP_WHY];
	int64_t soon = clock_mono_ms() + KB_GUEST_CALL_MS;
	const struct http_call call = {
		.url = url,
		.target = target,
		.body = body,
		.bearer = c->bearer,
		.tls = c->tls,
		.deadline_ms = soon < c->deadline_ms ? soon : c->deadline_ms,
	};

	http_reply_init(&r);
	enum kb_err err = http_post(&call, &r, why);
	if (err == KB_E_FETCH_CONNECT || err == KB_E_FETCH_TLS || err == KB_E_FETCH_TIMEOUT ||
	    err == KB_E_NOMEM) {
		message("%s: %s", url->authority, why);
		if (err == KB_E_FETCH_TLS)
			message("check: --ca, the host name in the URL%s",
				clock_is_set(clock_wall_s())
					? ""
					: ", and this machine's clock, which was never set");
		return GUEST_UNREACHABLE;
	}
	if (err != KB_OK) {
		message("%s: %s", url->authority, why);
		return GUEST_BAD_REPLY;
	}
	if (r.status == 200)
		return judge(ctx, url, &r);
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

enum guest_exit client_ask(const struct client *c, const char *target, struct span body,
			   client_judge *judge, void *ctx)
{
	bool is_bad[KB_GUEST_URLS] = {false};
	size_t n_bad = 0;

	for (unsigned round = 0;; round++) {
		unsigned retry_after_s = 0;
		for (size_t i = 0; i < c->n_urls && clock_mono_ms() < c->deadline_ms; i++) {
			if (is_bad[i])
				continue;
			enum guest_exit result =
				ask_one(c, &c->urls[i], target, body, judge, ctx, &retry_after_s);
			if (result == GUEST_BAD_REPLY) {
				is_bad[i] = true;
				n_bad++;
			} else if (result != GUEST_UNREACHABLE) {
				return result;
			}
		}
		if (n_bad == c->n_urls)
			return GUEST_BAD_REPLY;
		if (clock_mono_ms() < c->deadline_ms && rest(c, round, retry_after_s))
			continue;
		message("gave up: no server answered within --timeout");
		message("check: the network of this machine (address, route, name resolution), and "
			"that the server runs");
		return n_bad > 0 ? GUEST_BAD_REPLY : GUEST_UNREACHABLE;
	}
}
