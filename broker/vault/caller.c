/* broker/vault/caller.c — decides whether the listener accepts the request's credential, and says
 * whose it is.  Trusts the gateway for what TLS and HTTP said.  Must never let the time show how
 * near a token is to an accepted one. */
#include "vault/caller.h"

#include <openssl/crypto.h>
#include <stdio.h>

#include "process/frame.h"

static void set_text(struct caller *c, const char *kind, const uint8_t *sha256)
{
	int len = snprintf(c->text, sizeof c->text, "%s:", kind);

	for (size_t i = 0; i < KB_CALLER_SHA256; i++)
		len += snprintf(c->text + len, sizeof c->text - (size_t)len, "%02x", sha256[i]);
}

/* Compare with all, in constant time: the time must not show which one is near. */
static enum kb_err find_bearer(const struct frame_request *rq,
			       const struct listener_config *listener, struct caller *out)
{
	const struct bearer *found = NULL;

	for (size_t i = 0; i < listener->n_bearers; i++)
		if (CRYPTO_memcmp(listener->bearers[i].sha256, rq->bearer_sha256, 32) == 0)
			found = &listener->bearers[i];
	set_text(out, "bearer", rq->bearer_sha256);
	if (found == NULL)
		return KB_E_CREDENTIAL;
	out->name = found->name;
	return KB_OK;
}

enum kb_err caller_authenticate(const struct frame_request *rq,
				const struct listener_config *listener, struct caller *out)
{
	*out = (struct caller){.text = "none"};
	/* The first request of an SDK has neither credential nor body: it wants the challenge, and
	 * sends the body only afterwards. */
	if (!rq->has_authorization && rq->body.len == 0)
		return KB_E_NO_CREDENTIAL;
	switch (listener->auth) {
	case AUTH_NONE: /* whatever credential there is, nobody has looked at it */
		return KB_OK;
	case AUTH_MTLS:
		if (rq->has_certificate) {
			set_text(out, "certificate", rq->client_sha256);
			out->name = rq->client_name;
		}
		return rq->has_client_cert ? KB_OK : KB_E_CREDENTIAL;
	case AUTH_BEARER:
		if (rq->has_bearer)
			return find_bearer(rq, listener, out);
		return rq->has_authorization ? KB_E_CREDENTIAL : KB_E_NO_CREDENTIAL;
	}
	KB_BUG();
}
