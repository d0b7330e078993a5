/* tests/e2e/test_tls_wire.c — TLS as clients may try to have it: old, weak, again, early, without
 * or with a wrong certificate; what a refused handshake costs; and the server's own certificate
 * replaced while it serves. */
#include "tests/e2e/flood.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- certificates ---- */

static EVP_PKEY *ca_key;
static X509 *ca_cert;

/* By the instance's own CA, or another; `days` from now on, negative: over since then. */
static X509 *certificate(EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, const char *usage,
			 int days)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_NAME_new();
	X509V3_CTX ctx;
	static long serial = 1000;
	assert_true(x != NULL && name != NULL);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1,
				   -1, 0);
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	X509_set_subject_name(x, name);
	X509_set_issuer_name(x, issuer == NULL ? name : X509_get_subject_name(issuer));
	X509_gmtime_adj(X509_getm_notBefore(x), -30L * 86400);
	X509_gmtime_adj(X509_getm_notAfter(x), days * 86400L);
	X509_set_pubkey(x, key);
	X509V3_set_ctx(&ctx, issuer == NULL ? x : issuer, x, NULL, NULL, 0);
	const struct {
		int nid;
		const char *value;
	} extensions[] = {
		{NID_ext_key_usage, usage},
		{NID_subject_alt_name, "DNS:localhost"},
		{NID_basic_constraints, issuer == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE"}};
	for (unsigned i = 0; i < 3; i++) {
		X509_EXTENSION *e = extensions[i].value == NULL
					    ? NULL
					    : X509V3_EXT_conf_nid(NULL, &ctx, extensions[i].nid,
								  extensions[i].value);
		if (e != NULL)
			X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	assert_true(X509_sign(x, issuer == NULL ? key : issuer_key, EVP_sha256()) > 0);
	X509_NAME_free(name);
	return x;
}

static void load_ca(void)
{
	char path[160];
	snprintf(path, sizeof path, "%s/tls/ca.key", in.dir);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(ca_key = PEM_read_PrivateKey(f, NULL, NULL, NULL));
	fclose(f);
	snprintf(path, sizeof path, "%s/tls/ca.pem", in.dir);
	assert_non_null(f = fopen(path, "r"));
	assert_non_null(ca_cert = PEM_read_X509(f, NULL, NULL, NULL));
	fclose(f);
}

/* The server's files, with a new pair: leaf and its issuer. */
static void write_server(X509 *leaf, EVP_PKEY *key)
{
	struct stat st;
	char path[160], *text;
	BIO *bio = BIO_new(BIO_s_mem());
	snprintf(path, sizeof path, "%s/tls/server.pem", in.dir);
	assert_int_equal(stat(path, &st), 0);
	assert_true(PEM_write_bio_X509(bio, leaf) == 1 && PEM_write_bio_X509(bio, ca_cert) == 1);
	long n = BIO_get_mem_data(bio, &text);
	GOOD(instance_write(&in, "tls/server.pem", text, (size_t)n));
	assert_int_equal(chmod(path, st.st_mode & 07777), 0);
	BIO_free(bio);
	bio = BIO_new(BIO_s_mem());
	snprintf(path, sizeof path, "%s/tls/server.key", in.dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
	n = BIO_get_mem_data(bio, &text);
	GOOD(instance_write(&in, "tls/server.key", text, (size_t)n));
	assert_int_equal(chmod(path, st.st_mode & 07777), 0);
	BIO_free(bio);
}

/* ---- handshakes that must not be ---- */

static SSL_CTX *client_context(int least, int most, const char *ciphers)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	assert_non_null(ctx);
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, least);
	SSL_CTX_set_max_proto_version(ctx, most);
	if (ciphers != NULL && SSL_CTX_set_cipher_list(ctx, ciphers) != 1) {
		SSL_CTX_free(ctx);
		return NULL; /* this OpenSSL does not have them, either */
	}
	return ctx;
}

/* A ClientHello of TLS 1.2, without extensions, that offers these suites alone. */
static size_t raw_hello(uint8_t *out, uint16_t version, const uint16_t *suites, unsigned n)
{
	size_t body = 2 + 32 + 1 + 2 + 2 * n + 2, at = 0;
	const uint8_t head[] = {0x16,
				3,
				1,
				(uint8_t)((body + 4) >> 8),
				(uint8_t)(body + 4),
				1,
				0,
				(uint8_t)(body >> 8),
				(uint8_t)body,
				(uint8_t)(version >> 8),
				(uint8_t)version};
	memcpy(out, head, sizeof head);
	at = sizeof head;
	memset(out + at, 0x5a, 32);
	at += 32;
	out[at++] = 0;
	out[at++] = (uint8_t)(2 * n >> 8);
	out[at++] = (uint8_t)(2 * n);
	for (unsigned i = 0; i < n; i++) {
		out[at++] = (uint8_t)(suites[i] >> 8);
		out[at++] = (uint8_t)suites[i];
	}
	out[at++] = 1;
	out[at++] = 0;
	return at;
}

/* Sent, and answered by an alert at the most; what it cost the gateway, ms. */
static void bytes_are_refused(const uint8_t *bytes, size_t len, const char *what)
{
	uint8_t said[256];
	size_t n = 0;
	double refused = refused_as("TLS"), done = metric(&in, "keybroker_tls_handshakes_total"),
	       sent = metric(&in, "keybroker_requests_total");
	int fd = tcp_from(SOURCE(1), in.port);
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
	if (!closes_within(fd, 5000, said, sizeof said, &n))
		GOOD(wrong("%s: not closed", what));
	close(fd);
	if (n > 0 && (n != 7 || said[0] != 0x15)) /* one alert, nothing else */
		GOOD(wrong("%s: answered with %zu bytes, 0x%02x first", what, n, said[0]));
	if (refused_as("TLS") - refused != 1)
		GOOD(wrong("%s: not counted", what));
	assert_true(metric(&in, "keybroker_tls_handshakes_total") == done &&
		    metric(&in, "keybroker_requests_total") == sent);
}

static void test_b12_old_and_weak(void **state)
{
	(void)state;
	static const uint8_t sslv2[] = {0x80, 0x2e, 1, 0, 2,    0,  0x15, 0,    0,  0,  0x10, 7,
					0,    0xc0, 5, 0, 0x80, 3,  0,    0x80, 1,  0,  0x80, 6,
					0,    0x40, 4, 0, 0x80, 2,  0,    0x80, 1,  2,  3,    4,
					5,    6,    7, 8, 9,    10, 11,   12,   13, 14, 15,   16};
	static const struct {
		uint16_t suite;
		const char *what;
	} weak[] = {
		{0x0001, "RSA_NULL_MD5"},
		{0x003b, "RSA_NULL_SHA256"},
		{0xc006, "ECDHE_ECDSA_NULL_SHA"},
		{0x0003, "RSA_EXPORT_RC4_40_MD5"},
		{0x0008, "RSA_EXPORT_DES40"},
		{0x0005, "RSA_RC4_128_SHA"},
		{0xc007, "ECDHE_ECDSA_RC4_128_SHA"},
		{0x000a, "RSA_3DES"},
		{0xc008, "ECDHE_ECDSA_3DES"},
		{0x0018, "DH_anon_RC4"},
		{0xc018, "ECDH_anon_AES_128_SHA"},
		{0x009c, "RSA_AES_128_GCM: no forward secrecy"},
		{0xc009, "ECDHE_ECDSA_AES_128_CBC_SHA"},
		{0xc023, "ECDHE_ECDSA_AES_128_CBC_SHA256"},
		{0xc0ac, "ECDHE_ECDSA_AES_128_CCM"},
	};
	static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
	uint8_t hello[256];
	bytes_are_refused(sslv2, sizeof sslv2, "SSLv2");
	bytes_are_refused((const uint8_t *)http, sizeof http - 1, "plain HTTP");
	for (unsigned i = 0; i < sizeof weak / sizeof weak[0]; i++)
		bytes_are_refused(hello, raw_hello(hello, 0x0303, &weak[i].suite, 1), weak[i].what);
	static const uint16_t fine[] = {0xc02b, 0xc02f, 0xc02c, 0xc030};
	static const uint16_t old[] = {0x0300, 0x0301, 0x0302};
	for (unsigned i = 0; i < 3; i++)
		bytes_are_refused(hello, raw_hello(hello, old[i], fine, 4), "a version before 1.2");
	/* What OpenSSL can still say itself. */
	for (int version = TLS1_VERSION; version <= TLS1_1_VERSION; version++) {
		SSL_CTX *ctx = client_context(version, version, "ALL:COMPLEMENTOFALL:@SECLEVEL=0");
		assert_non_null(ctx);
		SSL *ssl = tls_from(SOURCE(1), ctx);
		assert_int_not_equal(SSL_do_handshake(ssl), 1);
		tls_free(ssl);
		SSL_CTX_free(ctx);
	}
	/* And the control: what is good is accepted, in the same way. */
	SSL_CTX *ctx = client_context(TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE+AESGCM");
	SSL *ssl = tls_from(SOURCE(1), ctx);
	assert_int_equal(SSL_do_handshake(ssl), 1);
	assert_int_equal(SSL_CIPHER_is_aead(SSL_get_current_cipher(ssl)), 1);
	tls_free(ssl);
	SSL_CTX_free(ctx);
}

static void test_b12_renegotiation(void **state)
{
	(void)state;
	SSL_CTX *ctx = client_context(TLS1_2_VERSION, TLS1_2_VERSION, NULL);
	double done = metric(&in, "keybroker_tls_handshakes_total");
	SSL *ssl = tls_from(SOURCE(1), ctx);
	assert_int_equal(SSL_do_handshake(ssl), 1);
	assert_int_equal(SSL_renegotiate(ssl), 1);
	assert_int_not_equal(SSL_do_handshake(ssl), 1); /* refused by an alert, not left waiting */
	tls_free(ssl);
	SSL_CTX_free(ctx);
	wait_metric("keybroker_tls_handshakes_total", done + 1, 2000);
	assert_true(metric(&in, "keybroker_tls_handshakes_total") == done + 1);
}

/* Refusals must not cost more than what is accepted, or refusing would be the attack. */
static void test_b12_cost_of_a_refused_handshake(void **state)
{
	(void)state;
	enum { N = 400 };
	static const uint16_t weak[] = {0x0005, 0xc007, 0xc009, 0x003b};
	static const char *const names[] = {"weak suites", "garbage", "half a hello, and gone"};
	uint8_t hello[4096], real[4096];
	size_t len = raw_hello(hello, 0x0303, weak, 4), real_len = client_hello(real);
	pid_t pid = gateway();
	for (unsigned kind = 0; kind < 3; kind++) {
		double failed = metric(&in, "keybroker_tls_handshakes_failed_total"),
		       cpu = cpu_ms(pid);
		for (unsigned i = 0; i < N; i++) {
			int fd = tcp_from(SOURCE(2 + i % 200), in.port);
			if (kind == 0)
				assert_int_equal(send(fd, hello, len, MSG_NOSIGNAL), (ssize_t)len);
			else if (kind == 1)
				assert_int_equal(send(fd, "\x16\x03\x01\xff\xff garbage garbage",
						      21, MSG_NOSIGNAL),
						 21);
			else
				assert_int_equal(send(fd, real, real_len / 2, MSG_NOSIGNAL),
						 (ssize_t)real_len / 2);
			close_hard(fd);
		}
		wait_metric("keybroker_tls_handshakes_failed_total", failed + N, 10000);
		double each = (cpu_ms(pid) - cpu) / N;
		print_message("  a refused handshake (%s): %.3f ms of the gateway\n", names[kind],
			      each);
		if (each > 1.0)
			GOOD(wrong("a refused handshake (%s) costs %.2f ms", names[kind], each));
	}
}

/* ---- early data ---- */

static SSL_SESSION *ticket;

static int keep_ticket(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	SSL_SESSION_free(ticket);
	ticket = s;
	return 1;
}

/* A whole release as early data, by a client that claims the server had allowed it: it is not even
 * read. */
static void test_b13_early_data(void **state)
{
	(void)state;
	SSL_CTX *ctx = client_context(TLS1_3_VERSION, TLS1_3_VERSION, NULL);
	char *request = release_request(), answer[64] = "";
	size_t written = 0;
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(ctx, keep_ticket);
	SSL *ssl = tls_from(SOURCE(1), ctx);
	assert_int_equal(SSL_do_handshake(ssl), 1);
	assert_true(SSL_write(ssl, request, (int)strlen(request)) > 0);
	assert_true(SSL_read(ssl, answer, sizeof answer - 1) > 0); /* takes the ticket along */
	SSL_shutdown(ssl);
	tls_free(ssl);
	assert_non_null(ticket);
	assert_int_equal(SSL_SESSION_get_max_early_data(ticket), 0);
	SSL_SESSION_set_max_early_data(ticket, 16384);
	unsigned records = ledger_count(&in, "\"seq\"");
	double sent = metric(&in, "keybroker_requests_total");
	ssl = tls_from(SOURCE(1), ctx);
	assert_int_equal(SSL_set_session(ssl, ticket), 1);
	assert_int_equal(SSL_write_early_data(ssl, request, strlen(request), &written), 1);
	assert_int_equal((int)written, (int)strlen(request));
	int shaken = SSL_do_handshake(ssl);
	assert_int_not_equal(SSL_get_early_data_status(ssl), SSL_EARLY_DATA_ACCEPTED);
	sleep_ms(300);
	assert_true(metric(&in, "keybroker_requests_total") == sent);
	assert_int_equal(ledger_count(&in, "\"seq\""), records);
	/* Bytes after the request's end close the connection. */
	if (shaken == 1)
		assert_true(SSL_read(ssl, answer, sizeof answer - 1) <= 0);
	tls_free(ssl);
	SSL_CTX_free(ctx);
	SSL_SESSION_free(ticket);
	ticket = NULL;
	free(request);
}

/* ---- the server's certificate replaced ---- */

struct tally {
	volatile bool stop;
	volatile unsigned released, failed;
	char why[160];
};

static void ask_for_ever(struct tally *t, bool is_keep_alive)
{
	struct link *l = NULL;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!t->stop) {
		struct reply r = {0};
		const char *why = l != NULL ? NULL : link_open(&in.at, &l);
		if (why == NULL)
			why = guest_ask(l, &good.ask, &r);
		if (why == NULL && r.status == 200) {
			__atomic_add_fetch(&t->released, 1, __ATOMIC_RELAXED);
		} else {
			__atomic_add_fetch(&t->failed, 1, __ATOMIC_RELAXED);
			snprintf(t->why, sizeof t->why, "%s, status %d",
				 why == NULL ? "answered" : why, r.status);
		}
		if (why != NULL || r.will_close || !is_keep_alive) {
			link_close(l);
			l = NULL;
		}
		reply_free(&r);
	}
	link_close(l);
	_exit(0);
}

/* The serial number that a new connection is shown. */
static long serial_shown(void)
{
	SSL *ssl = tls_from(SOURCE(1), NULL);
	assert_int_equal(SSL_do_handshake(ssl), 1);
	X509 *x = SSL_get1_peer_certificate(ssl);
	long serial = ASN1_INTEGER_get(X509_get0_serialNumber(x));
	X509_free(x);
	tls_free(ssl);
	return serial;
}

static int reload(void)
{
	char *out = NULL;
	int status = CTL(&in, &out, "reload");
	free(out);
	return status;
}

static void test_b20_certificate_replaced_under_load(void **state)
{
	(void)state;
	enum { ROUNDS = 3 };
	struct tally *t =
		mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(t != MAP_FAILED);
	pid_t load[2];
	for (int i = 0; i < 2; i++)
		if ((load[i] = fork()) == 0)
			ask_for_ever(t, i == 0);
	long serial = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		EVP_PKEY *key = EVP_EC_gen("P-256");
		X509 *leaf = certificate(key, ca_cert, ca_key, "serverAuth", 30);
		serial = ASN1_INTEGER_get(X509_get0_serialNumber(leaf));
		write_server(leaf, key);
		assert_int_equal(reload(), 0);
		assert_int_equal((int)serial_shown(), (int)serial);
		for (unsigned long long end = now_ms() + 5000, before = t->released;
		     t->released < before + 10 && now_ms() < end;)
			sleep_ms(10);
		X509_free(leaf);
		EVP_PKEY_free(key);
	}
	/* Bad ones: no PEM, the key of another, over long ago is the clients' matter and not
	 * ours. */
	double refused = metric(&in, "keybroker_reloads_failed_total");
	EVP_PKEY *mine = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	X509 *leaf = certificate(mine, ca_cert, ca_key, "serverAuth", 30);
	write_server(leaf, other);
	assert_int_not_equal(reload(), 0);
	assert_int_equal((int)serial_shown(), (int)serial);
	GOOD(instance_write(&in, "tls/server.pem", "no certificate\n", 15));
	assert_int_not_equal(reload(), 0);
	kill(in.broker, SIGHUP); /* a reload without keybrokerctl's check before it */
	wait_metric("keybroker_reloads_failed_total", refused + 1, 5000);
	assert_int_equal((int)serial_shown(), (int)serial);
	write_server(leaf, mine);
	assert_int_equal(reload(), 0);
	t->stop = true;
	for (int i = 0; i < 2; i++) {
		int status;
		assert_int_equal(waitpid(load[i], &status, 0), load[i]);
	}
	if (t->failed != 0)
		GOOD(wrong("%u of %u requests failed: %s", t->failed, t->released + t->failed,
			   t->why));
	assert_true(t->released > 30);
	X509_free(leaf);
	EVP_PKEY_free(mine);
	EVP_PKEY_free(other);
	munmap(t, sizeof *t);
	GOOD(invariants_begin(&in, &good)); /* other processes now */
}

/* ---- what stays of a credential ---- */

/* A token that came in pieces, whole and half: it is in no memory of the gateway afterwards. */
static void test_b30_no_token_in_memory(void **state)
{
	enum { LINKS = 64, PIECE = 24 };
	static const char canary[] = "b30-4f1d2c9a7e5b-canary";
	char text[512];
	struct reply r;

	(void)state;
	invariants_secret(canary, sizeof canary - 1);
	int len = snprintf(text, sizeof text,
			   "GET /keys/none?api-version=7.4 HTTP/1.1\r\nHost: x\r\nAuthorization: "
			   "Bearer %s\r\nX-Other: 0123456789\r\n\r\n",
			   canary);
	/* Many at once: memory that the next connection uses again is overwritten anyway. */
	struct link *l[LINKS];
	for (int half = 0; half <= 1; half++) {
		size_t all = (size_t)len - (half ? 4 : 0);
		for (unsigned i = 0; i < LINKS; i++)
			GOOD(link_open(&in.at, &l[i]));
		for (size_t at = 0; at < all; at += PIECE) {
			for (unsigned i = 0; i < LINKS; i++)
				GOOD(link_send(l[i], text + at,
					       all - at < PIECE ? all - at : PIECE));
			sleep_ms(20); /* so that it is read alone */
		}
		for (unsigned i = 0; i < LINKS; i++) {
			if (!half) {
				GOOD(link_receive(l[i], &r));
				assert_int_equal(r.status, 404);
				reply_free(&r);
			}
			link_close(l[i]);
		}
	}
}

/* ---- client certificates ---- */

/* The handshake may seem done to a TLS 1.3 client that is about to be refused: what it writes must
 * not be read. */
static void client_is_refused(X509 *cert, EVP_PKEY *key, const char *what)
{
	static const char get[] = "GET /keys/key?api-version=7.4 HTTP/1.1\r\nHost: "
				  "localhost\r\nAuthorization: Bearer x\r\n\r\n";
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		SSL_CTX *ctx = client_context(version, version, NULL);
		char byte;
		if (cert != NULL)
			assert_true(SSL_CTX_use_certificate(ctx, cert) == 1 &&
				    SSL_CTX_use_PrivateKey(ctx, key) == 1);
		double refused = refused_as("TLS"), sent = metric(&in, "keybroker_requests_total");
		double done = metric(&in, "keybroker_tls_handshakes_total"),
		       all = metric(&in, "keybroker_replies_total");
		SSL *ssl = tls_from(SOURCE(1), ctx);
		if (SSL_do_handshake(ssl) == 1)
			(void)SSL_write(ssl, get, sizeof get - 1);
		if (SSL_read(ssl, &byte, 1) > 0)
			GOOD(wrong("%s: answered", what));
		tls_free(ssl);
		SSL_CTX_free(ctx);
		for (unsigned long long end = now_ms() + 3000;
		     refused_as("TLS") == refused && now_ms() < end;)
			sleep_ms(20);
		if (refused_as("TLS") - refused != 1 ||
		    metric(&in, "keybroker_tls_handshakes_total") != done ||
		    metric(&in, "keybroker_requests_total") != sent ||
		    metric(&in, "keybroker_replies_total") != all)
			GOOD(wrong("%s: the handshake was not refused as such", what));
	}
}

static void test_b14_client_certificates(void **state)
{
	(void)state;
	json_t *config = instance_json(&in, "keybroker.json"),
	       *listener = json_array_get(json_object_get(config, "listeners"), 0);
	json_object_set_new(json_object_get(listener, "tls"), "client_ca",
			    json_string("tls/ca.pem"));
	json_object_set_new(listener, "auth", json_string("mtls"));
	GOOD(instance_json_write(&in, "keybroker.json", config));
	/* The issuing CA alone is the anchor: it must be a self-signed one for OpenSSL, so the root
	 * is in the file, too. */
	char both[16384], path[160];
	size_t len = 0;
	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/tls/%s", in.dir, i == 0 ? "ca.pem" : "root.pem");
		FILE *f = fopen(path, "r");
		assert_non_null(f);
		len += fread(both + len, 1, sizeof both - len, f);
		fclose(f);
	}
	GOOD(instance_write(&in, "tls/clients.pem", both, len));
	snprintf(path, sizeof path, "%s/tls/clients.pem", in.dir);
	assert_int_equal(chmod(path, 0644), 0);
	config = instance_json(&in, "keybroker.json");
	listener = json_array_get(json_object_get(config, "listeners"), 0);
	json_object_set_new(json_object_get(listener, "tls"), "client_ca",
			    json_string("tls/clients.pem"));
	GOOD(instance_json_write(&in, "keybroker.json", config));
	EVP_PKEY *key = EVP_EC_gen("P-256"), *foreign_key = EVP_EC_gen("P-256");
	X509 *fine = certificate(key, ca_cert, ca_key, "clientAuth", 30),
	     *expired = certificate(key, ca_cert, ca_key, "clientAuth", -1);
	X509 *server = certificate(key, ca_cert, ca_key, "serverAuth", 30),
	     *foreign_ca = certificate(foreign_key, NULL, NULL, NULL, 30);
	X509 *foreign = certificate(key, foreign_ca, foreign_key, "clientAuth", 30),
	     *own = certificate(key, NULL, NULL, "clientAuth", 30);
	assert_true(SSL_CTX_use_certificate(in.at.tls, fine) == 1 &&
		    SSL_CTX_use_PrivateKey(in.at.tls, key) == 1); /* the good client's */
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	flood_begin();
	client_is_refused(NULL, NULL, "no certificate");
	client_is_refused(expired, key, "an expired one");
	client_is_refused(foreign, key, "one of another CA");
	client_is_refused(own, key, "a self-signed one");
	client_is_refused(server, key, "a server's");
	/* Who was given a key is recorded. */
	uint8_t digest[32];
	char caller[64] = "\"caller\":\"certificate:";
	assert_int_equal(X509_digest(fine, EVP_sha256(), digest, NULL), 1);
	for (size_t i = 0; i < 8; i++)
		snprintf(caller + strlen(caller), 3, "%02x", digest[i]);
	assert_true(ledger_count(&in, caller) > 0);
	X509_free(fine);
	X509_free(expired);
	X509_free(server);
	X509_free(foreign_ca);
	X509_free(foreign);
	X509_free(own);
	EVP_PKEY_free(key);
	EVP_PKEY_free(foreign_key);
}

static void put_public(const char *name, BIO *bio)
{
	char path[160], *text;
	long n = BIO_get_mem_data(bio, &text);

	GOOD(instance_write(&in, name, text, (size_t)n));
	snprintf(path, sizeof path, "%s/%s", in.dir, name);
	assert_int_equal(chmod(path, 0644), 0);
	BIO_free(bio);
}

/* The CA's list, for a day: it names that certificate, or (NULL) nothing. */
static void put_list(X509 *issuer, EVP_PKEY *key, X509 *revoked)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *from = X509_gmtime_adj(NULL, -3600), *to = X509_gmtime_adj(NULL, 86400);
	BIO *bio = BIO_new(BIO_s_mem());

	assert_true(X509_CRL_set_version(crl, 1) == 1 &&
		    X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer)) == 1 &&
		    X509_CRL_set1_lastUpdate(crl, from) == 1 &&
		    X509_CRL_set1_nextUpdate(crl, to) == 1);
	if (revoked != NULL) {
		X509_REVOKED *r = X509_REVOKED_new();
		assert_true(X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(revoked)) == 1 &&
			    X509_REVOKED_set_revocationDate(r, from) == 1 &&
			    X509_CRL_add0_revoked(crl, r) == 1);
	}
	assert_true(X509_CRL_sign(crl, key, EVP_sha256()) > 0 &&
		    PEM_write_bio_X509_CRL(bio, crl) == 1);
	put_public("tls/crl.pem", bio);
	X509_CRL_free(crl);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
}

/* The status that a connection, or a new one (NULL), gets for a GET; 0: none. */
static int status_on(struct link *l)
{
	struct link *own = NULL;
	struct reply r;
	int status = 0;

	if (l == NULL && link_open(&in.at, &own) != NULL)
		return 0;
	if (link_call(l == NULL ? own : l, "GET", "/keys/none?api-version=7.4",
		      "Authorization: Bearer x\r\n", NULL, &r) == NULL) {
		status = r.status;
		reply_free(&r);
	}
	link_close(own);
	return status;
}

/* A certificate is revoked: a connection from before the reload has no more to say, either. */
static void test_b28_revoked_by_a_reload(void **state)
{
	EVP_PKEY *root_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
	X509 *root = certificate(root_key, NULL, NULL, NULL, 30);
	X509_NAME *name = X509_NAME_new(); /* another than the leaf's: or it is its own issuer */
	assert_true(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					       (const unsigned char *)"clients", -1, -1, 0) == 1 &&
		    X509_set_subject_name(root, name) == 1 &&
		    X509_set_issuer_name(root, name) == 1 &&
		    X509_sign(root, root_key, EVP_sha256()) > 0);
	X509_NAME_free(name);
	X509 *one = certificate(key, root, root_key, "clientAuth", 30);
	BIO *pem = BIO_new(BIO_s_mem());
	struct link *l;

	(void)state;
	assert_int_equal(PEM_write_bio_X509(pem, root), 1);
	put_public("tls/own.pem", pem);
	put_list(root, root_key, NULL);
	json_t *config = instance_json(&in, "keybroker.json"),
	       *listener = json_array_get(json_object_get(config, "listeners"), 0),
	       *tls = json_object_get(listener, "tls");
	json_object_set_new(tls, "client_ca", json_string("tls/own.pem"));
	json_object_set_new(tls, "client_crl", json_string("tls/crl.pem"));
	json_object_set_new(listener, "auth", json_string("mtls"));
	GOOD(instance_json_write(&in, "keybroker.json", config));
	assert_true(SSL_CTX_use_certificate(in.at.tls, one) == 1 &&
		    SSL_CTX_use_PrivateKey(in.at.tls, key) == 1);
	assert_int_equal(reload(), 0);
	GOOD(link_open(&in.at, &l));
	assert_int_equal(status_on(l), 404);
	put_list(root, root_key, one);
	assert_int_equal(reload(), 0);
	int status = status_on(l);
	assert_true(status == 0 || status == 503);
	link_close(l);
	assert_int_equal(status_on(NULL), 0);
	put_list(root, root_key, NULL);
	assert_int_equal(reload(), 0);
	assert_int_equal(status_on(NULL), 404);
	X509_free(root);
	X509_free(one);
	EVP_PKEY_free(root_key);
	EVP_PKEY_free(key);
	GOOD(invariants_begin(&in, &good)); /* other processes now */
}

static int setup(void **state)
{
	flood_setup_and_begin(state);
	load_ca();
	return 0;
}

static int teardown(void **state)
{
	X509_free(ca_cert);
	EVP_PKEY_free(ca_key);
	return flood_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		attack(test_b12_old_and_weak),
		attack(test_b12_renegotiation),
		attack(test_b12_cost_of_a_refused_handshake),
		attack(test_b13_early_data),
		attack(test_b20_certificate_replaced_under_load),
		attack(test_b30_no_token_in_memory),
		attack(test_b14_client_certificates),
		attack(test_b28_revoked_by_a_reload),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
