/* tests/e2e/issuer_snp.h — SEV-SNP evidence as the test issuer judges it. */
#ifndef KB_TESTS_ISSUER_SNP_H
#define KB_TESTS_ISSUER_SNP_H
#include <jansson.h>

/* From the body of POST /attest/SevSnpVm to that of POST /attest ({"claims":{…}}); NULL with *why
 * set. */
json_t *issuer_snp_claims(const json_t *evidence, const char **why);

#endif
