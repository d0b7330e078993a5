/* tests/e2e/issuer_snp.c — reads an SEV-SNP report (SEV-SNP ABI §7.3, table 22) and makes the
 * claims of it that Azure Attestation makes. Decides one thing: whether the report was made over
 * the runtime data.  The report's own signature is not looked at: tests have no hardware. */
#include "issuer_snp.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/b64url.h"
#include "base/hex.h"

enum {
	REPORT_BYTES = 1184,
	AT_POLICY = 0x08,
	AT_VMPL = 0x30,
	AT_DATA = 0x50,
	AT_MEASUREMENT = 0x90,
	AT_HOST_DATA = 0xc0,
	DEBUG_BYTE = 2,
	DEBUG_BIT = 8
};

/* A base64url member, padded or not. */
static bool member(const json_t *obj, const char *name, struct buf *out)
{
	const char *text = json_string_value(json_object_get(obj, name));

	buf_init(out, 1024 * 1024);
	return text != NULL && b64_decode_any(span_str(text), out) == KB_OK;
}

static json_t *hex(const uint8_t *p, size_t len)
{
	KB_AUTO(buf) struct buf b;

	buf_init(&b, 1024);
	hex_encode(&b, span_of(p, len));
	return json_stringn((const char *)b.p, b.len);
}

static json_t *claims_of(const uint8_t *r, json_t *runtime, const json_t *nonce)
{
	json_t *claims = json_pack(
		"{s:s, s:s, s:o, s:b, s:o, s:o, s:i, s:o}", "x-ms-attestation-type", "sevsnpvm",
		"x-ms-compliance-status", "azure-compliant-cvm", "x-ms-sevsnpvm-hostdata",
		hex(r + AT_HOST_DATA, 32), "x-ms-sevsnpvm-is-debuggable",
		(r[AT_POLICY + DEBUG_BYTE] & DEBUG_BIT) != 0, "x-ms-sevsnpvm-launchmeasurement",
		hex(r + AT_MEASUREMENT, 48), "x-ms-sevsnpvm-reportdata", hex(r + AT_DATA, 64),
		"x-ms-sevsnpvm-vmpl", (int)r[AT_VMPL], "x-ms-runtime", runtime);

	if (claims != NULL && json_is_string(nonce))
		json_object_set_new(claims, "nonce", json_string(json_string_value(nonce)));
	return json_pack("{s:o}", "claims", claims);
}

json_t *issuer_snp_claims(const json_t *evidence, const char **why)
{
	KB_AUTO(buf) struct buf report, snp = {0}, chain = {0}, data = {0};
	uint8_t want[64] = {0};
	json_t *inner = NULL, *runtime = NULL, *request = NULL;
	const json_t *runtime_data = json_object_get(evidence, "runtimeData");
	const char *type = json_string_value(json_object_get(runtime_data, "dataType"));

	*why = "report is not base64url of {\"SnpReport\",\"VcekCertChain\"}";
	if (!member(evidence, "report", &report) ||
	    (inner = json_loadb((const char *)report.p, report.len, 0, NULL)) == NULL)
		goto out;
	if (!member(inner, "SnpReport", &snp) || !member(inner, "VcekCertChain", &chain))
		goto out;
	*why = "the report is not 1184 bytes of version 2 or later";
	if (snp.len != REPORT_BYTES || snp.p[0] < 2)
		goto out;
	*why = "VcekCertChain is no PEM";
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	if (chain.len < sizeof begin || memcmp(chain.p, begin, sizeof begin - 1) != 0)
		goto out;
	*why = "runtimeData is not JSON";
	if (type == NULL || strcmp(type, "JSON") != 0 || !member(runtime_data, "data", &data) ||
	    (runtime = json_loadb((const char *)data.p, data.len, 0, NULL)) == NULL)
		goto out;
	*why = "the report is not made over this runtime data";
	if (EVP_Digest(data.p, data.len, want, NULL, EVP_sha256(), NULL) != 1 ||
	    memcmp(snp.p + AT_DATA, want, sizeof want) != 0)
		goto out;
	request = claims_of(snp.p, json_incref(runtime), json_object_get(evidence, "nonce"));
out:
	json_decref(inner);
	json_decref(runtime);
	return request;
}
