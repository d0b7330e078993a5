/* tests/fault/storage_test.h — what the end-to-end tests of storage and time share: one instance
 * under the shim with one key, and releases that must or must not be recorded. */
#ifndef KB_TESTS_STORAGE_TEST_H
#define KB_TESTS_STORAGE_TEST_H
#include "tests/e2e/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/invariants.h"
#include "tests/fault/shim_use.h"

static EVP_PKEY *kek;
static char *token;
static struct good good;
static const uint8_t secret[32] = "a disk key that must not get out";

static inline int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	GOOD(shim_make(&in));
	char *policy = policy_platform(in.issuer_url);
	GOOD(instance_import(&in, "key", NULL, secret, sizeof secret, policy));
	free(policy);
	kek = guest_key(2048);
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &token));
	good = (struct good){
		.ask = {.name = "key", .token = token},
		.want = {.root = in.root,
			 .host = "localhost",
			 .base_url = in.base_url,
			 .kek = kek,
			 .kek_kid = KID_PLATFORM},
		.plain = secret,
		.plain_len = sizeof secret,
	};
	GOOD(shim_start(&in));
	if ((atomic_load(&shim->processes) & 31) != 31)
		GOOD(wrong("the shim is in processes %x only", atomic_load(&shim->processes)));
	GOOD(invariants_begin(&in, &good));
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(kek);
	free(token);
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	shim_free();
	GOOD(broker_log_clean(&in));
	instance_free(&in);
	return 0;
}

/* ---- helpers ---- */

static inline int after_each(void **state)
{
	(void)state;
	shim_disarm();
	atomic_store(&shim->wall_us, 0);
	return 0;
}

/* One release on its own connection; *status 0 when there was no answer. */
static inline const char *release(int *status, char id[static 40])
{
	struct link *l = NULL;
	struct reply r = {0};
	*status = 0;
	id[0] = '\0';
	const char *why = link_open(&in.at, &l);
	if (why == NULL)
		why = guest_ask(l, &good.ask, &r);
	if (why == NULL) {
		*status = r.status;
		reply_header(&r, "x-ms-request-id", id, 40);
		why = invariants_reply(&in, &r); /* I1 and I3 of this very reply */
	}
	reply_free(&r);
	link_close(l);
	return *status == 0 ? NULL : why;
}

static inline void released(void)
{
	int status;
	char id[40];
	GOOD(release(&status, id));
	if (status != 200)
		GOOD(wrong("status %d instead of a key", status));
}

static inline void wait_released(unsigned ms)
{
	int status = 0;
	char id[40];
	for (unsigned long long end = now_ms() + ms; status != 200 && now_ms() < end; sleep_ms(30))
		GOOD(release(&status, id));
	if (status != 200)
		GOOD(wrong("status %d, %u ms after the fault", status, ms));
}

/* A release that cannot be recorded: 503, no key, no record, one more refusal with the code
 * LEDGER. */
static inline void denied_by_ledger(void)
{
	static const char counter[] =
		"keybroker_refusals_total{key=\"key\",issuer=\"issuer\",code=\"LEDGER\"}";
	double before = metric(&in, counter);
	REFUSED(&good.ask, 503, "ServiceUnavailable", NULL);
	double after = metric(&in, counter);
	if (after != (before < 0 ? 0 : before) + 1)
		GOOD(wrong("refusals with LEDGER: %.0f, then %.0f", before, after));
}

/* The request as bytes, for tests that do not wait for its answer; malloc'd. */
static inline char *raw_request(size_t *n)
{
	char *request = malloc(strlen(token) + 512);
	*n = (size_t)sprintf(
		request,
		"POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: x\r\nAuthorization: "
		"Bearer x\r\n"
		"Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n{\"target\":\"%s\"}",
		strlen(token) + 13, token);
	return request;
}

/* The supervisor; kill(0, …) would be ourselves. */
static inline void signal_broker(int sig)
{
	assert_true(in.broker > 0);
	kill(in.broker, sig);
}

static inline char *newest(void)
{
	static char path[256];
	int64_t stable, size;
	GOOD(shim_newest(&in, path, &stable, &size));
	return path;
}

static inline unsigned newest_number(void)
{
	unsigned n = 0;
	sscanf(strrchr(newest(), '/'), "/ledger-%u.jsonl", &n);
	return n;
}

static inline const char *verifies(void)
{
	char *out = NULL;
	const char *why = CTL(&in, &out, "ledger", "verify") == 0
				  ? NULL
				  : wrong("%.300s", out == NULL ? "" : out);
	free(out);
	return why;
}

static inline void restart(void)
{
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(shim_start(&in));
	GOOD(invariants_begin(&in, &good));
}

static inline void rotate(void)
{
	unsigned before = newest_number();
	signal_broker(SIGUSR1);
	for (unsigned long long end = now_ms() + 5000; newest_number() == before && now_ms() < end;)
		sleep_ms(10);
	if (newest_number() != before + 1)
		GOOD(wrong("segment %u after %u", newest_number(), before));
}

/* The line of the newest segment's beginning must say `part`. */
static inline void newest_begins_with(const char *part)
{
	char line[8192] = "";
	FILE *f = fopen(newest(), "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof line, f));
	fclose(f);
	if (strstr(line, part) == NULL)
		GOOD(wrong("%s does not say %s", line, part));
}

static inline char *slurp(const char *path, size_t *len)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	char *text = calloc(1, (size_t)st.st_size + 1);
	assert_true(text != NULL && read(fd, text, (size_t)st.st_size) == st.st_size);
	close(fd);
	*len = (size_t)st.st_size;
	return text;
}

static inline void spill(const char *path, const char *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	close(fd);
}

/* ---- kill -9 at a step of a release (D3) ---- */

static const struct {
	const char *name;
	uint32_t process, calls;
	int at_least;
} walk[] = {
	{"gateway", SHIM_GATEWAY, SHIM_READ | SHIM_PUT | SHIM_RECV | SHIM_SEND, 3},
	{"vault", SHIM_VAULT, SHIM_RECV | SHIM_SEND | SHIM_CLOCK, 4},
	{"ledger", SHIM_LEDGER, SHIM_RECV | SHIM_SEND | SHIM_FILES, 4},
};

/* Kill this process before (after) its nth call of a release.  False: the release has fewer. */
static inline bool kill_at(unsigned process, enum shim_what what, int nth)
{
	struct link *l = NULL;
	struct reply r = {0};
	size_t n;
	char *request = raw_request(&n);
	GOOD(link_open(&in.at, &l));
	struct shim_rule *rule =
		shim_arm_asleep(walk[process].process, walk[process].calls, what, nth);
	GOOD(link_send(l, request, n));
	free(request);
	/* A request whose reply was lost would be answered after 10 s: no test waits for that
	 * here. */
	for (unsigned long long end = now_ms() + 15000, soon = 0;
	     now_ms() < end && !link_has_reply(l); sleep_ms(2)) {
		soon = soon == 0 && atomic_load(&rule->acted) != 0 ? now_ms() + 150 : soon;
		if (soon != 0 && now_ms() > soon)
			break;
	}
	if (link_has_reply(l) && link_receive(l, &r) == NULL)
		GOOD(invariants_reply(&in, &r));
	bool has_acted = shim_has_acted(rule, 50);
	shim_disarm();
	int status = r.status;
	reply_free(&r);
	link_close(l);
	if (!has_acted && status != 200)
		GOOD(wrong("kill -9 of %s at step %d did not happen, and yet: status %d",
			   walk[process].name, nth, status));
	if (has_acted) {
		wait_released(15000);
		GOOD(verifies());
	}
	return has_acted;
}

static inline void fresh(void)
{
	shim_kill_all(&in);
	GOOD(shim_start(&in));
}

#endif
