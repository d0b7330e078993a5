/* tests/e2e/tsm.h — a directory in place of the kernel's configfs-tsm, with a process behind it
 * that answers as the security processor would. */
#ifndef KB_TESTS_TSM_H
#define KB_TESTS_TSM_H
#include <fcntl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/files.h"
#include "tests/unit/certs_table.h"

enum { TSM_REPORT = 1184, TSM_DATA = 64 };

static inline const char *tsm_path(const char *dir, const char *name)
{
	static char path[160];

	snprintf(path, sizeof path, "%s/keybroker-guest%s%s", dir, name[0] == '\0' ? "" : "/",
		 name);
	return path;
}

/* `provider` with its newline; `certificate` as the host's VCEK and ARK, NULL: the host gives
 * none. */
static inline void tsm_make(const char *dir, const char *provider, X509 *certificate)
{
	static const char *const left[] = {"inblob", "outblob", "auxblob"};
	uint8_t table[8192] = {0}, *der = NULL;

	mkdir(dir, 0700);
	mkdir(tsm_path(dir, ""), 0700);
	for (unsigned i = 0; i < 3; i++)
		unlink(tsm_path(dir, left[i]));
	assert_int_equal(mkfifo(tsm_path(dir, "inblob"), 0600), 0);
	assert_int_equal(mkfifo(tsm_path(dir, "outblob"), 0600), 0);
	file_write(tsm_path(dir, "generation"), "1\n", 2, 0600);
	file_write(tsm_path(dir, "provider"), provider, strlen(provider), 0600);
	if (certificate == NULL)
		return;
	int len = i2d_X509(certificate, &der);
	assert_true(len > 0 && len < 4096);
	certs_entry(table, certs_ark, false, 4096, (size_t)len);
	certs_entry(table + CERTS_ENTRY, certs_vcek, true, 4096, (size_t)len);
	memcpy(table + 4096, der, (size_t)len);
	file_write(tsm_path(dir, "auxblob"), table, sizeof table, 0600);
	OPENSSL_free(der);
}

/* The kernel's side of one request; `lies`: the report is over other data. */
static inline pid_t tsm_play(const char *dir, bool lies)
{
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	uint8_t report[TSM_REPORT] = {2}, data[2 * TSM_DATA];
	int fd = open(tsm_path(dir, "inblob"), O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	for (ssize_t got; (got = read(fd, data + n, sizeof data - n)) > 0;)
		n += (size_t)got;
	close(fd);
	if (n != TSM_DATA)
		_exit(2);
	memcpy(report + 0x50, data, TSM_DATA);
	report[0x50] ^= lies;
	memset(report + 0x90, 0xab, 48);
	fd = open(tsm_path(dir, "outblob"), O_WRONLY | O_CLOEXEC);
	_exit(write(fd, report, sizeof report) == sizeof report ? 0 : 3);
}

static inline void tsm_end(pid_t pid)
{
	kill(pid, SIGKILL); /* it may still wait for a question that never came */
	waitpid(pid, NULL, 0);
}

#endif
