/* broker/ctl/check.c — `keybrokerctl check`: what the supervisor checks when it loads a
 * configuration, and more: the HSM's objects, the signer's certificate, expiry dates.  Changes
 * nothing. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/x509.h"
#include "config/certificates.h"
#include "ctl/check_warn.h"
#include "ctl/open.h"
#include "ctl/output.h"
#include "keystore/keystore.h"
#include "keystore/sign.h"
#include "keystore/wrap.h"

enum { OPT_HSM };
static const struct ctl_opt check_opts[] = {
	[OPT_HSM] =
		{"hsm", 0, NULL,
		 "open the HSM too: every object, the wrapping schemes, the signer's certificate"},
	{NULL, 0, NULL, NULL},
};

enum { MAX_NOTES = 200 };

struct notes { /* faults, or warnings; allocated texts */
	char *text[MAX_NOTES];
	size_t n, lost;
};

__attribute__((format(printf, 2, 3))) static void note(struct notes *t, const char *fmt, ...)
{
	va_list ap;

	if (t->n == MAX_NOTES) {
		t->lost++;
		return;
	}
	va_start(ap, fmt);
	if (vasprintf(&t->text[t->n], fmt, ap) >= 0)
		t->n++;
	va_end(ap);
}

static void warn(void *warnings, const char *text)
{
	note(warnings, "%s", text);
}

static void notes_free(struct notes *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->text[i]);
}

/* ---- certificates ---- */

struct both {
	struct notes *faults, *warnings;
};

static void on_certificate(void *ctx, enum certificate_state state, struct span pem,
			   const char *text)
{
	const struct both *to = ctx;

	(void)pem;
	note(state == CERTIFICATE_WARNING ? to->warnings : to->faults, "%s", text);
}

/* ---- the HSM ---- */

/* A key of an older version, or made by others: it works, and may do more than it needs. */
static void weakness_check(struct keystore *ks, const struct hsm_key *key, bool is_signer,
			   const char *whose, struct notes *warnings)
{
	KB_AUTO(buf) struct buf text = {0};

	buf_init(&text, 1024);
	enum kb_err err = keystore_weakness(ks, key, is_signer, &text);
	if (err != KB_OK)
		note(warnings, "%s: its attributes cannot be read (%s: %s)", whose,
		     kb_err_name(err), keystore_fault(ks));
	else if (text.len > 0)
		note(warnings,
		     "%s: the HSM lets the key be used for more than it needs: %.*s. It keeps "
		     "working; %s",
		     whose, (int)text.len, (const char *)text.p,
		     is_signer ? "make a new signing key when its certificate is renewed"
			       : "\"keybrokerctl key rotate\" makes a version without these uses");
}

static void release_check(struct keystore *ks, const struct config *cfg, const struct key_record *r,
			  const struct key_version *v, const struct hsm_key *key,
			  struct notes *warnings)
{
	KB_AUTO(cstr) char *whose = NULL;

	if (asprintf(&whose, "%s/%s.json: version %s", cfg->keys_dir, r->name, v->version) < 0)
		whose = NULL;
	weakness_check(ks, key, false, whose == NULL ? r->name : whose, warnings);
}

static void signer_check(const struct config *cfg, struct keystore *ks, struct notes *faults,
			 struct notes *warnings)
{
	const struct hsm_key *signer = NULL;
	KB_AUTO(buf) struct buf leaf = {0};
	int64_t expires_s;
	enum kb_err err = keystore_find(ks, cfg->signer_object, KB_KTY_RSA, false, NULL, &signer);

	buf_init(&leaf, KB_MAX_CONFIG);
	if (err != KB_OK) {
		note(faults, "%s: signer.object: %s (%s: %s). %s", cfg->path, kb_err_name(err),
		     cfg->signer_object, keystore_fault(ks), kb_err_text(err));
		return;
	}
	KB_AUTO(cstr) char *whose = NULL;
	if (asprintf(&whose, "%s: signer.object", cfg->path) < 0)
		whose = NULL;
	weakness_check(ks, signer, true, whose == NULL ? "signer.object" : whose, warnings);
	if (x509_chain_read(cfg->signer_chain, &leaf, &expires_s) != KB_OK)
		return; /* reported by config_certificates() */
	if ((err = keystore_prove_signer(ks, signer, buf_span(&leaf))) != KB_OK)
		note(faults,
		     "%s: signer: %s (%s): the first certificate must be for the key in the HSM",
		     cfg->path, kb_err_name(err), keystore_fault(ks));
}

static void wrap_check(const struct config *cfg, struct keystore *ks, struct notes *faults,
		       struct notes *warnings)
{
	const size_t before = faults->n + warnings->n;
	enum kb_err err = keystore_self_test(ks);
	if (err == KB_OK)
		return;
	const struct wrap_plan *plan = keystore_plan(ks);
	for (size_t s = 0; s < WRAP_SCHEMES; s++)
		for (enum kb_kty kty = KB_KTY_RSA; kty <= KB_KTY_OCT; kty++)
			if (plan->engine[s][kty] == WRAP_NONE)
				note(&schemes[s] == SCHEME_DEFAULT ? faults : warnings,
				     "%s: hsm.module: %s of %s keys does not work right: such "
				     "releases are refused",
				     cfg->path, schemes[s].name, kty_name(kty));
	if (faults->n + warnings->n == before)
		note(faults, "%s: hsm.module: its self-test failed (%s). %s", cfg->path,
		     kb_err_name(err), kb_err_text(err));
}

static void hsm_check(const struct config *cfg, struct notes *faults, struct notes *warnings)
{
	struct keystore *ks = NULL;
	enum kb_err err = ctl_hsm_open(cfg, true, &ks);

	if (err != KB_OK) {
		note(faults, "%s: hsm: does not open (%s)", cfg->path, kb_err_name(err));
		return;
	}
	for (size_t i = 0; i < cfg->n_keys; i++) {
		const struct key_record *r = cfg->keys[i].record;
		for (size_t v = 0; v < r->n_versions; v++) {
			const struct key_version *one = &r->versions[v];
			const struct hsm_key *key = NULL;
			err = keystore_find(ks, one->object, r->kty, true,
					    one->has_fingerprint ? one->fingerprint : NULL, &key);
			if (err != KB_OK)
				note(faults, "%s/%s.json: version %s: %s (%s: %s). %s",
				     cfg->keys_dir, r->name, one->version, kb_err_name(err),
				     one->object, keystore_fault(ks), kb_err_text(err));
			else
				release_check(ks, cfg, r, one, key, warnings);
		}
	}
	signer_check(cfg, ks, faults, warnings);
	wrap_check(cfg, ks, faults, warnings);
	ctl_hsm_close(ks);
}

/* ---- the report ---- */

static void notes_json(struct buf *out, const char *name, const struct notes *t)
{
	json_add_name(out, name);
	buf_add_str(out, "[");
	for (size_t i = 0; i < t->n; i++) {
		buf_add_str(out, i == 0 ? "" : ",");
		json_add_str(out, span_str(t->text[i]));
	}
	buf_add_str(out, "]");
}

static void report_text(const struct config *cfg, const struct notes *faults,
			const struct notes *warnings, struct buf *out)
{
	for (size_t i = 0; i < faults->n; i++)
		ctl_say("%s", faults->text[i]);
	if (faults->lost > 0)
		ctl_say("… and %zu more", faults->lost);
	for (size_t i = 0; i < warnings->n; i++)
		ctl_say("warning: %s", warnings->text[i]);
	if (warnings->lost > 0)
		ctl_say("… and %zu more warnings", warnings->lost);
	if (cfg != NULL && faults->n == 0)
		buf_addf(out,
			 "good: %zu listener%s, %zu issuer%s, %zu key%s, configuration %.16s\n",
			 cfg->n_listeners, cfg->n_listeners == 1 ? "" : "s", cfg->n_issuers,
			 cfg->n_issuers == 1 ? "" : "s", cfg->n_keys, cfg->n_keys == 1 ? "" : "s",
			 cfg->digest);
}

static void report_json(const struct config *cfg, const struct notes *faults,
			const struct notes *warnings, struct buf *out)
{
	buf_add_str(out, "{");
	json_add_bool(out, "good", faults->n == 0);
	notes_json(out, "faults", faults);
	notes_json(out, "warnings", warnings);
	if (faults->lost + warnings->lost > 0)
		json_add_int(out, "more", (int64_t)(faults->lost + warnings->lost));
	if (cfg != NULL) {
		json_add_int(out, "listeners", (int64_t)cfg->n_listeners);
		json_add_int(out, "issuers", (int64_t)cfg->n_issuers);
		json_add_int(out, "keys", (int64_t)cfg->n_keys);
		json_add_member(out, "configuration", span_str(cfg->digest));
	}
	buf_add_str(out, "}\n");
}

static int check_run(struct ctl *c)
{
	struct config_faults found = {0};
	static struct notes faults, warnings;
	KB_AUTO(snapshot) struct snapshot *source = NULL;
	KB_AUTO(config) struct config *cfg = NULL;
	struct buf out;

	enum kb_err err = snapshot_files(&source);
	if (err == KB_OK) {
		snapshot_as_service(source);
		err = config_load(source, c->config_path, CONFIG_ALL, &cfg, &found);
	}
	for (size_t i = 0; i < found.n; i++)
		note(&faults, "%s", found.text[i]);
	config_faults_free(&found);
	if (err != KB_OK && faults.n == 0)
		note(&faults, "%s:1: %s", c->config_path, kb_err_name(err));
	if (err == KB_OK) {
		config_certificates(cfg, clock_wall_s(), on_certificate,
				    &(struct both){&faults, &warnings});
		check_policies(cfg, warn, &warnings);
		check_key_sets(cfg, warn, &warnings);
		if (ctl_has(c, OPT_HSM))
			hsm_check(cfg, &faults, &warnings);
	}
	int code = faults.n == 0 ? CTL_OK : CTL_NO;
	buf_init(&out, CTL_MAX_OUTPUT);
	if (c->is_json)
		report_json(cfg, &faults, &warnings, &out);
	else
		report_text(cfg, &faults, &warnings, &out);
	notes_free(&faults);
	notes_free(&warnings);
	return ctl_put(&out, code);
}

const struct ctl_command ctl_check_commands[] = {
	{"check", NULL,
	 "The whole configuration: every issuer, key record, policy, certificate and file mode.",
	 check_opts, check_run, "Each fault is a line: path:line: text.  Exit: 0 good, 1 not.\n"},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
