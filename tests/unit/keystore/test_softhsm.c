/* tests/unit/keystore/test_softhsm.c — the token directory by SoftHSM's configuration file. */
#include "keystore/softhsm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char conf[64];

static void write_conf(const char *text)
{
	FILE *f = fopen(conf, "we");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(conf, sizeof conf, "/tmp/softhsm-%d.conf", (int)getpid());
	unsetenv("SOFTHSM2_CONF");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(conf);
	return 0;
}

static void test_softhsm_token_dir(void **state)
{
	char dir[SOFTHSM_TOKEN_DIR];

	(void)state;
	assert_false(softhsm_token_dir(conf, dir)); /* no such file */
	write_conf("objectstore.backend = file\n");
	assert_false(softhsm_token_dir(conf, dir));
	write_conf("log.level = ERROR\n  directories.tokendir = /var/tokens\n");
	assert_true(softhsm_token_dir(conf, dir));
	assert_string_equal(dir, "/var/tokens");
}

static void test_softhsm_token_dir_is_bounded(void **state)
{
	char dir[SOFTHSM_TOKEN_DIR], text[600] = "directories.tokendir = ";

	(void)state;
	memset(text + 23, 'd', 400);
	write_conf(text);
	assert_false(softhsm_token_dir(conf, dir)); /* cut, it would be another directory */
	text[23 + SOFTHSM_TOKEN_DIR] = '\n';
	write_conf(text);
	assert_false(softhsm_token_dir(conf, dir));
	text[23 + SOFTHSM_TOKEN_DIR - 1] = '\n';
	write_conf(text);
	assert_true(softhsm_token_dir(conf, dir));
	assert_int_equal(strlen(dir), SOFTHSM_TOKEN_DIR - 1);
}

static void test_softhsm_own_token_dir(void **state)
{
	char dir[SOFTHSM_TOKEN_DIR];

	(void)state;
	assert_false(softhsm_own_token_dir("/usr/lib/other.so", dir));
	write_conf("directories.tokendir = /var/tokens\n");
	assert_int_equal(setenv("SOFTHSM2_CONF", conf, 1), 0);
	assert_true(softhsm_own_token_dir("/usr/lib/softhsm/libsofthsm2.so", dir));
	assert_string_equal(dir, "/var/tokens");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_softhsm_token_dir),
		T(test_softhsm_token_dir_is_bounded),
		T(test_softhsm_own_token_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
