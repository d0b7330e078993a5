/* broker/config/config.c — keybroker.json: the whole configuration, read and checked before
 * anything is started with it.  Trusts the owners of the files (snapshot.c), and nothing in the
 * files.  All faults are collected, and one is enough to refuse the configuration. */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/x509.h"
#include "config/document.h"
#include "keystore/softhsm.h"

enum { WORKERS = 2, MAX_CHAIN = 256 * 1024, MAX_ENVIRONMENT = 16 };

static bool present(const struct section *n, const char *name)
{
	return json_has(n->obj, name) && !json_has_null(n->obj, name);
}

/* No variable that changes how programs are loaded, or where OpenSSL looks for its configuration
 * and engines. */
static bool variable_ok(const char *name)
{
	static const char chars[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	static const char *const refused[] = {"LD_",     "OPENSSL_", "GCONV_",  "GLIBC_",
					      "MALLOC_", "SSL_",     "NOTIFY_", "LISTEN_"};
	static const char *const refused_whole[] = {"PATH", "IFS", "ENV", "HOME"};

	size_t len = strlen(name);
	if (len == 0 || len > 64 || (name[0] >= '0' && name[0] <= '9') || name[0] == '_' ||
	    strspn(name, chars) != len)
		return false;
	for (size_t i = 0; i < sizeof refused_whole / sizeof refused_whole[0]; i++)
		if (strcasecmp(name, refused_whole[i]) == 0)
			return false;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		if (strncasecmp(name, refused[i], strlen(refused[i])) == 0)
			return false;
	return true;
}

/* A directory or file that others use by its path.  The service's user must be able to write to a
 * directory of its own; nobody else can be asked. */
static void way_check(const struct section *n, const char *name, const char *path, bool is_optional,
		      bool is_written)
{
	const struct config *c = n->doc->l->c;
	const char *why;

	if (snapshot_is_archive(n->doc->l->src))
		return;
	if (snapshot_check_way(n->doc->l->src, path, is_optional, &why) != KB_OK)
		section_fault(n, name, "%s %s", path, why);
	else if (is_written && geteuid() == c->service.uid &&
		 faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS) != 0 && errno != ENOENT)
		section_fault(n, name, "%s cannot be written by user %s: chown -R %s %s", path,
			      c->service.name, c->service.name, path);
}

/* SoftHSM reads its token's place from a file. */
static void softhsm_check(const struct section *n, const char *name, const char *conf)
{
	char dir[SOFTHSM_TOKEN_DIR];
	const char *why;

	if (snapshot_is_archive(n->doc->l->src))
		return;
	if (snapshot_check(n->doc->l->src, conf, FILE_PUBLIC, &why) != KB_OK)
		section_fault(n, name, "%s %s", conf, why);
	else if (!softhsm_token_dir(conf, dir))
		section_fault(n, name,
			      "%s names no directories.tokendir, or one of more than 255 bytes",
			      conf);
	else if (access(dir, F_OK) != 0 && errno == ENOENT)
		section_fault(n, name,
			      "%s names the token directory %s, which does not exist: when the "
			      "instance was moved, write its new place to directories.tokendir",
			      conf, dir);
	else
		way_check(n, name, dir, false, true);
}

/* What SoftHSM reads when no variable names another file. */
static void softhsm_default_check(const struct section *hsm, const struct config *c)
{
	static const char conf[] = "/etc/softhsm/softhsm2.conf";

	if (c->hsm_module == NULL || strstr(c->hsm_module, "softhsm") == NULL)
		return;
	for (char **e = c->hsm_environment; e != NULL && *e != NULL; e++)
		if (strncmp(*e, "SOFTHSM2_CONF=", 14) == 0)
			return;
	softhsm_check(hsm, "module", conf);
}

/* A string is a path; {"value": "…"} is a text as it is.  *path is NULL for a text. */
static bool value_load(const struct section *env, const char *name, const struct json_t *value,
		       char **path, char **out)
{
	static const char *const known[] = {"value", NULL};
	struct section text;

	if (!json_isa_obj(value)) {
		if (!section_path(env, name, path))
			return false;
		*out = strdup(*path);
	} else if (!section_object(env, name, &text) || !section_known(&text, known) ||
		   !section_str(&text, "value", 1024, out)) {
		return false;
	}
	if (*out == NULL)
		section_fault(env, name, "no memory");
	return *out != NULL;
}

static void environment_load(const struct section *hsm, struct config *c)
{
	void *it = NULL;
	const char *name;
	const struct json_t *value;
	struct section env;
	size_t n = 0;

	if (!present(hsm, "environment") || !section_object(hsm, "environment", &env))
		return;
	c->hsm_environment = calloc(MAX_ENVIRONMENT + 1, sizeof(char *));
	if (c->hsm_environment == NULL || json_len(env.obj) > MAX_ENVIRONMENT) {
		section_fault(hsm, "environment", "more than %d variables", MAX_ENVIRONMENT);
		return;
	}
	while (json_next(env.obj, &it, &name, &value)) {
		KB_AUTO(cstr) char *path = NULL;
		KB_AUTO(cstr) char *text = NULL;
		if (!variable_ok(name)) {
			section_fault(&env, name, "\"%.64s\" must not be set for a PKCS#11 module",
				      name);
			continue;
		}
		if (!value_load(&env, name, value, &path, &text))
			continue;
		if (asprintf(&c->hsm_environment[n], "%s=%s", name, text) < 0) {
			c->hsm_environment[n] = NULL;
			section_fault(&env, name, "no memory");
			continue;
		}
		n++;
		if (path == NULL)
			continue;
		if (strcmp(name, "SOFTHSM2_CONF") == 0)
			softhsm_check(&env, name, path);
		else
			way_check(&env, name, path, true, false);
	}
}

static bool uri_ok(const struct section *n, const char *name, const char *uri)
{
	if (strncmp(uri, "pkcs11:", 7) != 0) {
		section_wrong(n, name, "\"%s\" must be a PKCS#11 URI: \"pkcs11:…\" (RFC 7512)",
			      name);
		return false;
	}
	if (strcasestr(uri, "pin-value") != NULL || strcasestr(uri, "pin-source") != NULL) {
		section_fault(n, name, "\"%s\" must not contain a PIN: write it to the PIN file",
			      name);
		return false;
	}
	return true;
}

static void hsm_load(const struct section *root, struct config *c)
{
	static const char *const known[] = {"module",      "token",   "pin_file", "workers",
					    "environment", "network", NULL};
	struct section hsm;
	const char *why;
	int64_t workers = WORKERS;

	if (!section_object(root, "hsm", &hsm))
		return;
	(void)section_known(&hsm, known);
	if (section_str(&hsm, "module", 4095, &c->hsm_module) && c->hsm_module[0] != '/')
		section_wrong(&hsm, "module", "\"module\" must be an absolute path");
	if (section_str(&hsm, "token", 1024, &c->hsm_token))
		(void)uri_ok(&hsm, "token", c->hsm_token);
	if (section_path(&hsm, "pin_file", &c->hsm_pin_file) &&
	    snapshot_check(root->doc->l->src, c->hsm_pin_file, FILE_SECRET, &why) != KB_OK)
		section_fault(&hsm, "pin_file", "%s %s", c->hsm_pin_file, why);
	(void)section_int_opt(&hsm, "workers", 1, KB_MAX_WORKERS, &workers);
	(void)section_bool_opt(&hsm, "network", &c->hsm_is_network);
	c->workers = (unsigned)workers;
	environment_load(&hsm, c);
	softhsm_default_check(&hsm, c);
}

/* A gateway holds the keys of TLS.  With the signer's key it could sign what no vault released. */
static void signer_is_apart(const struct section *signer, const struct config *c)
{
	KB_AUTO(x509_cert) X509 *leaf = x509_first(c->signer_chain);

	for (size_t i = 0; leaf != NULL && i < c->n_listeners; i++) {
		KB_AUTO(x509_cert) X509 *tls = x509_first(c->listeners[i].certificate);
		if (tls != NULL && x509_same_key(X509_get0_pubkey(tls), X509_get0_pubkey(leaf)))
			section_fault(signer, "certificates",
				      "the signer has the same key as the TLS certificate of "
				      "listeners[%zu]: it must have one of its own, in the HSM",
				      i);
	}
}

static void signer_load(const struct section *root, struct config *c)
{
	static const char *const known[] = {"object", "certificates", NULL};
	struct section signer;

	if (!section_object(root, "signer", &signer))
		return;
	(void)section_known(&signer, known);
	if (section_str(&signer, "object", 1024, &c->signer_object))
		(void)uri_ok(&signer, "object", c->signer_object);
	if (section_file(&signer, "certificates", MAX_CHAIN, false, CONFIG_VAULT,
			 &c->signer_chain) &&
	    c->signer_chain.len > 0 && x509_chain_check(c->signer_chain) != KB_OK)
		section_wrong(
			&signer, "certificates",
			"the file must have the signer's certificate first, then the certificate "
			"of each issuer, and the root last");
	signer_is_apart(&signer, c);
}

static void limits_load(const struct section *root, struct config *c)
{
	static const char *const known[] = {
		"connections",          "connections_per_source", "queue", "gateways",
		"ledger_segment_bytes", "ledger_reserve",         NULL};
	struct section limits;
	int64_t connections = KB_CONNECTIONS, per_source = KB_CONNECTIONS_SOURCE, queue = KB_QUEUE,
		gateways = 1;

	c->ledger_segment_bytes = KB_LEDGER_SEGMENT;
	c->ledger_reserve = KB_LEDGER_RESERVE;
	if (present(root, "limits") && section_object(root, "limits", &limits)) {
		(void)section_known(&limits, known);
		(void)section_int_opt(&limits, "connections", 1, 1000000, &connections);
		(void)section_int_opt(&limits, "connections_per_source", 1, 1000000, &per_source);
		(void)section_int_opt(&limits, "queue", 1, 65536, &queue);
		(void)section_int_opt(&limits, "gateways", 1, KB_MAX_GATEWAYS, &gateways);
		(void)section_int_opt(&limits, "ledger_segment_bytes", 16 * KB_MAX_RECORD,
				      INT64_C(1) << 40, &c->ledger_segment_bytes);
		(void)section_int_opt(&limits, "ledger_reserve", 0, INT64_C(1) << 40,
				      &c->ledger_reserve);
	}
	c->max_connections = (unsigned)connections;
	c->max_connections_source = (unsigned)per_source;
	c->max_queue = (unsigned)queue;
	c->gateways = (unsigned)gateways;
}

/* Records of refusals in KB_REFUSAL_WINDOW_S. */
static void refusals_load(const struct section *root, struct config *c)
{
	static const char *const known[] = {"per_source", "bytes", NULL};
	struct section n;

	c->refusals_per_source = KB_REFUSAL_WHOLE;
	c->refusals_bytes = KB_REFUSAL_BYTES;
	if (!present(root, "refusals") || !section_object(root, "refusals", &n))
		return;
	(void)section_known(&n, known);
	(void)section_int_opt(&n, "per_source", 1, 1000000, &c->refusals_per_source);
	(void)section_int_opt(&n, "bytes", KB_REFUSAL_BYTES, INT64_C(1) << 40, &c->refusals_bytes);
}

static void metrics_load(const struct section *root, struct config *c)
{
	static const char *const known[] = {"address", NULL};
	struct section metrics;

	if (!present(root, "metrics") || !section_object(root, "metrics", &metrics))
		return;
	(void)section_known(&metrics, known);
	if (!section_str(&metrics, "address", 64, &c->metrics_address))
		return;
	if (!address_ok(c->metrics_address))
		section_wrong(
			&metrics, "address",
			"\"address\" must be a literal address and a port: \"127.0.0.1:9464\"");
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].address != NULL &&
		    strcmp(c->listeners[i].address, c->metrics_address) == 0)
			section_fault(&metrics, "address", "a listener has this address");
}

static void user_load(const struct section *root, struct config *c)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";

	if (!section_str_opt(root, "user", 32, &c->user) || c->user == NULL)
		return;
	if (strlen(c->user) >= USER_NAME || strspn(c->user, chars) != strlen(c->user) ||
	    c->user[0] == '-' || (c->user[0] >= '0' && c->user[0] <= '9'))
		section_wrong(root, "user", "\"user\" must be the name of a system user");
	else if (strcmp(c->user, "root") == 0)
		section_wrong(root, "user",
			      "\"user\" must not be root: no process needs its rights");
	else if (!snapshot_is_archive(root->doc->l->src) && strcmp(c->user, c->service.name) != 0)
		section_fault(root, "user",
			      "user \"%s\" does not exist on this machine: create it (useradd "
			      "--system %s), or name another one",
			      c->user, c->user);
}

/* The broker makes the directories that are missing; until then their parent is what counts. */
static void state_load(const struct section *root, struct config *c)
{
	if (!section_path(root, "state", &c->state_dir))
		return;
	KB_AUTO(cstr) char *issuers = path_join(c->state_dir, "issuers");
	c->ledger_dir = path_join(c->state_dir, "ledger");
	if (c->ledger_dir == NULL || issuers == NULL) {
		section_fault(root, "state", "no memory");
		return;
	}
	way_check(root, "state", c->state_dir, true, true);
	way_check(root, "state", c->ledger_dir, true, true);
	way_check(root, "state", issuers, true, true);
}

static void root_load(struct loader *l, const struct section *root)
{
	static const char *const known[] = {"listeners", "metrics",  "hsm",       "signer",
					    "issuers",   "keys",     "state",     "user",
					    "limits",    "refusals", "penalties", NULL};
	struct config *c = l->c;

	(void)section_known(root, known);
	listeners_load(l, root);
	metrics_load(root, c);
	hsm_load(root, c);
	signer_load(root, c);
	limits_load(root, c);
	refusals_load(root, c);
	penalties_load(root, c);
	user_load(root, c);
	state_load(root, c);
	bool has_issuers = section_path(root, "issuers", &c->issuers_dir),
	     has_keys = section_path(root, "keys", &c->keys_dir);
	size_t before = l->n_faults;
	if (has_issuers && (l->parts & (CONFIG_VAULT | CONFIG_FETCHER)) != 0)
		issuers_load(l, root);
	l->is_issuers_faulty = !has_issuers || l->n_faults > before;

	/* After the issuers: a policy must name one of them. */
	if (has_keys && (l->parts & CONFIG_VAULT) != 0)
		keys_load(l, root);
}

static char *absolute(const char *path)
{
	KB_AUTO(cstr) char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);

	return path[0] != '/' && here == NULL ? NULL : path_join(here, path);
}

static void digest_text(const struct snapshot *src, char out[static 65])
{
	uint8_t digest[32];

	snapshot_digest(src, digest);
	*hex_put(out, span_of(digest, sizeof digest)) = '\0';
}

/* Before anything is believed: whose files are good, and with whose rights they are read. */
static bool service_enter(struct loader *l)
{
	struct config *c = l->c;
	char why[FILE_WHY];

	if (snapshot_is_archive(l->src))
		return true;
	service_user(c, &c->service);
	snapshot_trust(l->src, c->service.uid);
	if (!snapshot_is_as_service(l->src) && config_is_roots(c, why) == KB_OK)
		return true;
	if (user_enter(&c->service) == KB_OK)
		return true;
	fault_add(l, c->path, 1, "cannot act as user %s: %s", c->service.name, strerror(errno));
	return false;
}

static void load_as_service(struct loader *l)
{
	struct config *c = l->c;
	struct doc d = {0};

	if (!service_enter(l))
		return;
	if (doc_open(l, c->path, CONFIG_ALL, &d)) {
		struct section root = doc_root(&d);
		root_load(l, &root);
	}
	doc_close(&d);
	if (snapshot_is_archive(l->src))
		return;
	user_leave();
	bool is_owner = false;
	for (size_t i = 0; i < l->faults->n; i++)
		is_owner = is_owner || strstr(l->faults->text[i], "belongs to user") != NULL;
	if (is_owner && c->service.uid == 0 && c->user == NULL)
		fault_add(l, c->path, 1,
			  "no \"user\" is named, so the files were judged for root: add the "
			  "broker's user, \"user\": \"keybroker\"");
}

enum kb_err config_load(struct snapshot *src, const char *path, unsigned parts, struct config **out,
			struct config_faults *faults)
{
	KB_AUTO(config) struct config *c = calloc(1, sizeof *c);
	struct loader l = {.src = src, .parts = parts, .c = c, .faults = faults};

	*out = NULL;
	*faults = (struct config_faults){0};
	if (c == NULL || (c->path = absolute(path)) == NULL ||
	    (c->dir = path_dir(c->path)) == NULL) {
		fault_add(&l, path, 1, "no memory");
		return KB_E_CONFIG;
	}
	load_as_service(&l);
	if (l.n_faults > KB_MAX_FAULTS) { /* the last slot is for this line */
		size_t more = l.n_faults - KB_MAX_FAULTS;
		if (faults->n <= KB_MAX_FAULTS &&
		    asprintf(&faults->text[faults->n], "%s:1: and %zu more faults", c->path,
			     more) >= 0)
			faults->n++;
	}
	if (l.n_faults > 0)
		return KB_E_CONFIG;
	digest_text(src, c->digest);
	*out = c;
	c = NULL;
	return KB_OK;
}

void config_free(struct config *c)
{
	if (c == NULL)
		return;
	listeners_free(c);
	issuers_free(c);
	keys_free(c);
	penalties_config_free(c);
	for (char **v = c->hsm_environment; v != NULL && *v != NULL; v++)
		free(*v);
	free(c->hsm_environment);
	char *const owned[] = {c->path,       c->dir,          c->metrics_address, c->hsm_module,
			       c->hsm_token,  c->hsm_pin_file, c->signer_object,   c->state_dir,
			       c->ledger_dir, c->keys_dir,     c->issuers_dir,     c->user};
	for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
		free(owned[i]);
	free(c);
}
