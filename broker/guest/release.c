/* broker/guest/release.c — coordinates one release: key, nonce, evidence, token, reply, hand-over.
 * Decides the order and the exit code of a failure; other files make the checks. Must never write
 * anything but what reply_open() returned. */
#include "guest/release.h"

#include <fcntl.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/limits.h"
#include "guest/attest.h"
#include "guest/client.h"
#include "guest/reply.h"
#include "guest/report.h"
#include "guest/token.h"
#include "guest/tpm.h"

enum { TARGET_MAX = 512 };

struct run {
	const struct release_options *o;
	struct client broker, attester;
	struct guest_tpm *tpm;
	struct ephemeral *key;
	struct secret *bearer;
	struct buf nonce, runtime_data, token, kid, body;
	struct span name, version;
	char key_path[KB_MAX_KEY_NAME + 64]; /* "/keys/NAME[/VERSION]" */
	uint8_t pins[KB_GUEST_PINS][X509_PIN_BYTES];
	size_t n_pins;
	struct released released;
};

static void run_free(struct run *r)
{
	SSL_CTX_free(r->broker.tls);
	if (r->attester.tls != r->broker.tls)
		SSL_CTX_free(r->attester.tls);
	ephemeral_free(r->key);
	tpm_close(r->tpm);
	secret_free(r->bearer);
	buf_free(&r->nonce);
	buf_free(&r->runtime_data);
	buf_free(&r->token);
	buf_free(&r->kid);
	buf_free(&r->body);
	released_free(&r->released);
}

/* ---- what the options name ---- */

static enum kb_err file_secret(const char *path, struct secret **out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	*out = NULL;
	if (fd < 0)
		return KB_E_FILE;
	enum kb_err err = secret_read_fd(fd, out);
	close(fd);
	return err;
}

/* "sha256//BASE64", separated by commas. */
static bool take_pins(struct run *r, struct span text)
{
	for (size_t at = 0; text.p != NULL && at <= text.len;) {
		size_t end = span_find(text, at, ',');
		if (r->n_pins == KB_GUEST_PINS ||
		    x509_pin_parse(span_sub(text, at, end - at), r->pins[r->n_pins++]) != KB_OK)
			return false;
		at = end + 1;
	}
	return true;
}

/* Who can change the file chooses whom we trust, or which key is ours.  A descriptor that the
 * caller passed is the caller's; a file that is not there is reported by who reads it. */
static bool is_trusted(const char *option, const char *path)
{
	static const char *const passed[] = {"/dev/fd/", "/dev/stdin", "/proc/self/fd/"};
	const struct file_trust trust = file_trust_self();
	char why[FILE_WHY];
	KB_AUTO(fd) int fd = -1;

	for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++)
		if (path == NULL || strncmp(path, passed[i], strlen(passed[i])) == 0)
			return true;
	enum kb_err err = file_open_trusted(path, &trust, 022, &fd, why);
	if (err == KB_OK || (err == KB_E_FILE && access(path, F_OK) != 0))
		return true;
	message("%s %s: %s", option, path, why);
	return false;
}

static enum guest_exit prepare(struct run *r)
{
	const struct release_options *o = r->o;
	struct span key = span_str(o->key);
	size_t slash = span_find(key, 0, '/');

	r->name = span_sub(key, 0, slash);
	r->version = span_sub(key, slash + 1, key.len);
	snprintf(r->key_path, sizeof r->key_path, "/keys/%s", o->key);
	if (url_list(span_str(o->urls), r->broker.urls, KB_GUEST_URLS, &r->broker.n_urls) !=
	    KB_OK) {
		message("--url: not a list of https://HOST[:PORT][/PATH]");
		return GUEST_USAGE;
	}
	if (!take_pins(r, span_str(o->signer_pins))) {
		message("--signer-pin: not sha256// and the base64 of a SHA-256, at most %d, "
			"separated "
			"by commas",
			KB_GUEST_PINS);
		return GUEST_USAGE;
	}
	if (!is_trusted("--ca", o->ca) || !is_trusted("--bearer-file", o->bearer_file) ||
	    !is_trusted("--attest-ca", o->attest_ca) ||
	    !is_trusted("--ephemeral-key", o->ephemeral_key))
		return GUEST_USAGE;
	if (http_trust(o->ca, &r->broker.tls) != KB_OK) {
		message("--ca %s: no certificate (PEM) could be read from it", o->ca);
		return GUEST_USAGE;
	}
	if (o->bearer_file != NULL && file_secret(o->bearer_file, &r->bearer) != KB_OK) {
		message("--bearer-file %s: could not be read", o->bearer_file);
		return GUEST_USAGE;
	}
	r->broker.bearer = r->bearer;
	if (o->attest == NULL)
		return GUEST_OK;
	if (url_list(span_str(o->attest), r->attester.urls, KB_GUEST_URLS, &r->attester.n_urls) !=
	    KB_OK) {
		message("--attest: not a list of https://HOST[:PORT][/PATH]");
		return GUEST_USAGE;
	}
	r->attester.tls = r->broker.tls;
	if (o->attest_ca != NULL && http_trust(o->attest_ca, &r->attester.tls) != KB_OK) {
		message("--attest-ca %s: no certificate (PEM) could be read from it", o->attest_ca);
		return GUEST_USAGE;
	}
	return GUEST_OK;
}

/* ---- the ephemeral key ---- */

static enum guest_exit tpm_failed(const char *step, enum kb_err err)
{
	message("TPM: %s failed (%s)", step, kb_err_name(err));
	if (err == KB_E_TPM_PCR)
		message("check: a PCR of --tpm-pcrs is not as it was when the key was made: "
			"firmware, "
			"boot loader or kernel changed");
	else if (err == KB_E_TPM_MISSING)
		message("check: /dev/tpmrm0 is there (the tpm modules are loaded), the handles of "
			"--tpm-key and --tpm-ak, or --tpm=TCTI");
	return GUEST_TPM;
}

static enum guest_exit make_key(struct run *r)
{
	const struct release_options *o = r->o;
	enum kb_err err;

	if (!o->use_tpm) {
		message(o->ephemeral_key == NULL ? "making an ephemeral RSA-2048 key"
						 : "reading the ephemeral key");
		err = o->ephemeral_key == NULL ? ephemeral_make(&r->key)
					       : ephemeral_load(o->ephemeral_key, &r->key);
		if (err == KB_OK)
			return GUEST_OK;
		message("no ephemeral key: %s%s", kb_err_name(err),
			o->ephemeral_key == NULL
				? ""
				: "; --ephemeral-key wants the PEM of an RSA key of 2048 bits");
		return o->ephemeral_key == NULL ? GUEST_NO_EVIDENCE : GUEST_USAGE;
	}
	message("using an ephemeral RSA-2048 key in the TPM");
	if ((err = tpm_open(o->tcti, &r->tpm)) != KB_OK)
		return tpm_failed("opening it", err);
	if ((err = tpm_make_key(r->tpm, o->pcrs, o->n_pcrs, o->tpm_key)) != KB_OK ||
	    (err = ephemeral_in_tpm(r->tpm, &r->key)) != KB_OK)
		return tpm_failed("making the key", err);
	return GUEST_OK;
}

static enum guest_exit describe_key(struct run *r)
{
	KB_AUTO(buf) struct buf certify, signature;
	bool is_certified = r->o->tpm_ak != 0;

	buf_init(&certify, 4096);
	buf_init(&signature, 4096);
	if (is_certified) {
		/* The TPM certifies at most 64 bytes of qualifying data, so hash the nonce. */
		uint8_t digest[64];
		attest_report_data(buf_span(&r->nonce), digest);
		enum kb_err err = tpm_certify(r->tpm, r->o->tpm_ak, span_of(digest, 32), &certify,
					      &signature);
		if (err != KB_OK)
			return tpm_failed("certifying the key", err);
	}
	if (ephemeral_runtime_data(r->key, is_certified ? &certify : NULL, &signature,
				   &r->runtime_data) == KB_OK)
		return GUEST_OK;
	message("no memory");
	return GUEST_NO_EVIDENCE;
}

/* ---- nonce ---- */

/* A token program has it in its environment, and may hand it to a shell or a query. */
static bool is_word(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.p[i];
		bool is_alnum =
			(c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (c == 0 || (!is_alnum && strchr("-._~+/=", c) == NULL))
			return false;
	}
	return true;
}

static enum guest_exit take_nonce(void *ctx, const struct url *from, const struct http_reply *reply)
{
	struct run *r = ctx;
	KB_AUTO(json) struct json_t *doc = NULL;
	struct span text;

	if (json_load_strict(buf_span(&reply->body), KB_GUEST_REPLY, &doc, NULL) != KB_OK ||
	    json_get_str(doc, "value", KB_MAX_NONCE, &text) != KB_OK || !is_word(text)) {
		message("%s: its answer holds no nonce", from->authority);
		return GUEST_BAD_REPLY;
	}
	buf_add_span(&r->nonce, text);
	return GUEST_OK;
}

static enum guest_exit make_nonce(struct run *r)
{
	char target[TARGET_MAX];
	uint8_t random[16];

	if (r->o->nonce == NULL) {
		if (RAND_bytes(random, sizeof random) == 1)
			hex_encode(&r->nonce, span_of(random, sizeof random));
		return r->nonce.len > 0 ? GUEST_OK : GUEST_NO_EVIDENCE;
	}
	if (strcmp(r->o->nonce, "broker") != 0) {
		buf_add_str(&r->nonce, r->o->nonce);
		return GUEST_OK;
	}
	message("asking %s for a nonce", r->broker.urls[0].authority);
	snprintf(target, sizeof target, "/keys/%.*s/nonce?api-version=%s", (int)r->name.len,
		 (const char *)r->name.p, r->o->api_version);
	return client_ask(&r->broker, &(struct client_call){.target = target,
							    .body = span_str("{}"),
							    .judge = take_nonce,
							    .ctx = r});
}

/* ---- token ---- */

static enum guest_exit take_token(void *ctx, const struct url *from, const struct http_reply *reply)
{
	struct run *r = ctx;

	if (attest_token(buf_span(&reply->body), &r->token) == KB_OK)
		return GUEST_OK;
	message("%s: its answer holds no token", from->authority);
	return GUEST_BAD_REPLY;
}

static enum guest_exit no_evidence(const char *why, enum kb_err err)
{
	message("no hardware report: %s (%s)", why, kb_err_name(err));
	message("check: this VM runs under SEV-SNP; the module sev-guest is loaded; configfs is "
		"mounted at /sys/kernel/config");
	return GUEST_NO_EVIDENCE;
}

/* Every `report` in this function is the hardware's. */
static enum guest_exit attest(struct run *r)
{
	KB_AUTO(report) struct report report = {0};
	KB_AUTO(secret) struct secret *chain_file = NULL;
	KB_AUTO(buf) struct buf body = {0};
	uint8_t data[REPORT_DATA];
	const char *why = "";

	message("asking the kernel for a hardware report");
	attest_report_data(buf_span(&r->runtime_data), data);
	enum kb_err err = report_get(r->o->tsm, data, &report, &why);
	if (err != KB_OK)
		return no_evidence(why, err);
	struct span chain = buf_span(&report.chain);
	if (chain.len == 0) {
		if (r->o->vcek_chain == NULL)
			return no_evidence("the host gives no VCEK certificate; name its chain "
					   "with --vcek-chain",
					   KB_E_FILE);
		if (file_secret(r->o->vcek_chain, &chain_file) != KB_OK)
			return no_evidence("--vcek-chain could not be read", KB_E_FILE);
		chain = secret_span(chain_file);
	}
	if ((err = attest_body(span_of(report.bytes, sizeof report.bytes), chain,
			       buf_span(&r->runtime_data), buf_span(&r->nonce), &body)) != KB_OK)
		return no_evidence("no memory", err);
	message("asking %s for a token", r->attester.urls[0].authority);
	enum guest_exit result =
		client_ask(&r->attester, &(struct client_call){.target = ATTEST_TARGET,
							       .body = buf_span(&body),
							       .judge = take_token,
							       .ctx = r});
	/* A refusal by the attestation service is not one by the broker: another exit code. */
	return result == GUEST_REFUSED || result == GUEST_BAD_REPLY ? GUEST_NO_EVIDENCE : result;
}

static enum guest_exit get_token(struct run *r)
{
	const struct release_options *o = r->o;
	enum kb_err err;

	if (o->attest != NULL)
		return attest(r);
	if (o->token != NULL) {
		message("reading the token from %s", o->token);
		err = token_read(o->token, &r->token);
	} else {
		message("running %s for a token", o->token_command);
		err = token_command(o->token_command, buf_span(&r->runtime_data),
				    buf_span(&r->nonce), r->broker.deadline_ms, &r->token);
	}
	if (err == KB_OK)
		return GUEST_OK;
	message("no token: %s", err == KB_E_TOKEN_SIZE ? "it is empty or too large"
				: err == KB_E_FETCH_TIMEOUT
					? "the program was still running at --timeout and was ended"
				: err == KB_E_SYS ? "the program could not be started, or failed"
						  : "it could not be read");
	return GUEST_NO_EVIDENCE;
}

static enum guest_exit match_token(struct run *r)
{
	enum kb_err err = token_wrapping_kid(buf_span(&r->token), ephemeral_n(r->key),
					     ephemeral_e(r->key), &r->kid);

	if (err == KB_OK)
		return GUEST_OK;
	message(err == KB_E_KEY_BINDING
			? "the token holds another ephemeral key: a release to it could "
			  "not be unwrapped here"
			: "this is not a token: three parts of base64url, separated by "
			  "dots, were expected");
	message("check: --ephemeral-key or --tpm-key against the key the token was made for");
	return GUEST_NO_EVIDENCE;
}

/* ---- release ---- */

static const char *bad_reply_hint(enum kb_err err)
{
	if (err == KB_E_KID_UNKNOWN || err == KB_E_ISSUER)
		return "check: --ca holds the root of the broker's release signer, and the URL "
		       "names the host that its certificate is for";
	if (err == KB_E_EXPIRED)
		return "check: this machine's clock, and the broker's release signer certificate";
	if (err == KB_E_KEY_BINDING || err == KB_E_NONCE || err == KB_E_PATH || err == KB_E_ENC)
		return "it answers another request: something between this machine and the broker "
		       "may alter replies";
	return "check: that this is a Key Vault or a Keybroker, and --api-version";
}

static enum guest_exit take_release(void *ctx, const struct url *from,
				    const struct http_reply *reply)
{
	struct run *r = ctx;
	const struct asked asked = {
		.signer = {.roots = SSL_CTX_get_cert_store(r->broker.tls),
			   .host = from->host,
			   .is_ip = from->is_ip,
			   .now_s = clock_wall_s(),
			   .peer = reply->peer,
			   .pins = (const uint8_t(*)[X509_PIN_BYTES])r->pins,
			   .n_pins = r->n_pins},
		.name = r->name,
		.version = r->version,
		.scheme = scheme_find(span_str(r->o->enc)),
		.nonce = buf_span(&r->nonce),
		.kid = buf_span(&r->kid),
		.key = r->key,
	};
	enum kb_err err = reply_open(buf_span(&reply->body), &asked, &r->released);

	if (err == KB_OK)
		return GUEST_OK;
	if (err == KB_E_TPM || err == KB_E_TPM_PCR || err == KB_E_TPM_MISSING)
		return tpm_failed("unwrapping", err);
	message("%s: its reply fails a check (%s)", from->authority, kb_err_name(err));
	if (reply->request_id[0] != '\0')
		message("  request id: %s", reply->request_id);
	message("%s", r->released.hint != NULL ? r->released.hint : bad_reply_hint(err));
	return GUEST_BAD_REPLY;
}

static enum guest_exit make_body(struct run *r)
{
	buf_add_str(&r->body, "{");
	json_add_member(&r->body, "target", buf_span(&r->token));
	json_add_member(&r->body, "enc", span_str(r->o->enc));
	json_add_member(&r->body, "nonce", buf_span(&r->nonce));
	buf_add_str(&r->body, "}");
	if (buf_ok(&r->body) == KB_OK)
		return GUEST_OK;
	message("the token is too large");
	return GUEST_NO_EVIDENCE;
}

/* Nonce, evidence and token of one try: what a server has seen is not sent again. */
static enum guest_exit make_request(struct run *r)
{
	static enum guest_exit (*const steps[])(struct run *) = {make_nonce, describe_key,
								 get_token, match_token, make_body};
	const struct {
		struct buf *buf;
		size_t max;
	} bufs[] = {{&r->nonce, KB_MAX_NONCE},
		    {&r->runtime_data, 1},
		    {&r->token, KB_MAX_TOKEN},
		    {&r->kid, KB_MAX_KID},
		    {&r->body, KB_MAX_BODY}};
	enum guest_exit result = GUEST_OK;

	for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
		buf_free(bufs[i].buf);
		buf_init(bufs[i].buf, bufs[i].max);
	}
	for (size_t i = 0; result == GUEST_OK && i < sizeof steps / sizeof steps[0]; i++)
		result = steps[i](r);
	return result;
}

static enum guest_exit renew(void *ctx, struct span *body)
{
	struct run *r = ctx;

	message("the next try takes a new token");
	enum guest_exit result = make_request(r);
	*body = buf_span(&r->body);
	return result;
}

static enum guest_exit ask_release(struct run *r)
{
	char target[TARGET_MAX];

	snprintf(target, sizeof target, "%s/release?api-version=%s", r->key_path,
		 r->o->api_version);
	message("asking %s for %s", r->broker.urls[0].authority, r->o->key);
	return client_ask(&r->broker,
			  &(struct client_call){.target = target,
						.body = buf_span(&r->body),
						.judge = take_release,
						/* --token names the only one there is */
						.renew = r->o->token == NULL ? renew : NULL,
						.ctx = r});
}

static enum guest_exit hand_over(struct run *r)
{
	KB_AUTO(secret) struct secret *text = NULL;
	const char *why = "";

	alarm(0); /* the time limit must not interrupt the writing */
	enum kb_err err = output_encode(r->o->format, r->released.plain, r->released.key, &text);
	if (err != KB_OK) {
		message("the key cannot be written as asked (%s): %s", kb_err_name(err),
			err == KB_E_KEY_TYPE
				? "a symmetric key has no PEM form; use --format raw or jwk"
				: "the form failed");
		return GUEST_OUTPUT;
	}
	if (output_write(r->o->out, text, &why) != KB_OK) {
		message("--out %s: %s", r->o->out, why);
		return GUEST_OUTPUT;
	}
	message("%s, version %s: released and handed over", r->o->key, r->released.version);
	return GUEST_OK;
}

enum guest_exit release(const struct release_options *o)
{
	static enum guest_exit (*const steps[])(struct run *) = {prepare, make_key, make_request,
								 ask_release, hand_over};
	struct run r = {.o = o};
	enum guest_exit result = GUEST_OK;

	r.broker.deadline_ms = r.attester.deadline_ms = clock_mono_ms() + o->timeout_s * 1000;
	for (size_t i = 0; result == GUEST_OK && i < sizeof steps / sizeof steps[0]; i++)
		result = steps[i](&r);
	run_free(&r);
	return result;
}
