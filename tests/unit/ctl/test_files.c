/* tests/unit/ctl/test_files.c — a file that a command removes is gone when it says so: HSM objects
 * are destroyed only after that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include <stdio.h>

#include "tests/unit/short_system.h"
/* after short_system.h, whose parameters its variables would shadow */
#include "base/file.h"
#include "ctl/files.h"

static void test_d19_removal_is_durable_or_an_error(void **state)
{
	char dir[] = "/tmp/keybroker-files-XXXXXX", path[64];
	bool is_past = false;
	unsigned failed = 0;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/key.json", dir);
	for (unsigned n = 1; !is_past; n++) {
		int fd = open(path, O_WRONLY | O_CREAT, 0600);
		assert_true(fd >= 0);
		close(fd);
		calls_fail(n);
		enum kb_err err = ctl_remove(path);
		is_past = !calls_end();
		assert_int_equal(err, is_past ? KB_OK : KB_E_FILE);
		failed += err != KB_OK;
	}
	assert_int_equal(access(path, F_OK), -1);
	assert_true(failed >= 2); /* the directory's open and its sync */
	assert_int_equal(ctl_remove(path), KB_E_FILE);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_d19_removal_is_durable_or_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
