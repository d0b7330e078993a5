/* tests/unit/across/test_nomem_processes.c — memory runs out at the n-th allocation, for every n of
 * what a process makes for itself: its way to the others, its listener, its fetches, the header of
 * its signatures. A judgement is in test_nomem.c. */
#include "tests/unit/short_sweep.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "api/keyvault.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/x509.h"
#include "config/snapshot.h"
#include "fetcher/fetch.h"
#include "gateway/exchange.h"
#include "gateway/metrics.h"
#include "gateway/request.h"
#include "gateway/tls.h"
#include "keystore/keystore.h"
#include "keystore/public_evp.h"
#include "ledger/replay.h"
#include "ledger/segment_write.h"
#include "tests/unit/pages.h"
#include "tests/unit/tls_mint.h"
#include "vault/nonce.h"

static struct event_base *base;

/* libevent never frees the memory of a descriptor that it has seen once. */
static int make(void **state)
{
	(void)state;
	base = event_base_new();
	return base != NULL && pages_make() ? 0 : -1;
}

static int unmake(void **state)
{
	(void)state;
	event_base_free(base);
	pages_free();
	return 0;
}

/* ---- the gateway's way to the vault ---- */

static int vault[2], ledger[2]; /* [0] the gateway's end, [1] ours */
static struct pending *given_back;
static enum kb_err given_back_as;
static unsigned responses;
static const uint8_t uuid[16] = {1};

static void on_response(void *ctx, struct pending *p, const struct frame_response *r)
{
	(void)ctx;
	(void)p;
	(void)r;
	responses++;
}

static void on_refused(void *ctx, struct pending *p, enum kb_err err)
{
	(void)ctx;
	given_back = p;
	given_back_as = err;
}

static void on_broken(void *ctx)
{
	(void)ctx;
	fail_msg("broken");
}

static enum kb_err open_exchange(unsigned window, struct exchange **x)
{
	const struct exchange_events on = {
		.on_response = on_response, .on_refused = on_refused, .on_broken = on_broken};
	const struct exchange_config cfg = {.pool_fd = {[POOL_VAULT] = vault[0]},
					    .ledger_fd = ledger[0],
					    .self = &page_of(SLOT_FIRST)->stats,
					    .window = window,
					    .max_queue = 4,
					    .max_pending = 16};

	return exchange_new(base, &cfg, &on, x);
}

static enum kb_err exchange_once(void)
{
	struct exchange *x = NULL;
	enum kb_err err = open_exchange(1, &x);

	assert_true((err == KB_OK) == (x != NULL));
	if (err != KB_OK)
		return err;
	/* The window is taken by the first, so the second waits in memory; without memory it is not
	 * under way. */
	struct queue_source lane = {0};
	struct pending a = {0}, b = {0};
	assert_int_equal(exchange_send(x, POOL_VAULT, &a, exchange_next_id(x, true, uuid), &lane,
				       span_str("frame")),
			 KB_OK);
	err = exchange_send(x, POOL_VAULT, &b, exchange_next_id(x, true, uuid), &lane,
			    span_str("frame"));
	assert_true((err == KB_OK) == (b.id != 0));
	char byte[16];
	assert_int_equal(recv(vault[1], byte, sizeof byte, MSG_DONTWAIT), 5);
	assert_int_equal(recv(vault[1], byte, sizeof byte, MSG_DONTWAIT), -1);
	exchange_cancel(x, &a);
	exchange_cancel(x, &b);
	exchange_free(x);
	return err;
}

static int make_sockets(void **state)
{
	(void)state;
	return frame_pair(vault) == KB_OK && frame_pair(ledger) == KB_OK ? 0 : -1;
}

static int unmake_sockets(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		close(vault[i]);
		close(ledger[i]);
	}
	return 0;
}

static void test_g02_exchange_without_memory(void **state)
{
	const struct trial t = {"exchange", exchange_once, 0, 1,
				0,          true}; /* libevent's own want of memory is KB_E_SYS */

	(void)state;
	sweep_all(&t, 1);
}

/* A file: epoll refuses it. */
static void test_exchange_of_no_socket(void **state)
{
	struct exchange *x;
	int kept = vault[0];

	(void)state;
	assert_true((vault[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC)) >= 0);
	assert_int_equal(open_exchange(1, &x), KB_E_SYS);
	assert_null(x);
	close(vault[0]);
	vault[0] = kept;
}

/* What no socket can carry is refused at once, or when it is next, and does not delay others. */
static void test_exchange_refuses_what_cannot_be_sent(void **state)
{
	struct exchange *x;
	struct queue_source lane = {0};
	struct pending first = {0}, large = {0}, last = {0};
	static uint8_t bytes[8 * KB_SOCKET_BUFFER];
	char got[16];

	(void)state;
	assert_int_equal(open_exchange(1, &x), KB_OK);
	assert_int_equal(exchange_send(x, POOL_VAULT, &large, exchange_next_id(x, true, uuid),
				       &lane, span_of(bytes, sizeof bytes)),
			 KB_E_FRAME);
	assert_int_equal(large.id, 0);
	uint64_t id = exchange_next_id(x, true, uuid);
	assert_int_equal(exchange_send(x, POOL_VAULT, &first, id, &lane, span_str("first")), KB_OK);
	assert_int_equal(exchange_send(x, POOL_VAULT, &large, exchange_next_id(x, true, uuid),
				       &lane, span_of(bytes, sizeof bytes)),
			 KB_OK);
	assert_int_equal(exchange_send(x, POOL_VAULT, &last, exchange_next_id(x, true, uuid), &lane,
				       span_str("last")),
			 KB_OK);
	given_back = NULL;
	exchange_lost(x, id); /* its place is free: the next two are sent */
	assert_ptr_equal(given_back, &large);
	assert_int_equal(given_back_as, KB_E_FRAME);
	assert_int_equal(large.id, 0);
	assert_int_equal(recv(vault[1], got, sizeof got, MSG_DONTWAIT), 5);
	assert_int_equal(recv(vault[1], got, sizeof got, MSG_DONTWAIT), 4);
	assert_memory_equal(got, "last", 4);
	exchange_cancel(x, &first);
	exchange_cancel(x, &last);
	exchange_free(x);
}

/* ---- listeners ---- */

static int listener = -1;

static enum kb_err metrics_once(void)
{
	struct metrics_http *m = NULL;
	enum kb_err err = metrics_http_new(base, listener, &pages.all, &m);

	assert_true((err == KB_OK) == (m != NULL));
	metrics_http_free(m);
	return err;
}

static void test_g02_metrics_listener_without_memory(void **state)
{
	const struct trial t = {"metrics listener", metrics_once, 0, 1, 0, false};
	struct sockaddr_un none = {.sun_family = AF_UNIX};

	(void)state;
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&none, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(listener, 1), 0);
	sweep_all(&t, 1);
	close(listener);
}

static struct tls_pair *ca, *leaf;

static enum kb_err tls_once(void)
{
	const struct tls_server t = {.certificate = buf_span(&leaf->cert_pem),
				     .key = buf_span(&leaf->key_pem),
				     .client_ca = buf_span(&ca->cert_pem)};
	SSL_CTX *ctx = NULL;
	const char *why;
	enum kb_err err = tls_server_new(&t, &ctx, &why);

	assert_true((err == KB_OK) == (ctx != NULL) && (err == KB_OK) == (why == NULL));
	SSL_CTX_free(ctx);
	return err;
}

static void test_g02_tls_without_memory(void **state)
{
	const struct trial t = {"TLS of a listener",
				tls_once,
				0,
				7,
				2,
				true}; /* OpenSSL's want of memory looks like a bad certificate */

	(void)state;
	sweep_all(&t, 1);
}

/* ---- fetches ---- */

static struct fetch_set *fetches;

static enum kb_err fetch_set_once(void)
{
	struct fetch_set *s = NULL;
	enum kb_err err = fetch_set_new(&s);

	assert_true((err == KB_OK) == (s != NULL));
	fetch_set_free(s);
	return err;
}

static enum kb_err fetch_once(void)
{
	const struct fetch_params p = {.url = "https://127.0.0.1:1/certs",
				       .ca = buf_span(&ca->cert_pem),
				       .max_bytes = 100};
	struct fetch *f = NULL;
	enum kb_err err = fetch_start(fetches, &p, &f);

	assert_true((err == KB_OK) == (f != NULL));
	fetch_free(f);
	return err;
}

static void test_g02_fetches_without_memory(void **state)
{
	const struct trial set = {"fetches", fetch_set_once, 0, 1, 0, true},
			   one = {"a fetch", fetch_once, 0, 1, 0, false};
	struct pollfd many[16];
	struct fetch *done;

	(void)state;
	sweep_all(&set, 1);
	assert_int_equal(fetch_set_new(&fetches), KB_OK);
	sweep_all(&one, 1);
	assert_int_equal(fetch_wait(fetches, many, 16, 0, &done),
			 KB_E_BUG); /* more than it can wait for */
	fetch_set_free(fetches);
}

/* ---- the reply's signature ---- */

static struct buf chain;

static enum kb_err header_once(void)
{
	KB_AUTO(buf) struct buf header, der;

	buf_init(&header, KB_MAX_REPLY);
	buf_init(&der, KB_MAX_REPLY);
	return keyvault_prepare(buf_span(&chain), &header, &der);
}

static void test_g02_signature_header_without_memory(void **state)
{
	const struct trial t = {"signature header",
				header_once,
				0,
				1,
				1,
				true}; /* OpenSSL's want of memory looks like a bad chain */

	(void)state;
	sweep_all(&t, 1);
}

static struct secret *mac_key;

static enum kb_err nonce_once(void)
{
	KB_AUTO(buf) struct buf text;

	buf_init(&text, 256);
	enum kb_err err = nonce_make(mac_key, span_str("key"), 1700000000000000, &text);
	return err == KB_OK
		       ? nonce_check(mac_key, span_str("KEY"), 1700000000000000, buf_span(&text))
		       : err;
}

static void test_g02_nonce_without_memory(void **state)
{
	const struct trial t = {"nonce", nonce_once, 0, 1, 0, true};

	(void)state;
	assert_int_equal(secret_arena_init(), KB_OK);
	assert_non_null(mac_key = secret_new(32));
	memset(secret_bytes(mac_key), 7, 32);
	sweep_all(&t, 1);
	secret_free(mac_key);
}

/* ---- certificates of an instance ---- */

static EVP_PKEY *rsa;

static enum kb_err key_pem_once(void)
{
	struct secret *pem = NULL;
	enum kb_err err = x509_key_pem(rsa, &pem);

	assert_true((err == KB_OK) == (pem != NULL));
	secret_free(pem);
	return err;
}

static enum kb_err p256_once(void)
{
	EVP_PKEY *key = NULL;
	enum kb_err err = x509_p256_new(&key);

	assert_true((err == KB_OK) == (key != NULL));
	EVP_PKEY_free(key);
	return err;
}

static enum kb_err hsm_key_once(void)
{
	static uint8_t modulus[256] = {0x80}, exponent[] = {1, 0, 1};
	struct hsm_public pub = {.kty = KB_KTY_RSA};
	EVP_PKEY *key = NULL;

	modulus[255] = 1;
	memcpy(pub.n, modulus, pub.n_len = sizeof modulus);
	memcpy(pub.e, exponent, pub.e_len = sizeof exponent);
	enum kb_err err = hsm_public_evp(&pub, &key);
	assert_true((err == KB_OK) == (key != NULL));
	EVP_PKEY_free(key);
	return err;
}

static void test_g02_certificates_without_memory(void **state)
{
	const struct trial t[] = {{"a key as text", key_pem_once, 0, 7, 2, true},
				  {"a key", p256_once, 0, 7, 2, true},
				  {"the HSM's key", hsm_key_once, 0, 1, 0, true}};

	(void)state;
	assert_non_null(rsa = EVP_RSA_gen(2048));
	sweep_all(t, 3);
	EVP_PKEY_free(rsa);
}

/* ---- the ledger ---- */

static enum kb_err replay_once(void)
{
	KB_AUTO(replay) struct replay *r = replay_new(16);

	return r == NULL ? KB_E_NOMEM : KB_OK;
}

static int ledger_dir;

static enum kb_err segment_once(void)
{
	struct segments s;
	struct segment_fault fault;

	(void)unlinkat(ledger_dir, "ledger-00000002.jsonl", 0); /* of the attempt before */
	int fd = openat(ledger_dir, "ledger-00000001.jsonl", O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd >= 0) { /* a torn end */
		assert_int_equal(write(fd, "{\"seq\"", 6), 6);
		close(fd);
	}
	enum kb_err err = segment_open(ledger_dir, 1000, NULL, NULL, &s, &fault);

	if (err != KB_OK)
		return err;
	if (s.fd < 0)
		err = segment_begin(&s, SEGMENT_TORN, span_of(NULL, 0));
	segment_close(&s);
	if (err != KB_OK)
		return err;
	return segment_walk(ledger_dir, 0, NULL, NULL, NULL, &fault);
}

static void test_g02_ledger_without_memory(void **state)
{
	const struct trial t[] = {{"used tokens", replay_once, 0, 1, 0, false},
				  {"segments", segment_once, 0, 1, 0, true}};
	char path[] = "/tmp/keybroker-nomem-XXXXXX", command[64];

	(void)state;
	assert_non_null(mkdtemp(path));
	assert_true((ledger_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
	sweep_all(t, 2);
	close(ledger_dir);
	snprintf(command, sizeof command, "rm -r %s", path);
	assert_int_equal(system(command), 0);
}

/* ---- a request ---- */

static enum kb_err request_once(void)
{
	static const char head[] = "POST /keys/k/release?api-version=7.4 HTTP/1.1\r\nHost: "
				   "h\r\nContent-Length: 3000\r\n\r\n";
	static uint8_t body[3000];
	struct frame_request r = {.id = 1, .peer = span_str("192.0.2.1")};
	KB_AUTO(buf) struct buf frame;
	struct evbuffer *in = evbuffer_new();

	buf_init(&frame, KB_MAX_FRAME);
	/* In pieces, as the socket gave them. */
	bool is_there = in != NULL && evbuffer_add(in, head, 20) == 0 &&
			evbuffer_add_reference(in, head + 20, sizeof head - 21, NULL, NULL) == 0 &&
			evbuffer_add_reference(in, body, sizeof body, NULL, NULL) == 0;
	enum kb_err err = is_there ? request_frame(&r, in, sizeof head - 1, sizeof body, 0, &frame)
				   : KB_E_NOMEM;
	if (in != NULL)
		evbuffer_free(in);
	return err;
}

static void test_g02_request_without_memory(void **state)
{
	const struct trial t = {"request", request_once, 0, 1, 0, false};

	(void)state;
	sweep_all(&t, 1);
}

/* No block with a bearer token is given up, half-written, for a larger one. */
static void test_request_takes_its_memory_at_once(void **state)
{
	static uint8_t bytes[20000];
	struct frame_request r = {.id = 1,
				  .method = KB_METHOD_POST,
				  .has_authorization = true,
				  .has_bearer = true,
				  .peer = span_str("192.0.2.1"),
				  .target = span_of(bytes, 1000),
				  .bearer = span_of(bytes, 700),
				  .body = span_of(bytes, sizeof bytes)};

	(void)state;
#ifdef IS_SANITIZED
	skip();
#endif
	for (size_t len = 0; len < 3; len++) {
		KB_AUTO(buf) struct buf frame;
		buf_init(&frame, KB_MAX_FRAME);
		r.body.len = len == 0 ? 0 : sizeof bytes / len;
		allocations = 0;
		assert_int_equal(frame_put_request(&r, &frame), KB_OK);
		assert_int_equal(allocations, 1);
	}
}

/* ---- the configuration ---- */

static char dir[] = "/tmp/keybroker-nomem-XXXXXX", file[64];

static enum kb_err source_once(void)
{
	KB_AUTO(snapshot) struct snapshot *s = NULL;
	const char *const *names;
	const char *why = "";
	struct span text;
	int fd;

	enum kb_err err = snapshot_files(&s);
	if (err == KB_OK)
		err = snapshot_list(s, dir, ".json", 1, &names, &why);
	if (err == KB_OK && names[0] == NULL)
		fail_msg("a list that lacks a file");
	if (err == KB_OK)
		err = snapshot_read(s, file, 100, false, 1, &text, &why);
	if (err == KB_OK && !span_eq_cstr(text, "{}"))
		fail_msg("other bytes than the file's");
	if (err == KB_OK && (err = snapshot_pack(s, 1, &fd)) == KB_OK) {
		KB_AUTO(snapshot) struct snapshot *archive = NULL;
		err = snapshot_archive(fd, &archive);
		close(fd);
	}
	return err;
}

static void test_g02_source_without_memory(void **state)
{
	const struct trial t = {"configuration's files", source_once, 0, 1, 0, true};

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chmod(dir, 0700), 0);
	snprintf(file, sizeof file, "%s/a.json", dir);
	FILE *f = fopen(file, "w");
	assert_true(f != NULL && fputs("{}", f) >= 0 && fclose(f) == 0);
	assert_int_equal(chmod(file, 0600), 0);
	sweep_all(&t, 1);
	unlink(file);
	rmdir(dir);
}

static int make_certificates(void **state)
{
	(void)state;
	ca = tls_mint("CA", NULL, NULL, 3600);
	leaf = tls_mint_with(EVP_RSA_gen(2048), "localhost", ca, NULL, 3600);
	buf_init(&chain, 65536);
	buf_add_span(&chain, buf_span(&leaf->cert_pem));
	buf_add_span(&chain, buf_span(&ca->cert_pem));
	return make(state);
}

static int unmake_certificates(void **state)
{
	buf_free(&chain);
	tls_mint_free(leaf);
	tls_mint_free(ca);
	return unmake(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_g02_exchange_without_memory, make_sockets,
						unmake_sockets),
		cmocka_unit_test_setup_teardown(test_exchange_of_no_socket, make_sockets,
						unmake_sockets),
		cmocka_unit_test_setup_teardown(test_exchange_refuses_what_cannot_be_sent,
						make_sockets, unmake_sockets),
		cmocka_unit_test(test_g02_metrics_listener_without_memory),
		cmocka_unit_test(test_g02_tls_without_memory),
		cmocka_unit_test(test_g02_fetches_without_memory),
		cmocka_unit_test(test_g02_signature_header_without_memory),
		cmocka_unit_test(test_g02_nonce_without_memory),
		cmocka_unit_test(test_g02_certificates_without_memory),
		cmocka_unit_test(test_g02_ledger_without_memory),
		cmocka_unit_test(test_g02_request_without_memory),
		cmocka_unit_test(test_request_takes_its_memory_at_once),
		cmocka_unit_test(test_g02_source_without_memory),
	};

	return cmocka_run_group_tests(tests, make_certificates, unmake_certificates);
}
