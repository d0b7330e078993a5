/* broker/guest/attest.h — POST /attest/SevSnpVm of an attestation service, as Azure Attestation has
 * it: body out, token back. Pure. */
#ifndef KB_GUEST_ATTEST_H
#define KB_GUEST_ATTEST_H
#include "base/bytes.h"

#define ATTEST_TARGET "/attest/SevSnpVm?api-version=2022-08-01"

/* The report data of the hardware report: SHA-256 of the runtime data, then zeros. */
void attest_report_data(struct span runtime_data, uint8_t out[static 64]);
KB_MUST_CHECK enum kb_err attest_body(struct span report, struct span chain_pem,
				      struct span runtime_data, struct span nonce, struct buf *out);
/* {"token":"…"}; the token is appended.  KB_E_FETCH_CONTENT. */
KB_MUST_CHECK enum kb_err attest_token(struct span reply_body, struct buf *token);

#endif
