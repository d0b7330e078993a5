/* tests/e2e/vtpm.c — swtpm as a vTPM, and the other users of it: firmware that measures, an
 * attestation service that trusts its AK. Decides whether a certification is right.  Trusts swtpm.
 * Must never use the product's code, nor end a process that it did not start. */
#include "tests/e2e/vtpm.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_tctildr.h>
#include <unistd.h>

#include "tests/e2e/proof.h"

enum { START_MS = 10000, STEP_MS = 20 };
#define NO_SESSIONS ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE

/* ---- its process ---- */

static void be_swtpm(const char *dir, const char *socket, int key_fd)
{
	char state[128], server[160], control[160], log[160];
	snprintf(state, sizeof state, "dir=%s,mode=0600", dir);
	snprintf(server, sizeof server, "type=unixio,path=%s", socket);
	snprintf(control, sizeof control, "type=unixio,path=%s.ctrl", socket);
	snprintf(log, sizeof log, "file=%s/log", dir);
	/* The key is on descriptor 3, or there is neither. */
	const char *argv[] = {"swtpm",
			      "socket",
			      "--tpm2",
			      "--tpmstate",
			      state,
			      "--server",
			      server,
			      "--ctrl",
			      control,
			      "--log",
			      log,
			      "--flags",
			      "not-need-init,startup-clear",
			      key_fd < 0 ? NULL : "--key",
			      "fd=3,format=binary,mode=aes-256-cbc",
			      NULL};
	int null = open("/dev/null", O_RDWR);
	dup2(null, 0); /* first: it may well be descriptor 3 */
	dup2(null, 1);
	dup2(null, 2);
	if (key_fd >= 0)
		dup2(key_fd, 3);
	close_range(key_fd < 0 ? 3 : 4, ~0u, 0);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

struct session {
	TSS2_TCTI_CONTEXT *tcti;
	ESYS_CONTEXT *esys;
};

static void hang_up(struct session *s)
{
	Esys_Finalize(&s->esys);
	Tss2_TctiLdr_Finalize(&s->tcti);
}

static const char *call(const struct vtpm *v, struct session *s)
{
	memset(s, 0, sizeof *s);
	setenv("TSS2_LOG", "all+NONE", 0);
	if (Tss2_TctiLdr_Initialize(v->tcti, &s->tcti) == TSS2_RC_SUCCESS &&
	    Esys_Initialize(&s->esys, s->tcti, NULL) == TSS2_RC_SUCCESS)
		return NULL;
	hang_up(s);
	return "the vTPM does not answer";
}

static const char *failed(const char *what, TSS2_RC rc)
{
	return rc == TSS2_RC_SUCCESS ? NULL : wrong("TPM2_%s: 0x%x", what, rc);
}

const char *vtpm_start(struct vtpm *v, const char *dir, int key_fd)
{
	struct session s;
	const char *why = "swtpm does not start";
	memset(v, 0, sizeof *v);
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return wrong("%s: %s", dir, strerror(errno));
	snprintf(v->socket, sizeof v->socket, "%s/socket", dir);
	snprintf(v->tcti, sizeof v->tcti, "swtpm:path=%s", v->socket);
	unlink(v->socket);
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			be_swtpm(dir, v->socket, key_fd);
		_exit(127);
	}
	v->pid = pid;
	for (unsigned ms = 0; pid > 0 && ms < START_MS; ms += STEP_MS) {
		int status;
		if (waitpid(pid, &status, WNOHANG) == pid) {
			v->pid = 0;
			return wrong("swtpm does not take its state: status %d (see %s/log)",
				     WEXITSTATUS(status), dir);
		}
		if ((why = call(v, &s)) == NULL) {
			/* It listens before it has read its state: only an answer proves that. */
			TPM2B_DIGEST *random = NULL;
			why = failed("GetRandom", Esys_GetRandom(s.esys, NO_SESSIONS, 8, &random));
			Esys_Free(random);
			hang_up(&s);
			if (why == NULL)
				return NULL;
		}
		usleep(STEP_MS * 1000);
	}
	vtpm_stop(v);
	return why;
}

void vtpm_stop(struct vtpm *v)
{
	int status;
	if (v->pid <= 0)
		return;
	kill(v->pid, SIGTERM);
	for (unsigned ms = 0; ms < START_MS && waitpid(v->pid, &status, WNOHANG) == 0;
	     ms += STEP_MS)
		usleep(STEP_MS * 1000);
	if (waitpid(v->pid, &status, WNOHANG) == 0) {
		kill(v->pid, SIGKILL);
		waitpid(v->pid, &status, 0);
	}
	v->pid = 0;
}

/* ---- measuring ---- */

const char *vtpm_extend(const struct vtpm *v, unsigned pcr, const char *event)
{
	struct session s;
	TPML_DIGEST_VALUES digest = {.count = 1, .digests[0].hashAlg = TPM2_ALG_SHA256};
	EVP_Digest(event, strlen(event), digest.digests[0].digest.sha256, NULL, EVP_sha256(), NULL);
	const char *why = call(v, &s);
	if (why != NULL)
		return why;
	why = failed("PCR_Extend", Esys_PCR_Extend(s.esys, ESYS_TR_PCR0 + pcr, ESYS_TR_PASSWORD,
						   ESYS_TR_NONE, ESYS_TR_NONE, &digest));
	hang_up(&s);
	return why;
}

static void hex_of(const uint8_t *bytes, size_t len, char *hex)
{
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

const char *vtpm_pcr_digest(const struct vtpm *v, char hex[static 65])
{
	struct session s;
	TPML_PCR_SELECTION pcrs = {.count = 1, .pcrSelections[0] = {TPM2_ALG_SHA256, 3, {0xff}}};
	TPML_DIGEST *values = NULL;
	uint8_t all[8 * 32], digest[32];
	const char *why = call(v, &s);
	if (why != NULL)
		return why;
	why = failed("PCR_Read", Esys_PCR_Read(s.esys, NO_SESSIONS, &pcrs, NULL, NULL, &values));
	hang_up(&s);
	if (why == NULL && values->count != 8)
		why = "not eight PCRs";
	for (unsigned i = 0; why == NULL && i < 8; i++)
		memcpy(all + (size_t)32 * i, values->digests[i].buffer, 32);
	if (why == NULL && EVP_Digest(all, sizeof all, digest, NULL, EVP_sha256(), NULL) == 1)
		hex_of(digest, sizeof digest, hex);
	Esys_Free(values);
	return why;
}

const char *vtpm_loaded(const struct vtpm *v, unsigned *n)
{
	static const UINT32 first[] = {TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST,
				       TPM2_ACTIVE_SESSION_FIRST};
	struct session s;
	const char *why = call(v, &s);
	*n = 0;
	if (why != NULL)
		return why;
	for (unsigned i = 0; why == NULL && i < 3; i++) {
		TPMS_CAPABILITY_DATA *cap = NULL;
		why = failed("GetCapability",
			     Esys_GetCapability(s.esys, NO_SESSIONS, TPM2_CAP_HANDLES, first[i], 64,
						NULL, &cap));
		*n += why == NULL ? cap->data.handles.count : 0;
		Esys_Free(cap);
	}
	hang_up(&s);
	return why;
}

const char *vtpm_drop_sha256(const struct vtpm *v)
{
	struct session s;
	TPMI_YES_NO is_done = 0;
	UINT32 most, needed, free_bytes;
	TPML_PCR_SELECTION banks = {.count = 2,
				    .pcrSelections = {{TPM2_ALG_SHA1, 3, {0xff, 0xff, 0xff}},
						      {TPM2_ALG_SHA256, 3, {0, 0, 0}}}};
	const char *why = call(v, &s);
	if (why != NULL)
		return why;
	why = failed("PCR_Allocate",
		     Esys_PCR_Allocate(s.esys, ESYS_TR_RH_PLATFORM, ESYS_TR_PASSWORD, ESYS_TR_NONE,
				       ESYS_TR_NONE, &banks, &is_done, &most, &needed,
				       &free_bytes));
	hang_up(&s);
	return why != NULL || is_done ? why : "the banks stay as they are";
}

/* ---- the attestation key ---- */

static const TPM2B_PUBLIC ak_template = {
	.publicArea = {
		.type = TPM2_ALG_RSA,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
				    TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
				    TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED |
				    TPMA_OBJECT_SIGN_ENCRYPT,
		.parameters.rsaDetail = {.symmetric.algorithm = TPM2_ALG_NULL,
					 .scheme = {.scheme = TPM2_ALG_RSASSA,
						    .details.rsassa.hashAlg = TPM2_ALG_SHA256},
					 .keyBits = 2048}}};

static const char *make_ak(ESYS_CONTEXT *esys, ESYS_TR *ak)
{
	ESYS_TR transient = ESYS_TR_NONE;
	const char *why =
		failed("CreatePrimary",
		       Esys_CreatePrimary(esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
					  ESYS_TR_NONE, &(TPM2B_SENSITIVE_CREATE){0}, &ak_template,
					  &(TPM2B_DATA){0}, &(TPML_PCR_SELECTION){0}, &transient,
					  NULL, NULL, NULL, NULL));
	if (why != NULL)
		return why;
	why = failed("EvictControl",
		     Esys_EvictControl(esys, ESYS_TR_RH_OWNER, transient, ESYS_TR_PASSWORD,
				       ESYS_TR_NONE, ESYS_TR_NONE, VTPM_AK, ak));
	Esys_FlushContext(esys, transient);
	return why;
}

const char *vtpm_ak(const struct vtpm *v, char name_hex[static 69], bool *is_new)
{
	struct session s;
	ESYS_TR ak;
	TPM2B_NAME *name = NULL;
	const char *why = call(v, &s);
	if (why != NULL)
		return why;
	*is_new = Esys_TR_FromTPMPublic(s.esys, VTPM_AK, NO_SESSIONS, &ak) != TSS2_RC_SUCCESS;
	if (*is_new)
		why = make_ak(s.esys, &ak);
	if (why == NULL)
		why = failed("ReadPublic",
			     Esys_ReadPublic(s.esys, ak, NO_SESSIONS, NULL, &name, NULL));
	if (why == NULL && name->size != 34)
		why = "the AK's name is not of SHA-256";
	if (why == NULL)
		hex_of(name->name, name->size, name_hex);
	Esys_Free(name);
	hang_up(&s);
	return why;
}

static EVP_PKEY *rsa_public(const TPM2B_PUBLIC_KEY_RSA *modulus)
{
	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	BIGNUM *n = BN_bin2bn(modulus->buffer, modulus->size, NULL);
	OSSL_PARAM *params = NULL;
	if (build != NULL && n != NULL &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	    OSSL_PARAM_BLD_push_uint(build, OSSL_PKEY_PARAM_RSA_E, 65537) == 1)
		params = OSSL_PARAM_BLD_to_param(build);
	if (params == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	BN_free(n);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* The AK's signature over the attestation. */
static const char *check_signature(const TPM2B_PUBLIC *ak, const struct certificate *c)
{
	TPMT_SIGNATURE sig;
	size_t offset = 0;
	if (Tss2_MU_TPMT_SIGNATURE_Unmarshal(c->signature, c->signature_len, &offset, &sig) !=
		    TSS2_RC_SUCCESS ||
	    offset != c->signature_len || sig.sigAlg != TPM2_ALG_RSASSA ||
	    sig.signature.rsassa.hash != TPM2_ALG_SHA256)
		return "no RSASSA signature with SHA-256";
	EVP_PKEY *key = rsa_public(&ak->publicArea.unique.rsa);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool is_right =
		key != NULL && md != NULL &&
		EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
		EVP_DigestVerify(md, sig.signature.rsassa.sig.buffer, sig.signature.rsassa.sig.size,
				 c->attest, c->attest_len) == 1;
	EVP_MD_CTX_free(md);
	EVP_PKEY_free(key);
	return is_right ? NULL : "the AK did not sign this";
}

/* Part 1, §19.7.7.6 and part 3, §23.7: the policy of "PCRs 0 … 7 have this digest". */
static void policy_of(const char *pcr_digest_hex, TPM2B_DIGEST *out)
{
	uint8_t text[32 + 4 + 10 + 32] = {0};
	static const uint8_t command_and_selection[] = {0, 0,    0x01, 0x7f, 0,    0, 0,
							1, 0x00, 0x0b, 3,    0xff, 0, 0};
	memcpy(text + 32, command_and_selection, sizeof command_and_selection);
	for (unsigned i = 0; i < 32; i++)
		sscanf(pcr_digest_hex + (size_t)2 * i, "%2hhx", &text[46 + i]);
	EVP_Digest(text, sizeof text, out->buffer, NULL, EVP_sha256(), NULL);
	out->size = 32;
}

/* The name of a decryption key as it ought to be: what is certified is a name, so every attribute
 * counts. */
static bool name_is(const TPM2B_NAME *name, const uint8_t modulus[static 256],
		    const char *pcr_digest_hex)
{
	uint8_t bytes[1024], want[34] = {0x00, 0x0b};
	size_t len = 0;
	TPMT_PUBLIC key = {.type = TPM2_ALG_RSA,
			   .nameAlg = TPM2_ALG_SHA256,
			   .objectAttributes =
				   TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
				   TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_NODA |
				   TPMA_OBJECT_DECRYPT |
				   (pcr_digest_hex == NULL ? TPMA_OBJECT_USERWITHAUTH : 0),
			   .parameters.rsaDetail = {{.algorithm = TPM2_ALG_NULL},
						    {.scheme = TPM2_ALG_NULL},
						    2048,
						    0},
			   .unique.rsa.size = 256};
	memcpy(key.unique.rsa.buffer, modulus, 256);
	if (pcr_digest_hex != NULL)
		policy_of(pcr_digest_hex, &key.authPolicy);
	if (Tss2_MU_TPMT_PUBLIC_Marshal(&key, bytes, sizeof bytes, &len) != TSS2_RC_SUCCESS)
		return false;
	EVP_Digest(bytes, len, want + 2, NULL, EVP_sha256(), NULL);
	return name->size == sizeof want && memcmp(name->name, want, sizeof want) == 0;
}

const char *vtpm_certified(const struct vtpm *v, const struct certificate *c,
			   const uint8_t modulus[static 256], const char *pcr_digest_hex,
			   const void *over, size_t over_len)
{
	struct session s;
	ESYS_TR ak;
	TPM2B_PUBLIC *public = NULL;
	TPMS_ATTEST said;
	size_t offset = 0;
	const char *why = call(v, &s);
	if (why != NULL)
		return why;
	why = failed("ReadPublic of the AK",
		     Esys_TR_FromTPMPublic(s.esys, VTPM_AK, NO_SESSIONS, &ak));
	if (why == NULL)
		why = failed("ReadPublic of the AK",
			     Esys_ReadPublic(s.esys, ak, NO_SESSIONS, &public, NULL, NULL));
	hang_up(&s);
	if (why == NULL)
		why = check_signature(public, c);
	Esys_Free(public);
	if (why != NULL)
		return why;
	if (Tss2_MU_TPMS_ATTEST_Unmarshal(c->attest, c->attest_len, &offset, &said) !=
		    TSS2_RC_SUCCESS ||
	    offset != c->attest_len || said.magic != TPM2_GENERATED_VALUE ||
	    said.type != TPM2_ST_ATTEST_CERTIFY)
		return "no TPM2_Certify";
	if (said.extraData.size != over_len || memcmp(said.extraData.buffer, over, over_len) != 0)
		return "certified over other bytes";
	return name_is(&said.attested.certify.name, modulus, pcr_digest_hex)
		       ? NULL
		       : "another key is certified, or one with other attributes";
}
