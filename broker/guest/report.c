/* broker/guest/report.c — gets an SEV-SNP report from the kernel: by configfs-tsm, else by the
 * ioctl of /dev/sev-guest. Trusts the kernel; the attestation service verifies the report. */
#include "guest/report.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sev-guest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"

enum { OFFSET_DATA = 0x50, ENTRY_BYTES = 24, PAGE = 4096, ATTEMPTS = 3 };

static enum kb_err check(const struct report *r, const uint8_t data[static REPORT_DATA],
			 const char **why)
{
	/* Version 2 or later, little-endian, and over our report data. The service would refuse a
	 * stale report, but later and with less detail. */
	if (r->bytes[0] >= 2 && (r->bytes[1] | r->bytes[2] | r->bytes[3]) == 0 &&
	    memcmp(r->bytes + OFFSET_DATA, data, REPORT_DATA) == 0)
		return KB_OK;
	*why = "the report is not one over our data";
	return KB_E_FETCH_CONTENT;
}

/* ---- the certificate table ---- */

/* Of the table's text form; hosts write the first three fields in either byte order. */
static const struct {
	uint8_t big[16];
} guids[] = {
	{{0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac,
	  0xcd}}, /* VCEK */
	{{0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8,
	  0xa1}}, /* VLEK */
	{{0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7,
	  0x82}}, /* ASK */
	{{0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0,
	  0xae}}, /* ARK */
};

static bool guid_is(const uint8_t got[16], const uint8_t big[16])
{
	const uint8_t little[8] = {big[3], big[2], big[1], big[0], big[5], big[4], big[7], big[6]};

	return memcmp(got + 8, big + 8, 8) == 0 &&
	       (memcmp(got, big, 8) == 0 || memcmp(got, little, 8) == 0);
}

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Convert DER to PEM; parse PEM and write it anew, so that nothing but certificates is in the
 * chain. */
static bool add_certificate(struct span bytes, struct buf *pem)
{
	const uint8_t *p = bytes.p;
	char *text;
	bool ok = false;
	BIO *in = BIO_new_mem_buf(bytes.p, (int)bytes.len), *out = BIO_new(BIO_s_mem());
	X509 *x = d2i_X509(NULL, &p, (long)bytes.len);

	if (x == NULL && in != NULL)
		x = PEM_read_bio_X509(in, NULL, NULL, NULL);
	if (x != NULL && out != NULL && PEM_write_bio_X509(out, x) == 1) {
		long len = BIO_get_mem_data(out, &text);
		buf_add(pem, text, (size_t)len);
		ok = true;
	}
	X509_free(x);
	BIO_free(in);
	BIO_free(out);
	return ok;
}

enum kb_err report_chain(struct span table, struct buf *pem)
{
	static const uint8_t end[16] = {0};

	for (size_t g = 0; g < sizeof guids / sizeof guids[0]; g++)
		for (size_t at = 0;; at += ENTRY_BYTES) {
			struct span entry = span_sub(table, at, ENTRY_BYTES);
			if (entry.len < ENTRY_BYTES)
				return KB_E_FETCH_CONTENT;
			if (memcmp(entry.p, end, sizeof end) == 0)
				break;
			if (!guid_is(entry.p, guids[g].big))
				continue;
			size_t from = le32(entry.p + 16), len = le32(entry.p + 20);
			if (from > table.len || len > table.len - from ||
			    !add_certificate(span_of(table.p + from, len), pem))
				return KB_E_FETCH_CONTENT;
		}
	return buf_ok(pem);
}

/* ---- configfs-tsm (Documentation/ABI/testing/configfs-tsm) ---- */

static enum kb_err attribute_read(int dir, const char *name, struct buf *out)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return KB_E_FILE;
	buf_reset(out);
	enum kb_err err = file_read_all(fd, out);
	close(fd);
	return err == KB_E_FILE ? KB_E_SYS : buf_ok(out);
}

static enum kb_err attribute_write(int dir, const char *name, struct span bytes)
{
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return KB_E_FILE;
	ssize_t n = write(fd, bytes.p, bytes.len); /* a binary attribute takes effect at close() */
	bool is_closed = close(fd) == 0;
	return n == (ssize_t)bytes.len && is_closed ? KB_OK : KB_E_SYS;
}

/* One request. *is_stale: another process used the entry meanwhile, ask again. */
static enum kb_err tsm_ask(int dir, const uint8_t data[static REPORT_DATA], struct report *out,
			   bool *is_stale, const char **why)
{
	KB_AUTO(buf) struct buf before, after, blob;
	enum kb_err err;

	buf_init(&before, 64);
	buf_init(&after, 64);
	buf_init(&blob, KB_GUEST_CERTIFICATES);
	*why = "inblob could not be written";
	if ((err = attribute_write(dir, "inblob", span_of(data, REPORT_DATA))) != KB_OK)
		return err;
	*why = "provider could not be read";
	if ((err = attribute_read(dir, "generation", &before)) != KB_OK ||
	    (err = attribute_read(dir, "provider", &blob)) != KB_OK)
		return err;
	if (!span_eq_cstr(buf_span(&blob), "sev_guest\n") &&
	    !span_eq_cstr(buf_span(&blob), "sev_guest")) {
		*why = "the provider is not sev_guest: this VM is no SEV-SNP guest";
		return KB_E_TOKEN_TYPE;
	}
	*why = "outblob could not be read: the firmware gave no report";
	if ((err = attribute_read(dir, "outblob", &blob)) != KB_OK)
		return err;
	if (blob.len != REPORT_BYTES) {
		*why = "outblob is not 1184 bytes";
		return KB_E_FETCH_CONTENT;
	}
	memcpy(out->bytes, blob.p, REPORT_BYTES);
	/* A host that gives no certificates leaves auxblob out, or empty. */
	*why = "auxblob is no certificate table";
	if (attribute_read(dir, "auxblob", &blob) == KB_OK && blob.len > 0 &&
	    (err = report_chain(buf_span(&blob), &out->chain)) != KB_OK)
		return err;
	*why = "generation could not be read";
	if ((err = attribute_read(dir, "generation", &after)) != KB_OK)
		return err;
	*is_stale = !span_eq(buf_span(&before), buf_span(&after));
	*why = "another process used the same entry all the time";
	return *is_stale ? KB_E_SYS : check(out, data, why);
}

static enum kb_err from_tsm(const char *base, const uint8_t data[static REPORT_DATA],
			    struct report *out, const char **why)
{
	char path[4096];
	bool is_stale = true;
	enum kb_err err = KB_E_FILE;

	*why = "an entry could not be made";
	int n = snprintf(path, sizeof path, "%s/keybroker-guest", base);
	if (n < 0 || (size_t)n >= sizeof path)
		return KB_E_FILE;
	/* An entry that an earlier run left behind can be used: its generation shows when it is
	 * shared. */
	bool is_ours = mkdir(path, 0700) == 0;
	int dir = is_ours || errno == EEXIST ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	for (unsigned i = 0; dir >= 0 && is_stale && i < ATTEMPTS; i++) {
		buf_reset(&out->chain);
		is_stale = false;
		err = tsm_ask(dir, data, out, &is_stale, why);
	}
	if (dir >= 0)
		close(dir);
	if (is_ours)
		rmdir(path);
	return err;
}

/* ---- /dev/sev-guest (Documentation/virt/coco/sev-guest) ---- */

static enum kb_err from_device(const uint8_t data[static REPORT_DATA], struct report *out,
			       const char **why)
{
	struct snp_ext_report_req request = {.certs_len = 4 * PAGE};
	struct snp_report_resp response = {0};
	enum kb_err err = KB_E_SYS;
	uint8_t *table = NULL;
	int fd = open(REPORT_DEVICE, O_RDWR | O_CLOEXEC), failed = -1;

	*why = REPORT_DEVICE " could not be opened";
	if (fd < 0)
		return KB_E_FILE;
	*why = "the firmware gave no report";
	memcpy(request.data.user_data, data, REPORT_DATA);
	/* Once more when the host reports that its certificates need a larger buffer. */
	for (unsigned i = 0; failed != 0 && i < 2 && request.certs_len <= KB_GUEST_CERTIFICATES;
	     i++) {
		free(table);
		if ((table = aligned_alloc(PAGE, request.certs_len)) == NULL)
			goto out;
		memset(table, 0, request.certs_len);
		request.certs_address = (uintptr_t)table;
		struct snp_guest_request_ioctl call = {.msg_version = 1,
						       .req_data = (uintptr_t)&request,
						       .resp_data = (uintptr_t)&response};
		failed = ioctl(fd, SNP_GET_EXT_REPORT, &call);
		if (failed != 0 && call.vmm_error != SNP_GUEST_VMM_ERR_INVALID_LEN)
			goto out;
	}
	/* MSG_REPORT_RSP: status, size, 24 reserved bytes, the report. */
	if (failed != 0 || le32(response.data) != 0 || le32(response.data + 4) != REPORT_BYTES)
		goto out;
	memcpy(out->bytes, response.data + 32, REPORT_BYTES);
	*why = "the certificates are no certificate table";
	if (le32(table) != 0 &&
	    (err = report_chain(span_of(table, request.certs_len), &out->chain)) != KB_OK)
		goto out;
	err = check(out, data, why);
out:
	free(table);
	close(fd);
	return err;
}

enum kb_err report_get(const char *tsm_dir, const uint8_t data[static REPORT_DATA],
		       struct report *out, const char **why)
{
	buf_init(&out->chain, KB_GUEST_CERTIFICATES);
	if (tsm_dir != NULL)
		return from_tsm(tsm_dir, data, out, why);
	if (access(REPORT_TSM_DIR, F_OK) == 0)
		return from_tsm(REPORT_TSM_DIR, data, out, why);
	return from_device(data, out, why);
}
