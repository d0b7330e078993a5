/* tests/e2e/evidence.h — claims as Azure Attestation makes them of real evidence, round a guest's
 * key.  Shapes: tests/vectors/maa. */
#ifndef KB_TESTS_EVIDENCE_H
#define KB_TESTS_EVIDENCE_H
#include <jansson.h>
#include <openssl/types.h>

/* Each returns the body of the issuer's POST /attest, {"claims":{…}}, or NULL on no memory. */
json_t *evidence_platform(
	EVP_PKEY *kek); /* a confidential VM's firmware: sevsnpvm, key HCLTransferKey */
/* attested from inside: azurevm, key TpmEphemeralEncryptionKey; SNP claims nested */
json_t *evidence_guest(EVP_PKEY *kek, const char *nonce);
json_t *evidence_container(
	EVP_PKEY *kek,
	const char *host_data); /* a container group: sevsnpvm, key's kid its thumbprint */
void evidence_set(json_t *attest, const char *claim,
		  json_t *value); /* a top-level claim; takes the value */
/* RFC 7638 thumbprint of an RSA key, base64url. */
const char *evidence_thumbprint(EVP_PKEY *key, char out[static 44]);

#define KID_PLATFORM "HCLTransferKey"
#define KID_GUEST    "TpmEphemeralEncryptionKey"
#define HOST_DATA    "73973b78d70cc68353426de188db5dfc57e5b766e399935fb73a61127ea26d20"

/* Release policies for them; `authority` is the issuer.  malloc'd text. */
char *policy_platform(const char *authority);
char *policy_guest(const char *authority);
char *policy_container(const char *authority);

#endif
