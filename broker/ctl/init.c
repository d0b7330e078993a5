/* broker/ctl/init.c — `keybrokerctl init`: a directory from which keybrokerd can be started at
 * once. Decides who owns what: the owner (root, or whoever runs it) owns everything that is read at
 * start; the processes' user owns the token's files and the state. Trusts nothing in the directory:
 * it must be new or empty.  The root's private key never reaches the disk; the issuing CA's does,
 * for the demo. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/x509.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/x509.h"
#include "ctl/ctl.h"
#include "keystore/keystore.h"
#include "keystore/provision.h"
#include "keystore/public_evp.h"

enum {
	OPT_USER,
	OPT_NAME,
	OPT_MODULE,
	OPT_TOKEN,
	OPT_ADDRESS,
	OPT_PORT,
	OPT_METRICS,
	OPT_ISSUER,
	OPT_JWKS,
	OPT_STATE
};
enum { PIN_BYTES = 16, CA_DAYS = 3650, LEAF_DAYS = 730, PATH_BYTES = 4096 };

static const struct ctl_opt init_opts[] = {
	[OPT_USER] = {"user", 'u', "NAME",
		      "as root: the user that the processes become; he gets the token's files and "
		      "the state"},
	[OPT_NAME] = {"name", 'n', "HOST",
		      "a host name or address that clients use; the first one stands in key ids "
		      "(repeat)"},
	[OPT_MODULE] = {"module", 'm', "PATH",
			"the PKCS#11 module (/usr/lib/softhsm/libsofthsm2.so)"},
	[OPT_TOKEN] = {"token", 't', "LABEL", "the new token's label (keybroker)"},
	[OPT_ADDRESS] = {"address", 'a', "IP", "the address to listen on (127.0.0.1)"},
	[OPT_PORT] = {"port", 'p', "N", "the port to listen on (8443)"},
	[OPT_METRICS] = {"metrics", 0, "PORT",
			 "the port of /metrics and /readyz on 127.0.0.1 (9464; 0: none)"},
	[OPT_ISSUER] =
		{"issuer", 'i', "URL",
		 "whose attestation tokens are believed (https://sharedweu.weu.attest.azure.net)"},
	[OPT_JWKS] = {"jwks", 0, "FILE", "that issuer's keys from a file instead of discovery"},
	[OPT_STATE] = {"state", 's', "DIR",
		       "where the broker writes: ledger, fetched keys, the token (in DIR)"},
	{NULL, 0, NULL, NULL},
};

struct instance {
	char dir[PATH_BYTES]; /* absolute */
	const char *module, *label, *user, *address, *issuer, *jwks;
	long long port, metrics;
	bool is_softhsm;
	const char *names[CTL_MAX_REPEAT + 3]; /* localhost, 127.0.0.1, ::1, then --name */
	size_t n_names;
	const char *host; /* in key ids */
	uid_t uid;        /* of the processes; ours when no user was given */
	gid_t gid;
	bool is_begun;           /* something stands in `dir` */
	char *signer;            /* its pkcs11: URI */
	const char *state;       /* as the configuration says it: "state", or an absolute path */
	char tokens[PATH_BYTES]; /* SoftHSM's directory, as `state` */
};

/* ---- files of the instance ---- */

/* `name` in the instance; an absolute one is elsewhere. */
static char *place(const struct instance *in, const char *name)
{
	return name[0] == '/' ? strdup(name) : ctl_path(in->dir, name);
}

static enum kb_err own(const struct instance *in, const char *name, uid_t uid)
{
	KB_AUTO(cstr) char *path = place(in, name);

	if (path == NULL)
		return KB_E_NOMEM;
	if (in->user == NULL || chown(path, uid, in->gid) == 0)
		return KB_OK;
	ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
	return KB_E_FILE;
}

static enum kb_err put(const struct instance *in, const char *name, mode_t mode, struct span text)
{
	KB_AUTO(cstr) char *path = place(in, name);

	if (path == NULL)
		return KB_E_NOMEM;
	enum kb_err err = ctl_write(path, mode, true, text);
	/* A file that the processes' group may read must have that group; the rest stays its
	 * owner's. */
	return err == KB_OK && (mode & 070) != 0 ? own(in, name, geteuid()) : err;
}

static enum kb_err put_buf(const struct instance *in, const char *name, mode_t mode,
			   const struct buf *text)
{
	return buf_ok(text) != KB_OK ? KB_E_NOMEM : put(in, name, mode, buf_span(text));
}

/* Otherwise errno says why: ENOTEMPTY, or what hinders looking. */
static bool dir_is_empty(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	if (d == NULL)
		return false;
	for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	errno = ENOTEMPTY;
	return n == 0;
}

/* A directory of the owner's (the processes' group passes through) or of the processes' user. */
static enum kb_err dir_make(const struct instance *in, const char *name, bool is_processes)
{
	KB_AUTO(cstr) char *path = place(in, name);
	mode_t mode = !is_processes && in->user != NULL ? 0750 : 0700;

	if (path == NULL)
		return KB_E_NOMEM;
	if ((mkdir(path, mode) != 0 && !(errno == EEXIST && dir_is_empty(path))) ||
	    chmod(path, mode) != 0) { /* chmod: whatever the umask says */
		ctl_fail(CTL_FAILED, "%s: %s", path,
			 errno == ENOTEMPTY ? "is there, and is not an empty directory"
					    : strerror(errno));
		return KB_E_FILE;
	}
	return own(in, name, is_processes ? in->uid : geteuid());
}

static enum kb_err dirs_make(struct instance *in, const char *dir)
{
	static const char *const owners[] = {"issuers.d", "keys.d", "policies", "tls", "hsm"};
	static const char *const processes[] = {"", "/issuers", "/ledger"};
	enum kb_err err = KB_E_BUG;
	char path[PATH_BYTES];

	if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
		ctl_fail(CTL_FAILED, "%s: %s", dir, strerror(errno));
		return KB_E_FILE;
	}
	if (realpath(dir, in->dir) == NULL || !dir_is_empty(dir)) {
		if (errno == ENOTEMPTY || errno == ENOTDIR)
			ctl_fail(CTL_FAILED,
				 "%s is not an empty directory: an instance is never overwritten. "
				 "Name another one",
				 dir);
		else
			ctl_fail(CTL_FAILED, "%s: %s", dir, strerror(errno));
		return KB_E_FILE;
	}
	in->is_begun = true;
	if ((err = dir_make(in, ".", false)) != KB_OK)
		return err;
	for (size_t i = 0; i < sizeof owners / sizeof owners[0]; i++)
		if ((err = dir_make(in, owners[i], false)) != KB_OK)
			return err;
	for (size_t i = 0; i < sizeof processes / sizeof processes[0]; i++) {
		if ((size_t)snprintf(path, sizeof path, "%s%s", in->state, processes[i]) >=
		    sizeof path)
			return KB_E_CONFIG;
		if ((err = dir_make(in, path, true)) != KB_OK)
			return err;
	}
	return dir_make(in, in->tokens, true);
}

/* ---- the HSM ---- */

static enum kb_err softhsm_conf(const struct instance *in)
{
	KB_AUTO(buf) struct buf text = {0};
	KB_AUTO(cstr) char *path = ctl_path(in->dir, "hsm/softhsm2.conf");

	if (path == NULL)
		return KB_E_NOMEM;
	buf_init(&text, KB_MAX_CONFIG);
	KB_AUTO(cstr) char *tokens = place(in, in->tokens);
	if (tokens == NULL)
		return KB_E_NOMEM;
	buf_add_str(&text, "directories.tokendir = ");
	buf_add_str(&text, tokens);
	buf_add_str(&text,
		    "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n");
	enum kb_err err = put_buf(in, "hsm/softhsm2.conf", in->user != NULL ? 0640 : 0600, &text);
	if (err == KB_OK && setenv("SOFTHSM2_CONF", path, 1) != 0)
		err = KB_E_NOMEM;
	return err;
}

/* A PIN of 128 random bits as hexadecimal text, and the file that keeps it. */
static enum kb_err pin_make(const struct instance *in, const char *file, struct secret **out)
{
	KB_AUTO(secret) struct secret *random = NULL;
	enum kb_err err = secret_random(PIN_BYTES, &random);

	if (err != KB_OK)
		return err;
	if ((*out = secret_new(2 * PIN_BYTES)) == NULL)
		return KB_E_NOMEM;
	(void)hex_put((char *)secret_bytes(*out), secret_span(random));
	return put(in, file, 0600, secret_span(*out));
}

/* As the processes' user, so that the token's files are his. */
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
		ctl_fail(CTL_FAILED, "the token cannot be made: %s. %s", why, ctl_hint(err));
		return err;
	}
	snprintf(token, sizeof token, "pkcs11:token=%s", in->label);
	if ((err = keystore_open(&params, &ks)) != KB_OK) {
		ctl_fail(CTL_FAILED, "the new token does not open: %s. %s", kb_err_name(err),
			 ctl_hint(err));
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

static enum kb_err hsm_make(struct instance *in, struct hsm_public *signer)
{
	enum kb_err err = KB_E_BUG;
	KB_AUTO(secret) struct secret *so_pin = NULL;
	KB_AUTO(secret) struct secret *pin = NULL;

	if (in->is_softhsm && (err = softhsm_conf(in)) != KB_OK)
		return err;
	if ((err = pin_make(in, "hsm/so-pin", &so_pin)) != KB_OK ||
	    (err = pin_make(in, "hsm/pin", &pin)) != KB_OK)
		return err;
	if ((err = ctl_user_enter(in->user)) != KB_OK)
		return err;
	err = token_make(in, so_pin, pin, signer);
	ctl_user_leave();
	return err;
}

/* ---- certificates ---- */

struct authority {
	EVP_PKEY *root_key, *issuing_key;
	X509 *root, *issuing;
};

static void authority_free(struct authority *a)
{
	EVP_PKEY_free(
		a->root_key); /* never written: nobody can make a second issuing CA of this root */
	EVP_PKEY_free(a->issuing_key);
	X509_free(a->root);
	X509_free(a->issuing);
}

static enum kb_err authority_make(const struct instance *in, struct authority *a)
{
	struct x509_template t = {.kind = X509_ROOT,
				  .common_name = "Keybroker demo root",
				  .days = CA_DAYS,
				  .now_s = clock_wall_s()};
	KB_AUTO(secret) struct secret *key_pem = NULL;
	KB_AUTO(buf) struct buf root_pem = {0};
	KB_AUTO(buf) struct buf issuing_pem = {0};
	enum kb_err err = KB_E_BUG;

	buf_init(&root_pem, KB_MAX_CONFIG);
	buf_init(&issuing_pem, KB_MAX_CONFIG);
	if ((err = x509_rsa_new(&a->root_key)) != KB_OK ||
	    (err = x509_issue(&t, a->root_key, NULL, a->root_key, &a->root)) != KB_OK)
		return err;
	t.kind = X509_ISSUING;
	t.common_name = "Keybroker demo issuing CA";
	if ((err = x509_rsa_new(&a->issuing_key)) != KB_OK ||
	    (err = x509_issue(&t, a->issuing_key, a->root, a->root_key, &a->issuing)) != KB_OK)
		return err;
	x509_pem(&root_pem, a->root);
	x509_pem(&issuing_pem, a->issuing);
	if ((err = x509_key_pem(a->issuing_key, &key_pem)) != KB_OK ||
	    (err = put(in, "tls/ca.key", 0600, secret_span(key_pem))) != KB_OK)
		return err;
	if ((err = put_buf(in, "tls/root.pem", 0644, &root_pem)) != KB_OK)
		return err;
	return put_buf(in, "tls/ca.pem", 0644, &issuing_pem);
}

/* A leaf for `key` and its chain: up to the issuing CA for TLS, up to the root for the reply's x5c
 * (contracts: keyvault §7). */
static enum kb_err leaf_make(const struct instance *in, const struct authority *a, EVP_PKEY *key,
			     const char *file, bool with_root)
{
	struct x509_template t = {X509_LEAF, strlen(in->host) <= 64 ? in->host : "keybroker",
				  in->names, in->n_names,
				  LEAF_DAYS, clock_wall_s()};
	KB_AUTO(x509_cert) X509 *leaf = NULL;
	KB_AUTO(buf) struct buf pem = {0};
	enum kb_err err = x509_issue(&t, key, a->issuing, a->issuing_key, &leaf);

	if (err != KB_OK)
		return err;
	buf_init(&pem, KB_MAX_CONFIG);
	x509_pem(&pem, leaf);
	x509_pem(&pem, a->issuing);
	if (with_root)
		x509_pem(&pem, a->root);
	return put_buf(in, file, 0644, &pem);
}

static enum kb_err certificates_make(const struct instance *in, const struct hsm_public *signer)
{
	struct authority a = {0};
	KB_AUTO(x509_key) EVP_PKEY *server = NULL;
	KB_AUTO(x509_key) EVP_PKEY *signer_key = NULL;
	KB_AUTO(secret) struct secret *server_pem = NULL;
	enum kb_err err = authority_make(in, &a);

	if (err == KB_OK)
		err = x509_p256_new(&server); /* half the handshake's cost of RSA; the reply's
						 signer must be RSA, the server need not */
	if (err == KB_OK)
		err = x509_key_pem(server, &server_pem);
	if (err == KB_OK)
		err = put(in, "tls/server.key", 0600, secret_span(server_pem));
	if (err == KB_OK)
		err = leaf_make(in, &a, server, "tls/server.pem", false);
	if (err == KB_OK)
		err = hsm_public_evp(signer, &signer_key);
	if (err == KB_OK)
		err = leaf_make(in, &a, signer_key, "tls/signer-chain.pem", true);
	authority_free(&a);
	if (err == KB_E_CONFIG)
		ctl_fail(CTL_FAILED, "a --name is neither a host name nor an address");
	return err;
}

/* ---- configuration ---- */

static bool is_ipv6(const char *text)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET6, text, bytes) == 1;
}

static void add_host(struct buf *b, const char *host)
{
	buf_add_str(b, is_ipv6(host) ? "[" : "");
	buf_add_str(b, host);
	buf_add_str(b, is_ipv6(host) ? "]" : "");
}

static void add_member(struct buf *b, const char *before, const char *name, const char *value)
{
	buf_add_str(b, before);
	json_add_str(b, span_str(name));
	buf_add_str(b, ": ");
	json_add_str(b, span_str(value));
}

static enum kb_err config_make(const struct instance *in)
{
	KB_AUTO(buf) struct buf b = {0};
	KB_AUTO(buf) struct buf url = {0};
	char token[128];

	buf_init(&b, KB_MAX_CONFIG);
	buf_init(&url, 1024);
	snprintf(token, sizeof token, "pkcs11:token=%s", in->label);
	buf_add_str(&url, "https://");
	add_host(&url, in->host);
	if (in->port != 443)
		buf_addf(&url, ":%lld", in->port);
	buf_add(&url, "", 1);
	if (buf_ok(&url) != KB_OK)
		return KB_E_NOMEM;

	buf_add_str(&b, "{\n  \"listeners\": [\n    {\n      \"address\": \"");
	add_host(&b, in->address);
	buf_addf(&b, ":%lld\"", in->port);
	add_member(&b, ",\n      ", "base_url", (const char *)url.p);
	buf_add_str(&b, ",\n      \"apis\": [\"keyvault\"],\n      \"auth\": \"none\"");
	buf_add_str(&b, ",\n      \"tls\": {\"certificate\": \"tls/server.pem\", \"key\": "
			"\"tls/server.key\", \"client_ca\": null}\n    }\n  ]");
	if (in->metrics != 0)
		buf_addf(&b, ",\n  \"metrics\": {\"address\": \"127.0.0.1:%lld\"}", in->metrics);
	add_member(&b, ",\n  \"hsm\": {\n    ", "module", in->module);
	add_member(&b, ",\n    ", "token", token);
	buf_add_str(&b, ",\n    \"pin_file\": \"hsm/pin\"");
	if (in->is_softhsm)
		buf_add_str(&b,
			    ",\n    \"environment\": {\"SOFTHSM2_CONF\": \"hsm/softhsm2.conf\"}");
	buf_add_str(&b, ",\n    \"workers\": 2\n  }");
	add_member(&b, ",\n  \"signer\": {", "object", in->signer);
	buf_add_str(&b, ", \"certificates\": \"tls/signer-chain.pem\"}");
	buf_add_str(&b, ",\n  \"issuers\": \"issuers.d\",\n  \"keys\": \"keys.d\"");
	add_member(&b, ",\n  ", "state", in->state);
	if (in->user != NULL)
		add_member(&b, ",\n  ", "user", in->user);
	buf_add_str(&b, "\n}\n");
	return put_buf(in, "keybroker.json", 0644, &b);
}

static enum kb_err issuer_make(const struct instance *in)
{
	KB_AUTO(buf) struct buf b = {0};
	KB_AUTO(buf) struct buf jwks = {0};
	enum kb_err err = KB_E_BUG;

	buf_init(&jwks, KB_MAX_JWKS);
	if (in->jwks != NULL) {
		buf_free(&jwks);
		if ((err = ctl_read(in->jwks, KB_MAX_JWKS, &jwks)) != KB_OK ||
		    (err = put_buf(in, "issuers.d/issuer.jwks", 0644, &jwks)) != KB_OK)
			return err;
	}
	buf_init(&b, KB_MAX_CONFIG);
	add_member(&b, "{\n  ", "issuer", in->issuer);
	buf_addf(&b, ",\n  \"profile\": \"maa\",\n  \"keys\": {%s}",
		 in->jwks != NULL ? "\"jwks_file\": \"issuer.jwks\"" : "\"discovery\": true");
	buf_add_str(&b, ",\n  \"algorithms\": [\"RS256\"],\n  \"max_token_age\": \"8h\",\n  "
			"\"clock_skew\": \"60s\",\n  \"audience\": null\n}\n");
	return put_buf(in, "issuers.d/issuer.json", 0644, &b);
}

/* Any confidential VM that Azure calls compliant, AMD or Intel: a start, to be narrowed to the VM
 * meant. */
static enum kb_err policy_make(const struct instance *in)
{
	KB_AUTO(buf) struct buf b = {0};

	buf_init(&b, KB_MAX_CONFIG);
	buf_add_str(&b, "{\n  \"version\": \"1.0.0\",\n  \"anyOf\": [\n    {");
	add_member(&b, "\n      ", "authority", in->issuer);
	buf_add_str(&b,
		    ",\n      \"allOf\": [\n"
		    "        {\"claim\": \"x-ms-compliance-status\", \"equals\": "
		    "\"azure-compliant-cvm\"},\n"
		    "        {\"anyOf\": [\n"
		    "          {\"claim\": \"x-ms-attestation-type\", \"equals\": \"sevsnpvm\"},\n"
		    "          {\"claim\": \"x-ms-attestation-type\", \"equals\": \"tdxvm\"}\n"
		    "        ]}\n"
		    "      ]\n    }\n  ]\n}\n");
	return put_buf(in, "policies/cvm.json", 0644, &b);
}

/* ---- the command ---- */

static bool arguments_read(const struct ctl *c, struct instance *in)
{
	static const char *const always[] = {"localhost", "127.0.0.1", "::1"};
	KB_AUTO(cstr) char *module_copy = NULL;
	uint8_t bytes[16];
	const char *v;

	in->user = ctl_value(c, OPT_USER);
	in->module = (v = ctl_value(c, OPT_MODULE)) != NULL ? v : "/usr/lib/softhsm/libsofthsm2.so";
	in->label = (v = ctl_value(c, OPT_TOKEN)) != NULL ? v : "keybroker";
	in->address = (v = ctl_value(c, OPT_ADDRESS)) != NULL ? v : "127.0.0.1";
	in->issuer = (v = ctl_value(c, OPT_ISSUER)) != NULL
			     ? v
			     : "https://sharedweu.weu.attest.azure.net";
	in->jwks = ctl_value(c, OPT_JWKS);
	in->state = (v = ctl_value(c, OPT_STATE)) != NULL ? v : "state";
	if (v != NULL && (v[0] != '/' || strlen(v) > PATH_BYTES / 2))
		return ctl_fail(false, "--state: an absolute path is wanted, not '%s'", v);
	snprintf(in->tokens, sizeof in->tokens, "%s/tokens", v != NULL ? v : "hsm");
	in->port = 8443;
	in->metrics = 9464;
	in->uid = geteuid();
	in->gid = getegid();
	if ((v = ctl_value(c, OPT_PORT)) != NULL && !ctl_number("--port", v, 1, 65535, &in->port))
		return false;
	if ((v = ctl_value(c, OPT_METRICS)) != NULL &&
	    !ctl_number("--metrics", v, 0, 65535, &in->metrics))
		return false;
	if (inet_pton(AF_INET, in->address, bytes) != 1 && !is_ipv6(in->address))
		return ctl_fail(false, "--address: an IP address is wanted, not '%s'", in->address);
	if (strncmp(in->issuer, "https://", 8) != 0)
		return ctl_fail(false, "--issuer: an https URL is wanted, not '%s'", in->issuer);
	if ((module_copy = strdup(in->module)) == NULL)
		return false;
	in->is_softhsm = strstr(basename(module_copy), "softhsm") != NULL;
	for (size_t i = 0; i < 3; i++)
		in->names[in->n_names++] = always[i];
	for (unsigned i = 0; i < c->n_values[OPT_NAME] && in->n_names < X509_MAX_NAMES; i++)
		in->names[in->n_names++] = c->value[OPT_NAME][i];
	in->host = ctl_has(c, OPT_NAME) ? c->value[OPT_NAME][0] : "localhost";
	if (in->user == NULL)
		return true;
	const struct passwd *pw = getpwnam(in->user);
	if (geteuid() != 0 || pw == NULL)
		return ctl_fail(false,
				geteuid() != 0 ? "--user %s: only root can give files away"
					       : "--user: there is no user '%s'",
				in->user);
	in->uid = pw->pw_uid;
	in->gid = pw->pw_gid;
	return true;
}

/* The configuration last: without it there is no instance. */
static enum kb_err instance_make(struct instance *in)
{
	struct hsm_public signer = {0};
	enum kb_err err = hsm_make(in, &signer);

	if (err != KB_OK || (err = certificates_make(in, &signer)) != KB_OK ||
	    (err = issuer_make(in)) != KB_OK || (err = policy_make(in)) != KB_OK)
		return err;
	return config_make(in);
}

static int init_run(struct ctl *c)
{
	static struct instance in;

	in = (struct instance){0};
	if (!arguments_read(c, &in))
		return CTL_FAILED;
	umask(077);
	if (secret_arena_init() != KB_OK)
		return ctl_fail(CTL_FAILED,
				"%d KiB of memory cannot be locked for secrets; raise `ulimit -l`",
				KB_SECRET_ARENA / 1024);
	enum kb_err err = dirs_make(&in, c->arg);
	if (err == KB_OK)
		err = instance_make(&in);
	free(in.signer);
	if (err != KB_OK)
		return in.is_begun ? ctl_fail(CTL_FAILED,
					      "init stopped (%s); remove %s before the next try",
					      kb_err_name(err), in.dir)
				   : CTL_FAILED;

	ctl_say("Made %s. Next:", in.dir);
	ctl_say("  keybrokerctl -c %s/keybroker.json key create disk-key --kty RSA-HSM --policy "
		"%s/policies/cvm.json",
		in.dir, in.dir);
	ctl_say("  keybrokerd -c %s/keybroker.json", in.dir);
	ctl_say("Clients trust %s/tls/root.pem. The issuing CA's key is %s/tls/ca.key: good for a "
		"demo; for more, replace tls/ by your own CA's.",
		in.dir, in.dir);
	ctl_say("Whom it believes: %s, in %s/issuers.d. Move hsm/so-pin to a safe place: it sets a "
		"new PIN.",
		in.issuer, in.dir);
	return CTL_OK;
}

const struct ctl_command ctl_init_commands[] = {
	{"init", "DIR",
	 "Make DIR a ready instance: an HSM token with a random PIN, certificates, a "
	 "configuration.",
	 init_opts, init_run,
	 "Example:\n  keybrokerctl init /etc/keybroker --user keybroker --name skr.example.net "
	 "--address 0.0.0.0 --port 443\n\n"
	 "DIR must not exist or be empty. Exit: 0 made, 2 not.\n"},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
