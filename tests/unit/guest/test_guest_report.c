/* tests/unit/guest/test_guest_report.c — /dev/sev-guest, replaced at the system call: what
 * SNP_GET_EXT_REPORT may answer (Documentation/virt/coco/sev-guest). No test machine has the
 * device. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sev-guest.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "guest/report.h"
#include "tests/unit/certs_table.h"
#include "tests/unit/tls_mint.h"

/* ---- the device ---- */

static struct {
	bool is_absent;
	uint32_t wants_room;   /* for certificates: a smaller request fails and reports it */
	uint32_t vmm_error;    /* any other failure */
	uint32_t status, size; /* of the firmware's message; 0: that of a good one */
	bool is_over_other_data;
	bool has_table, is_table_broken;
	unsigned asked;
} device;

static uint8_t *der;
static int der_len;

int open(const char *path, int flags, ...)
{
	if (strcmp(path, REPORT_DEVICE) == 0) {
		errno = ENOENT;
		return device.is_absent ? -1 : memfd_create("device", MFD_CLOEXEC);
	}
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}

int access(const char *path, int mode)
{
	return strcmp(path, REPORT_TSM_DIR) == 0 ? -1 : faccessat(AT_FDCWD, path, mode, 0);
}

static void put_le32(uint8_t *at, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

static int answer(struct snp_guest_request_ioctl *call)
{
	struct snp_ext_report_req *request = (struct snp_ext_report_req *)(uintptr_t)call->req_data;
	struct snp_report_resp *response = (struct snp_report_resp *)(uintptr_t)call->resp_data;
	uint8_t *table = (uint8_t *)(uintptr_t)request->certs_address,
		*report = response->data + 32;

	device.asked++;
	assert_int_equal(call->msg_version, 1);
	assert_int_equal(request->certs_address % 4096, 0);
	assert_int_equal(request->certs_len % 4096, 0);
	call->vmm_error = device.vmm_error;
	errno = EIO;
	if (device.vmm_error != 0)
		return -1;
	if (device.wants_room > request->certs_len) {
		request->certs_len = device.wants_room;
		call->vmm_error = SNP_GUEST_VMM_ERR_INVALID_LEN;
		errno = ENOSPC;
		return -1;
	}
	put_le32(response->data, device.status);
	put_le32(response->data + 4, device.size != 0 ? device.size : REPORT_BYTES);
	memset(report, 0, REPORT_BYTES);
	report[0] = 2;
	memcpy(report + 0x50, request->data.user_data, REPORT_DATA);
	report[0x50] = (uint8_t)(report[0x50] ^ device.is_over_other_data);
	if (device.has_table) {
		certs_entry(table, certs_vcek, false, 200,
			    device.is_table_broken ? 5 : (size_t)der_len);
		memcpy(table + 200, der, (size_t)der_len);
	}
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;

	va_start(ap, request);
	void *argument = va_arg(ap, void *);
	va_end(ap);
	if (request == SNP_GET_EXT_REPORT)
		return answer(argument);
	return ((int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl"))(fd, request,
										argument);
}

/* ---- what is made of it ---- */

static int setup(void **state)
{
	struct tls_pair *vcek = tls_mint("VCEK", NULL, NULL, 60);

	(void)state;
	der_len = i2d_X509(vcek->cert, &der);
	tls_mint_free(vcek);
	return der_len > 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	OPENSSL_free(der);
	return 0;
}

static int quiet(void **state)
{
	(void)state;
	memset(&device, 0, sizeof device);
	return 0;
}

/* Ask; the certificates are left in `chain` when it is not NULL. */
static enum kb_err ask(size_t *chain)
{
	struct report r = {0};
	uint8_t data[REPORT_DATA];
	const char *why = NULL;

	memset(data, 'd', sizeof data);
	enum kb_err err = report_get(NULL, data, &r, &why);
	if (err == KB_OK)
		assert_memory_equal(r.bytes + 0x50, data, sizeof data);
	else
		assert_non_null(why);
	if (chain != NULL)
		*chain = r.chain.len;
	report_cleanup(&r);
	return err;
}

static void test_device_absent(void **state)
{
	(void)state;
	device.is_absent = true;
	assert_int_equal(ask(NULL), KB_E_FILE);
}

static void test_device_report(void **state)
{
	size_t chain = 1;

	(void)state;
	assert_int_equal(ask(&chain),
			 KB_OK); /* a host without certificates leaves the table empty */
	assert_int_equal(chain, 0);
	device.has_table = true;
	assert_int_equal(ask(&chain), KB_OK);
	assert_true(chain > 0);
}

/* A host that needs a larger buffer reports it: ask once more, not without end, and not beyond the
 * limit. */
static void test_device_wants_room(void **state)
{
	size_t chain = 0;

	(void)state;
	device.has_table = true;
	device.wants_room = 8 * 4096;
	assert_int_equal(ask(&chain), KB_OK);
	assert_int_equal(device.asked, 2);
	assert_true(chain > 0);
	device.wants_room = KB_GUEST_CERTIFICATES + 4096;
	device.asked = 0;
	assert_int_equal(ask(NULL), KB_E_SYS);
	assert_int_equal(device.asked, 1);
}

static void test_device_fails(void **state)
{
	(void)state;
	device.vmm_error = 2; /* SNP_GUEST_VMM_ERR_BUSY, as later kernels call it */
	assert_int_equal(ask(NULL), KB_E_SYS);
	assert_int_equal(device.asked, 1);
	device.vmm_error = 0;
	device.status = 0x16; /* INVALID_PARAM of MSG_REPORT_RSP */
	assert_int_equal(ask(NULL), KB_E_SYS);
	device.status = 0;
	device.size = REPORT_BYTES - 1;
	assert_int_equal(ask(NULL), KB_E_SYS);
}

static void test_device_tells_something_else(void **state)
{
	(void)state;
	device.is_over_other_data = true;
	assert_int_equal(ask(NULL), KB_E_FETCH_CONTENT);
	device.is_over_other_data = false;
	device.has_table = device.is_table_broken = true;
	assert_int_equal(ask(NULL), KB_E_FETCH_CONTENT);
}

/* ---- the directory, where it is ---- */

static unsigned generation,
	others; /* others: so many other processes use the same entry meanwhile */

/* "generation" counts what is written to "inblob", by whomever. */
static int generation_now(void)
{
	int fd = memfd_create("generation", MFD_CLOEXEC);

	dprintf(fd, "%u\n", generation);
	(void)lseek(fd, 0, SEEK_SET);
	if (others > 0) {
		others--;
		generation++;
	}
	return fd;
}

int openat(int at, const char *path, int flags, ...)
{
	return strcmp(path, "generation") == 0 ? generation_now()
					       : (int)syscall(SYS_openat, at, path, flags, 0600);
}

static void put_file(const char *directory, const char *name, const void *bytes, size_t len)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, directory, O_RDONLY | O_DIRECTORY, 0),
	    file = openat(fd, name, O_WRONLY | O_CREAT | O_TRUNC);

	assert_int_equal(write(file, bytes, len), (ssize_t)len);
	close(file);
	close(fd);
}

static void test_directory(void **state)
{
	static const char *const names[] = {"inblob", "provider", "outblob"};
	char dir[] = "/tmp/keybroker-tsm-XXXXXX", entry[64], command[96];
	static char deep[5000];
	uint8_t data[REPORT_DATA], report[REPORT_BYTES] = {2};
	struct report r = {0};
	const char *why;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(entry, sizeof entry, "%s/keybroker-guest", dir);
	assert_int_equal(mkdir(entry, 0700), 0);
	memset(data, 'd', sizeof data);
	memcpy(report + 0x50, data, sizeof data);
	put_file(entry, names[0], "", 0);
	put_file(entry, names[1], "sev_guest\n", 10);
	put_file(entry, names[2], report, sizeof report);
	assert_int_equal(report_get(dir, data, &r, &why), KB_OK);
	report_cleanup(&r);
	others = 2; /* one of them between our two looks */
	assert_int_equal(report_get(dir, data, &r, &why), KB_OK);
	report_cleanup(&r);
	others = 100;
	assert_int_equal(report_get(dir, data, &r, &why), KB_E_SYS);
	assert_non_null(strstr(why, "another process"));
	report_cleanup(&r);
	others = 0;
	put_file(entry, names[2], report, sizeof report - 1);
	assert_int_equal(report_get(dir, data, &r, &why), KB_E_FETCH_CONTENT);
	report_cleanup(&r);
	memset(deep, 'x', sizeof deep - 1);
	assert_int_equal(report_get(deep, data, &r, &why), KB_E_FILE);
	report_cleanup(&r);
	snprintf(command, sizeof command, "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_device_absent, quiet),
		cmocka_unit_test_setup(test_device_report, quiet),
		cmocka_unit_test_setup(test_device_wants_room, quiet),
		cmocka_unit_test_setup(test_device_fails, quiet),
		cmocka_unit_test_setup(test_device_tells_something_else, quiet),
		cmocka_unit_test(test_directory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
