/* tests/e2e/vtpm.h — a TPM that is real but for its chip: swtpm on a Unix socket, and what firmware
 * and an attestation service do with it. Shares no line with the product.  Functions return NULL,
 * or what went wrong. */
#ifndef KB_TESTS_VTPM_H
#define KB_TESTS_VTPM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vtpm {
	pid_t pid;       /* 0: not running */
	char socket[96]; /* and socket.ctrl */
	char tcti[112];  /* for tpm2-tss */
};

#define VTPM_AK 0x81000003u /* where Azure's confidential VMs have their attestation key */

/* Start on the state in `dir`, made when there is none, and wait until it answers.  `key_fd` (−1:
 * no encryption) brings the state's 32-byte key, nothing after it; it stays the caller's.  The PCRs
 * are as after power-on. */
const char *vtpm_start(struct vtpm *v, const char *dir, int key_fd);
void vtpm_stop(struct vtpm *v); /* not running is fine */

const char *vtpm_extend(const struct vtpm *v, unsigned pcr,
			const char *event); /* SHA-256 of the event into the SHA-256 bank */
/* SHA-256 over PCRs 0 … 7, as a quote of them says it; hexadecimal. */
const char *vtpm_pcr_digest(const struct vtpm *v, char hex[static 65]);
/* Make the attestation key at VTPM_AK if there is none; its name in hexadecimal, and whether it was
 * made. */
const char *vtpm_ak(const struct vtpm *v, char name_hex[static 69], bool *is_new);
/* How many transient objects and sessions are in it: 0 when all were flushed. */
const char *vtpm_loaded(const struct vtpm *v, unsigned *n);
/* Keep the SHA-1 bank alone from the next start on. */
const char *vtpm_drop_sha256(const struct vtpm *v);
/* Is this a TPM2_Certify by the AK, over these bytes, of the decryption key with this modulus,
 * bound to PCRs 0 … 7 of this digest (NULL: to none)? */
struct certificate {
	const uint8_t *attest, *signature; /* TPMS_ATTEST and TPMT_SIGNATURE */
	size_t attest_len, signature_len;
};
const char *vtpm_certified(const struct vtpm *v, const struct certificate *c,
			   const uint8_t modulus[static 256], const char *pcr_digest_hex,
			   const void *over, size_t over_len);

#endif
