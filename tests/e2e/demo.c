/* tests/e2e/demo.c — `make demo`: a throw-away instance, three guests that fetch their keys, one
 * that is refused, and what the operator sees of it. Every line is something that was just done and
 * checked; one ✗ and the exit status is 1. */
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/e2e/evidence.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/narrate.h"

static struct instance in;

/* ---- keys that the demo knows, so that what comes out can be compared with what went in ---- */

static EVP_PKEY *vtpm_key, *disk_key;
static uint8_t secret[32];

static bool prepare(void)
{
	char *out = NULL, *policy;
	title("An instance of its own");
	if (!step(instance_make(&in),
		  "keybrokerctl init: HSM token, random PIN, certificates, configuration — in %s",
		  in.dir))
		return false;
	step(NULL, "a test issuer shaped like Azure Attestation runs at %s", in.issuer_url);
	vtpm_key = EVP_RSA_gen(2048);
	disk_key = EVP_RSA_gen(3072);
	if (vtpm_key == NULL || disk_key == NULL || RAND_bytes(secret, sizeof secret) != 1)
		return step("OpenSSL", "keys");
	policy = policy_platform(in.issuer_url);
	step(instance_import(&in, "vtpm-state", vtpm_key, NULL, 0, policy),
	     "key import vtpm-state: RSA-2048, for firmware of compliant confidential VMs");
	free(policy);
	policy = policy_guest(in.issuer_url);
	step(instance_import(&in, "disk", disk_key, NULL, 0, policy),
	     "key import disk: RSA-3072, for guests that Secure Boot started");
	free(policy);
	policy = policy_container(in.issuer_url);
	step(instance_import(&in, "secret", NULL, secret, sizeof secret, policy),
	     "key import secret: 32 bytes, for one container group by its policy's hash");
	free(policy);
	step(is_true(CTL(&in, &out, "check") == 0, out),
	     "keybrokerctl check: every file is as it should be");
	free(out);
	return step(broker_start(&in), "keybrokerd serves %s", in.base_url) && n_bad == 0;
}

/* ---- guests ---- */

static EVP_PKEY *kek;

static const char *release(const struct ask *a, const char *kek_kid, struct released *got)
{
	struct link *l;
	struct expect want = {.root = in.root,
			      .host = "localhost",
			      .base_url = in.base_url,
			      .kek = kek,
			      .kek_kid = kek_kid};
	const char *why = link_open(&in.at, &l);
	memset(got, 0, sizeof *got);
	if (why == NULL)
		why = guest_release(l, a, &want, got);
	link_close(l);
	return why;
}

static char *attest(json_t *evidence, const char *what)
{
	char *token;
	step(guest_attest(&in.issuer_at, evidence, &token), "%s", what);
	return token == NULL ? strdup("") : token;
}

static void play_vtpm(void)
{
	struct released got;
	title("A confidential VM starts: its firmware fetches the key of its vTPM's state");
	kek = guest_key(2048);
	char *token =
		attest(evidence_platform(kek), "the platform attests the VM: SEV-SNP, "
					       "azure-compliant-cvm, ephemeral key HCLTransferKey");
	struct ask a = {.name = "vtpm-state", .token = token};
	step(release(&a, KID_PLATFORM, &got),
	     "released: JWS by the HSM's signer, chain to the root, wrapped by "
	     "CKM_RSA_AES_KEY_WRAP as nothing else was asked");
	step(is_true(got.pkey != NULL && EVP_PKEY_eq(got.pkey, vtpm_key) == 1, "another key"),
	     "unwrapped: %zu bytes of PKCS#8, the very RSA-2048 key", got.plain_len);
	released_free(&got);
	EVP_PKEY_free(kek);
	free(token);
}

static void play_disk(void)
{
	struct released got;
	title("Inside it, a guest fetches the key of its data disk");
	kek = guest_key(2048);
	char *token = attest(
		evidence_guest(kek, "ADE0101"),
		"attested from inside: azurevm, the SNP claims nested, ephemeral key in the vTPM");
	struct ask a = {.name = "disk",
			.token = token,
			.enc = "RSA_AES_KEY_WRAP_256",
			.nonce = "ADE0101",
			.api_version = "7.3"};
	step(release(&a, KID_GUEST, &got), "released with RSA_AES_KEY_WRAP_256 to "
					   "TpmEphemeralEncryptionKey, not to the nested HCLAkPub");
	step(is_true(got.pkey != NULL && EVP_PKEY_eq(got.pkey, disk_key) == 1, "another key"),
	     "unwrapped: %zu bytes of PKCS#8, the very RSA-3072 key", got.plain_len);
	released_free(&got);
	EVP_PKEY_free(kek);
	free(token);
}

static void play_container(void)
{
	struct released got;
	char kid[44];
	title("A confidential container fetches its secret through its sidecar");
	kek = guest_key(2048);
	char *token = attest(
		evidence_container(kek, HOST_DATA),
		"the container group attests: azure-compliant-uvm, host data is its policy's hash");
	struct ask a = {.name = "secret", .token = token};
	step(release(&a, evidence_thumbprint(kek, kid), &got),
	     "released, as the sidecar asks: {\"target\"} alone, api-version 7.4");
	step(is_true(got.plain_len == sizeof secret &&
			     memcmp(got.plain, secret, sizeof secret) == 0,
		     "other bytes"),
	     "unwrapped: the very %zu bytes", got.plain_len);
	released_free(&got);
	EVP_PKEY_free(kek);
	free(token);
}

static void play_refusal(void)
{
	struct reply r;
	struct link *l;
	char code[64], file[128], *out = NULL;
	title("The same container group with debugging on is refused");
	kek = guest_key(2048);
	json_t *evidence = evidence_container(kek, HOST_DATA);
	evidence_set(evidence, "x-ms-sevsnpvm-is-debuggable", json_true());
	char *token =
		attest(evidence,
		       "it attests just as well: x-ms-sevsnpvm-is-debuggable is true in its token");
	struct ask a = {.name = "secret", .token = token};
	const char *why = link_open(&in.at, &l);
	if (why == NULL)
		why = guest_ask(l, &a, &r);
	link_close(l);
	if (why == NULL &&
	    (r.status != 403 || strcmp(reply_code(&r, code, sizeof code), "Forbidden") != 0 ||
	     strstr(r.body, "debug") != NULL))
		why = wrong("status %d: %.200s", r.status, r.body);
	step(why, "403 Forbidden, and not a word to the guest about which condition failed");
	reply_free(&r);
	why = instance_write(&in, "refused.jwt", token, strlen(token));
	snprintf(file, sizeof file, "%s/refused.jwt", in.dir);
	int status =
		why == NULL ? CTL(&in, &out, "explain", "--key", "secret", "--token", file) : -1;
	step(is_true(status == 1 && strstr(out, "is-debuggable") != NULL, out),
	     "the operator asks `keybrokerctl explain --key secret --token refused.jwt`:");
	show(out == NULL ? "" : out, 40);
	free(out);
	EVP_PKEY_free(kek);
	free(token);
}

static const char *damage(const char *path, unsigned line)
{
	FILE *f = fopen(path, "r+");
	int c;
	for (unsigned n = 1; f != NULL && n < line;)
		if ((c = fgetc(f)) == EOF)
			break;
		else
			n += c == '\n';
	if (f == NULL || fseek(f, 40, SEEK_CUR) != 0)
		return wrong("%s", path);
	c = fgetc(f);
	fseek(f, -1, SEEK_CUR);
	fputc(c == 'x' ? 'y' : 'x', f);
	return fclose(f) == 0 ? NULL : "damage";
}

static void play_ledger(void)
{
	char copy[160], segment[256], source[256], *out = NULL, line[32];
	title("What the ledger says");
	step(is_true(CTL(&in, &out, "ledger", "show") == 0, out), "keybrokerctl ledger show:");
	show(out == NULL ? "" : out, 14);
	step(is_true(out != NULL && strstr(out, "POLICY") != NULL, "the refusal's code is missing"),
	     "the refusal is there by its exact code, POLICY");
	free(out);
	step(is_true(CTL(&in, &out, "ledger", "verify") == 0, out),
	     "keybrokerctl ledger verify: the chain is whole");
	show(out == NULL ? "" : out, 3);
	free(out);
	snprintf(copy, sizeof copy, "%s/copy", in.dir);
	snprintf(source, sizeof source, "%s/state/ledger", in.dir);
	run_program(NULL, (const char *const[]){"/bin/cp", "-r", source, copy, NULL});
	snprintf(segment, sizeof segment, "%s/ledger-00000001.jsonl", copy);
	step(damage(segment, 4), "one byte of line 4 is changed in a copy");
	int status = CTL(&in, &out, "ledger", "verify", "--dir", copy);
	snprintf(line, sizeof line, "ledger-00000001.jsonl:%d", 4);
	step(is_true(status == 1 && out != NULL && strstr(out, line) != NULL, out),
	     "ledger verify finds it, and where:");
	show(out == NULL ? "" : out, 3);
	free(out);
}

int main(void)
{
	unsigned long long from = now_ms();
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (prepare()) {
		play_vtpm();
		play_disk();
		play_container();
		play_refusal();
		play_ledger();
		title("The end");
		step(is_true(broker_stop(&in, SIGTERM, 40000) == 0, "exit status"),
		     "SIGTERM: every process ended by itself");
	}
	if (n_bad > 0)
		broker_log_tail(&in);
	instance_free(&in);
	EVP_PKEY_free(vtpm_key);
	EVP_PKEY_free(disk_key);
	printf("\n%s%u wrong%s, %.1f s; nothing is left behind\n",
	       colour(n_bad == 0 ? "\033[32m" : "\033[31m"), n_bad, colour("\033[0m"),
	       (double)(now_ms() - from) / 1e3);
	return n_bad == 0 ? 0 : 1;
}
