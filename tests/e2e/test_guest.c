/* tests/e2e/test_guest.c — keybroker-guest against the real broker and the test issuer: every
 * source of a token, every place and form of the key, every exit code, and that no reply is
 * accepted that does not answer this very request.  A relay between guest and broker falsifies
 * replies. */
#include "tests/e2e/check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/files.h"
#include "tests/e2e/relay.h"
#include "tests/e2e/tsm.h"

enum {
	OK = 0,
	USAGE = 2,
	REFUSED_ = 10,
	UNREACHABLE = 11,
	BAD_REPLY = 12,
	NO_EVIDENCE = 13,
	OUTPUT = 15,
	OUT_FD = 9
};

static EVP_PKEY *rsa, *ec, *kek;
static uint8_t oct[32];
static char work[96], err[16384], out[16384];
static size_t out_len;
static struct relay relay;

static char *path_of(const char *name)
{
	static char path[8][160];
	static unsigned turn;
	char *p = path[turn++ % 8];
	snprintf(p, sizeof path[0], "%s/%s", work, name);
	return p;
}

/* keybroker-guest release --ca … args: its exit status; `out` and `err` hold what it wrote. */
static int guest_run(const char *const args[])
{
	const char *argv[48] = {program("keybroker-guest"), "release", "--ca", in.ca_file};
	char *out_path = path_of("stdout"), *err_path = path_of("stderr"), *fd_path = path_of("fd");
	int status;
	for (unsigned i = 0; args[i] != NULL && i < 43; i++)
		argv[4 + i] = args[i];
	pid_t pid = fork();
	if (pid == 0) {
		int o = open(out_path, O_WRONLY | O_CREAT | O_TRUNC, 0600),
		    e = open(err_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		int f = open(fd_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(o, 1);
		dup2(e, 2);
		dup2(f, OUT_FD);
		close_range(OUT_FD + 1, ~0u, 0);
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	out_len = file_read(out_path, out, sizeof out);
	file_read(err_path, err, sizeof err);
	if (!WIFEXITED(status))
		fail_msg("killed by a signal; stderr: %s", err);
	return WEXITSTATUS(status);
}
#define RUN(expected, ...)                                                                         \
	do {                                                                                       \
		int status_ = guest_run((const char *const[]){__VA_ARGS__, NULL});                 \
		if (status_ != (expected))                                                         \
			fail_msg("exit status %d, expected %d; stderr:\n%s", status_, (expected),  \
				 err);                                                             \
	} while (0)
#define SAYS(text)                                                                                 \
	do {                                                                                       \
		if (strstr(err, (text)) == NULL)                                                   \
			fail_msg("stderr lacks \"%s\":\n%s", (text), err);                         \
	} while (0)

static int setup(void **state)
{
	char *token;
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	snprintf(work, sizeof work, "%s/guest", in.dir);
	assert_int_equal(mkdir(work, 0700), 0);
	char *policy = policy_platform(in.issuer_url);
	rsa = EVP_RSA_gen(2048);
	ec = EVP_EC_gen("P-256");
	kek = guest_key(2048);
	RAND_bytes(oct, sizeof oct);
	oct[31] = '\n'; /* a byte that a careless program would cut off */
	GOOD(instance_import(&in, "rsa", rsa, NULL, 0, policy));
	GOOD(instance_import(&in, "ec", ec, NULL, 0, policy));
	GOOD(instance_import(&in, "disk", NULL, oct, sizeof oct, policy));
	free(policy);
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &token));
	file_write(path_of("token"), token, strlen(token), 0700);
	free(token);
	file_write_key(path_of("kek.pem"), kek);
	file_write_token_program(&in, path_of("token-program"), path_of("nonce"));
	GOOD(broker_start(&in));
	GOOD(relay_start(&relay, &in));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	relay_stop(&relay);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(kek);
	GOOD(instance_end(&in));
	return 0;
}

#define BY_FILE    "--token", path_of("token"), "--ephemeral-key", path_of("kek.pem")
#define BY_PROGRAM "--token-command", path_of("token-program")

static void test_guest_token_file_and_places(void **state)
{
	struct stat st;
	char text[256], place[200];
	(void)state;
	RUN(OK, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", "stdout");
	assert_int_equal(out_len, sizeof oct);
	assert_memory_equal(out, oct, sizeof oct);
	RUN(OK, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", "fd:9");
	assert_int_equal(file_read(path_of("fd"), text, sizeof text), sizeof oct);
	assert_memory_equal(text, oct, sizeof oct);
	/* A link at the place is replaced, what it points to stays. */
	file_write(path_of("victim"), "untouched", 9, 0700);
	assert_int_equal(symlink(path_of("victim"), path_of("disk.key")), 0);
	snprintf(place, sizeof place, "file:%s", path_of("disk.key"));
	umask(0);
	RUN(OK, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", place);
	assert_int_equal(lstat(path_of("disk.key"), &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(file_read(path_of("disk.key"), text, sizeof text), sizeof oct);
	assert_memory_equal(text, oct, sizeof oct);
	assert_int_equal(file_read(path_of("victim"), text, sizeof text), 9);
	RUN(OUTPUT, "--url", in.base_url, "--key", "disk", BY_FILE, "--out",
	    "file:/nonexistent/key");
	SAYS("No such file or directory");
}

static void test_guest_keyring(void **state)
{
	uint8_t text[64];
	char place[64];
	(void)state;
	snprintf(place, sizeof place, "keyring:keybroker-test-%d", (int)getpid());
	if (syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1) < 0)
		skip(); /* a container may not have keyrings */
	RUN(OK, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", place);
	long id = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", place + 8, 0);
	assert_true(id > 0);
	syscall(SYS_keyctl, KEYCTL_LINK, KEY_SPEC_USER_KEYRING,
		KEY_SPEC_PROCESS_KEYRING); /* to possess it, and so read it */
	assert_int_equal(syscall(SYS_keyctl, KEYCTL_READ, id, text, sizeof text), sizeof oct);
	assert_memory_equal(text, oct, sizeof oct);
	assert_int_equal(syscall(SYS_keyctl, KEYCTL_UNLINK, id, KEY_SPEC_USER_KEYRING), 0);
}

static void test_guest_never_on_a_terminal(void **state)
{
	char command[1024], *shown = NULL;
	(void)state;
	snprintf(
		command, sizeof command,
		"%s release --ca %s --url %s --key disk --token %s --ephemeral-key %s --out stdout",
		program("keybroker-guest"), in.ca_file, in.base_url, path_of("token"),
		path_of("kek.pem"));
	assert_int_equal(run_program(&shown, (const char *const[]){"/usr/bin/script", "-qec",
								   command, "/dev/null", NULL}),
			 USAGE);
	assert_non_null(strstr(shown, "standard output is a terminal"));
	free(shown);
}

static void test_guest_forms(void **state)
{
	(void)state;
	RUN(OK, "--url", in.base_url, "--key", "rsa", BY_FILE, "--out", "stdout", "--format",
	    "raw");
	const uint8_t *p = (const uint8_t *)out;
	EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &p, (long)out_len);
	assert_int_equal(EVP_PKEY_eq(key, rsa), 1);
	EVP_PKEY_free(key);
	RUN(OK, "--url", in.base_url, "--key", "ec", BY_FILE, "--out", "stdout", "--format", "pem",
	    "--enc", "CKM_RSA_AES_KEY_WRAP");
	BIO *bio = BIO_new_mem_buf(out, (int)out_len);
	key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	assert_int_equal(EVP_PKEY_eq(key, ec), 1);
	EVP_PKEY_free(key);
	BIO_free(bio);
	RUN(OK, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", "stdout", "--format",
	    "jwk", "--enc", "RSA_AES_KEY_WRAP_384");
	json_t *jwk = json_loads(out, 0, NULL);
	char *k = proof_b64url_text(oct, sizeof oct);
	assert_string_equal(json_string_value(json_object_get(jwk, "k")), k);
	free(k);
	json_decref(jwk);
	RUN(OUTPUT, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", "stdout", "--format",
	    "pem");
	SAYS("no PEM form");
	assert_int_equal(out_len, 0);
}

static void test_guest_token_command_and_nonce(void **state)
{
	char nonce[512];
	(void)state;
	RUN(OK, "--url", in.base_url, "--key", "disk", BY_PROGRAM, "--out", "stdout");
	assert_memory_equal(out, oct, sizeof oct);
	assert_int_equal(file_read(path_of("nonce"), nonce, sizeof nonce),
			 33); /* 16 random bytes in hex */
	RUN(OK, "--url", in.base_url, "--key", "disk", BY_PROGRAM, "--out", "stdout", "--nonce",
	    "ADE0101");
	file_read(path_of("nonce"), nonce, sizeof nonce);
	assert_string_equal(nonce, "ADE0101\n");
	RUN(OK, "--url", in.base_url, "--key", "disk", BY_PROGRAM, "--out", "stdout", "--nonce",
	    "broker");
	assert_true(file_read(path_of("nonce"), nonce, sizeof nonce) > 33);
	RUN(NO_EVIDENCE, "--url", in.base_url, "--key", "disk", "--token-command", "false", "--out",
	    "stdout");
	RUN(NO_EVIDENCE, "--url", in.base_url, "--key", "disk", "--token-command", "/nonexistent",
	    "--out", "stdout");
	file_write(path_of("slow"), "#!/bin/sh\nsleep 30\n", 19, 0700);
	unsigned long long begin = now_ms();
	RUN(NO_EVIDENCE, "--url", in.base_url, "--key", "disk", "--token-command", path_of("slow"),
	    "--out", "stdout", "--timeout", "1");
	assert_true(now_ms() - begin < 5000);
	SAYS("was ended");
}

static void test_guest_refused_once_with_request_id(void **state)
{
	char id[64] = "", part[96];
	EVP_PKEY *other = guest_key(2048);
	json_t *evidence = evidence_platform(other);
	char *token;
	(void)state;
	evidence_set(evidence, "x-ms-compliance-status", json_string("none"));
	GOOD(guest_attest(&in.issuer_at, evidence, &token));
	file_write(path_of("bad-token"), token, strlen(token), 0700);
	file_write_key(path_of("other.pem"), other);
	relay_mode(&relay, RELAY_PASS);
	/* The second URL is as good: a refusal does not try it. */
	char urls[256];
	snprintf(urls, sizeof urls, "%s,%s", relay.url, relay.url);
	RUN(REFUSED_, "--url", urls, "--key", "disk", "--token", path_of("bad-token"),
	    "--ephemeral-key", path_of("other.pem"), "--out", "stdout");
	assert_int_equal(relay_calls(&relay), 1);
	assert_int_equal(out_len, 0);
	SAYS("status 403");
	const char *at = strstr(err, "request id: ");
	assert_non_null(at);
	sscanf(at, "request id: %63s", id);
	snprintf(part, sizeof part, "\"request\":\"%s\"", id);
	assert_int_equal(ledger_count(&in, part), 1);
	assert_null(strstr(err, token)); /* secrets and tokens never */
	RUN(REFUSED_, "--url", in.base_url, "--key", "nothing", BY_FILE, "--out", "stdout");
	SAYS("status 404");
	/* A token for another key is found out before anybody is asked. */
	RUN(NO_EVIDENCE, "--url", relay.url, "--key", "disk", "--token", path_of("token"),
	    "--ephemeral-key", path_of("other.pem"), "--out", "stdout");
	assert_int_equal(relay_calls(&relay), 1);
	SAYS("another ephemeral key");
	/* An ephemeral key that the protocol has no place for. */
	EVP_PKEY *large = EVP_RSA_gen(3072);
	file_write_key(path_of("large.pem"), large);
	file_write_key(path_of("ec.pem"), ec);
	EVP_PKEY_free(large);
	RUN(USAGE, "--url", in.base_url, "--key", "disk", "--token", path_of("token"),
	    "--ephemeral-key", path_of("large.pem"), "--out", "stdout");
	RUN(USAGE, "--url", in.base_url, "--key", "disk", "--token", path_of("token"),
	    "--ephemeral-key", path_of("ec.pem"), "--out", "stdout");
	SAYS("2048 bits");
	free(token);
	EVP_PKEY_free(other);
}

static void test_guest_next_url_and_retry(void **state)
{
	char urls[256];
	(void)state;
	snprintf(urls, sizeof urls, "https://localhost:%u,%s", free_port(), in.base_url);
	RUN(OK, "--url", urls, "--key", "disk", BY_FILE, "--out", "stdout");
	SAYS("connect: Connection refused");
	relay_mode(&relay, RELAY_BUSY_ONCE);
	unsigned long long begin = now_ms();
	RUN(OK, "--url", relay.url, "--key", "disk", BY_FILE, "--out", "stdout");
	assert_true(now_ms() - begin >= 1000); /* Retry-After: 1 */
	assert_int_equal(relay_calls(&relay), 2);
	assert_memory_equal(out, oct, sizeof oct);
	snprintf(urls, sizeof urls, "https://localhost:%u", free_port());
	begin = now_ms();
	RUN(UNREACHABLE, "--url", urls, "--key", "disk", BY_FILE, "--out", "stdout", "--timeout",
	    "2");
	assert_true(now_ms() - begin < 6000);
	/* A server under another root, or another name, is not accepted. */
	snprintf(urls, sizeof urls, "https://127.0.0.2:%u", in.port);
	RUN(UNREACHABLE, "--url", urls, "--key", "disk", BY_FILE, "--out", "stdout", "--timeout",
	    "1");
}

static void test_guest_believes_only_the_answer(void **state)
{
	static const struct {
		enum relay_mode mode;
		const char *says;
	} lies[] = {
		{RELAY_DAMAGED, "TOKEN_SIGNATURE"}, {RELAY_OLD, "NONCE"},
		{RELAY_OTHER_KEY, "PATH"},          {RELAY_REDIRECT, "status 302"},
		{RELAY_HTML, "FETCH_CONTENT"},      {RELAY_TWO_LENGTHS, "HTTP_HEADERS"},
	};
	char urls[256];
	(void)state;
	relay_mode(&relay, RELAY_PASS);
	RUN(OK, "--url", relay.url, "--key", "disk", BY_FILE, "--out",
	    "stdout"); /* what RELAY_OLD repeats */
	for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		relay_mode(&relay, lies[i].mode);
		RUN(BAD_REPLY, "--url", relay.url, "--key", "disk", BY_FILE, "--out", "stdout");
		assert_int_equal(relay_calls(&relay),
				 1); /* a server that sent a bad reply is not asked again */
		assert_int_equal(out_len, 0);
		SAYS(lies[i].says);
	}
	relay_mode(&relay, RELAY_DAMAGED);
	snprintf(urls, sizeof urls, "%s,%s", relay.url, in.base_url);
	RUN(OK, "--url", urls, "--key", "disk", BY_FILE, "--out", "stdout");
	assert_memory_equal(out, oct, sizeof oct);
}

/* A gateway has a TLS key that the broker's CA certified for the broker's name, and passes every
 * byte of a release. */
static void test_b21_gateway_signs_itself(void **state)
{
	char pin[96] = "sha256//", *shown = NULL;
	(void)state;
	relay_mode(&relay, RELAY_SIGN_SERVER);
	RUN(BAD_REPLY, "--url", relay.url, "--key", "disk", BY_FILE, "--out", "stdout");
	SAYS("KEY_USE");
	SAYS("--signer-pin");
	assert_int_equal(out_len, 0);
	relay_mode(&relay, RELAY_SIGN_PEER);
	RUN(BAD_REPLY, "--url", relay.url, "--key", "disk", BY_FILE, "--out", "stdout");
	SAYS("signed the reply with its own key");
	assert_int_equal(out_len, 0);
	/* A pin takes the usage's place, not that of the signature. */
	const char *const digest[] = {
		"/bin/sh", "-c",
		"openssl x509 -in \"$0\" -noout -pubkey | openssl pkey -pubin -outform DER | "
		"openssl dgst -sha256 -binary | openssl base64 -A",
		path_of("../tls/signer-chain.pem"), NULL};
	assert_int_equal(run_program(&shown, digest), 0);
	snprintf(pin + 8, sizeof pin - 8, "%.44s", shown);
	free(shown);
	RUN(BAD_REPLY, "--url", relay.url, "--key", "disk", BY_FILE, "--out", "stdout",
	    "--signer-pin", pin);
	relay_mode(&relay, RELAY_PASS);
	RUN(OK, "--url", relay.url, "--key", "disk", BY_FILE, "--out", "stdout", "--signer-pin",
	    pin);
	assert_memory_equal(out, oct, sizeof oct);
	/* Sixteen pins are taken. */
	static const unsigned counts[] = {16, 17, 160};
	for (unsigned i = 0; i < 3; i++) {
		char *pins = calloc(160, sizeof pin);
		for (unsigned n = 0; n < counts[i]; n++)
			snprintf(pins + strlen(pins), 160 * sizeof pin - strlen(pins), "%s%s",
				 n == 0 ? "" : ",", pin);
		RUN(i == 0 ? OK : USAGE, "--url", relay.url, "--key", "disk", BY_FILE, "--out",
		    "stdout", "--signer-pin", pins);
		free(pins);
	}
	pin[10] = pin[10] == 'A' ? 'B' : 'A';
	RUN(BAD_REPLY, "--url", relay.url, "--key", "disk", BY_FILE, "--out", "stdout",
	    "--signer-pin", pin);
	SAYS("--signer-pin: the reply's signer has another key");
	RUN(USAGE, "--url", relay.url, "--key", "disk", BY_FILE, "--out", "stdout", "--signer-pin",
	    "sha256//AAAA");
}

static void single_use(bool is_on)
{
	json_t *issuer = instance_json(&in, "issuers.d/issuer.json");
	json_object_set_new(issuer, "single_use", json_boolean(is_on));
	GOOD(instance_json_write(&in, "issuers.d/issuer.json", issuer));
	assert_int_equal(CTL(&in, NULL, "reload"), 0);
}

/* The broker released, the reply did not come: the next try is another request. */
static void test_b22_lost_reply_and_single_use(void **state)
{
	static const char *const uses[] = {"off", "on"};
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		single_use(uses[i][1] == 'n');
		relay_mode(&relay, RELAY_DROP_ONCE);
		RUN(OK, "--url", relay.url, "--key", "disk", BY_PROGRAM, "--out", "stdout");
		assert_memory_equal(out, oct, sizeof oct);
		assert_int_equal(relay_calls(&relay), 2);
		assert_int_equal(relay_repeats(&relay), 0);
		SAYS("call: the connection was lost");
		/* Over several brokers, too. */
		char urls[256];
		snprintf(urls, sizeof urls, "%s,%s", relay.url, in.base_url);
		relay_mode(&relay, RELAY_DROP_ONCE);
		RUN(OK, "--url", urls, "--key", "disk", BY_PROGRAM, "--out", "stdout");
		assert_memory_equal(out, oct, sizeof oct);
		relay_mode(&relay, RELAY_BUSY_ONCE);
		RUN(OK, "--url", relay.url, "--key", "disk", BY_PROGRAM, "--out", "stdout");
		assert_int_equal(relay_repeats(&relay), 0);
		/* A hardware report for each try. */
		tsm_make(path_of("tsm"), "sev_guest\n", in.root);
		pid_t kernel = fork();
		if (kernel == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (unsigned n = 0; n < 2; n++)
				waitpid(tsm_play(path_of("tsm"), false), NULL, 0);
			_exit(0);
		}
		relay_mode(&relay, RELAY_DROP_ONCE);
		RUN(OK, "--url", relay.url, "--key", "disk", "--attest", in.issuer_url, "--tsm",
		    path_of("tsm"), "--out", "stdout");
		tsm_end(kernel);
		assert_memory_equal(out, oct, sizeof oct);
		assert_int_equal(relay_repeats(&relay), 0);
	}
	/* --token names one token: it is all there is to send again. */
	relay_mode(&relay, RELAY_DROP_ONCE);
	int status = guest_run((const char *const[]){"--url", relay.url, "--key", "disk", BY_FILE,
						     "--out", "stdout", NULL});
	assert_true(status == OK || status == REFUSED_); /* within the broker's grace, or not */
	assert_int_equal(relay_repeats(&relay), 1);
	if (status == REFUSED_)
		SAYS("run again with a new one");
	single_use(false);
}

/* The first broker's kernel accepts connections, and nobody answers on them. */
static void test_b23_silent_broker_costs_two_seconds(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof a;
	char urls[256];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	relay_mode(&relay, RELAY_PASS);
	snprintf(urls, sizeof urls, "https://127.0.0.1:%u,%s", ntohs(a.sin_port), relay.url);
	unsigned long long begin = now_ms();
	RUN(OK, "--url", urls, "--key", "disk", BY_FILE, "--out", "stdout");
	assert_memory_equal(out, oct, sizeof oct);
	assert_in_range(now_ms() - begin, 2000, 5000);
	assert_int_equal(relay_calls(&relay), 1);
	SAYS(": TLS: no answer yet; ");
	RUN(UNREACHABLE, "--url", urls, "--key", "disk", BY_FILE, "--out", "stdout", "--timeout",
	    "1");
	SAYS(" (127.0.0.1): TLS: no answer until --timeout");
	close(fd);
}

/* What a hostile server sends neither commands a terminal nor keeps the program busy. */
static void test_b25_hostile_answers(void **state)
{
	(void)state;
	relay_mode(&relay, RELAY_CONTROLS);
	RUN(REFUSED_, "--url", relay.url, "--key", "disk", BY_FILE, "--out", "stdout");
	SAYS("it says: ");
	for (const char *p = err; *p != '\0'; p++)
		if (*p != '\n' && (*p < 0x20 || *p > 0x7e))
			fail_msg("byte 0x%02x in: %s", (unsigned char)*p, err);
	assert_null(strstr(err, "\nkeybroker-guest: ?done"));
	relay_mode(&relay, RELAY_ENDLESS);
	unsigned long long begin = now_ms();
	RUN(UNREACHABLE, "--url", relay.url, "--key", "disk", BY_FILE, "--out", "stdout",
	    "--timeout", "2");
	assert_true(now_ms() - begin < 5000);
	SAYS("did not end in time");
}

static void test_guest_chunked_reply(void **state)
{
	(void)state;
	relay_mode(&relay, RELAY_CHUNKED);
	RUN(OK, "--url", relay.url, "--key", "disk", BY_FILE, "--out", "stdout");
	assert_memory_equal(out, oct, sizeof oct);
}

static void test_guest_version(void **state)
{
	char key[64], *shown = NULL, version[33] = "";
	(void)state;
	assert_int_equal(CTL(&in, &shown, "--json", "key", "show", "disk"), 0);
	const char *at = strstr(shown, "\"version\"");
	assert_non_null(at);
	sscanf(at + 9, "%*[: \"]%32[0-9a-f]", version);
	free(shown);
	snprintf(key, sizeof key, "disk/%s", version);
	RUN(OK, "--url", in.base_url, "--key", key, BY_FILE, "--out", "stdout");
	assert_memory_equal(out, oct, sizeof oct);
}

/* ---- evidence ---- */

static void test_guest_attests(void **state)
{
	(void)state;
	tsm_make(path_of("tsm"), "sev_guest\n", in.root);
	pid_t kernel = tsm_play(path_of("tsm"), false);
	RUN(OK, "--url", in.base_url, "--key", "disk", "--attest", in.issuer_url, "--tsm",
	    path_of("tsm"), "--out", "stdout");
	tsm_end(kernel);
	assert_memory_equal(out, oct, sizeof oct);
	/* Without the host's certificates: from a file, or not at all. */
	tsm_make(path_of("tsm"), "sev_guest\n", NULL);
	kernel = tsm_play(path_of("tsm"), false);
	RUN(NO_EVIDENCE, "--url", in.base_url, "--key", "disk", "--attest", in.issuer_url, "--tsm",
	    path_of("tsm"), "--out", "stdout");
	tsm_end(kernel);
	SAYS("--vcek-chain");
	tsm_make(path_of("tsm"), "sev_guest\n", NULL);
	kernel = tsm_play(path_of("tsm"), false);
	RUN(NO_EVIDENCE, "--url", in.base_url, "--key", "disk", "--attest", in.issuer_url, "--tsm",
	    path_of("tsm"), "--out", "stdout", "--vcek-chain", "/nonexistent");
	tsm_end(kernel);
	SAYS("--vcek-chain could not be read");
	tsm_make(path_of("tsm"), "sev_guest\n", NULL);
	kernel = tsm_play(path_of("tsm"), false);
	RUN(OK, "--url", in.base_url, "--key", "disk", "--attest", in.issuer_url, "--tsm",
	    path_of("tsm"), "--out", "stdout", "--vcek-chain", in.ca_file);
	tsm_end(kernel);
	assert_memory_equal(out, oct, sizeof oct);
}

static void test_guest_without_evidence(void **state)
{
	char url[64];
	(void)state;
	tsm_make(path_of("tsm"), "sev_guest\n", in.root);
	pid_t kernel = tsm_play(path_of("tsm"), true);
	RUN(NO_EVIDENCE, "--url", in.base_url, "--key", "disk", "--attest", in.issuer_url, "--tsm",
	    path_of("tsm"), "--out", "stdout");
	tsm_end(kernel);
	SAYS("not one over our data");
	tsm_make(path_of("tsm"), "tdx_guest\n", in.root);
	kernel = tsm_play(path_of("tsm"), false);
	RUN(NO_EVIDENCE, "--url", in.base_url, "--key", "disk", "--attest", in.issuer_url, "--tsm",
	    path_of("tsm"), "--out", "stdout");
	tsm_end(kernel);
	SAYS("not sev_guest");
	RUN(NO_EVIDENCE, "--url", in.base_url, "--key", "disk", "--attest", in.issuer_url, "--tsm",
	    "/nonexistent", "--out", "stdout");
	/* The broker is no attestation service: its refusal is not the broker's refusal of a
	 * key. */
	tsm_make(path_of("tsm"), "sev_guest\n", in.root);
	kernel = tsm_play(path_of("tsm"), false);
	RUN(NO_EVIDENCE, "--url", in.base_url, "--key", "disk", "--attest", in.base_url, "--tsm",
	    path_of("tsm"), "--out", "stdout");
	tsm_end(kernel);
	snprintf(url, sizeof url, "https://localhost:%u", free_port());
	tsm_make(path_of("tsm"), "sev_guest\n", in.root);
	kernel = tsm_play(path_of("tsm"), false);
	RUN(UNREACHABLE, "--url", in.base_url, "--key", "disk", "--attest", url, "--tsm",
	    path_of("tsm"), "--out", "stdout", "--timeout", "1");
	tsm_end(kernel);
}

/* ---- boot: what conf/guest holds, with the program that was just built ---- */

/* The line of a file that begins with `start`, without it. */
static void line_of(const char *path, const char *start, char *value, size_t cap)
{
	char text[8192];
	file_read(path, text, sizeof text);
	char *at = strstr(text, start);
	if (at == NULL)
		fail_msg("%s: no line %s", path, start);
	else
		snprintf(value, cap, "%.*s", (int)strcspn(at + strlen(start), "\n"),
			 at + strlen(start));
}

static void write_conf(void)
{
	char text[2048];
	int n = snprintf(
		text, sizeof text,
		"KEYBROKER_GUEST_ARGS=\"--url %s --key disk --ca %s --token-command %s\"\n",
		in.base_url, in.ca_file, path_of("token-program"));
	file_write(path_of("guest.conf"), text, (size_t)n, 0700);
}

/* Accept one connection and run the service's command with it, as its unit says: standard output is
 * the connection. */
static pid_t play_systemd(int listener, const char *command)
{
	char script[1024];
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC),
	    null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(null, 0);
	dup2(null, 2);
	dup2(fd, 1);
	snprintf(script, sizeof script, ". %s; exec %s%s", path_of("guest.conf"),
		 program("keybroker-guest"), strchr(command, ' '));
	execl("/bin/sh", "sh", "-c", script, (char *)NULL);
	_exit(127);
}

/* As systemd-cryptsetup reads a key file that is a socket: from a socket with an abstract name of
 * its own, to the end. */
static void test_guest_boot_socket(void **state)
{
	char command[256], output[64], listen_at[128], crypttab[256], text[256];
	struct sockaddr_un at = {.sun_family = AF_UNIX}, from = {.sun_family = AF_UNIX};
	size_t len = 0;
	int status;
	(void)state;
	line_of("conf/guest/keybroker-unlock@.service", "\nExecStart=", command, sizeof command);
	line_of("conf/guest/keybroker-unlock@.service", "\nStandardOutput=", output, sizeof output);
	line_of("conf/guest/keybroker-unlock.socket", "\nListenStream=", listen_at,
		sizeof listen_at);
	line_of("conf/guest/crypttab", "\nroot  UUID=", crypttab, sizeof crypttab);
	assert_string_equal(output, "socket");
	assert_non_null(strstr(crypttab, listen_at)); /* the disk's key file is the socket */
	write_conf();
	snprintf(at.sun_path, sizeof at.sun_path, "%s", path_of("unlock.sock"));
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(listener, 1), 0);
	pid_t pid = play_systemd(listener, command);
	snprintf(from.sun_path + 1, sizeof from.sun_path - 1, "%016llx/cryptsetup/root", now_ms());
	assert_int_equal(bind(client, (struct sockaddr *)&from, sizeof from), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&at, sizeof at), 0);
	for (ssize_t n; len < sizeof text && (n = read(client, text + len, sizeof text - len)) > 0;)
		len += (size_t)n;
	waitpid(pid, &status, 0);
	close(client);
	close(listener);
	assert_int_equal(status, 0);
	assert_int_equal(len, sizeof oct);
	assert_memory_equal(text, oct, sizeof oct);
}

static void test_guest_boot_keyscript(void **state)
{
	char command[512], text[256];
	(void)state;
	write_conf();
	snprintf(command, sizeof command,
		 "KEYBROKER_CONF=%s KEYBROKER_GUEST=%s conf/guest/keyscript none >%s 2>/dev/null",
		 path_of("guest.conf"), program("keybroker-guest"), path_of("key"));
	assert_int_equal(run_program(NULL, (const char *const[]){"/bin/sh", "-c", command, NULL}),
			 0);
	assert_int_equal(file_read(path_of("key"), text, sizeof text), sizeof oct);
	assert_memory_equal(text, oct, sizeof oct);
}

static void test_guest_usage(void **state)
{
	(void)state;
	RUN(USAGE, "--url", in.base_url, "--key", "disk", "--out", "stdout");
	RUN(USAGE, "--url", in.base_url, "--key", "disk", BY_FILE);
	RUN(USAGE, "--url", "http://localhost", "--key", "disk", BY_FILE, "--out", "stdout");
	RUN(USAGE, "--url", in.base_url, "--key", "disk/", BY_FILE, "--out", "stdout");
	RUN(USAGE, "--url", in.base_url, "--key", "a/b/c", BY_FILE, "--out", "stdout");
	RUN(USAGE, "--url", in.base_url, "--key", "disk?x", BY_FILE, "--out", "stdout");
	RUN(USAGE, "--url", in.base_url, "--key", "disk", "--token", path_of("token"), "--out",
	    "stdout");
	RUN(USAGE, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", "fd:77");
	RUN(USAGE, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", "somewhere");
	RUN(USAGE, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", "stdout", "--enc",
	    "RSA-OAEP");
	RUN(USAGE, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", "stdout", "--tpm-pcrs",
	    "7");
	RUN(USAGE, "--url", in.base_url, "--key", "disk", BY_PROGRAM, "--out", "stdout", "--tpm",
	    "--tpm-pcrs", "24");
	RUN(USAGE, "--url", in.base_url, "--key", "disk", BY_PROGRAM, "--out", "stdout", "--tpm",
	    "--tpm-key", "0x80000000");
	RUN(USAGE, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", "stdout", "--timeout",
	    "0");
	RUN(USAGE, "--url", in.base_url, "--key", "disk", BY_FILE, "--out", "stdout", "--ca",
	    "/nonexistent");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_token_file_and_places),
		cmocka_unit_test(test_guest_keyring),
		cmocka_unit_test(test_guest_never_on_a_terminal),
		cmocka_unit_test(test_guest_forms),
		cmocka_unit_test(test_guest_token_command_and_nonce),
		cmocka_unit_test(test_guest_refused_once_with_request_id),
		cmocka_unit_test(test_guest_next_url_and_retry),
		cmocka_unit_test(test_guest_believes_only_the_answer),
		cmocka_unit_test(test_b21_gateway_signs_itself),
		cmocka_unit_test(test_b22_lost_reply_and_single_use),
		cmocka_unit_test(test_b23_silent_broker_costs_two_seconds),
		cmocka_unit_test(test_b25_hostile_answers),
		cmocka_unit_test(test_guest_chunked_reply),
		cmocka_unit_test(test_guest_version),
		cmocka_unit_test(test_guest_attests),
		cmocka_unit_test(test_guest_without_evidence),
		cmocka_unit_test(test_guest_boot_socket),
		cmocka_unit_test(test_guest_boot_keyscript),
		cmocka_unit_test(test_guest_usage),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
