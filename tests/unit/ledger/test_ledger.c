/* tests/unit/ledger/test_ledger.c — the ledger as a process: no answer leaves it before its record
 * is durable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hex.h"
#include "ledger/segment_write.h"
#include "process/frame.h"
#include "process/process.h"
#include "tests/unit/pages.h"

enum { WAIT_MS = 5000, GATEWAYS = 2 };

static char root[64], config_path[96], ledger_path[96];
static int archive_fd = -1, dir_fd = -1, control = -1;
static int replies[2], responses[GATEWAYS][2];
static pid_t process;
static struct process_start start;

/* ---- start and end of a ledger process ---- */

static void write_config(const char *extra)
{
	KB_AUTO(snapshot) struct snapshot *src = NULL;
	struct span text;
	const char *why;

	FILE *f = fopen(config_path, "we");
	assert_non_null(f);
	fprintf(f,
		"{\"listeners\":[{\"address\":\"127.0.0.1:1\",\"base_url\":\"https://"
		"localhost:1\",\"apis\":[\"keyvault\"],"
		"\"tls\":{\"certificate\":\"c.pem\",\"key\":\"k.pem\",\"client_ca\":null}}],"
		"\"hsm\":{\"module\":\"/usr/lib/softhsm/"
		"libsofthsm2.so\",\"token\":\"pkcs11:token=t\",\"pin_file\":\"pin\"},"
		"\"signer\":{\"object\":\"pkcs11:object=s\",\"certificates\":\"s.pem\"},"
		"\"issuers\":\"issuers.d\",\"keys\":\"keys.d\",\"state\":\"state\"%s}\n",
		extra);
	fclose(f);
	assert_int_equal(snapshot_files(&src), KB_OK);
	assert_int_equal(
		snapshot_read(src, config_path, KB_MAX_CONFIG, false, CONFIG_ALL, &text, &why),
		KB_OK);
	if (archive_fd >= 0)
		close(archive_fd);
	assert_int_equal(snapshot_pack(src, CONFIG_LEDGER, &archive_fd), KB_OK);
}

static void child_place(int from, int to)
{
	if (dup2(from, to) < 0)
		_exit(98);
}

/* `file_limit`: a file cannot grow beyond it, as on a full disk. */
static void begin(rlim_t file_limit)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	start = (struct process_start){.process = PROCESS_LEDGER,
				       .slot = SLOT_LEDGER,
				       .config_path = config_path,
				       .shared = &pages.all,
				       .page = page_of(SLOT_LEDGER),
				       .stats = &page_of(SLOT_LEDGER)->stats,
				       .health = &page_of(SLOT_LEDGER)->health};
	memset(start.page, 0, sizeof *start.page);
	process = fork();
	assert_true(process >= 0);
	if (process == 0) {
		struct rlimit r = {file_limit, RLIM_INFINITY};
		int null = open("/dev/null", O_WRONLY);
		int c = fcntl(pair[1], F_DUPFD, 100), a = fcntl(archive_fd, F_DUPFD, 100),
		    d = fcntl(dir_fd, F_DUPFD, 100);
		if (getenv("KB_TEST_LOG") == NULL)
			child_place(null, STDERR_FILENO);
		child_place(c, FD_CONTROL);
		child_place(a, FD_ARCHIVE);
		child_place(d, FD_LEDGER_DIR);
		(void)close_range(FD_FIRST + 1, ~0u, 0);
		signal(SIGXFSZ, SIG_IGN);
		signal(SIGPIPE, SIG_IGN);
		if (setrlimit(RLIMIT_FSIZE, &r) != 0)
			_exit(97);
		_exit(ledger_main(&start));
	}
	close(pair[1]);
	control = pair[0];
}

static bool receives_control(enum control_type want, uint64_t *value)
{
	struct control_message m;
	struct pollfd p = {.fd = control, .events = POLLIN};

	if (poll(&p, 1, WAIT_MS) != 1 || control_recv(control, &m, NULL, NULL) != KB_OK)
		return false;
	if (value != NULL)
		*value = m.value;
	return m.type == (uint32_t)want;
}

static void add_generation(uint32_t generation)
{
	struct control_message m = {
		.type = CONTROL_GENERATION, .generation = generation, .digest = "c0ffee"};
	const int fds[] = {replies[1], responses[0][0], responses[1][0]};

	assert_int_equal(control_send_message(control, &m, fds, 3), KB_OK);
}

static void run(void)
{
	begin(RLIM_INFINITY);
	assert_true(receives_control(CONTROL_READY, NULL));
	add_generation(1);
}

static int ended(void)
{
	int status;

	assert_int_equal(waitpid(process, &status, 0), process);
	process = 0;
	close(control);
	control = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(root, sizeof root, "/tmp/keybroker-ledger-XXXXXX");
	if (mkdtemp(root) == NULL)
		return -1;
	snprintf(config_path, sizeof config_path, "%s/keybroker.json", root);
	snprintf(ledger_path, sizeof ledger_path, "%s/ledger", root);
	if (mkdir(ledger_path, 0750) != 0 || !pages_make() || frame_pair(replies) != KB_OK)
		return -1;
	for (size_t i = 0; i < GATEWAYS; i++)
		if (frame_pair(responses[i]) != KB_OK)
			return -1;
	dir_fd = open(ledger_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	write_config("");
	return dir_fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	char name[SEGMENT_NAME];

	(void)state;
	if (process > 0) {
		kill(process, SIGKILL);
		(void)ended();
	}
	for (uint32_t i = 1; i < 100; i++) {
		segment_name(i, name);
		unlinkat(dir_fd, name, 0);
	}
	unlinkat(dir_fd, "ledger.new", 0);
	close(dir_fd);
	close(archive_fd);
	archive_fd = -1;
	pages_free();
	for (size_t i = 0; i < 2; i++) {
		close(replies[i]);
		close(responses[0][i]);
		close(responses[1][i]);
	}
	unlink(config_path);
	rmdir(ledger_path);
	return rmdir(root);
}

/* ---- what a vault sends, what a gateway receives ---- */

/* In the tests the number of the gateway is in its ids. */
static uint64_t id_of(unsigned gateway, uint32_t n)
{
	return (uint64_t)gateway << 32 | (n + 1);
}

static struct frame_reply released(uint64_t id)
{
	return (struct frame_reply){
		.id = id,
		.gateway = (uint8_t)(id >> 32),
		.uuid = {1, 2, 3},
		.status = 200,
		.peer = span_str("192.0.2.1"),
		.body = span_str("{\"value\":\"key\"}"),
		.record = span_str("{\"event\":\"release\",\"code\":\"OK\"}"),
		.outcome = {.code = KB_OK,
			    .is_release = true,
			    .key = span_str("disk"),
			    .issuer = span_str("maa")},
	};
}

static void submit(const struct frame_reply *r)
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, KB_MAX_FRAME);
	assert_int_equal(frame_put_reply(r, &b), KB_OK);
	assert_int_equal(frame_send(replies[0], buf_span(&b)), KB_OK);
}

static uint8_t response_bytes[KB_MAX_FRAME];

static bool receives_nothing(unsigned gateway)
{
	struct pollfd p = {.fd = responses[gateway][1], .events = POLLIN};

	return poll(&p, 1, 300) == 0;
}

static struct frame_response response_of(unsigned gateway)
{
	struct pollfd p = {.fd = responses[gateway][1], .events = POLLIN};
	struct frame_response r;
	size_t len;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(
		frame_recv(responses[gateway][1], response_bytes, sizeof response_bytes, &len),
		KB_OK);
	assert_int_equal(frame_get_response(span_of(response_bytes, len), &r), KB_OK);
	return r;
}

struct tally {
	const char *text;
	unsigned n, all;
};

static enum kb_err tally_line(void *ctx, const struct segment_line *l)
{
	struct tally *t = ctx;

	t->all++;
	t->n += memmem(l->text.p, l->text.len, t->text, strlen(t->text)) != NULL;
	return KB_OK;
}

/* The number of the ledger's lines that contain the text. */
static unsigned count_lines(const char *text)
{
	struct tally t = {.text = text};
	struct segment_fault f;

	assert_int_equal(segment_walk(dir_fd, 0, tally_line, &t, NULL, &f), KB_OK);
	return t.n;
}

static void is_unavailable(const struct frame_response *r)
{
	assert_int_equal(r->status, 503);
	assert_int_equal(r->code, KB_E_LEDGER);
	assert_int_equal(r->retry_after_s, KB_RETRY_AFTER_S);
	assert_int_equal(r->body.len, 0); /* the gateway's, in the listener's dialect */
}

/* ---- tests ---- */

static void test_ledger_record_is_there_when_the_answer_comes(void **state)
{
	struct frame_reply r = released(id_of(1, 77));

	(void)state;
	run();
	submit(&r);
	struct frame_response got = response_of(1);
	assert_int_equal(count_lines("\"event\":\"release\""), 1);
	assert_true(got.id == id_of(1, 77));
	assert_int_equal(got.status, 200);
	assert_int_equal(got.code, KB_OK);
	assert_int_equal(got.uuid[1], 2);
	assert_true(span_eq_cstr(got.body, "{\"value\":\"key\"}"));
	assert_true(receives_nothing(0));
	assert_int_equal(count_lines("\"event\":\"start\""), 1);
	assert_int_equal(
		count_lines("\"event\":\"generation\",\"generation\":1,\"config\":\"c0ffee\""), 1);
	assert_int_equal(atomic_load(&page_of(SLOT_LEDGER)->stats.counter[COUNT_RECORDS]), 3);
}

static void test_ledger_preserves_order_and_passes_unrecorded_answers(void **state)
{
	(void)state;
	run();
	for (uint32_t i = 0; i < 40; i++) {
		struct frame_reply r = released(id_of(0, i));
		if (i % 3 == 0) {
			r.outcome.is_release = false;
			r.record = span_of(NULL, 0);
		}
		submit(&r);
		if (i % 8 == 7)
			for (uint32_t k = i - 7; k <= i; k++)
				assert_true(response_of(0).id == id_of(0, k));
	}
	assert_int_equal(count_lines("\"event\":\"release\""), 26);
	/* Perhaps fewer syncs than records, never more. */
	assert_true(atomic_load(&page_of(SLOT_LEDGER)->stats.counter[COUNT_SYNCS]) <= 28);
}

enum { FEW = 20, MANY = 1000 };

/* The shortest time from submitting to the answer.  Other load on the machine only makes a time
 * longer, so measure until one is below `enough_us`; at least FEW times and at most MANY.  Worker 1
 * is set to `then` while its record waits. */
static int64_t quickest_us(int64_t enough_us, enum health_state then)
{
	static uint32_t id;
	const enum health_state before = atomic_load(&page_of(SLOT_FIRST)->health.state);
	int64_t least = INT64_MAX;

	for (unsigned i = 0; i < FEW || (i < MANY && least >= enough_us); i++) {
		struct frame_reply r = released(id_of(0, ++id));
		health_set(&page_of(SLOT_FIRST)->health, before);
		const int64_t from = clock_mono_us();
		submit(&r);
		if (then != before) {
			usleep(300);
			health_set(&page_of(SLOT_FIRST)->health, then);
		}
		assert_true(response_of(0).id == id_of(0, id));
		const int64_t took = clock_mono_us() - from;
		least = took < least ? took : least;
	}
	return least;
}

static void test_ledger_waits_only_for_a_busy_worker(void **state)
{
	const int64_t at_once = KB_COMMIT_WAIT_US / 2;

	(void)state;
	run();
	const int64_t alone = quickest_us(at_once, atomic_load(&page_of(SLOT_FIRST)->health.state));
	assert_int_equal(page_take(PROCESS_VAULT, 1, HEALTH_READY), SLOT_FIRST);
	health_set(&page_of(SLOT_FIRST)->health, HEALTH_BUSY);
	assert_true(quickest_us(INT64_MAX, HEALTH_BUSY) >= KB_COMMIT_WAIT_BUSY_US);
	/* It checks before that is over whether the worker is still busy. */
	const int64_t soon = KB_COMMIT_WAIT_BUSY_US - KB_COMMIT_LOOK_US;
	assert_true(quickest_us(soon, HEALTH_HANDOVER) < soon);
	health_set(&page_of(SLOT_FIRST)->health, HEALTH_BUSY);
	(void)page_take(PROCESS_VAULT, 1, HEALTH_READY);
	const int64_t beside = quickest_us(KB_COMMIT_WAIT_BUSY_US, HEALTH_BUSY);
	assert_true(beside >= KB_COMMIT_WAIT_US && beside < KB_COMMIT_WAIT_BUSY_US);
	health_set(&page_of(SLOT_FIRST)->health,
		   HEALTH_HANDOVER); /* its record has been received */
	const int64_t after = quickest_us(at_once, HEALTH_HANDOVER);
	assert_true(alone + at_once < beside && after + at_once < beside);
}

static void test_d01_ledger_key_without_record_does_not_leave(void **state)
{
	struct frame_reply r = released(1);
	struct frame_response got;

	(void)state;
	run();
	r.record = span_of(NULL, 0);
	submit(&r);
	got = response_of(0);
	is_unavailable(&got);
}

/* A captured vault says what it likes; the id, which the gateway made, says which operation it was.
 * Of one that makes a record, only a short refusal leaves without it. */
static void test_i15_ledger_believes_no_vault_that_an_answer_needs_no_record(void **state)
{
	static const char key[] = "{\"value\":\"key\"}";
	static uint8_t large[KB_MAX_REFUSAL + 1];
	const struct {
		struct span body;
		uint16_t status, code;
		bool needs_record, is_passed;
	} row[] = {
		{span_str(key), 200, KB_OK, true, false},
		{span_str(key), 201, KB_E_POLICY, true, false},
		{span_str(key), 302, KB_E_POLICY, true, false},
		{span_str(key), 403, KB_OK, true, false},
		{span_of(large, sizeof large), 403, KB_E_POLICY, true, false},
		{span_of(large, KB_MAX_REFUSAL), 403, KB_E_POLICY, true, true},
		{span_of(NULL, 0), 200, KB_OK, true, false},
		{span_str(key), 200, KB_OK, false, true}, /* GET of a key, a nonce */
		{span_of(large, sizeof large), 200, KB_OK, false, true},
	};

	(void)state;
	run();
	memset(large, 'x', sizeof large);
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct frame_reply r = {.id = frame_new_id(row[i].needs_record, i, 9),
					.status = row[i].status,
					.body = row[i].body,
					.outcome = {.code = row[i].code}};
		submit(&r);
		struct frame_response got = response_of(0);
		assert_true(got.id == r.id);
		if (row[i].is_passed)
			assert_true(got.status == row[i].status && span_eq(got.body, row[i].body));
		else
			is_unavailable(&got);
	}
}

static void test_ledger_bad_record_refuses_its_answer_alone(void **state)
{
	struct frame_reply bad = released(1), good = released(2);
	struct frame_response got;

	(void)state;
	run();
	bad.record = span_str("\"no\":\"object\"");
	submit(&bad);
	submit(&good);
	got = response_of(0);
	is_unavailable(&got);
	got = response_of(0);
	assert_int_equal(got.status, 200);
	assert_int_equal(count_lines("\"event\":\"release\""), 1);
}

static void test_i06_ledger_bad_frames_are_dropped_and_counted(void **state)
{
	struct frame_reply r = released(id_of(GATEWAYS, 1)); /* no such gateway */

	(void)state;
	run();
	submit(&r);
	assert_int_equal(send(replies[0], "garbage", 7, 0), 7);
	r = released(5);
	submit(&r);
	assert_true(response_of(0).id == 5);
	assert_int_equal(atomic_load(&page_of(SLOT_LEDGER)->stats.counter[COUNT_FRAMES_BAD]), 2);
	assert_int_equal(count_lines("\"event\":\"release\""), 1);
}

/* ---- single use ---- */

static char token_record[512];
static uint16_t grace_s;
static int64_t judged_s;             /* "time" of the records below; 0: none */
static int64_t issued_s = INT64_MAX; /* of the tokens below; after any ledger began */

static struct frame_reply single_use(uint64_t id, uint8_t token, int64_t until_s)
{
	struct frame_reply r = released(id);

	memset(r.replay_key, token, sizeof r.replay_key);
	r.replay_from_s = issued_s;
	r.replay_until_s = until_s;
	r.replay_grace_s = grace_s;
	r.replay_status = 403;
	r.replay_body = span_str("{\"error\":{\"code\":\"Forbidden\"}}");
	r.replay_record = span_str("{\"event\":\"release\",\"code\":\"REPLAY\"}");
	KB_AUTO(buf) struct buf b;
	buf_init(&b, sizeof token_record - 1);
	buf_add_str(&b, "{");
	if (judged_s != 0) {
		char when[KB_TIME_TEXT];
		clock_text(judged_s * 1000000, when);
		buf_addf(&b, "\"time\":\"%s\",", when);
	}
	buf_add_str(&b, "\"event\":\"release\",\"code\":\"OK\",\"replay\":\"");
	hex_encode(&b, span_of(r.replay_key, sizeof r.replay_key));
	buf_addf(&b, "\",\"replay_until\":%lld}", (long long)until_s);
	memcpy(token_record, b.p, b.len);
	r.record = span_of(token_record, b.len);
	return r;
}

static uint16_t status_of_use(uint8_t token, int64_t until_s)
{
	struct frame_reply r = single_use(1, token, until_s);

	submit(&r);
	struct frame_response got = response_of(0);
	if (got.status == 403) {
		assert_int_equal(got.code, KB_E_REPLAY);
		assert_true(span_eq(got.body, r.replay_body));
	}
	return got.status;
}

static void test_a17_ledger_second_use_is_refused_also_after_kill_9(void **state)
{
	int64_t until_s = clock_wall_s() + 1000;

	(void)state;
	run();
	assert_int_equal(status_of_use(1, until_s), 200);
	assert_int_equal(status_of_use(1, until_s), 403);
	assert_int_equal(status_of_use(2, until_s), 200);
	kill(process, SIGKILL);
	assert_int_equal(ended(), -SIGKILL);
	run();
	assert_int_equal(status_of_use(1, until_s), 403);
	assert_int_equal(status_of_use(2, until_s), 403);
	/* across segments, too */
	assert_int_equal(control_send(control, CONTROL_ROTATE, 0, 0), KB_OK);
	assert_int_equal(status_of_use(3, until_s - 500), 200);
	assert_int_equal(control_send(control, CONTROL_ROTATE, 0, 0), KB_OK);
	assert_int_equal(status_of_use(4, until_s - 500), 200);
	kill(process, SIGKILL);
	assert_int_equal(ended(), -SIGKILL);
	run();
	for (uint8_t token = 1; token <= 4; token++)
		assert_int_equal(status_of_use(token, until_s), 403);
	assert_int_equal(count_lines("\"code\":\"REPLAY\""), 7);
}

/* The first ledger of a directory cannot know which tokens were used before it, nor can the next
 * segments. */
static void test_d09_ledger_that_was_lost_denies_what_it_may_have_held(void **state)
{
	int64_t until_s = clock_wall_s() + 1000;

	(void)state;
	issued_s = clock_wall_s() - 1;
	run();
	assert_int_equal(status_of_use(1, until_s), 403);
	assert_int_equal(control_send(control, CONTROL_ROTATE, 0, 0), KB_OK);
	assert_int_equal(status_of_use(2, until_s), 403);
	kill(process, SIGKILL);
	assert_int_equal(ended(), -SIGKILL);
	run();
	assert_int_equal(status_of_use(3, until_s), 403);
	issued_s = clock_wall_s();
	assert_int_equal(status_of_use(4, until_s), 200);
	issued_s = INT64_MAX;
}

static void restart(void)
{
	kill(process, SIGKILL);
	assert_int_equal(ended(), -SIGKILL);
	run();
}

/* The ledger itself knows when a token was first used: a restart neither ends the grace nor begins
 * it anew, and a clock that went back makes it no longer. */
static void test_g12_ledger_grace_after_kill_9(void **state)
{
	const int64_t now_s = clock_wall_s(), until_s = now_s + 1000;

	(void)state;
	grace_s = 60;
	run();
	judged_s = now_s;
	assert_int_equal(status_of_use(1, until_s), 200);
	assert_int_equal(status_of_use(1, until_s), 200);
	judged_s = now_s - 59 - 30; /* what a vault wrote a while ago */
	assert_int_equal(status_of_use(2, until_s), 200);
	judged_s = now_s + 100; /* before the clock was set back */
	assert_int_equal(status_of_use(3, until_s), 200);
	judged_s = 0;
	assert_int_equal(status_of_use(4, until_s), 200);
	judged_s = now_s;
	restart();
	assert_int_equal(status_of_use(1, until_s), 200);
	for (uint8_t token = 2; token <= 4; token++)
		assert_int_equal(status_of_use(token, until_s), 403);
	assert_int_equal(count_lines(",\"repeat\":true"), 2);
	restart();
	assert_int_equal(status_of_use(1, until_s), 200); /* the repeats say nothing */
	for (uint8_t token = 2; token <= 4; token++)
		assert_int_equal(status_of_use(token, until_s), 403);
	grace_s = 0;
	assert_int_equal(status_of_use(1, until_s), 403);
	judged_s = 0;
}

/* The record of the first use is in a segment that is gone: the repeat does not begin a grace. */
static void test_g12_ledger_repeat_without_its_first_use(void **state)
{
	const int64_t now_s = clock_wall_s(), until_s = now_s + 1000;
	char name[SEGMENT_NAME];

	(void)state;
	grace_s = 60;
	judged_s = now_s;
	run();
	assert_int_equal(status_of_use(1, until_s), 200);
	assert_int_equal(control_send(control, CONTROL_ROTATE, 0, 0), KB_OK);
	assert_int_equal(status_of_use(1, until_s), 200);
	kill(process, SIGKILL);
	assert_int_equal(ended(), -SIGKILL);
	segment_name(1, name);
	assert_int_equal(unlinkat(dir_fd, name, 0), 0);
	run();
	assert_int_equal(status_of_use(1, until_s), 403);
	grace_s = 0;
	judged_s = 0;
}

/* The sums are recorded when the ledger ends. */
static void test_g09_ledger_records_sums_at_its_end(void **state)
{
	struct frame_reply r = released(1);

	(void)state;
	r.outcome = (struct frame_outcome){.code = KB_E_POLICY};
	r.status = 403;
	r.record = span_str("{\"event\":\"release\",\"code\":\"POLICY\"}");
	r.peer = span_str("2001:db8::7");
	run();
	for (unsigned i = 0; i < 4 * KB_REFUSAL_WHOLE; i++) {
		submit(&r);
		assert_int_equal(response_of(0).status, 403);
	}
	assert_int_equal(count_lines("\"code\":\"POLICY\""), KB_REFUSAL_WHOLE);
	shutdown(control, SHUT_RDWR);
	shutdown(replies[0], SHUT_RDWR);
	assert_int_equal(ended(), PROCESS_EXIT_OK);
	assert_int_equal(count_lines("\"code\":\"POLICY\",\"peer\":\"2001:db8::/64\",\"more\":15,"),
			 1);
	assert_int_equal(count_lines("\"event\":\"stop\""), 1);
}

/* The clock was set back: tokens of before the ledger's birth stay used, whatever it says now, and
 * however often a segment or a process begins. */
static void test_d14_ledger_birth_is_not_lowered(void **state)
{
	const int64_t now_s = clock_wall_s(), until_s = now_s + 1000;
	struct segments s;
	struct segment_fault f;

	(void)state;
	assert_int_equal(segment_open(dir_fd, now_s + 500, NULL, NULL, &s, &f), KB_OK);
	segment_close(&s);
	issued_s = now_s + 499;
	for (uint8_t token = 1; token <= 3; token++) {
		run();
		assert_int_equal(status_of_use(token, until_s), 403);
		assert_int_equal(control_send(control, CONTROL_ROTATE, 0, 0), KB_OK);
		kill(process, SIGKILL);
		assert_int_equal(ended(), -SIGKILL);
	}
	run();
	issued_s = now_s + 500;
	assert_int_equal(status_of_use(4, until_s), 200);
	issued_s = INT64_MAX;
}

static void test_a17_ledger_first_line_of_a_segment_leads_back(void **state)
{
	int64_t until_s = clock_wall_s() + 1000;

	(void)state;
	run();
	assert_int_equal(status_of_use(1, until_s), 200);
	assert_int_equal(control_send(control, CONTROL_ROTATE, 0, 0), KB_OK);
	assert_int_equal(status_of_use(2, until_s - 500), 200);
	kill(process, SIGKILL);
	assert_int_equal(ended(), -SIGKILL);
	run();
	assert_int_equal(status_of_use(1, until_s), 403);
}

static void test_ledger_token_past_its_time_is_refused(void **state)
{
	(void)state;
	run();
	assert_int_equal(status_of_use(1, clock_wall_s() - 10), 403);
}

static void test_ledger_single_use_record_must_name_its_token(void **state)
{
	int64_t until_s = clock_wall_s() + 1000;
	struct frame_reply r = single_use(1, 1, until_s);
	struct frame_response got;

	(void)state;
	run();
	r.record = span_str("{\"event\":\"release\",\"code\":\"OK\"}");
	submit(&r);
	got = response_of(0);
	is_unavailable(&got);
	r = single_use(1, 1, until_s * 10); /* the record says ten times the frame's time */
	r.replay_until_s = until_s;
	r.replay_status = 403;
	submit(&r);
	got = response_of(0);
	is_unavailable(&got);
	r = single_use(1, 1, until_s);
	r.replay_key[31] ^= 1;
	submit(&r);
	got = response_of(0);
	is_unavailable(&got);
	assert_int_equal(status_of_use(1, until_s), 200);
}

/* ---- a disk that fails ---- */

static void test_d01_ledger_full_disk_refuses_then_recovers(void **state)
{
	int64_t until_s = clock_wall_s() + 1000;
	struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
	struct frame_reply r = single_use(id_of(0, 1), 9, until_s);
	struct frame_response got;
	unsigned passed = 0;

	(void)state;
	begin(1200);
	assert_true(receives_control(CONTROL_READY, NULL));
	add_generation(1);
	for (uint32_t i = 0; i < 10; i++) { /* fills the space that is left */
		struct frame_reply fill = released(id_of(0, i));
		submit(&fill);
		got = response_of(0);
		if (got.status != 200)
			break;
		passed++;
	}
	is_unavailable(&got);
	assert_int_equal(count_lines("\"event\":\"release\""), passed);
	submit(&r);
	got = response_of(0);
	is_unavailable(&got);
	assert_int_equal(atomic_load(&page_of(SLOT_LEDGER)->health.state), HEALTH_FAILED);
	assert_int_equal(atomic_load(&page_of(SLOT_LEDGER)->health.fault), KB_E_LEDGER);
	/* an answer without a record passes */
	struct frame_reply plain = released(id_of(0, 3));
	plain.outcome.is_release = false;
	plain.record = span_of(NULL, 0);
	submit(&plain);
	assert_int_equal(response_of(0).status, 200);
	/* space returns */
	assert_int_equal(prlimit(process, RLIMIT_FSIZE, &none, NULL), 0);
	for (int i = 0; i < 50 && atomic_load(&page_of(SLOT_LEDGER)->health.state) != HEALTH_READY;
	     i++)
		usleep(100000);
	assert_int_equal(atomic_load(&page_of(SLOT_LEDGER)->health.state), HEALTH_READY);
	assert_int_equal(count_lines("\"why\":\"write failed\""), 1);
	assert_int_equal(status_of_use(9, until_s),
			 200); /* the refused attempt did not use the token */
	assert_int_equal(status_of_use(9, until_s), 403);
}

/* ---- life ---- */

static void test_ledger_stops_when_all_have_ended(void **state)
{
	struct frame_reply r = released(1);

	(void)state;
	run();
	submit(&r);
	shutdown(control, SHUT_RDWR);
	assert_true(response_of(0).id == 1);
	submit(&r); /* a reply that still comes is recorded */
	assert_true(response_of(0).id == 1);
	shutdown(replies[0], SHUT_RDWR);
	assert_int_equal(ended(), PROCESS_EXIT_OK);
	assert_int_equal(count_lines("\"event\":\"release\""), 2);
	assert_int_equal(count_lines("\"event\":\"stop\""), 1);
}

static void test_ledger_serves_two_generations(void **state)
{
	struct frame_reply r = released(id_of(0, 8));
	struct control_message m = {.type = CONTROL_GENERATION, .generation = 2};
	int more[2], gateway[2];

	(void)state;
	run();
	assert_int_equal(frame_pair(more), KB_OK);
	assert_int_equal(frame_pair(gateway), KB_OK);
	const int fds[] = {more[1], gateway[0]};
	assert_int_equal(control_send_message(control, &m, fds, 2), KB_OK);
	KB_AUTO(buf) struct buf b;
	buf_init(&b, KB_MAX_FRAME);
	assert_int_equal(frame_put_reply(&r, &b), KB_OK);
	assert_int_equal(frame_send(more[0], buf_span(&b)), KB_OK);
	struct pollfd p = {.fd = gateway[1], .events = POLLIN};
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	submit(&r);
	assert_true(response_of(0).id == r.id);
	close(more[0]); /* the second generation ends, the first goes on */
	close(more[1]);
	submit(&r);
	assert_true(response_of(0).id == r.id);
	close(gateway[0]);
	close(gateway[1]);
}

static void test_ledger_useless_control_messages_change_nothing(void **state)
{
	struct frame_reply r = released(1);
	const int one[] = {replies[1]};

	(void)state;
	run();
	assert_int_equal(control_send_fds(control, CONTROL_GENERATION, 9, 9, one, 1),
			 KB_OK); /* no gateway */
	assert_int_equal(control_send_fds(control, CONTROL_GENERATION, 0, 0, one, 1), KB_OK);
	assert_int_equal(control_send_fds(control, CONTROL_DRAIN, 0, 0, one, 1), KB_OK);
	assert_int_equal(send(control, "x", 1, 0), 1);
	submit(&r);
	assert_true(response_of(0).id == 1);
}

static void test_ledger_gateway_that_does_not_read_delays_no_other(void **state)
{
	static char body[KB_MAX_REPLY];
	unsigned sent = 0;

	(void)state;
	memset(body, 'x', sizeof body);
	run();
	/* gateway 1 never reads: its socket fills, by messages or by bytes */
	while (sent < 60) {
		struct frame_reply r = released(id_of(1, sent++));
		r.body = span_of(body, sizeof body);
		submit(&r);
	}
	struct frame_reply r = released(id_of(0, 1));
	int64_t from_ms = clock_mono_ms();
	submit(&r);
	assert_true(response_of(0).id == id_of(0, 1));
	assert_true(clock_mono_ms() - from_ms < 3000);
	assert_true(atomic_load(&page_of(SLOT_LEDGER)->stats.counter[COUNT_REPLIES_LOST]) > 0);
	assert_int_equal(count_lines("\"event\":\"release\""), sent + 1);
}

/* One that reads late gets all of it, in order, and nobody has waited meanwhile. */
static void test_ledger_gateway_that_reads_late_loses_nothing(void **state)
{
	static char body[100000];
	enum { SENT = 30 }; /* more than the socket takes, by less than KB_LEDGER_OUTBOX */

	(void)state;
	memset(body, 'x', sizeof body);
	run();
	for (unsigned i = 0; i < SENT; i++) {
		struct frame_reply r = released(id_of(1, i));
		r.body = span_of(body, sizeof body);
		submit(&r);
		struct frame_reply other = released(id_of(0, i));
		submit(&other);
		assert_true(response_of(0).id == id_of(0, i));
	}
	for (unsigned i = 0; i < SENT; i++)
		assert_true(response_of(1).id == id_of(1, i));
	assert_int_equal(atomic_load(&page_of(SLOT_LEDGER)->stats.counter[COUNT_REPLIES_LOST]), 0);
}

static void test_ledger_rotates_by_size(void **state)
{
	(void)state;
	write_config(",\"limits\":{\"ledger_segment_bytes\":1048576}");
	run();
	char record[KB_MAX_RECORD];
	memset(record, 'x', sizeof record);
	memcpy(record, "{\"a\":\"", 6);
	memcpy(record + sizeof record - 2, "\"}", 2);
	for (uint32_t i = 0; i < 300; i++) {
		struct frame_reply r = released(id_of(0, i));
		r.record = span_of(record, sizeof record);
		submit(&r);
		assert_int_equal(response_of(0).status, 200);
	}
	assert_true(count_lines("\"why\":\"size\"") >= 2);
}

static void test_d07_ledger_locked_by_another(void **state)
{
	struct segments s;
	struct segment_fault f;
	uint64_t value = 0;

	(void)state;
	assert_int_equal(segment_open(dir_fd, 0, NULL, NULL, &s, &f), KB_OK);
	begin(RLIM_INFINITY);
	assert_true(receives_control(CONTROL_FAILED, &value));
	assert_int_equal(value, KB_E_LEDGER_LOCKED);
	assert_int_equal(ended(), PROCESS_EXIT_RESTART);
	segment_close(&s);
}

static void test_d05_ledger_does_not_start_on_a_broken_chain(void **state)
{
	uint64_t value = 0;
	int fd = openat(dir_fd, "ledger-00000001.jsonl", O_CREAT | O_WRONLY, 0640);

	(void)state;
	assert_int_equal(write(fd, "not ours\n", 9), 9);
	close(fd);
	begin(RLIM_INFINITY);
	assert_true(receives_control(CONTROL_FAILED, &value));
	assert_int_equal(value, KB_E_LEDGER_CHAIN);
	assert_int_equal(ended(), PROCESS_EXIT_CONFIG);
}

static void test_d09_ledger_does_not_start_on_an_unreadable_use(void **state)
{
	uint64_t value = 0;
	struct frame_reply r = released(1);

	(void)state;
	run();
	r.record = span_str(
		"{\"event\":\"release\",\"code\":\"OK\",\"replay\":\"zz\",\"replay_until\":1}");
	submit(&r);
	assert_int_equal(response_of(0).status, 200); /* this reply asks for no single use */
	kill(process, SIGKILL);
	(void)ended();
	begin(RLIM_INFINITY);
	assert_true(receives_control(CONTROL_FAILED, &value));
	assert_int_equal(value, KB_E_LEDGER_CHAIN);
	assert_int_equal(ended(), PROCESS_EXIT_CONFIG);
}

static void test_ledger_bad_configuration(void **state)
{
	(void)state;
	write_config(",\"unknown\":1");
	begin(RLIM_INFINITY);
	assert_int_equal(ended(), PROCESS_EXIT_CONFIG);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_ledger_record_is_there_when_the_answer_comes),
		T(test_ledger_preserves_order_and_passes_unrecorded_answers),
		T(test_ledger_waits_only_for_a_busy_worker),
		T(test_d01_ledger_key_without_record_does_not_leave),
		T(test_i15_ledger_believes_no_vault_that_an_answer_needs_no_record),
		T(test_ledger_bad_record_refuses_its_answer_alone),
		T(test_i06_ledger_bad_frames_are_dropped_and_counted),
		T(test_a17_ledger_second_use_is_refused_also_after_kill_9),
		T(test_d09_ledger_that_was_lost_denies_what_it_may_have_held),
		T(test_d14_ledger_birth_is_not_lowered),
		T(test_a17_ledger_first_line_of_a_segment_leads_back),
		T(test_g12_ledger_grace_after_kill_9),
		T(test_g12_ledger_repeat_without_its_first_use),
		T(test_g09_ledger_records_sums_at_its_end),
		T(test_ledger_token_past_its_time_is_refused),
		T(test_ledger_single_use_record_must_name_its_token),
		T(test_d01_ledger_full_disk_refuses_then_recovers),
		T(test_ledger_stops_when_all_have_ended),
		T(test_ledger_serves_two_generations),
		T(test_ledger_useless_control_messages_change_nothing),
		T(test_ledger_gateway_that_does_not_read_delays_no_other),
		T(test_ledger_gateway_that_reads_late_loses_nothing),
		T(test_ledger_rotates_by_size),
		T(test_d07_ledger_locked_by_another),
		T(test_d05_ledger_does_not_start_on_a_broken_chain),
		T(test_d09_ledger_does_not_start_on_an_unreadable_use),
		T(test_ledger_bad_configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
