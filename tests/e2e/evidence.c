/* tests/e2e/evidence.c — three kinds of evidence and the policies that admins write for them.
 * Decides nothing.  Names, types and nesting are those of real tokens: their pitfalls are what is
 * tested (a signing key that says "encrypt" in the nested runtime data, booleans compared with
 * text). */
#include "tests/e2e/evidence.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "tests/e2e/guest.h"

#define ZEROS_64 "0000000000000000000000000000000000000000000000000000000000000000"
#define VM_ID    "A80B7FE7-5B93-4027-9971-6CCEE468C2B3"
/* The vTPM's attestation key of a public sample token: nested, says "encrypt", and must never be
 * wrapped to. */
#define HCL_AK                                                                                     \
	"2I-ayAABWYhQU-D81quVW4i1sH14-Offul2U2LwsgtihxykIzXY_"                                     \
	"5YzQAY4e56GMZSpm5r6telRr5rnFJa8iklzol7ecYZEX1nc1WK51a68E2kZNyomFVSIlDPJCn14NpRoxuipIfhe1" \
	"6zWVYZ8dpYbpelyzHZZpskdBLnUKldffUYliWSXLBpjPb89VV0FYxKPi_"                                \
	"bSGviBXWOiRtcITRcXfpjlfD3DgZqlK4gj11RChqaEYG_"                                            \
	"GAPlxceu5h1pusgLuPEULWzvkKuGw7j8ZrxdYE"                                                   \
	"UNB-uHU0nxuQvYxtksPs3zX6ELcV2GjwJupzYUUAu95OQUGI-soDWKvIXM4epw"

const char *evidence_thumbprint(EVP_PKEY *key, char out[static 44])
{
	char text[2048];
	uint8_t digest[32];
	json_t *jwk = guest_jwk(key, "");
	snprintf(text, sizeof text, "{\"e\":\"%s\",\"kty\":\"RSA\",\"n\":\"%s\"}",
		 json_string_value(json_object_get(jwk, "e")),
		 json_string_value(json_object_get(jwk, "n")));
	json_decref(jwk);
	EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL);
	char *b64 = proof_b64url_text(digest, sizeof digest);
	snprintf(out, 44, "%s", b64 == NULL ? "" : b64);
	free(b64);
	return out;
}

/* The claims every SEV-SNP report gives. */
static json_t *snp(const char *host_data, const char *compliance)
{
	return json_pack("{s:s, s:s, s:i, s:s, s:i, s:s, s:s, s:b, s:s, s:i, s:b, s:s, s:s, s:b, "
			 "s:i, s:i, s:i}",
			 "x-ms-attestation-type", "sevsnpvm", "x-ms-compliance-status", compliance,
			 "x-ms-sevsnpvm-bootloader-svn", 2, "x-ms-sevsnpvm-familyId",
			 "01000000000000000000000000000000", "x-ms-sevsnpvm-guestsvn", 2,
			 "x-ms-sevsnpvm-hostdata", host_data, "x-ms-sevsnpvm-idkeydigest",
			 "57486a447ec0f1958002a22a06b7673b9fd27d11e1c6527498056054c5fa92d23c50f9de4"
			 "4072760fe2b6fb89740b696",
			 "x-ms-sevsnpvm-is-debuggable", 0, "x-ms-sevsnpvm-launchmeasurement",
			 "ad6de16ac59ee52351c6038df58d1be5aeaf41cd0f7c81b2279ecca0df6ef43a2b69d663a"
			 "d6973d6dbb9db0ffd7a9023",
			 "x-ms-sevsnpvm-microcode-svn", 93, "x-ms-sevsnpvm-migration-allowed", 0,
			 "x-ms-sevsnpvm-reportdata", ZEROS_64 ZEROS_64, "x-ms-sevsnpvm-reportid",
			 ZEROS_64, "x-ms-sevsnpvm-smt-allowed", 1, "x-ms-sevsnpvm-snpfw-svn", 6,
			 "x-ms-sevsnpvm-tee-svn", 0, "x-ms-sevsnpvm-vmpl", 0);
}

static json_t *vm_configuration(void)
{
	return json_pack("{s:b, s:i, s:b, s:b, s:s}", "console-enabled", 1, "current-time",
			 1795280000, "secure-boot", 1, "tpm-enabled", 1, "vmUniqueId", VM_ID);
}

json_t *evidence_platform(EVP_PKEY *kek)
{
	json_t *claims = snp(ZEROS_64, "azure-compliant-cvm");
	evidence_set(claims, "x-ms-policy-hash",
		     json_string("wm9mHlvTU82e8UqoOy1Yj1FBRSNkfe99-69IYDq9eWs"));
	evidence_set(claims, "x-ms-runtime",
		     json_pack("{s:[o], s:o}", "keys", guest_jwk(kek, KID_PLATFORM),
			       "vm-configuration", vm_configuration()));
	return json_pack("{s:o}", "claims", claims);
}

json_t *evidence_guest(EVP_PKEY *kek, const char *nonce)
{
	char b64[128] = "";
	json_t *tee = snp(ZEROS_64, "azure-compliant-cvm"), *payload = json_object();
	evidence_set(tee, "x-ms-runtime",
		     json_pack("{s:[{s:s, s:[s], s:s, s:s, s:s}], s:o}", "keys", "e", "AQAB",
			       "key_ops", "encrypt", "kid", "HCLAkPub", "kty", "RSA", "n", HCL_AK,
			       "vm-configuration", vm_configuration()));
	if (nonce != NULL && strlen(nonce) < 64) {
		EVP_EncodeBlock((uint8_t *)b64, (const uint8_t *)nonce, (int)strlen(nonce));
		evidence_set(payload, "nonce", json_string(b64));
	}
	json_t *claims = json_pack(
		"{s:b, s:s, s:s, s:[i,i,i,i,i,i,i,i], s:b, s:b, s:b, s:b, s:s, s:s, s:i, s:i, s:b, "
		"s:s, s:o}",
		"secureboot", 1, "x-ms-attestation-type", "azurevm",
		"x-ms-azurevm-attestation-protocol-ver", "2.0", "x-ms-azurevm-attested-pcrs", 0, 1,
		2, 3, 4, 5, 6, 7, "x-ms-azurevm-bootdebug-enabled", 0, "x-ms-azurevm-dbvalidated",
		1, "x-ms-azurevm-debuggersdisabled", 1, "x-ms-azurevm-kerneldebug-enabled", 0,
		"x-ms-azurevm-osdistro", "Ubuntu", "x-ms-azurevm-ostype", "Linux",
		"x-ms-azurevm-osversion-major", 24, "x-ms-azurevm-osversion-minor", 4,
		"x-ms-azurevm-testsigning-enabled", 0, "x-ms-azurevm-vmid", VM_ID,
		"x-ms-isolation-tee", tee);
	evidence_set(claims, "x-ms-runtime",
		     json_pack("{s:o, s:[o]}", "client-payload", payload, "keys",
			       guest_jwk(kek, KID_GUEST)));
	return json_pack("{s:o}", "claims", claims);
}

json_t *evidence_container(EVP_PKEY *kek, const char *host_data)
{
	char kid[44];
	json_t *claims = snp(host_data, "azure-compliant-uvm");
	evidence_set(claims, "x-ms-runtime",
		     json_pack("{s:[o]}", "keys", guest_jwk(kek, evidence_thumbprint(kek, kid))));
	return json_pack("{s:o}", "claims", claims);
}

void evidence_set(json_t *attest, const char *claim, json_t *value)
{
	json_t *claims = json_object_get(attest, "claims");
	json_object_set_new(claims == NULL ? attest : claims, claim, value);
}

static char *dump(json_t *policy)
{
	char *text = json_dumps(policy, JSON_INDENT(2));
	json_decref(policy);
	return text;
}

char *policy_platform(const char *authority)
{
	return dump(json_pack("{s:s, s:[{s:s, s:[{s:s,s:s}, {s:[{s:s,s:s},{s:s,s:s}]}]}]}",
			      "version", "1.0.0", "anyOf", "authority", authority, "allOf", "claim",
			      "x-ms-compliance-status", "equals", "azure-compliant-cvm", "anyOf",
			      "claim", "x-ms-attestation-type", "equals", "tdxvm", "claim",
			      "x-ms-attestation-type", "equals", "sevsnpvm"));
}

char *policy_guest(const char *authority)
{
	return dump(json_pack("{s:s, s:[{s:s, s:[{s:s,s:s}, {s:s,s:s}, {s:s,s:b}]}]}", "version",
			      "1.0.0", "anyOf", "authority", authority, "allOf", "claim",
			      "x-ms-isolation-tee.x-ms-compliance-status", "equals",
			      "azure-compliant-cvm", "claim",
			      "x-ms-isolation-tee.x-ms-attestation-type", "equals", "sevsnpvm",
			      "claim", "secureboot", "equals", 1));
}

char *policy_container(const char *authority)
{
	return dump(json_pack("{s:s, s:[{s:s, s:[{s:s,s:s}, {s:s,s:s}, {s:s,s:s}, {s:s,s:s}]}]}",
			      "version", "1.0.0", "anyOf", "authority", authority, "allOf", "claim",
			      "x-ms-sevsnpvm-hostdata", "equals", HOST_DATA, "claim",
			      "x-ms-compliance-status", "equals", "azure-compliant-uvm", "claim",
			      "x-ms-sevsnpvm-is-debuggable", "equals", "false", "claim",
			      "x-ms-sevsnpvm-vmpl", "equals", "0"));
}
