/* tests/unit/gateway/test_tls.c — TLS versions, ciphers and client certificates.  Client
 * and server talk through memory. */
#include "gateway/tls.h"

#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/limits.h"
#include "tests/unit/tls_mint.h"

/* The monotonic clock, ahead of the system's. */
static int64_t mono_ahead_ms, move_ms;

int clock_gettime(clockid_t id, struct timespec *t)
{
	long r = syscall(SYS_clock_gettime, id, t);

	if (r == 0 && id == CLOCK_MONOTONIC)
		t->tv_sec += mono_ahead_ms / 1000;
	return (int)r;
}

static struct tls_pair *ca, *other_ca, *server_cert, *client_cert;

static int make(void **state)
{
	(void)state;
	ca = tls_mint("test CA", NULL, NULL, 3600);
	other_ca = tls_mint("other CA", NULL, NULL, 3600);
	server_cert = tls_mint("localhost", ca, "serverAuth", 3600);
	client_cert = tls_mint("client", ca, "clientAuth", 3600);
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	tls_mint_free(ca);
	tls_mint_free(other_ca);
	tls_mint_free(server_cert);
	tls_mint_free(client_cert);
	return 0;
}

static SSL_CTX *server_of(struct tls_server t)
{
	SSL_CTX *ctx;
	const char *why = "";

	assert_int_equal(tls_server_new(&t, &ctx, &why), KB_OK);
	assert_non_null(ctx);
	assert_null(why);
	return ctx;
}

static SSL_CTX *plain_server(void)
{
	return server_of((struct tls_server){.certificate = buf_span(&server_cert->cert_pem),
					     .key = buf_span(&server_cert->key_pem)});
}

static SSL_CTX *mtls_server(bool is_required)
{
	return server_of((struct tls_server){.certificate = buf_span(&server_cert->cert_pem),
					     .key = buf_span(&server_cert->key_pem),
					     .client_ca = buf_span(&ca->cert_pem),
					     .is_client_required = is_required});
}

struct talk {
	SSL *server, *client;
	bool server_up, client_up;
};

static struct talk talk_new(SSL_CTX *server, SSL_CTX *client)
{
	struct talk t = {.server = SSL_new(server), .client = SSL_new(client)};
	BIO *a;
	BIO *b;

	assert_non_null(t.server);
	assert_non_null(t.client);
	assert_int_equal(BIO_new_bio_pair(&a, 65536, &b, 65536), 1);
	SSL_set_bio(t.server, a, a);
	SSL_set_bio(t.client, b, b);
	SSL_set_accept_state(t.server);
	SSL_set_connect_state(t.client);
	return t;
}

/* Both sides run until nothing changes.  The server's result counts: in TLS 1.3 a client is done
 * before its certificate is checked. */
static bool shake(struct talk *t)
{
	for (int i = 0; i < 10; i++) {
		t->client_up = SSL_do_handshake(t->client) == 1;
		t->server_up = SSL_do_handshake(t->server) == 1;
	}
	ERR_clear_error();
	return t->server_up && t->client_up;
}

static void talk_free(struct talk *t)
{
	SSL_free(t->server);
	SSL_free(t->client);
}

static bool connects(SSL_CTX *server, SSL_CTX *client)
{
	struct talk t = talk_new(server, client);
	bool is_up = shake(&t);

	talk_free(&t);
	return is_up;
}

static void test_tls_1_3_and_1_2(void **state)
{
	SSL_CTX *server = plain_server();
	SSL_CTX *client = tls_mint_client(ca, NULL);

	(void)state;
	struct talk t = talk_new(server, client);
	assert_true(shake(&t));
	assert_int_equal(SSL_version(t.server), TLS1_3_VERSION);
	assert_false(tls_client_verified(t.server, clock_wall_s()));
	talk_free(&t);
	SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION);
	t = talk_new(server, client);
	assert_true(shake(&t));
	assert_int_equal(SSL_version(t.server), TLS1_2_VERSION);
	talk_free(&t);
	SSL_CTX_free(client);
	SSL_CTX_free(server);
}

static void test_b12_old_versions(void **state)
{
	static const int versions[] = {TLS1_VERSION, TLS1_1_VERSION};
	SSL_CTX *server = plain_server();

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		SSL_CTX *client = tls_mint_client(ca, NULL);
		SSL_CTX_set_max_proto_version(client, versions[i]);
		SSL_CTX_set_cipher_list(client, "ALL:@SECLEVEL=0");
		assert_false(connects(server, client));
		SSL_CTX_free(client);
	}
	SSL_CTX_free(server);
}

static void test_b12_ciphers(void **state)
{
	static const struct {
		const char *list;
		bool is_good;
	} want[] = {
		{"ECDHE-ECDSA-AES128-GCM-SHA256", true},
		{"ECDHE-ECDSA-CHACHA20-POLY1305", true},
		{"ECDHE-ECDSA-AES128-SHA256", false},
		{"ECDHE-ECDSA-AES256-SHA", false},
		{"AES128-GCM-SHA256", false},
		{"DHE-RSA-AES128-GCM-SHA256", false},
		{"eNULL:aNULL:@SECLEVEL=0", false},
	};
	SSL_CTX *server = plain_server();

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		SSL_CTX *client = tls_mint_client(ca, NULL);
		SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION);
		assert_int_equal(SSL_CTX_set_cipher_list(client, want[i].list), 1);
		assert_int_equal(connects(server, client), want[i].is_good);
		SSL_CTX_free(client);
	}
	SSL_CTX_free(server);
}

static void test_b12_renegotiation(void **state)
{
	SSL_CTX *server = plain_server();
	SSL_CTX *client = tls_mint_client(ca, NULL);
	char byte;

	(void)state;
	SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION);
	struct talk t = talk_new(server, client);
	assert_true(shake(&t));
	assert_int_equal(SSL_renegotiate(t.client), 1);
	(void)SSL_do_handshake(t.client);
	(void)SSL_read(t.server, &byte, 1);
	(void)SSL_read(t.client, &byte, 1);
	(void)SSL_do_handshake(t.client);
	assert_int_equal(SSL_num_renegotiations(t.server), 0);
	ERR_clear_error();
	talk_free(&t);
	SSL_CTX_free(client);
	SSL_CTX_free(server);
}

static SSL_SESSION *ticket;
static int keep_session(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	SSL_SESSION_free(ticket);
	ticket = s;
	return 1;
}

/* A second connection with the first one's ticket: does the server resume the session?  `second`
 * may be another server than the one that gave the ticket. */
static bool resumes(SSL_CTX *first, SSL_CTX *second, const struct tls_pair *own, int version)
{
	SSL_CTX *client = tls_mint_client(ca, own);
	char byte;

	SSL_CTX_set_max_proto_version(client, version);
	SSL_CTX_set_session_cache_mode(client,
				       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
	SSL_CTX_sess_set_new_cb(client, keep_session);
	struct talk t = talk_new(first, client);
	assert_true(shake(&t));
	(void)SSL_read(t.client, &byte, 1); /* takes the ticket */
	if (ticket != NULL)
		assert_int_equal(SSL_SESSION_get_max_early_data(ticket), 0);
	(void)SSL_shutdown(t.server); /* without close_notify a client may not resume */
	(void)SSL_read(t.client, &byte, 1);
	(void)SSL_shutdown(t.client);
	talk_free(&t);
	mono_ahead_ms = move_ms;
	t = talk_new(second, client);
	if (ticket != NULL)
		assert_int_equal(SSL_set_session(t.client, ticket), 1);
	assert_true(shake(&t));
	bool is_resumed = SSL_session_reused(t.server) == 1;
	assert_int_equal(tls_client_verified(t.server, clock_wall_s()), own != NULL);
	assert_int_equal(SSL_get_early_data_status(t.server), SSL_EARLY_DATA_NOT_SENT);
	SSL_SESSION_free(ticket);
	ticket = NULL;
	(void)SSL_read(t.client, &byte, 1);
	if (is_resumed) /* a client uses a ticket once: it gets another */
		assert_non_null(ticket);
	talk_free(&t);
	SSL_SESSION_free(ticket);
	ticket = NULL;
	SSL_CTX_free(client);
	return is_resumed;
}

static void test_b13_resumption_without_early_data(void **state)
{
	SSL_CTX *server = plain_server();

	(void)state;
	assert_true(resumes(server, server, NULL, TLS1_3_VERSION));
	assert_int_equal(SSL_CTX_get_max_early_data(server), 0);
	assert_int_equal(SSL_CTX_get_recv_max_early_data(server), 0);
	SSL_CTX_free(server);
}

static void test_b26_no_resumption_with_a_certificate(void **state)
{
	(void)state;
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
		for (int is_required = 0; is_required <= 1; is_required++) {
			SSL_CTX *server = mtls_server(is_required == 1);
			assert_false(resumes(server, server, client_cert, version));
			if (!is_required)
				assert_false(resumes(server, server, NULL, version));
			SSL_CTX_free(server);
		}
}

static void test_b27_no_tickets_in_tls_1_2(void **state)
{
	SSL_CTX *server = plain_server();

	(void)state;
	assert_false(resumes(server, server, NULL, TLS1_2_VERSION));
	SSL_CTX_free(server);
}

static void test_b27_tickets_end_with_their_generation(void **state)
{
	SSL_CTX *old = plain_server(), *now = plain_server();

	(void)state;
	assert_false(resumes(old, now, NULL, TLS1_3_VERSION));
	SSL_CTX_free(now);
	SSL_CTX_free(old);
}

/* The keys of tickets are exchanged: a ticket is good for two lives of a key at most. */
static void test_b27_ticket_keys_rotate(void **state)
{
	(void)state;
	for (int lives = 0; lives <= 2; lives++) {
		SSL_CTX *server = plain_server();
		mono_ahead_ms = 0;
		move_ms = (int64_t)lives * KB_TLS_SESSION_S * 1000;
		assert_int_equal(resumes(server, server, NULL, TLS1_3_VERSION), lives < 2);
		move_ms = mono_ahead_ms = 0;
		SSL_CTX_free(server);
	}
}

/* A connection that lives longer than a certificate of its client's chain. */
static void test_b26_connection_outlives_certificate(void **state)
{
	struct tls_pair *brief = tls_mint("brief", ca, "clientAuth", 600);
	SSL_CTX *server = mtls_server(true);
	int64_t now_s = clock_wall_s();

	(void)state;
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		SSL_CTX *client = tls_mint_client(ca, brief);
		SSL_CTX_set_max_proto_version(client, version);
		struct talk t = talk_new(server, client);
		assert_true(shake(&t));
		assert_true(tls_client_verified(t.server, now_s));
		assert_true(tls_client_verified(t.server, now_s + 500));
		assert_false(tls_client_verified(t.server, now_s + 700));
		assert_false(tls_client_verified(t.server, now_s - 7200)); /* not valid yet */
		talk_free(&t);
		SSL_CTX_free(client);
	}
	SSL_CTX_free(server);
	tls_mint_free(brief);
	/* the CA ends before the leaf */
	SSL_CTX *long_server = mtls_server(true);
	struct tls_pair *lasting = tls_mint("lasting", ca, "clientAuth", 86400);
	SSL_CTX *client = tls_mint_client(ca, lasting);
	struct talk t = talk_new(long_server, client);
	assert_true(shake(&t));
	assert_true(tls_client_verified(t.server, now_s));
	assert_false(tls_client_verified(t.server, now_s + 7200));
	talk_free(&t);
	SSL_CTX_free(client);
	SSL_CTX_free(long_server);
	tls_mint_free(lasting);
}

static bool client_passes(bool is_required, const struct tls_pair *shown, int version,
			  bool *is_verified)
{
	SSL_CTX *server = mtls_server(is_required);
	SSL_CTX *client = tls_mint_client(ca, shown);

	SSL_CTX_set_max_proto_version(client, version);
	struct talk t = talk_new(server, client);
	(void)shake(&t);
	bool is_up = t.server_up;
	*is_verified = tls_client_verified(t.server, clock_wall_s());
	talk_free(&t);
	SSL_CTX_free(client);
	SSL_CTX_free(server);
	return is_up;
}

static void test_b14_client_certificates(void **state)
{
	struct tls_pair *expired = tls_mint("expired", ca, "clientAuth", -60);
	struct tls_pair *wrong_ca = tls_mint("another CA", other_ca, "clientAuth", 3600);
	struct tls_pair *wrong_use = tls_mint("server", ca, "serverAuth", 3600);
	const struct {
		const struct tls_pair *shown;
		bool passes_required, passes_optional, is_verified;
	} want[] = {
		{client_cert, true, true, true},  {NULL, false, true, false},
		{expired, false, false, false},   {wrong_ca, false, false, false},
		{wrong_use, false, false, false},
	};
	bool is_verified;

	(void)state;
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
		for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
			assert_int_equal(client_passes(true, want[i].shown, version, &is_verified),
					 want[i].passes_required);
			if (want[i].passes_required)
				assert_true(is_verified);
			assert_int_equal(client_passes(false, want[i].shown, version, &is_verified),
					 want[i].passes_optional);
			if (want[i].passes_optional)
				assert_int_equal(is_verified, want[i].is_verified);
		}
	tls_mint_free(expired);
	tls_mint_free(wrong_ca);
	tls_mint_free(wrong_use);
}

static void refused(struct tls_server t)
{
	SSL_CTX *ctx;
	const char *why = NULL;

	assert_int_equal(tls_server_new(&t, &ctx, &why), KB_E_CONFIG);
	assert_null(ctx);
	assert_non_null(why);
	assert_int_equal(ERR_peek_error(), 0);
}

/* Is `shown` accepted where these lists are configured, and at now_s + later_s still? */
static bool passes_crl(const struct buf *lists, const struct tls_pair *shown, int version,
		       int64_t later_s)
{
	SSL_CTX *server =
		server_of((struct tls_server){.certificate = buf_span(&server_cert->cert_pem),
					      .key = buf_span(&server_cert->key_pem),
					      .client_ca = buf_span(&ca->cert_pem),
					      .client_crl = buf_span(lists),
					      .is_client_required = true});
	SSL_CTX *client = tls_mint_client(ca, shown);

	SSL_CTX_set_max_proto_version(client, version);
	struct talk t = talk_new(server, client);
	(void)shake(&t);
	bool is_good = t.server_up && tls_client_verified(t.server, clock_wall_s() + later_s);
	talk_free(&t);
	SSL_CTX_free(client);
	SSL_CTX_free(server);
	return is_good;
}

static void test_b28_revoked_client_certificates(void **state)
{
	struct tls_pair *revoked = tls_mint("revoked", ca, "clientAuth", 3600);
	struct tls_pair *namesake = tls_mint("test CA", NULL, NULL, 3600);
	KB_AUTO(buf) struct buf good, ended, foreign, forged, both;

	(void)state;
	buf_init(&good, 65536);
	buf_init(&ended, 65536);
	buf_init(&foreign, 65536);
	buf_init(&forged, 65536);
	buf_init(&both, 65536);
	tls_mint_crl(&good, ca, revoked, 600);
	tls_mint_crl(&ended, ca, NULL, -60);
	tls_mint_crl(&foreign, other_ca, NULL, 600);
	tls_mint_crl(&forged, namesake, NULL, 600); /* the CA's name, another key */
	tls_mint_crl(&both, other_ca, NULL, 600);
	buf_add_span(&both, buf_span(&ended));
	buf_add_span(&both, buf_span(&good));
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		assert_true(passes_crl(&good, client_cert, version, 0));
		assert_true(passes_crl(&both, client_cert, version, 0));
		assert_false(passes_crl(&good, revoked, version, 0));
		assert_false(passes_crl(&both, revoked, version, 0));
		/* stale is absent, and absent is no */
		assert_false(passes_crl(&ended, client_cert, version, 0));
		assert_false(passes_crl(&foreign, client_cert, version, 0));
		assert_false(passes_crl(&forged, client_cert, version, 0));
		/* a list that ends while the connection lives */
		assert_true(passes_crl(&good, client_cert, version, 500));
		assert_false(passes_crl(&good, client_cert, version, 700));
	}
	tls_mint_free(revoked);
	tls_mint_free(namesake);
}

static void test_b28_lists_that_are_none(void **state)
{
	struct tls_server t = {.certificate = buf_span(&server_cert->cert_pem),
			       .key = buf_span(&server_cert->key_pem),
			       .client_ca = buf_span(&ca->cert_pem)};
	KB_AUTO(buf) struct buf b;

	(void)state;
	t.client_crl = span_str("\n");
	refused(t);
	t.client_crl = buf_span(&ca->cert_pem);
	refused(t);
	buf_init(&b, 65536);
	tls_mint_crl(&b, ca, NULL, 0); /* without an end */
	t.client_crl = buf_span(&b);
	refused(t);
	buf_reset(&b);
	tls_mint_crl(&b, ca, NULL, 600);
	t.client_crl = buf_span(&b);
	SSL_CTX *ctx = server_of(t);
	assert_in_range((uint64_t)(tls_crls_until(ctx) - clock_wall_s()), 590, 601);
	SSL_CTX_free(ctx);
	t.client_ca = span_of(NULL, 0);
	refused(t);
	t.client_ca = buf_span(&ca->cert_pem);
	buf_add_str(&b, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
	t.client_crl = buf_span(&b);
	refused(t); /* the second is damaged */
	for (unsigned n = KB_MAX_CRLS - 1; n <= KB_MAX_CRLS + 1; n++) {
		KB_AUTO(buf) struct buf many;
		buf_init(&many, 262144);
		for (unsigned i = 0; i < n; i++)
			tls_mint_crl(&many, ca, NULL, 600);
		t.client_crl = buf_span(&many);
		if (n <= KB_MAX_CRLS)
			SSL_CTX_free(server_of(t));
		else
			refused(t);
	}
}

/* Whose certificate it is, for the record: of the common name KB_MAX_CALLER_NAME bytes at most (64
 * in a certificate that follows RFC 5280); an alternative name where there is none. */
static void test_b29_identity_of_a_client(void **state)
{
	struct tls_pair *san = tls_mint("@guest.example", ca, "clientAuth", 3600);
	const struct {
		const struct tls_pair *shown;
		const char *name;
	} want[] = {{client_cert, "client"}, {san, "guest.example"}, {NULL, NULL}};
	SSL_CTX *server = mtls_server(false);
	uint8_t sha256[32], expected[32];
	char name[KB_MAX_CALLER_NAME];
	size_t len = 99;

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		SSL_CTX *client = tls_mint_client(ca, want[i].shown);
		struct talk t = talk_new(server, client);
		assert_true(shake(&t));
		assert_int_equal(tls_client_identity(t.server, sha256, name, &len),
				 want[i].shown != NULL);
		if (want[i].shown != NULL) {
			assert_int_equal(
				X509_digest(want[i].shown->cert, EVP_sha256(), expected, NULL), 1);
			assert_memory_equal(sha256, expected, 32);
			assert_true(span_eq_cstr(span_of(name, len), want[i].name));
		} else {
			assert_int_equal(len, 0);
		}
		talk_free(&t);
		SSL_CTX_free(client);
	}
	SSL_CTX_free(server);
	tls_mint_free(san);
}

static void test_alpn_http_1_1_only(void **state)
{
	static const unsigned char both[] = "\x02h2\x08http/1.1";
	static const unsigned char h2[] = "\x02h2";
	SSL_CTX *server = plain_server();
	SSL_CTX *client = tls_mint_client(ca, NULL);
	const unsigned char *got;
	unsigned len;

	(void)state;
	SSL_CTX_set_alpn_protos(client, both, sizeof both - 1);
	struct talk t = talk_new(server, client);
	assert_true(shake(&t));
	SSL_get0_alpn_selected(t.client, &got, &len);
	assert_true(span_eq_cstr(span_of(got, len), "http/1.1"));
	talk_free(&t);
	SSL_CTX_set_alpn_protos(client, h2, sizeof h2 - 1);
	assert_false(connects(server, client));
	SSL_CTX_free(client);
	SSL_CTX_free(server);
}

static void test_b20_bad_files(void **state)
{
	struct span cert = buf_span(&server_cert->cert_pem);
	struct span key = buf_span(&server_cert->key_pem);
	struct span none = span_of(NULL, 0);
	struct span text =
		span_str("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	KB_AUTO(buf) struct buf two;
	KB_AUTO(buf) struct buf broken;
	KB_AUTO(buf) struct buf locked;

	(void)state;
	refused((struct tls_server){.certificate = none, .key = key});
	refused((struct tls_server){.certificate = text, .key = key});
	refused((struct tls_server){.certificate = cert, .key = none});
	refused((struct tls_server){.certificate = cert, .key = cert});
	refused((struct tls_server){.certificate = cert, .key = buf_span(&client_cert->key_pem)});
	refused((struct tls_server){.certificate = cert, .key = key, .client_ca = key});
	refused((struct tls_server){.certificate = cert, .key = key, .client_ca = text});
	refused((struct tls_server){.certificate = cert, .key = key, .is_client_required = true});
	buf_init(&broken, 65536);
	buf_add_span(&broken, cert);
	buf_add_span(&broken, text);
	refused((struct tls_server){.certificate = buf_span(&broken), .key = key});
	BIO *bio = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_PrivateKey(bio, server_cert->key, EVP_aes_256_cbc(),
						  (const unsigned char *)"pw", 2, NULL, NULL),
			 1);
	tls_mint_pem(bio, &locked);
	refused((struct tls_server){.certificate = cert, .key = buf_span(&locked)});
	buf_init(&two, 65536);
	buf_add_span(&two, cert);
	buf_add_span(&two, buf_span(&ca->cert_pem));
	SSL_CTX_free(server_of((struct tls_server){.certificate = buf_span(&two), .key = key}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tls_1_3_and_1_2),
		cmocka_unit_test(test_b12_old_versions),
		cmocka_unit_test(test_b12_ciphers),
		cmocka_unit_test(test_b12_renegotiation),
		cmocka_unit_test(test_b13_resumption_without_early_data),
		cmocka_unit_test(test_b26_no_resumption_with_a_certificate),
		cmocka_unit_test(test_b27_no_tickets_in_tls_1_2),
		cmocka_unit_test(test_b27_tickets_end_with_their_generation),
		cmocka_unit_test(test_b27_ticket_keys_rotate),
		cmocka_unit_test(test_b26_connection_outlives_certificate),
		cmocka_unit_test(test_b14_client_certificates),
		cmocka_unit_test(test_b28_revoked_client_certificates),
		cmocka_unit_test(test_b28_lists_that_are_none),
		cmocka_unit_test(test_b29_identity_of_a_client),
		cmocka_unit_test(test_alpn_http_1_1_only),
		cmocka_unit_test(test_b20_bad_files),
	};

	return cmocka_run_group_tests(tests, make, unmake);
}
