/* tests/security/test_config_long.c — the long form of tests/e2e/test_reload.c: a hundred reloads
 * while a thousand requests are in flight, and many damaged configurations. */
#include <sys/stat.h>

#include "tests/e2e/reload_load.h"

enum { RELOADS = 100, PROCESSES = 4, LINKS = 250, ROUNDS = 1500 };

static int setup(void **state)
{
	(void)state;
	load_setup();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	load_teardown();
	return 0;
}

static void test_e02_hundred_reloads_with_a_thousand_in_flight(void **state)
{
	(void)state;
	load_run(RELOADS, PROCESSES, LINKS);
	load_policy(true);
	char *out = NULL;
	assert_int_equal(CTL(&in, &out, "reload"), 0);
	free(out);
	GOOD(broker_wait_ready(&in, READY_MS));
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

static char *slurp(const char *path, size_t *len)
{
	char *text = calloc(1, 1 << 20);
	FILE *f = fopen(path, "r");
	*len = f == NULL ? 0 : fread(text, 1, (1 << 20) - 1, f);
	if (f != NULL)
		fclose(f);
	return text;
}

/* Bytes of each file changed, cut, doubled: the check says yes or no, and never anything else. */
static void test_e08_damaged_files(void **state)
{
	(void)state;
	static const char *const files[] = {"keybroker.json", "issuers.d/issuer.json",
					    "keys.d/turn.json", "policies/turn.json"};
	unsigned refused = 0;
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	srand(4);
	for (unsigned i = 0; i < ROUNDS; i++) {
		char path[256], *out = NULL;
		size_t len;
		struct stat st;
		snprintf(path, sizeof path, "%s/%s", in.dir, files[i % 4]);
		assert_int_equal(stat(path, &st), 0);
		char *was = slurp(path, &len), *text = slurp(path, &len);
		for (int k = rand() % 3; k >= 0; k--) {
			size_t at = (size_t)rand() % len, n = 1 + (size_t)rand() % 16;
			n = n > len - at ? len - at : n;
			switch (rand() % 4) {
			case 0:
				text[at] = (char)(text[at] ^ 1 << rand() % 8);
				break;
			case 1:
				text[at] = "{}[]\",:0-\\\0e."[rand() % 13];
				break;
			case 2:
				memmove(text + at, text + at + n, len - at - n);
				len -= n;
				break;
			default:
				memmove(text + at + n, text + at, len - at);
				len += n;
				break;
			}
		}
		GOOD(instance_write(&in, files[i % 4], text, len));
		int code = CTL(&in, &out, "check");
		if ((code != 0 && code != 1) || (code == 1 && strstr(out, ".json:") == NULL))
			GOOD(wrong("check ended with %d: %.500s", code, out));
		refused += code == 1;
		free(out);
		free(text);
		size_t whole = (size_t)st.st_size;
		GOOD(instance_write(&in, files[i % 4], was, whole));
		assert_int_equal(chmod(path, st.st_mode & 07777), 0);
		free(was);
	}
	assert_true(refused > ROUNDS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_e02_hundred_reloads_with_a_thousand_in_flight),
		cmocka_unit_test(test_e08_damaged_files),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
