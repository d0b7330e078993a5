/* broker/ctl/init_hsm.c — the HSM of a new instance: a token with random PINs and the release
 * signer's key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/limits.h"
#include "base/secret.h"
#include "ctl/files.h"
#include "ctl/init.h"
#include "ctl/output.h"
#include "ctl/user.h"
#include "keystore/keystore.h"
#include "keystore/provision.h"

enum { PIN_BYTES = 16 };

static enum kb_err softhsm_conf(const struct instance *in)
{
	KB_AUTO(buf) struct buf text = {0};
	KB_AUTO(cstr) char *path = ctl_path(in->dir, "hsm/softhsm2.conf");

	if (path == NULL)
		return KB_E_NOMEM;
	buf_init(&text, KB_MAX_CONFIG);
	KB_AUTO(cstr) char *tokens = init_path(in, in->tokens);
	if (tokens == NULL)
		return KB_E_NOMEM;
	buf_add_str(&text, "directories.tokendir = ");
	buf_add_str(&text, tokens);
	buf_add_str(&text,
		    "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n");
	enum kb_err err = init_put_buf(in, "hsm/softhsm2.conf", init_private(in), &text);
	if (err == KB_OK && setenv("SOFTHSM2_CONF", path, 1) != 0)
		err = KB_E_NOMEM;
	return err;
}

/* A PIN of 128 random bits as hexadecimal text, and its file. */
static enum kb_err pin_make(const struct instance *in, const char *file, struct secret **out)
{
	KB_AUTO(secret) struct secret *random = NULL;
	enum kb_err err = secret_random(PIN_BYTES, &random);

	if (err != KB_OK)
		return err;
	if ((*out = secret_new(2 * PIN_BYTES)) == NULL)
		return KB_E_NOMEM;
	(void)hex_put((char *)secret_bytes(*out), secret_span(random));
	return init_put(in, file, 0600, secret_span(*out));
}

/* Runs as the processes' user, who thereby owns the token's files. */
static enum kb_err token_make(struct instance *in, const struct secret *so_pin,
			      const struct secret *pin, struct hsm_public *signer)
{
	char why[PROVISION_WHY], token[128];
	struct keystore *ks = NULL;
	const struct hsm_key *key = NULL;
	struct keystore_template t = {.label = "release-signer",
				      .kty = KB_KTY_RSA,
				      .size = KB_RSA_MIN_BITS,
				      .is_signer = true};
	struct keystore_params params = {
		.module = in->module, .token = token, .pin = pin, .is_writable = true};
	enum kb_err err = keystore_init_token(in->module, in->label, so_pin, pin, why);

	if (err != KB_OK) {
		ctl_fail(CTL_FAILED, "the token cannot be made: %s. %s", why, kb_err_text(err));
		return err;
	}
	snprintf(token, sizeof token, "pkcs11:token=%s", in->label);
	if ((err = keystore_open(&params, &ks)) != KB_OK) {
		ctl_fail(CTL_FAILED, "the new token does not open: %s. %s", kb_err_name(err),
			 kb_err_text(err));
		return err;
	}
	err = keystore_generate(ks, &t, &in->signer);
	if (err == KB_OK)
		err = keystore_find(ks, in->signer, KB_KTY_RSA, false, NULL, &key);
	if (err == KB_OK)
		*signer = *keystore_public(key);
	else
		ctl_fail(CTL_FAILED, "the release signer's key cannot be made: %s (%s)",
			 kb_err_name(err), keystore_fault(ks));
	keystore_close(ks);
	return err;
}

enum kb_err init_hsm(struct instance *in, struct hsm_public *signer)
{
	enum kb_err err = KB_E_BUG;
	KB_AUTO(secret) struct secret *so_pin = NULL;
	KB_AUTO(secret) struct secret *pin = NULL;
	struct user service;

	if (in->is_softhsm && (err = softhsm_conf(in)) != KB_OK)
		return err;
	if ((err = pin_make(in, "hsm/so-pin", &so_pin)) != KB_OK ||
	    (err = pin_make(in, "hsm/pin", &pin)) != KB_OK ||
	    (err = init_give(in, "hsm/pin")) != KB_OK)
		return err;
	user_of(in->uid, in->gid, &service);
	if ((err = ctl_user_enter(&service)) != KB_OK)
		return err;
	err = token_make(in, so_pin, pin, signer);
	user_leave();
	return err;
}
