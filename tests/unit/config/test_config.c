/* tests/unit/config/test_config.c — the example instance of conf/ loads, and each mistake in it is
 * a fault with path and line.  Long because it is mostly tables: one row a fault. */
#include <fcntl.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/secret.h"
#include "base/x509.h"
#include "config/config.h"

static char dir[40], certificate[4096], key[4096], other_key[4096], chain[8192];
static char server_signer[4096],
	shared_chain[8192]; /* of a release signer, with the server's key */

/* ---- a throw-away copy of conf/, made complete ---- */

static void put(const char *name, const char *text)
{
	char path[160];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static char *get(const char *name)
{
	char path[160];
	static char text[65536];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	ssize_t n = read(fd, text, sizeof text - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	close(fd);
	return text;
}

/* In file `name`, the first `from` becomes `to`. */
static void edit(const char *name, const char *from, const char *to)
{
	char *text = get(name), *at = strstr(text, from);
	static char out[70000];

	assert_non_null(at);
	snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	put(name, out);
}

static void key_text(EVP_PKEY *k, char *out, size_t cap)
{
	KB_AUTO(secret) struct secret *s = NULL;

	assert_int_equal(x509_key_pem(k, &s), KB_OK);
	snprintf(out, cap, "%.*s", (int)secret_len(s), (const char *)secret_bytes(s));
}

static int make_certificates(void **state)
{
	KB_AUTO(x509_key) EVP_PKEY *a = NULL;
	KB_AUTO(x509_key) EVP_PKEY *b = NULL;
	KB_AUTO(x509_cert) X509 *root = NULL;
	KB_AUTO(x509_cert) X509 *leaf = NULL;
	KB_AUTO(x509_key) EVP_PKEY *c = NULL;
	KB_AUTO(x509_cert) X509 *signer = NULL;
	KB_AUTO(x509_cert) X509 *shared = NULL;
	const char *name = "vault.skr.example";
	KB_AUTO(buf) struct buf pem;
	struct x509_template ca = {
		.kind = X509_ROOT, .common_name = "root", .days = 10, .now_s = clock_wall_s()};
	struct x509_template server = {.kind = X509_LEAF,
				       .common_name = name,
				       .names = &name,
				       .n_names = 1,
				       .days = 5,
				       .now_s = clock_wall_s()};

	(void)state;
	buf_init(&pem, sizeof chain - 1);
	assert_int_equal(secret_arena_init(), KB_OK);
	assert_int_equal(x509_p256_new(&a), KB_OK);
	assert_int_equal(x509_p256_new(&b), KB_OK);
	assert_int_equal(x509_issue(&ca, a, NULL, a, &root), KB_OK);
	assert_int_equal(x509_issue(&server, b, root, a, &leaf), KB_OK);
	x509_pem(&pem, leaf);
	snprintf(certificate, sizeof certificate, "%.*s", (int)pem.len, (const char *)pem.p);
	buf_reset(&pem);
	assert_int_equal(x509_p256_new(&c), KB_OK);
	server.kind = X509_SIGNER;
	assert_int_equal(x509_issue(&server, c, root, a, &signer), KB_OK);
	assert_int_equal(x509_issue(&server, b, root, a, &shared), KB_OK);
	x509_pem(&pem, shared);
	snprintf(server_signer, sizeof server_signer, "%.*s", (int)pem.len, (const char *)pem.p);
	x509_pem(&pem, root);
	snprintf(shared_chain, sizeof shared_chain, "%.*s", (int)pem.len, (const char *)pem.p);
	buf_reset(&pem);
	x509_pem(&pem, signer);
	x509_pem(&pem, root);
	snprintf(chain, sizeof chain, "%.*s", (int)pem.len, (const char *)pem.p);
	key_text(b, key, sizeof key);
	key_text(a, other_key, sizeof other_key);
	return 0;
}

static int setup(void **state)
{
	char command[256];

	(void)state;
	snprintf(dir, sizeof dir, "/tmp/kb-config-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(command, sizeof command,
		 "umask 022 && cp -R conf/. %s && chmod -R u+w,go-w %s && mkdir %s/tls %s/hsm", dir,
		 dir, dir, dir);
	assert_int_equal(system(command), 0);
	put("tls/server.pem", certificate);
	put("tls/server.key", key);
	put("tls/signer-chain.pem", chain);
	put("hsm/pin", "0123456789abcdef0123456789abcdef\n");
	snprintf(command, sizeof command, "directories.tokendir = %s/hsm\n", dir);
	put("hsm/softhsm2.conf", command);
	return 0;
}

static int teardown(void **state)
{
	char command[80];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

struct loaded {
	struct snapshot *src;
	struct config *c;
	struct config_faults faults;
	enum kb_err err;
};

static struct loaded load(unsigned parts)
{
	char path[80];
	struct loaded l = {0};

	snprintf(path, sizeof path, "%s/keybroker.json", dir);
	assert_int_equal(snapshot_files(&l.src), KB_OK);
	l.err = config_load(l.src, path, parts, &l.c, &l.faults);
	for (size_t i = 0; i < l.faults.n; i++)
		print_message("  %s\n", l.faults.text[i]);
	return l;
}

static void unload(struct loaded *l)
{
	config_free(l->c);
	config_faults_free(&l->faults);
	snapshot_free(l->src);
}

static void assert_good(void)
{
	struct loaded l = load(CONFIG_ALL);

	assert_int_equal(l.err, KB_OK);
	assert_int_equal(l.faults.n, 0);
	unload(&l);
}

/* The configuration is refused, and among its faults is one at `where` ("FILE:LINE") that holds
 * `text`. */
static void assert_fault(const char *where, const char *text)
{
	char prefix[160];
	bool hit = false;
	struct loaded l = load(CONFIG_ALL);

	assert_int_equal(l.err, KB_E_CONFIG);
	assert_null(l.c);
	snprintf(prefix, sizeof prefix, "%s/%s: ", dir, where);
	for (size_t i = 0; i < l.faults.n; i++)
		hit = hit || (strncmp(l.faults.text[i], prefix, strlen(prefix)) == 0 &&
			      strstr(l.faults.text[i], text) != NULL);
	unload(&l);
	if (!hit)
		print_error("no fault \"%s… %s\"\n", prefix, text);
	assert_true(hit);
}

/* ---- the example ---- */

static void test_config_example_instance(void **state)
{
	char path[96];
	struct loaded l = load(CONFIG_ALL);
	const struct config *c = l.c;

	(void)state;
	assert_int_equal(l.err, KB_OK);
	assert_int_equal(c->n_listeners, 1);
	assert_string_equal(c->listeners[0].address, "0.0.0.0:443");
	assert_ptr_equal(c->listeners[0].api, &keyvault_api);
	assert_int_equal(c->listeners[0].auth, AUTH_NONE);
	assert_true(span_eq_cstr(c->listeners[0].certificate, certificate));
	assert_int_equal(c->listeners[0].client_ca.len, 0);
	assert_string_equal(c->listeners[0].challenge_authorization,
			    "https://vault.skr.example/keybroker");
	assert_string_equal(c->listeners[0].challenge_resource, "https://skr.example");
	assert_string_equal(c->metrics_address, "127.0.0.1:9464");
	snprintf(path, sizeof path, "SOFTHSM2_CONF=%s/hsm/softhsm2.conf", dir);
	assert_string_equal(c->hsm_environment[0], path);
	assert_null(c->hsm_environment[1]);
	snprintf(path, sizeof path, "%s/hsm/pin", dir);
	assert_string_equal(c->hsm_pin_file, path);
	assert_int_equal(c->workers, 2);
	assert_int_equal(c->gateways, 1);
	assert_int_equal(c->max_queue, KB_QUEUE);
	assert_int_equal(c->ledger_reserve, KB_LEDGER_RESERVE);
	assert_int_equal(c->refusals_per_source, KB_REFUSAL_WHOLE);
	assert_int_equal(c->refusals_bytes, KB_REFUSAL_BYTES);
	assert_false(c->penalties.is_off);
	assert_int_equal(c->penalties.n_exempt, 2); /* loopback */
	assert_false(c->hsm_is_network);
	assert_string_equal(c->ledger_dir, "/var/lib/keybroker/ledger");
	assert_int_equal(strlen(c->digest), 64);
	assert_int_equal(c->n_issuers, 4);
	const struct issuer_config *weu =
		config_issuer(c, span_str("https://sharedweu.weu.attest.azure.net"));
	assert_non_null(weu);
	assert_string_equal(weu->rules.name, "sharedweu");
	assert_int_equal(weu->rules.algorithms, 1U << KB_RS256);
	assert_int_equal(weu->rules.max_age_s, 8 * 3600);
	assert_int_equal(weu->source, KEYS_DISCOVERY);
	assert_int_equal(weu->min_interval_s, KB_FETCH_MIN_S);
	assert_null(weu->rules.audience);
	assert_null(config_issuer(
		c, span_str("https://sharedweu.weu.attest.azure.net/"))); /* byte for byte */
	unload(&l);
}

static void test_config_key_names_without_case(void **state)
{
	struct loaded l = load(CONFIG_ALL);

	(void)state;
	assert_int_equal(l.err, KB_OK);
	const struct key_config *k = config_key(l.c, span_str("CVM-Disk-Key"));
	assert_non_null(k);
	assert_non_null(k->policy);
	assert_true(span_eq(rules_source(k->policy), buf_span(&k->record->policy)));
	assert_null(config_key(l.c, span_str("cvm-disk-ke")));
	assert_null(config_key(l.c, span_str("cvm-disk-keys")));
	assert_null(config_key(l.c, span_of(NULL, 0)));
	unload(&l);
}

static void test_config_finds_each_of_many_keys(void **state)
{
	char name[32], file[64];
	static const char record[] =
		"{\"kty\":\"oct-HSM\",\"key_ops\":[\"encrypt\"],\"attributes\":{\"enabled\":true,"
		"\"exportable\":true,\"created\":1790000000},"
		"\"release_policy\":{\"file\":\"../policies/"
		"cvm-default.json\"},\"versions\":[{\"version\":"
		"\"0a1b2c3d4e5f60718293a4b5c6d7e8f9\",\"created\":1790000000,\"object\":\"pkcs11:"
		"id=%0a;type=secret-key\"}]}";

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		snprintf(file, sizeof file, "keys.d/%s%u.json", i % 2 == 0 ? "Key-" : "key-", i);
		put(file, record);
	}
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_OK);
	assert_int_equal(l.c->n_keys, 51);
	assert_int_equal(l.c->n_policies, 1); /* one file, compiled once */
	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "kEY-%u", i);
		assert_non_null(config_key(l.c, span_str(name)));
	}
	unload(&l);
}

static void test_config_parts_see_their_own(void **state)
{
	struct loaded l = load(CONFIG_ALL);
	char path[80];

	(void)state;
	assert_int_equal(l.err, KB_OK);
	snprintf(path, sizeof path, "%s/keybroker.json", dir);
	static const unsigned parts[] = {CONFIG_GATEWAY, CONFIG_VAULT, CONFIG_FETCHER,
					 CONFIG_LEDGER};
	for (size_t i = 0; i < 4; i++) {
		int fd;
		struct snapshot *process;
		struct config *c;
		struct config_faults faults;
		assert_int_equal(snapshot_pack(l.src, parts[i], &fd), KB_OK);
		assert_int_equal(snapshot_archive(fd, &process), KB_OK);
		close(fd);
		assert_int_equal(config_load(process, path, parts[i], &c, &faults), KB_OK);
		assert_int_equal(faults.n, 0);
		assert_int_equal(c->listeners[0].key.len > 0, parts[i] == CONFIG_GATEWAY);
		assert_int_equal(c->n_keys > 0 && c->signer_chain.len > 0,
				 parts[i] == CONFIG_VAULT);
		assert_int_equal(c->n_issuers > 0,
				 parts[i] == CONFIG_VAULT || parts[i] == CONFIG_FETCHER);
		assert_string_equal(c->digest,
				    l.c->digest); /* of the whole configuration, in every process */
		config_free(c);
		config_faults_free(&faults);
		snapshot_free(process);
	}
	unload(&l);
}

static void test_config_relative_path(void **state)
{
	struct snapshot *src;
	struct config *c;
	struct config_faults faults;
	char here[4096], path[96];

	(void)state;
	assert_non_null(getcwd(here, sizeof here));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(snapshot_files(&src), KB_OK);
	assert_int_equal(config_load(src, "./keys.d/../keybroker.json", CONFIG_ALL, &c, &faults),
			 KB_OK);
	assert_int_equal(chdir(here), 0);
	snprintf(path, sizeof path, "%s/keybroker.json", dir);
	assert_string_equal(c->path, path);
	assert_string_equal(c->dir, dir);
	config_free(c);
	snapshot_free(src);
}

/* ---- keybroker.json ---- */

static void test_e01_missing_file(void **state)
{
	struct loaded l;
	char path[80];

	(void)state;
	snprintf(path, sizeof path, "%s/keybroker.json", dir);
	assert_int_equal(unlink(path), 0);
	l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_E_CONFIG);
	assert_int_equal(l.faults.n, 1);
	unload(&l);
}

static void test_e01_syntax_error(void **state)
{
	(void)state;
	edit("keybroker.json", "\"signer\":", "\"signer\"");
	assert_fault("keybroker.json:19", "not valid JSON");
}

static void test_e01_half_written(void **state)
{
	(void)state;
	char *text = get("keybroker.json");
	*strstr(text, "\"token\"") = '\0';
	put("keybroker.json", text);
	assert_fault("keybroker.json:14", "not valid JSON");
}

static void test_e01_not_an_object(void **state)
{
	(void)state;
	put("keybroker.json", "[]");
	assert_fault("keybroker.json:1", "must be a JSON object");
}

static void test_e01_unknown_member(void **state)
{
	(void)state;
	edit("keybroker.json", "\"workers\": 2", "\"wokers\": 2");
	assert_fault("keybroker.json:17", "unknown member \"wokers\"");
}

static void test_e01_duplicate_member(void **state)
{
	(void)state;
	edit("keybroker.json", "\"keys\": \"keys.d\",",
	     "\"keys\": \"keys.d\", \"keys\": \"keys.d\",");
	assert_fault("keybroker.json:21", "the same member occurs twice");
}

static void test_e01_too_deep(void **state)
{
	(void)state;
	put("keybroker.json", "[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]");
	assert_fault("keybroker.json:1", "nested too deeply");
}

static void test_e01_wrong_types(void **state)
{
	(void)state;
	edit("keybroker.json", "\"workers\": 2", "\"workers\": \"2\", \"network\": 1");
	assert_fault("keybroker.json:17", "\"workers\" must be a whole number");
	assert_fault("keybroker.json:17", "\"network\" must be true or false");
}

static void test_config_all_faults_are_told(void **state)
{
	(void)state;
	edit("keybroker.json", "\"apis\": [\"keyvault\"]", "\"apis\": [\"kbs\"]");
	edit("keybroker.json", "\"module\": \"/usr", "\"module\": \"usr");
	edit("issuers.d/sharedweu.json", "\"RS256\"", "\"none\"");
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.faults.n, 3);
	unload(&l);
}

static void test_config_counts_the_faults_it_does_not_tell(void **state)
{
	char text[16384] = "{";

	(void)state;
	for (unsigned i = 0; i < 300; i++)
		snprintf(text + strlen(text), 16, "\"x%u\":1,\n", i);
	strcat(text, "\"y\":1}");
	put("keybroker.json", text);
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_E_CONFIG);
	assert_int_equal(l.faults.n, KB_MAX_FAULTS + 1);
	assert_non_null(strstr(l.faults.text[KB_MAX_FAULTS], "more faults"));
	unload(&l);
}

static void test_e06_pin_in_the_configuration(void **state)
{
	(void)state;
	edit("keybroker.json", "\"workers\": 2", "\"pin\": \"1234\"");
	assert_fault("keybroker.json:17", "do not write a secret here");
}

static void test_e06_pin_in_the_token_uri(void **state)
{
	(void)state;
	edit("keybroker.json", "pkcs11:token=keybroker", "pkcs11:token=keybroker?pin-value=1234");
	assert_fault("keybroker.json:14", "must not contain a PIN");
}

static void test_e06_pin_file_readable_by_others(void **state)
{
	char path[80];

	(void)state;
	snprintf(path, sizeof path, "%s/hsm/pin", dir);
	assert_int_equal(chmod(path, 0644), 0);
	assert_fault("keybroker.json:15", "can be read by others");
}

/* Whoever can write the PIN's directory can put another PIN file there. */
static void test_e06_pin_directory_writable_by_others(void **state)
{
	char path[80];

	(void)state;
	snprintf(path, sizeof path, "%s/hsm", dir);
	assert_int_equal(chmod(path, 0777), 0);
	assert_fault("keybroker.json:15",
		     "/hsm, which can be written by others (mode 0777): chmod go-w");
}

static void test_e04_policy_writable_by_others(void **state)
{
	char path[80];

	(void)state;
	snprintf(path, sizeof path, "%s/policies/cvm-default.json", dir);
	assert_int_equal(chmod(path, 0666), 0);
	assert_fault("keys.d/cvm-disk-key.json:6", "can be written by others");
}

static void test_config_listener_faults(void **state)
{
	static const struct {
		const char *from, *to, *where, *text;
	} cases[] = {
		{"0.0.0.0:443", "localhost:443", "keybroker.json:4", "literal address"},
		{"0.0.0.0:443", "0.0.0.0:0", "keybroker.json:4", "literal address"},
		{"0.0.0.0:443", "0.0.0.0:65536", "keybroker.json:4", "literal address"},
		{"0.0.0.0:443", "[::1:443", "keybroker.json:4", "literal address"},
		{"https://vault.skr.example", "http://vault.skr.example", "keybroker.json:5",
		 "must be https"},
		{"https://vault.skr.example", "https://vault.skr.example/", "keybroker.json:5",
		 "must be https"},
		{"https://vault.skr.example", "https://a@b", "keybroker.json:5", "must be https"},
		{"[\"keyvault\"]", "[]", "keybroker.json:6", "at least one API"},
		{"[\"keyvault\"]", "[\"kbs\"]", "keybroker.json:6", "unknown API"},
		{"\"auth\": \"none\"", "\"auth\": \"maybe\"", "keybroker.json:7",
		 "must be \"none\""},
		{"\"auth\": \"none\"", "\"auth\": \"mtls\"", "keybroker.json:7",
		 "needs tls.client_ca"},
		{"\"auth\": \"none\"", "\"auth\": \"bearer_file\"", "keybroker.json:3",
		 "\"bearer_file\" must be a string"},
		{"\"auth\": \"none\"", "\"bearer_file\": \"hsm/pin\"", "keybroker.json:7",
		 "has no effect"},
		{"\"auth\": \"none\"", "\"challenge\": {\"resource\": \"https://a \\\"b\"}",
		 "keybroker.json:7", "without quotes"},
		{"\"auth\": \"none\"", "\"challenge\": {\"scope\": \"x\"}", "keybroker.json:7",
		 "unknown member"},
		{"\"client_ca\": null", "\"client_ca\": \"hsm/pin\"", "keybroker.json:8",
		 "no PEM certificate"},
		{"\"tls/server.pem\"", "\"hsm/pin\"", "keybroker.json:8", "no PEM certificate"},
		{"\"tls/server.key\"", "\"hsm/pin\"", "keybroker.json:8", "no PEM private key"},
		{"\"tls/server.key\"", "\"tls/none.key\"", "keybroker.json:8", "No such file"},
		{"\"tls\": {", "\"tls\": {\"ciphers\": \"NULL\", ", "keybroker.json:8",
		 "unknown member"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		static char before[65536];
		snprintf(before, sizeof before, "%s", get("keybroker.json"));
		edit("keybroker.json", cases[i].from, cases[i].to);
		assert_fault(cases[i].where, cases[i].text);
		put("keybroker.json", before);
	}
	assert_good();
}

static void test_b20_key_of_another_certificate(void **state)
{
	(void)state;
	put("tls/server.key", other_key);
	assert_fault("keybroker.json:8", "are not a pair");
}

/* What could sign releases that no vault made: a gateway's certificate that guests take for a
 * signer's, or the signer's key in a gateway. */
static void test_b21_gateway_is_no_signer(void **state)
{
	(void)state;
	put("tls/server.pem", server_signer);
	assert_fault("keybroker.json:8", "has the extended key usage " X509_SIGNER_USAGE);
	put("tls/server.pem", certificate);
	assert_good();
	put("tls/signer-chain.pem", shared_chain);
	assert_fault("keybroker.json:19", "same key as the TLS certificate of listeners[0]");
	put("tls/signer-chain.pem", chain);
	assert_good();
}

static void test_config_two_listeners_one_address(void **state)
{
	(void)state;
	edit("keybroker.json", "\"listeners\": [",
	     "\"listeners\": [{\"address\": \"0.0.0.0:443\", \"base_url\": \"https://a\", "
	     "\"apis\": [\"keyvault\"], \"tls\": {\"certificate\": "
	     "\"tls/server.pem\", \"key\": \"tls/server.key\"}},");
	assert_fault("keybroker.json:4", "another listener has this address");
	edit("keybroker.json", "\"address\": \"0.0.0.0:443\", \"base",
	     "\"address\": \"[::]:443\", \"base");
	edit("keybroker.json", "127.0.0.1:9464", "0.0.0.0:443");
	assert_fault("keybroker.json:11", "a listener has this address");
}

static void test_config_no_listeners(void **state)
{
	(void)state;
	put("keybroker.json", "{\"listeners\": []}");
	assert_fault("keybroker.json:1", "array of 1 to");
	put("keybroker.json", "{\"listeners\": [1]}");
	assert_fault("keybroker.json:1", "must be an object");
}

/* 4,096 tokens are the most; none is dropped in silence. */
/* "DIGEST NAME": the digest alone, and what sha256sum writes, are as good as before. */
static void test_b29_config_bearer_names(void **state)
{
	static const struct {
		const char *after, *name; /* NULL: a fault */
	} want[] = {
		{"", ""},
		{" ", ""},
		{"  -", ""},
		{" agent-7", "agent-7"},
		{"\tspiffe://x.org/ns/a_b+c@d \r", "spiffe://x.org/ns/a_b+c@d"},
		{"0", NULL},
		{"name", NULL},
		{" two words", NULL},
		{" \"", NULL},
		{" \x1b[31m", NULL},
	};
	char text[512];

	(void)state;
	edit("keybroker.json", "\"auth\": \"none\"",
	     "\"auth\": \"bearer_file\", \"bearer_file\": \"bearers\"");
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		snprintf(text, sizeof text, "%064x%s\n%064x\n", 1, want[i].after, 2);
		put("bearers", text);
		if (want[i].name == NULL) {
			assert_fault("bearers:1", "after the SHA-256 may come");
			continue;
		}
		struct loaded l = load(CONFIG_ALL);
		assert_int_equal(l.err, KB_OK);
		assert_int_equal(l.c->listeners[0].n_bearers, 2);
		assert_true(span_eq_cstr(l.c->listeners[0].bearers[0].name, want[i].name));
		assert_int_equal(l.c->listeners[0].bearers[1].name.len, 0);
		unload(&l);
	}
	for (int len = KB_MAX_CALLER_NAME; len <= KB_MAX_CALLER_NAME * 10;
	     len = len == KB_MAX_CALLER_NAME ? len + 1 : len * 10) {
		char longer[KB_MAX_CALLER_NAME * 11 + 70];
		snprintf(longer, sizeof longer, "%064x %0*d\n", 1, len, 0);
		put("bearers", longer);
		if (len > KB_MAX_CALLER_NAME) {
			assert_fault("bearers:1", "after the SHA-256 may come");
			continue;
		}
		struct loaded l = load(CONFIG_ALL);
		assert_int_equal(l.err, KB_OK);
		unload(&l);
	}
}

/* Lists of revoked certificates are read with the configuration. */
static void test_b28_config_client_crl(void **state)
{
	(void)state;
	put("tls/crl.pem", "\n");
	edit("keybroker.json", "\"client_ca\": null",
	     "\"client_ca\": null, \"client_crl\": \"tls/crl.pem\"");
	assert_fault("keybroker.json:8", "has no effect without client_ca");
	assert_fault("keybroker.json:8", "the file must have 1 to 64 revocation lists in PEM");
	edit("keybroker.json", "tls/crl.pem", "tls/none.pem");
	assert_fault("keybroker.json:8", "No such file");
}

static void test_e20_bearers_at_the_limit(void **state)
{
	enum { ROW = 65, MOST = 4096 };
	char *text = malloc((MOST * 10 + 1) * ROW + 1), *at = text;

	(void)state;
	assert_non_null(text);
	edit("keybroker.json", "\"auth\": \"none\"",
	     "\"auth\": \"bearer_file\", \"bearer_file\": \"bearers\"");
	for (unsigned i = 0; i < MOST * 10; i++, at += ROW) {
		snprintf(at, ROW + 1, "%064x\n", i);
		if (i + 1 == MOST) {
			put("bearers", text);
			struct loaded l = load(CONFIG_ALL);
			assert_int_equal(l.err, KB_OK);
			assert_int_equal(l.c->listeners[0].n_bearers, MOST);
			unload(&l);
		}
		if (i == MOST) {
			put("bearers", text);
			assert_fault("bearers:4097", "more than 4096 tokens");
		}
	}
	put("bearers", text);
	assert_fault("keybroker.json:7", "bearers is too large");
	free(text);
}

static void test_config_bearers(void **state)
{
	(void)state;
	edit("keybroker.json", "\"auth\": \"none\"",
	     "\"auth\": \"bearer_file\", \"bearer_file\": \"bearers\"");
	put("bearers",
	    "\xef\xbb\xbf# "
	    "alice\r\n\r\n00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff\r\n"
	    "a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4");
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_OK);
	assert_int_equal(l.c->listeners[0].auth, AUTH_BEARER);
	assert_int_equal(l.c->listeners[0].n_bearers, 2);
	assert_int_equal(l.c->listeners[0].bearers[0].sha256[1], 0xff);
	assert_int_equal(l.c->listeners[0].bearers[1].sha256[0], 0xa1);
	unload(&l);
	put("bearers", "# nobody\n");
	assert_fault("bearers:1", "every call would be refused");
	put("bearers", "\n00FF00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff\n");
	assert_fault("bearers:2", "not a SHA-256");
	put("bearers", "secret-token\n");
	assert_fault("bearers:1", "not a SHA-256");
}

static void test_config_challenge_defaults(void **state)
{
	static const struct {
		const char *base_url, *resource;
	} cases[] = {
		{"https://localhost:8443", "https://localhost:8443"},
		{"https://skr.example", "https://skr.example"},
		{"https://v.skr.example:8443", "https://skr.example"},
		{"https://10.0.0.1:8443", "https://10.0.0.1:8443"},
		{"https://[::1]:8443", "https://[::1]:8443"},
		{"https://a.b.c.d", "https://b.c.d"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		edit("keybroker.json", i == 0 ? "https://vault.skr.example" : cases[i - 1].base_url,
		     cases[i].base_url);
		struct loaded l = load(CONFIG_ALL);
		assert_int_equal(l.err, KB_OK);
		assert_string_equal(l.c->listeners[0].challenge_resource, cases[i].resource);
		unload(&l);
	}
	edit("keybroker.json", "\"auth\": \"none\"",
	     "\"challenge\": {\"authorization\": \"https://login.example/t\", \"resource\": "
	     "\"https://r\"}");
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_OK);
	assert_string_equal(l.c->listeners[0].challenge_authorization, "https://login.example/t");
	assert_string_equal(l.c->listeners[0].challenge_resource, "https://r");
	unload(&l);
}

static void test_config_other_faults(void **state)
{
	static const struct {
		const char *from, *to, *where, *text;
	} cases[] = {
		{"\"/usr/lib/softhsm/libsofthsm2.so\"", "\"libsofthsm2.so\"", "keybroker.json:13",
		 "absolute path"},
		{"\"pkcs11:token=keybroker\"", "\"keybroker\"", "keybroker.json:14", "PKCS#11 URI"},
		{"\"hsm/pin\"", "\"hsm/none\"", "keybroker.json:15", "No such file"},
		{"\"SOFTHSM2_CONF\"", "\"LD_PRELOAD\"", "keybroker.json:16",
		 "must not be set for a PKCS#11 module"},
		{"\"SOFTHSM2_CONF\"", "\"PATH\"", "keybroker.json:16",
		 "must not be set for a PKCS#11 module"},
		{"\"SOFTHSM2_CONF\"", "\"soft-hsm\"", "keybroker.json:16",
		 "must not be set for a PKCS#11 module"},
		{"\"workers\": 2", "\"workers\": 65", "keybroker.json:17", "from 1 to 64"},
		{"\"workers\": 2", "\"workers\": 0", "keybroker.json:17", "from 1 to 64"},
		{"\"hsm\": {", "\"hsm\": 1, \"keys2\": {", "keybroker.json:12",
		 "\"hsm\" must be an object"},
		{"pkcs11:object=release-signer", "object=release-signer", "keybroker.json:19",
		 "PKCS#11 URI"},
		{"tls/signer-chain.pem", "tls/server.pem", "keybroker.json:19",
		 "and the root last"},
		{"\"issuers\": \"issuers.d\"", "\"issuers\": \"none.d\"", "keybroker.json:20",
		 "No such file"},
		{"\"keys\": \"keys.d\"", "\"keys\": \"none.d\"", "keybroker.json:21",
		 "No such file"},
		{"\"issuers\": \"issuers.d\"", "\"issuers\": \"tls\"", "keybroker.json:20",
		 "has 0 issuer files"},
		{"\"keys\": \"keys.d\"", "\"keys\": \"keys.d\", \"user\": \"root\"",
		 "keybroker.json:21", "must not be root"},
		{"\"keys\": \"keys.d\"", "\"keys\": \"keys.d\", \"user\": \"a b\"",
		 "keybroker.json:21", "name of a system user"},
		{"\"keys\": \"keys.d\"", "\"keys\": \"keys.d\", \"limits\": {\"queue\": 0}",
		 "keybroker.json:21", "\"queue\" must be"},
		{"\"keys\": \"keys.d\"", "\"keys\": \"keys.d\", \"limits\": {\"speed\": 0}",
		 "keybroker.json:21", "unknown member"},
		{"\"keys\": \"keys.d\"", "\"keys\": \"keys.d\", \"refusals\": {\"bytes\": 999999}",
		 "keybroker.json:21", "\"bytes\" must be"},
		{"\"keys\": \"keys.d\"", "\"keys\": \"keys.d\", \"refusals\": {\"per_source\": 0}",
		 "keybroker.json:21", "\"per_source\" must be"},
#define PENALTIES(text) "\"keys\": \"keys.d\", \"penalties\": " text
		{"\"keys\": \"keys.d\"", PENALTIES("{\"exempt\": [\"10.0.0.1/8\"]}"),
		 "keybroker.json:21", "must be an array of networks"},
		{"\"keys\": \"keys.d\"", PENALTIES("{\"exempt\": [7]}"), "keybroker.json:21",
		 "must be an array of networks"},
		{"\"keys\": \"keys.d\"", PENALTIES("{\"exempt\": \"10.0.0.0/8\"}"),
		 "keybroker.json:21", "at most 64 networks"},
		{"\"keys\": \"keys.d\"", PENALTIES("{\"threshold\": \"2m\"}"), "keybroker.json:21",
		 "must not be less than"},
		{"\"keys\": \"keys.d\"", PENALTIES("{\"failure\": \"0s\"}"), "keybroker.json:21",
		 "from 1s to 3600s"},
		{"\"keys\": \"keys.d\"", PENALTIES("{\"limit\": \"1s\"}"), "keybroker.json:21",
		 "unknown member"},
		{"\"keys\": \"keys.d\"",
		 "\"keys\": \"keys.d\", \"limits\": {\"ledger_reserve\": -1}", "keybroker.json:21",
		 "\"ledger_reserve\" must be"},
		{"\"127.0.0.1:9464\"", "\"9464\"", "keybroker.json:11", "literal address"},
		{"\"127.0.0.1:9464\"", "\"127.0.0.1:9464\", \"path\": \"/\"", "keybroker.json:11",
		 "unknown member"},
		{"\"/var/lib/keybroker\"", "\"/var/lib/key\\u0007broker\"", "keybroker.json:22",
		 "control character"},
		{"\"/var/lib/keybroker\"", "\"\"", "keybroker.json:22", "must be a string"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		static char before[65536];
		snprintf(before, sizeof before, "%s", get("keybroker.json"));
		edit("keybroker.json", cases[i].from, cases[i].to);
		assert_fault(cases[i].where, cases[i].text);
		put("keybroker.json", before);
	}
	assert_good();
}

static void test_config_penalties_and_grace(void **state)
{
	(void)state;
	edit("keybroker.json", "\"keys\": \"keys.d\"",
	     "\"keys\": \"keys.d\", \"penalties\": {\"enabled\": false, \"failure\": \"2s\", "
	     "\"threshold\": \"1m\", \"longest\": \"5m\", \"exempt\": [\"10.0.0.0/8\"]}");
	edit("issuers.d/sharedweu.json", "\"audience\": null",
	     "\"audience\": null, \"single_use\": true, \"single_use_grace\": 0");
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_OK);
	assert_true(l.c->penalties.is_off);
	assert_int_equal(l.c->penalties.failure_s, 2);
	assert_int_equal(l.c->penalties.threshold_s, 60);
	assert_int_equal(l.c->penalties.longest_s, 300);
	assert_int_equal(l.c->penalties.n_exempt, 1);
	for (size_t i = 0; i < l.c->n_issuers; i++)
		assert_int_equal(l.c->issuers[i].rules.grace_s,
				 l.c->issuers[i].rules.is_single_use ? 0 : KB_SINGLE_USE_GRACE_S);
	unload(&l);
}

/* Everything for a user that exists: ours, or for root one that is not. */
static const char *give_to_service(void)
{
	static char name[33];
	char command[300];
	const struct passwd *pw = getpwuid(geteuid() != 0 ? geteuid() : 65534);

	assert_non_null(pw);
	snprintf(name, sizeof name, "%s", pw->pw_name);
	snprintf(command, sizeof command, "chown -R %u %s && chmod 0755 %s", pw->pw_uid, dir, dir);
	assert_int_equal(system(command), 0);
	return name;
}

/* Every fault of a value names the member, says what must be there, and what was. */
static void test_e19_faults_say_what_was_there(void **state)
{
	static const struct {
		const char *file, *from, *to, *where, *member, *was;
	} row[] = {
		{"keybroker.json", "\"0.0.0.0:443\"", "\"localhost:1\"", "keybroker.json:4",
		 "listeners[0]: \"address\" must be", "it is \"localhost:1\""},
		{"keybroker.json", "\"auth\": \"none\"", "\"auth\": 7", "keybroker.json:7",
		 "listeners[0]: \"auth\" must be a string", "it is 7"},
		{"keybroker.json", "\"workers\": 2", "\"workers\": \"two\"", "keybroker.json:17",
		 "hsm: \"workers\" must be a whole number from 1 to 64", "it is \"two\""},
		{"keybroker.json", "\"hsm/pin\"", "123456", "keybroker.json:15",
		 "hsm: \"pin_file\" must be a string", "what is there is not shown"},
		{"keybroker.json", "\"pkcs11:token=keybroker\"", "\"x?pin-value=1234\"",
		 "keybroker.json:14", "hsm: \"token\" must be a PKCS#11 URI",
		 "what is there is not shown"},
		{"keybroker.json", "\"keys\": \"keys.d\"", "\"user\": null", "keybroker.json:1",
		 "\"keys\" must be a string", "it is missing"},
		{"keybroker.json", "tls/server.pem", "tls/server.key", "keybroker.json:8",
		 "has no PEM certificate", "it is \"tls/server.key\""},
		{"issuers.d/sharedweu.json", "\"60s\"", "\"60\\u001b[1ms\"",
		 "issuers.d/sharedweu.json:8", "\"clock_skew\" must be a duration",
		 "it is \"60\\u001B[1ms\""},
		{"issuers.d/sharedweu.json", "[\"RS256\"]", "[\"HS256\"]",
		 "issuers.d/sharedweu.json:5", "not a signature algorithm", "it is [\"HS256\"]"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		static char before[65536];
		snprintf(before, sizeof before, "%s", get(row[i].file));
		edit(row[i].file, row[i].from, row[i].to);
		assert_fault(row[i].where, row[i].member);
		assert_fault(row[i].where, row[i].was);
		put(row[i].file, before);
	}
	assert_good();
}

/* A path, or a text as it is; names of modules in the field. */
static void test_e21_environment_of_a_module(void **state)
{
	char want[160];

	(void)state;
	edit("keybroker.json", "\"environment\": {",
	     "\"environment\": {\"ChrystokiConfigurationPath\": \"hsm\", "
	     "\"CKNFAST_LOADSHARING\": {\"value\": \"1\"}, ");
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_OK);
	snprintf(want, sizeof want, "ChrystokiConfigurationPath=%s/hsm", dir);
	bool has_path = false, has_text = false;
	for (char **e = l.c->hsm_environment; *e != NULL; e++) {
		has_path = has_path || strcmp(*e, want) == 0;
		has_text = has_text || strcmp(*e, "CKNFAST_LOADSHARING=1") == 0;
	}
	assert_true(has_path && has_text);
	unload(&l);
	edit("keybroker.json", "{\"value\": \"1\"}", "{\"text\": \"1\"}");
	assert_fault("keybroker.json:16", "unknown member \"text\"");
	edit("keybroker.json", "{\"text\": \"1\"}", "1");
	assert_fault("keybroker.json:16", "must be a string");
}

static void test_h20_proxy_is_named_by_the_issuer(void **state)
{
	static const char *const bad[] = {
		"https://proxy.test:3128",
		"http://u:p@proxy.test:3128",
		"http://proxy.test/path",
		"http://proxy.test:0",
		"http://proxy.test:65536",
		"http://proxy.test:99x",
		"http://",
		"socks5://proxy.test",
		"proxy.test:3128",
		"http://[::1",
		"http://proxy.test?x",
		"http://[]:1",
	};
	static const char *const good[] = {"http://proxy.test", "http://proxy.test:3128",
					   "http://[::1]:3128", "http://127.0.0.1:1/"};
	struct keyset_origin none, with;
	char member[128];

	(void)state;
	setenv("https_proxy", "http://proxy.test:1", 1);
	struct loaded l = load(CONFIG_FETCHER);
	unsetenv("https_proxy");
	assert_int_equal(l.err, KB_OK);
	assert_null(l.c->issuers[0].proxy);
	config_origin(&l.c->issuers[0], &none);
	assert_string_equal(none.proxy, "none");
	const char *file = l.c->issuers[0].rules.name;
	char path[128];
	snprintf(path, sizeof path, "issuers.d/%s.json", file);
	char id[65];
	snprintf(id, sizeof id, "%s", none.id);
	unload(&l);
	const char *before = "{";
	char text[160] = "{";
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(member, sizeof member, "{ \"proxy\": \"%s\",", bad[i]);
		edit(path, text, member);
		snprintf(text, sizeof text, "%s", member);
		char where[140];
		snprintf(where, sizeof where, "%s:1", path);
		assert_fault(where, "\"proxy\" must be the URL of an http proxy");
	}
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		snprintf(member, sizeof member, "{ \"proxy\": \"%s\",", good[i]);
		edit(path, text, member);
		snprintf(text, sizeof text, "%s", member);
		l = load(CONFIG_FETCHER);
		assert_int_equal(l.err, KB_OK);
		assert_string_equal(l.c->issuers[0].proxy, good[i]);
		config_origin(&l.c->issuers[0], &with);
		assert_string_not_equal(with.id, id); /* other keys */
		unload(&l);
	}
	edit(path, text, before);
}

static void test_config_limits(void **state)
{
	char to[300];
	const char *user = give_to_service();

	(void)state;
	snprintf(to, sizeof to,
		 "\"keys\": \"keys.d\", \"user\": \"%s\", \"limits\": {\"connections\": 10, "
		 "\"connections_per_source\": 3, \"queue\": 7, "
		 "\"gateways\": 2, \"ledger_segment_bytes\": 200000, "
		 "\"ledger_reserve\": 1000}, "
		 "\"refusals\": {\"per_source\": 7, \"bytes\": 2000000}",
		 user);
	edit("keybroker.json", "\"keys\": \"keys.d\"", to);
	edit("keybroker.json", "\"metrics\": {\"address\": \"127.0.0.1:9464\"}",
	     "\"metrics\": null");
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_OK);
	assert_int_equal(l.c->max_connections, 10);
	assert_int_equal(l.c->max_connections_source, 3);
	assert_int_equal(l.c->max_queue, 7);
	assert_int_equal(l.c->gateways, 2);
	assert_int_equal(l.c->ledger_segment_bytes, 200000);
	assert_int_equal(l.c->ledger_reserve, 1000);
	assert_int_equal(l.c->refusals_per_source, 7);
	assert_int_equal(l.c->refusals_bytes, 2000000);
	assert_string_equal(l.c->user, user);
	assert_string_equal(l.c->service.name, user);
	assert_null(l.c->metrics_address);
	unload(&l);
}

/* ---- issuers ---- */

static void test_e07_issuer_faults(void **state)
{
	static const struct {
		const char *from, *to, *where, *text;
	} cases[] = {
		{"https://sharedweu", "http://sharedweu", "issuers.d/sharedweu.json:2",
		 "must not be an http:// URL"},
		{"https://sharedweu.weu", "https://sharedneu.neu", "issuers.d/sharedweu.json:2",
		 "sharedneu.json has this issuer already"},
		{"https://sharedweu", "https://good@sharedweu", "issuers.d/sharedweu.json:2",
		 "https URL"},
		{"https://sharedweu", "sharedweu", "issuers.d/sharedweu.json:2", "https URL"},
		{"attest.azure.net\"", "attest.azure.net?x=1\"", "issuers.d/sharedweu.json:2",
		 "without query"},
		{"\"clock_skew\": \"60s\"", "\"clock_skew\": \"301s\"",
		 "issuers.d/sharedweu.json:8", "from 0s to 300s"},
		{"\"clock_skew\": \"60s\"", "\"clock_skew\": 60", "issuers.d/sharedweu.json:8",
		 "must be a duration"},
		{"\"clock_skew\": \"60s\"", "\"clock_skew\": \"1w\"", "issuers.d/sharedweu.json:8",
		 "must be a duration"},
		{"\"algorithms\": [\"RS256\"]", "\"algorithms\": []", "issuers.d/sharedweu.json:5",
		 "at least one"},
		{"\"algorithms\": [\"RS256\"],", "", "issuers.d/sharedweu.json:1", "at least one"},
		{"[\"RS256\"]", "[\"RS256\", \"HS256\"]", "issuers.d/sharedweu.json:5",
		 "\"HS256\" is not a signature algorithm"},
		{"[\"RS256\"]", "[\"none\"]", "issuers.d/sharedweu.json:5",
		 "\"none\" is not a signature algorithm"},
		{"[\"RS256\"]", "[1]", "issuers.d/sharedweu.json:5",
		 "is not a signature algorithm"},
		{"\"maa\"", "\"oidc\"", "issuers.d/sharedweu.json:3", "\"profile\" must be"},
		{"{\"discovery\": true}", "{\"discovery\": false}", "issuers.d/sharedweu.json:4",
		 "must have one of"},
		{"{\"discovery\": true}", "{\"discovery\": true, \"jwks_uri\": \"https://a\"}",
		 "issuers.d/sharedweu.json:4", "must have one of"},
		{"{\"discovery\": true}", "{\"jwks_uri\": \"http://a\"}",
		 "issuers.d/sharedweu.json:4", "must be an https URL"},
		{"{\"discovery\": true}", "{\"jwks_uri\": \"https://\"}",
		 "issuers.d/sharedweu.json:4", "must be an https URL"},
		{"{\"discovery\": true}", "{\"jwks_file\": \"none.jwks\"}",
		 "issuers.d/sharedweu.json:4", "No such file"},
		{"{\"discovery\": true}", "{\"jwks_file\": \"../hsm/pin\"}",
		 "issuers.d/sharedweu.json:4", "no usable key set: JSON_SYNTAX"},
		{"{\"discovery\": true}", "{\"jwks_file\": \"../hsm/pin\", \"ca_file\": \"x\"}",
		 "issuers.d/sharedweu.json:4", "have no effect"},
		{"{\"discovery\": true}", "{\"discovery\": true, \"ca_file\": \"../hsm/pin\"}",
		 "issuers.d/sharedweu.json:4", "no PEM certificate"},
		{"{\"discovery\": true}",
		 "{\"discovery\": true, \"ca_file\": \"../tls/empty.pem\"}",
		 "issuers.d/sharedweu.json:4", "no PEM certificate"},
		{"{\"discovery\": true}", "{\"discovery\": true, \"min_interval\": \"4s\"}",
		 "issuers.d/sharedweu.json:4", "from 5s to 3600s"},
		{"{\"discovery\": true}", "{\"discovery\": true, \"pin\": \"x\"}",
		 "issuers.d/sharedweu.json:4", "unknown member"},
		{"{\"discovery\": true}", "true", "issuers.d/sharedweu.json:4",
		 "must be an object"},
		{"\"audience\": null", "\"nonce\": \"maybe\"", "issuers.d/sharedweu.json:9",
		 "\"nonce\" must be"},
		{"\"audience\": null", "\"audience\": \"\"", "issuers.d/sharedweu.json:9",
		 "must be a string"},
		{"\"audience\": null", "\"wrapping_key\": [\"x-ms-runtime\"]",
		 "issuers.d/sharedweu.json:9", "must be a string"},
		{"\"audience\": null", "\"wrapping_key\": \"x-ms-runtime.keys\"",
		 "issuers.d/sharedweu.json:9", "must be a JSON Pointer"},
		{"\"audience\": null", "\"single_use\": \"yes\"", "issuers.d/sharedweu.json:9",
		 "must be true or false"},
		{"\"audience\": null", "\"single_use_grace\": \"10s\"",
		 "issuers.d/sharedweu.json:9", "has no effect unless"},
		{"\"audience\": null", "\"single_use\": true, \"single_use_grace\": \"601s\"",
		 "issuers.d/sharedweu.json:9", "must be from 0s to 600s"},
		{"\"audience\": null", "\"single_use\": true, \"single_use_grace\": 60",
		 "issuers.d/sharedweu.json:9", "must be a duration"},
		{"\"audience\": null", "\"private_addreses\": true", "issuers.d/sharedweu.json:9",
		 "unknown member"},
	};

	(void)state;
	put("tls/empty.pem", "");
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		static char before[65536];
		snprintf(before, sizeof before, "%s", get("issuers.d/sharedweu.json"));
		edit("issuers.d/sharedweu.json", cases[i].from, cases[i].to);
		assert_fault(cases[i].where, cases[i].text);
		put("issuers.d/sharedweu.json", before);
	}
	assert_good();
}

static void test_config_issuer_file_name(void **state)
{
	(void)state;
	put("issuers.d/a b.json", "{}");
	assert_fault("issuers.d/a b.json:1", "the file's name must be");
}

static void test_config_issuer_options(void **state)
{
	(void)state;
	put("issuers.d/other.json",
	    "{\"issuer\": \"confidentialcomputing\", \"profile\": \"generic\", \"keys\": "
	    "{\"jwks_uri\": \"https://keys.example/jwks\", "
	    "\"ca_file\": \"../tls/signer-chain.pem\", \"min_interval\": \"5s\"}, \"algorithms\": "
	    "[\"ES256\", \"PS384\"], \"audience\": \"us\", "
	    "\"private_addresses\": true, \"single_use\": true, \"nonce\": \"broker\", "
	    "\"max_stale\": \"10s\"}");
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_OK);
	const struct issuer_config *i = config_issuer(l.c, span_str("confidentialcomputing"));
	assert_non_null(i);
	assert_false(i->rules.is_maa);
	assert_int_equal(i->source, KEYS_JWKS_URI);
	assert_string_equal(i->jwks_uri, "https://keys.example/jwks");
	assert_true(i->ca.len > 0);
	assert_int_equal(i->min_interval_s, 5);
	assert_int_equal(i->max_stale_s, 10);
	assert_int_equal(i->rules.algorithms, 1U << KB_ES256 | 1U << KB_PS384);
	assert_string_equal(i->rules.audience, "us");
	assert_true(i->allow_private_addresses);
	assert_true(i->rules.is_single_use);
	assert_int_equal(i->rules.nonce, NONCE_BROKER);
	unload(&l);
}

/* Issuer, source, URL and CA each change the origin.  Every process that reads issuers must compute
 * the same one, or the vaults would not find the key sets. */
static void test_config_origin_of_an_issuer(void **state)
{
	static const char *const text[] = {
		"{\"issuer\": \"https://x\", \"keys\": {\"discovery\": true}, \"algorithms\": "
		"[\"RS256\"]}",
		"{\"issuer\": \"https://y\", \"keys\": {\"discovery\": true}, \"algorithms\": "
		"[\"RS256\"]}",
		"{\"issuer\": \"https://x\", \"keys\": {\"discovery\": true, \"ca_file\": "
		"\"../tls/signer-chain.pem\"}, \"algorithms\": [\"RS256\"]}",
		"{\"issuer\": \"https://x\", \"keys\": {\"jwks_uri\": \"https://x\"}, "
		"\"algorithms\": [\"RS256\"]}",
		"{\"issuer\": \"https://x\", \"keys\": {\"jwks_uri\": \"https://x/keys\"}, "
		"\"algorithms\": [\"RS256\"]}",
		"{\"issuer\": \"https://x\", \"keys\": {\"jwks_uri\": \"https://x/keys\", "
		"\"ca_file\": \"../tls/signer-chain.pem\"}, "
		"\"algorithms\": [\"RS256\"]}",
	};
	enum { N = sizeof text / sizeof text[0] };
	char id[N][65];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		struct keyset_origin whole, vault, fetcher;
		put("issuers.d/other.json", text[i]);
		struct loaded l = load(CONFIG_ALL), v = load(CONFIG_VAULT),
			      f = load(CONFIG_FETCHER);
		struct span iss = span_str(i == 1 ? "https://y" : "https://x");
		assert_true(l.err == KB_OK && v.err == KB_OK && f.err == KB_OK);
		config_origin(config_issuer(l.c, iss), &whole);
		config_origin(config_issuer(v.c, iss), &vault);
		config_origin(config_issuer(f.c, iss), &fetcher);
		assert_string_equal(whole.id, vault.id);
		assert_string_equal(whole.id, fetcher.id);
		memcpy(id[i], whole.id, sizeof id[i]);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(id[i], id[k]);
		unload(&l);
		unload(&v);
		unload(&f);
	}
}

static void test_config_issuer_defaults_are_strict(void **state)
{
	(void)state;
	put("issuers.d/other.json", "{\"issuer\": \"https://x\", \"keys\": {\"discovery\": true}, "
				    "\"algorithms\": [\"RS256\"]}");
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_OK);
	const struct issuer_config *i = config_issuer(l.c, span_str("https://x"));
	assert_true(i->rules.is_maa);
	assert_false(i->allow_private_addresses);
	assert_int_equal(i->rules.max_age_s, 8 * 3600);
	assert_int_equal(i->rules.max_lifetime_s, 24 * 3600);
	assert_int_equal(i->rules.skew_s, 60);
	assert_int_equal(i->max_stale_s, KB_STALE_MAX_S);
	unload(&l);
}

/* ---- keys ---- */

static void test_e07_key_without_issuer(void **state)
{
	(void)state;
	edit("keys.d/cvm-disk-key.json", "cvm-default.json",
	     "container-aci.json"); /* eus2, which is not configured */
	assert_fault("keys.d/cvm-disk-key.json:6",
		     "no authority of the release policy is a configured issuer");
}

static void test_config_key_record_fault(void **state)
{
	(void)state;
	edit("keys.d/cvm-disk-key.json", "RSA-HSM", "DSA-HSM");
	assert_fault("keys.d/cvm-disk-key.json:2", "");
}

static void test_e01_key_record_syntax_error(void **state)
{
	(void)state;
	edit("keys.d/cvm-disk-key.json", "\"tags\":", "\"tags\"");
	assert_fault("keys.d/cvm-disk-key.json:5", "JSON_SYNTAX");
}

static void test_config_key_file_missing_policy(void **state)
{
	(void)state;
	edit("keys.d/cvm-disk-key.json", "cvm-default.json", "none.json");
	assert_fault("keys.d/cvm-disk-key.json:6", "policies/none.json No such file");
}

static void test_a34_policy_fault_has_its_line(void **state)
{
	(void)state;
	put("policies/cvm-default.json", "{\"version\": \"1.0.0\",\n\"anyOf\": [{\"authority\": "
					 "\"https://sharedweu.weu.attest.azure.net\",\n"
					 "\"allOf\": [{\"claim\": \"a\",\n\"matches\": \"b\"}]}]}");
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_E_CONFIG);
	assert_int_equal(l.faults.n, 1);
	assert_non_null(strstr(l.faults.text[0], "policies/cvm-default.json:"));
	assert_non_null(strstr(l.faults.text[0], "POLICY_FORMAT"));
	unload(&l);
}

static void test_config_policy_in_the_record(void **state)
{
	(void)state;
	edit("keys.d/cvm-disk-key.json", "\"file\": \"../policies/cvm-default.json\"",
	     "\"data\": {\"version\": \"1.0.0\", \"anyOf\": [{\"authority\": "
	     "\"https://sharedweu.weu.attest.azure.net/\", \"allOf\": [{\"claim\": "
	     "\"a\", "
	     "\"equals\": true}]}]}");
	struct loaded l = load(CONFIG_ALL);
	assert_int_equal(l.err, KB_OK);
	assert_non_null(config_key(l.c, span_str("cvm-disk-key"))->policy);
	unload(&l);
	edit("keys.d/cvm-disk-key.json", "\"equals\"", "\"unequal\"");
	assert_fault("keys.d/cvm-disk-key.json:6", "release policy: ");
}

static void test_config_keys_that_differ_by_case(void **state)
{
	(void)state;
	put("keys.d/CVM-disk-key.json", get("keys.d/cvm-disk-key.json"));
	assert_fault("keys.d:1", "are the same key");
}

static void test_config_unreadable_key_record(void **state)
{
	char path[96], link[96];

	(void)state;
	snprintf(path, sizeof path, "%s/keys.d/none", dir);
	snprintf(link, sizeof link, "%s/keys.d/link.json", dir);
	assert_int_equal(symlink(path, link), 0);
	assert_fault("keys.d/link.json:1", "No such file");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_config_example_instance),
		T(test_config_key_names_without_case),
		T(test_config_finds_each_of_many_keys),
		T(test_config_parts_see_their_own),
		T(test_config_relative_path),
		T(test_e01_missing_file),
		T(test_e01_syntax_error),
		T(test_e01_half_written),
		T(test_e01_not_an_object),
		T(test_e01_unknown_member),
		T(test_e01_duplicate_member),
		T(test_e01_too_deep),
		T(test_e01_wrong_types),
		T(test_config_all_faults_are_told),
		T(test_config_counts_the_faults_it_does_not_tell),
		T(test_e06_pin_in_the_configuration),
		T(test_e06_pin_in_the_token_uri),
		T(test_e06_pin_file_readable_by_others),
		T(test_e06_pin_directory_writable_by_others),
		T(test_e04_policy_writable_by_others),
		T(test_config_listener_faults),
		T(test_b20_key_of_another_certificate),
		T(test_b21_gateway_is_no_signer),
		T(test_config_two_listeners_one_address),
		T(test_config_no_listeners),
		T(test_config_bearers),
		T(test_b29_config_bearer_names),
		T(test_b28_config_client_crl),
		T(test_e20_bearers_at_the_limit),
		T(test_config_challenge_defaults),
		T(test_config_other_faults),
		T(test_h20_proxy_is_named_by_the_issuer),
		T(test_config_limits),
		T(test_config_penalties_and_grace),
		T(test_e19_faults_say_what_was_there),
		T(test_e21_environment_of_a_module),
		T(test_e07_issuer_faults),
		T(test_config_issuer_file_name),
		T(test_config_issuer_options),
		T(test_config_origin_of_an_issuer),
		T(test_config_issuer_defaults_are_strict),
		T(test_e07_key_without_issuer),
		T(test_config_key_record_fault),
		T(test_e01_key_record_syntax_error),
		T(test_config_key_file_missing_policy),
		T(test_a34_policy_fault_has_its_line),
		T(test_config_policy_in_the_record),
		T(test_config_keys_that_differ_by_case),
		T(test_config_unreadable_key_record),
	};
#undef T

	return cmocka_run_group_tests(tests, make_certificates, NULL);
}
