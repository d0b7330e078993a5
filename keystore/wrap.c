/* keystore/wrap.c — the only way a key leaves: with a grant, by an engine that was proved at start.
 * Trusts the grant, which policy/decide.c made, for which key and which wrapping key. Trusts no
 * output of the module. Must never return the same blob twice. */
#include "keystore/wrap.h"

#include <openssl/evp.h>

#include "keystore/engine.h"
#include "policy/grant.h"

const struct wrap_plan *keystore_plan(const struct keystore *ks)
{
	return &ks->plan;
}

static bool is_all_zero(struct span s)
{
	uint8_t any = 0;

	for (size_t i = 0; i < s.len; i++)
		any |= s.p[i];
	return any == 0;
}

/* The parts of this blob, and of the one before: a part that comes back means that randomness is
 * broken, or that the module gives an old answer.  Compared part by part, because the wrapping key
 * may have another size now. */
static bool is_repeated(const struct buf *last, struct span part)
{
	return span_eq(buf_span(last), part);
}

static void keep(struct buf *last, struct span part)
{
	buf_reset(last);
	buf_add_span(last, part);
}

/* The engines have checked the parts. Here: the length of the whole, and that neither part is all
 * zero, the same as in the previous blob, or the same as the other. */
static enum kb_err blob_check(struct keystore *ks, const struct wrap_job *job, struct span blob)
{
	size_t kek_bytes = (size_t)EVP_PKEY_get_size(job->kek->evp);
	struct span first, second;
	enum kb_err err;

	if (!job->scheme->split(kek_bytes, blob, &first, &second))
		return fault_is(ks, KB_E_HSM_OUTPUT, "a blob of a wrong length");
	if (is_all_zero(first) || is_all_zero(second) || span_eq(first, second))
		return fault_is(ks, KB_E_HSM_OUTPUT, "a blob of zeros, or of two equal parts");
	if (is_repeated(&ks->last_first, first) || is_repeated(&ks->last_second, second) ||
	    is_repeated(&ks->last_first, second))
		return fault_is(ks, KB_E_HSM_OUTPUT, "a part of the blob before came back");
	keep(&ks->last_first, first);
	keep(&ks->last_second, second);
	if ((err = buf_ok(&ks->last_first)) != KB_OK)
		return err;
	return buf_ok(&ks->last_second);
}

enum kb_err keystore_wrap(struct keystore *ks, const struct hsm_key *key, const struct grant *g,
			  struct span name, struct span version, const struct wrap_scheme *scheme,
			  struct buf *wrapped)
{
	size_t from = wrapped->len;
	enum kb_err err;

	if ((err = keystore_guard(ks)) != KB_OK)
		return err;
	if (g == NULL || !span_eq(grant_key_name(g), name) ||
	    !span_eq(grant_key_version(g), version))
		return KB_E_BUG;
	if (scheme == NULL)
		return KB_E_ENC;
	fault_begin(ks, key->uri);
	if (!key->is_extractable)
		return fault_is(ks, KB_E_HSM_KEY_ATTR, "CKA_EXTRACTABLE is false");
	struct wrap_job job = {.public = &key->public, .kek = grant_kek(g), .scheme = scheme};
	enum wrap_engine engine = ks->plan.engine[scheme - schemes][key->public.kty];

	for (unsigned attempt = 1;; attempt++) {
		job.target = key->handle;
		err = engine_run(ks, engine, &job, wrapped);
		if (err == KB_OK || attempt == KB_HSM_ATTEMPTS ||
		    (err = key_recover(ks, key, err)) != KB_OK)
			break;
	}
	if (err != KB_OK)
		return err;
	if ((err = blob_check(ks, &job, span_sub(buf_span(wrapped), from, wrapped->len))) != KB_OK)
		wrapped->len = from;
	return err;
}
