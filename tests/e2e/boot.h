/* tests/e2e/boot.h — a confidential VM that boots with real parts: keybroker-guest, swtpm as its
 * vTPM, a LUKS2 image as its disk. Shares no line with the product.  Functions return NULL, or what
 * went wrong; a boot that ends early is no fault of theirs. */
#ifndef KB_TESTS_BOOT_H
#define KB_TESTS_BOOT_H
#include "tests/e2e/harness.h"
#include "tests/e2e/vtpm.h"

#define BOOT_VTPM_KEY "vtpm-state"
#define BOOT_DISK_KEY "disk"
/* as an issuance rule of the attestation service may name it: SHA-256 over PCRs 0 … 7 */
#define BOOT_PCR_CLAIM "pcr-digest"

struct machine {
	struct instance *in;
	struct vtpm vtpm; /* runs from the first key of a boot until machine_off() */
	char dir[96];     /* what remains after a boot: the vTPM's state and the disk */
	EVP_PKEY *other;  /* an attacker's key, not the machine's */
};

/* Before the broker starts: the two keys, generated in the HSM, their policies for this one
 * machine, and tokens that can be used once. */
const char *machine_make(struct machine *m, struct instance *in);
void machine_off(struct machine *m);
void machine_free(struct machine *m);

/* What may be other than it should be; NULL and false: nothing. */
struct circumstances {
	const char *vm_id, *loader; /* the boot loader that firmware measures */
	bool is_debugged;
};
enum boot_stage { BOOT_NO_VTPM_KEY, BOOT_NO_DISK_KEY, BOOT_DONE };
struct boot {
	enum boot_stage stage; /* where it ended */
	int exit_status;       /* of the last keybroker-guest */
	char said[4096];       /* by it */
	char ak[69];           /* name of the vTPM's attestation key */
	bool is_new_ak, is_new_disk;
};
/* Boot to the end or to the first failure.  Calls machine_off() first. */
const char *machine_boot(struct machine *m, const struct circumstances *c, struct boot *out);

/* Does the vTPM start on its state with these 32 bytes, or with no key at all (NULL)? */
bool machine_state_opens(struct machine *m, const uint8_t *key);

/* The last token that the machine got, malloc'd; and that token with the attacker's key in place of
 * the machine's. */
char *machine_token(struct machine *m);
char *machine_token_forged(struct machine *m);
/* A stolen token or evidence, used by another client: the status that it gets in the end. */
const char *machine_rob(struct machine *m, const char *token, int *status);

/* The ledger's last record of a key, by `keybrokerctl ledger show`: its code, and the claim that
 * failed ("" when none is named). */
struct verdict {
	char code[64], claim[128];
};
const char *boot_verdict(struct instance *in, const char *key, struct verdict *out);

#endif
