/* broker/guest/report.h — the hardware's report and its certificates, from the kernel. */
#ifndef KB_GUEST_REPORT_H
#define KB_GUEST_REPORT_H
#include "base/bytes.h"

#define REPORT_DATA  64   /* bytes of report data, from the caller */
#define REPORT_BYTES 1184 /* of an SEV-SNP report (SEV-SNP ABI §7.3) */

#define REPORT_TSM_DIR "/sys/kernel/config/tsm/report"
#define REPORT_DEVICE  "/dev/sev-guest"

struct report {
	uint8_t bytes[REPORT_BYTES];
	struct buf chain; /* PEM, VCEK first; empty when the host gave none */
};
static inline void report_cleanup(struct report *r)
{
	buf_free(&r->chain);
}

/* `tsm_dir` NULL: the kernel's directory, else its device.  *why: what failed, for the console.
 * KB_E_FILE: no interface; KB_E_SYS: it failed; KB_E_TOKEN_TYPE: not SEV-SNP; KB_E_FETCH_CONTENT:
 * not a report over `data`. */
KB_MUST_CHECK enum kb_err report_get(const char *tsm_dir, const uint8_t data[static REPORT_DATA],
				     struct report *out, const char **why);

/* The GHCB's certificate table (AMD 56421, "SNP Extended Guest Request") as a PEM chain: VCEK or
 * VLEK, ASK, ARK.  KB_E_FETCH_CONTENT. */
KB_MUST_CHECK enum kb_err report_chain(struct span table, struct buf *pem);

#endif
