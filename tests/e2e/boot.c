/* tests/e2e/boot.c — one machine and its boot: firmware fetches the key of the vTPM's state, the
 * vTPM starts with it, the boot is measured, the guest fetches the disk's key with an ephemeral key
 * in that vTPM, the disk opens. Decides how far a boot came.  Trusts swtpm and cryptsetup.  Must
 * never let a key touch a file, nor leave a process behind. */
#include "tests/e2e/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/evidence.h"

#define VM_ID  "0B3E5F0C-6A1D-4D52-9E0B-5C1B7F0E2A11"
#define LOADER "boot loader 1.0"
#define NONCE  "of this very boot"

enum { KEY_FD = 9, KEY_BYTES = 32, DISK_BYTES = 20 << 20 };

static const char *path_of(const struct machine *m, const char *name)
{
	static char path[4][160];
	static unsigned turn;
	char *p = path[turn++ % 4];
	snprintf(p, sizeof path[0], "%s/%s", m->dir, name);
	return p;
}

static const char *spit(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	bool is_written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return is_written ? NULL : wrong("%s: %s", path, strerror(errno));
}

static char *slurp(const char *path)
{
	char *text = calloc(1, 65536);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (text == NULL || fd < 0 || read(fd, text, 65535) < 0) {
		free(text);
		text = NULL;
	}
	if (fd >= 0)
		close(fd);
	return text;
}

/* The exit status, −1: killed.  The program has the key's descriptor as its standard input and as
 * KEY_FD, and writes into "said". */
static int run(const struct machine *m, const char *const argv[], int key_fd)
{
	int status, said = open(path_of(m, "said"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent || dup2(key_fd, 0) < 0 || dup2(said, 1) < 0 ||
		    dup2(said, 2) < 0 || dup2(key_fd, KEY_FD) < 0)
			_exit(126);
		close_range(KEY_FD + 1, ~0u, 0);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(said);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status)
									       : -1;
}

/* ---- what an administrator does before ---- */

/* The values that PCRs 0 … 7 will have, computed from what firmware is known to measure. */
static const struct {
	unsigned pcr;
	const char *event;
} measured[] = {{0, "firmware 7"}, {4, LOADER}, {7, "secure boot is on"}};

static void pcr_digest(char hex[static 65])
{
	uint8_t pcrs[8][32] = {0}, both[64], digest[32];
	for (unsigned i = 0; i < sizeof measured / sizeof measured[0]; i++) {
		memcpy(both, pcrs[measured[i].pcr], 32);
		EVP_Digest(measured[i].event, strlen(measured[i].event), both + 32, NULL,
			   EVP_sha256(), NULL);
		EVP_Digest(both, sizeof both, pcrs[measured[i].pcr], NULL, EVP_sha256(), NULL);
	}
	EVP_Digest(pcrs, sizeof pcrs, digest, NULL, EVP_sha256(), NULL);
	for (unsigned i = 0; i < 32; i++)
		snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
}

static json_t *equals(const char *claim, const char *value)
{
	return json_pack("{s:s, s:s}", "claim", claim, "equals", value);
}

static const char *make_key(struct instance *in, const char *name, json_t *conditions)
{
	char file[128], relative[64], *out = NULL;
	snprintf(relative, sizeof relative, "policies/%s.json", name);
	snprintf(file, sizeof file, "%s/%s", in->dir, relative);
	const char *why =
		instance_json_write(in, relative,
				    json_pack("{s:s, s:[{s:s, s:o}]}", "version", "1.0.0", "anyOf",
					      "authority", in->issuer_url, "allOf", conditions));
	if (why == NULL && CTL(in, &out, "key", "create", name, "--kty", "oct-HSM", "--size", "32",
			       "--policy", file) != 0)
		why = wrong("key create %s: %.300s", name, out == NULL ? "" : out);
	free(out);
	return why;
}

const char *machine_make(struct machine *m, struct instance *in)
{
	char digest[65];
	const char *why;
	memset(m, 0, sizeof *m);
	m->in = in;
	snprintf(m->dir, sizeof m->dir, "%s/vm", in->dir);
	if (mkdir(m->dir, 0700) != 0 || (m->other = guest_key(2048)) == NULL)
		return wrong("%s: %s", m->dir, strerror(errno));
	json_t *issuer = instance_json(in, "issuers.d/issuer.json");
	json_object_set_new(issuer, "single_use", json_true());
	if ((why = instance_json_write(in, "issuers.d/issuer.json", issuer)) != NULL)
		return why;
	why = make_key(in, BOOT_VTPM_KEY,
		       json_pack("[o, o, o]",
				 equals("x-ms-compliance-status", "azure-compliant-cvm"),
				 equals("x-ms-sevsnpvm-is-debuggable", "false"),
				 equals("x-ms-runtime.vm-configuration.vmUniqueId", VM_ID)));
	if (why != NULL)
		return why;
	pcr_digest(digest);
	return make_key(in, BOOT_DISK_KEY,
			json_pack("[o, o, o, o]",
				  equals("x-ms-isolation-tee.x-ms-compliance-status",
					 "azure-compliant-cvm"),
				  equals("x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable", "false"),
				  equals("x-ms-azurevm-vmid", VM_ID),
				  equals(BOOT_PCR_CLAIM, digest)));
}

void machine_off(struct machine *m)
{
	vtpm_stop(&m->vtpm);
}

void machine_free(struct machine *m)
{
	machine_off(m);
	EVP_PKEY_free(m->other);
	m->other = NULL;
}

/* ---- the attestation service, as keybroker-guest's token command ---- */

/* The claims are those of the evidence, the key is the one in the runtime data under the name that
 * the machine's part gives it. */
static const char *write_service(struct machine *m, json_t *claims, const char *kid)
{
	char script[2048];
	char *text = json_dumps(claims, JSON_COMPACT);
	json_decref(claims);
	const char *why = text == NULL ? "no claims" : spit(path_of(m, "claims"), text, 0600);
	free(text);
	if (why != NULL)
		return why;
	snprintf(script, sizeof script,
		 "#!/bin/sh\ncd '%s' || exit 1\n"
		 "key=$(tee runtime | sed 's/^{\"keys\":\\[\\({[^}]*}\\)\\].*/\\1/; "
		 "s/\"kid\":\"[^\"]*\"/\"kid\":\"%s\"/')\n"
		 "sed \"s|\\\"KEY\\\"|$key|\" claims | curl -sf --cacert '%s' --data-binary @- -H "
		 "'Content-Type: application/json' %s/attest |\n"
		 "sed 's/.*\"token\": *\"//; s/\".*//' | tee token\n",
		 m->dir, kid, m->in->ca_file, m->in->issuer_url);
	return spit(path_of(m, "service"), script, 0700);
}

static json_t *configuration(const struct circumstances *c)
{
	return json_pack("{s:b, s:b, s:s}", "secure-boot", 1, "tpm-enabled", 1, "vmUniqueId",
			 c->vm_id == NULL ? VM_ID : c->vm_id);
}

/* ---- a boot ---- */

/* keybroker-guest with the given further options; the key comes into `key_fd`. */
static const char *fetch(struct machine *m, const char *key, const char *const options[],
			 int *key_fd, struct boot *out)
{
	const char *argv[32] = {program("keybroker-guest"),
				"release",
				"--url",
				m->in->base_url,
				"--ca",
				m->in->ca_file,
				"--key",
				key,
				"--token-command",
				NULL,
				"--out",
				"fd:9",
				NULL};
	argv[9] = path_of(m, "service");
	for (unsigned i = 0; options[i] != NULL && i < 18; i++)
		argv[12 + i] = options[i];
	*key_fd = memfd_create("key", 0); /* programs get it by its number */
	out->exit_status = run(m, argv, *key_fd);
	char *said = slurp(path_of(m, "said"));
	snprintf(out->said, sizeof out->said, "%s", said == NULL ? "" : said);
	free(said);
	if (out->exit_status == 0 && lseek(*key_fd, 0, SEEK_END) != KEY_BYTES)
		return wrong("%s is not a key of %d bytes", key, KEY_BYTES);
	return lseek(*key_fd, 0, SEEK_SET) == 0 ? NULL : "no memory for the key";
}

static const char *start_vtpm(struct machine *m, const struct circumstances *c, struct boot *out)
{
	int key;
	json_t *evidence = evidence_platform(m->other);
	evidence_set(
		evidence, "x-ms-runtime",
		json_pack("{s:[s], s:o}", "keys", "KEY", "vm-configuration", configuration(c)));
	evidence_set(evidence, "x-ms-sevsnpvm-is-debuggable", json_boolean(c->is_debugged));
	const char *why = write_service(m, evidence, KID_PLATFORM);
	if (why != NULL)
		return why;
	/* As firmware asks: no nonce of its own, the default wrapping with SHA-1. */
	why = fetch(m, BOOT_VTPM_KEY, (const char *const[]){"--enc", "CKM_RSA_AES_KEY_WRAP", NULL},
		    &key, out);
	if (why == NULL && out->exit_status == 0) {
		why = vtpm_start(&m->vtpm, path_of(m, "vtpm"), key);
		out->stage = BOOT_NO_DISK_KEY;
	}
	close(key);
	return why;
}

static const char *measure(struct machine *m, const struct circumstances *c)
{
	const char *why = NULL;
	for (unsigned i = 0; why == NULL && i < sizeof measured / sizeof measured[0]; i++)
		why = vtpm_extend(&m->vtpm, measured[i].pcr,
				  measured[i].pcr == 4 && c->loader != NULL ? c->loader
									    : measured[i].event);
	return why;
}

static const char *check_certified(struct machine *m, const char *digest)
{
	struct certificate c = {0};
	uint8_t *modulus = NULL, *attest = NULL, *signature = NULL, over[32];
	size_t n_len = 0;
	const char *n = "", *info = "", *sig = "", *why = "the runtime data holds no certification";
	char *text = slurp(path_of(m, "runtime"));
	json_t *doc = text == NULL ? NULL : json_loads(text, 0, NULL);
	EVP_Digest(NONCE, strlen(NONCE), over, NULL, EVP_sha256(), NULL);
	if (json_unpack(doc, "{s:[{s:s}], s:{s:s, s:s}}", "keys", "n", &n, "tpm", "certifyInfo",
			&info, "certifyInfoSignature", &sig) == 0) {
		modulus = proof_b64url(n, strlen(n), &n_len);
		c.attest = attest = proof_b64url(info, strlen(info), &c.attest_len);
		c.signature = signature = proof_b64url(sig, strlen(sig), &c.signature_len);
		if (modulus != NULL && n_len == 256 && attest != NULL && signature != NULL)
			why = vtpm_certified(&m->vtpm, &c, modulus, digest, over, sizeof over);
	}
	free(modulus);
	free(attest);
	free(signature);
	json_decref(doc);
	free(text);
	return why;
}

static const char *open_disk(struct machine *m, int key, struct boot *out)
{
	const char *disk = path_of(m, "disk");
	int fd = open(disk, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), status;
	out->is_new_disk = fd >= 0;
	if (out->is_new_disk) {
		status = ftruncate(fd, DISK_BYTES);
		close(fd);
		if (status == 0)
			status = run(m,
				     (const char *const[]){"/sbin/cryptsetup", "luksFormat",
							   "--batch-mode", "--type", "luks2",
							   "--pbkdf", "pbkdf2",
							   "--pbkdf-force-iterations", "1000",
							   "--key-file", "-", disk, NULL},
				     key);
		if (status != 0)
			return wrong("cryptsetup luksFormat: status %d, see %s", status,
				     path_of(m, "said"));
		lseek(key, 0, SEEK_SET);
	}
	status = run(m,
		     (const char *const[]){"/sbin/cryptsetup", "open", "--test-passphrase",
					   "--key-file", "-", disk, NULL},
		     key);
	return status == 0
		       ? NULL
		       : wrong("cryptsetup open: status %d, see %s", status, path_of(m, "said"));
}

static const char *unlock_disk(struct machine *m, const struct circumstances *c, struct boot *out)
{
	char digest[65], tpm[128], ak[16];
	int key;
	const char *why = vtpm_pcr_digest(&m->vtpm, digest);
	if (why != NULL)
		return why;
	json_t *evidence = evidence_guest(m->other, NULL);
	evidence_set(evidence, "x-ms-runtime", json_pack("{s:[s]}", "keys", "KEY"));
	evidence_set(evidence, "x-ms-azurevm-vmid",
		     json_string(c->vm_id == NULL ? VM_ID : c->vm_id));
	evidence_set(evidence, BOOT_PCR_CLAIM, json_string(digest));
	if ((why = write_service(m, evidence, KID_GUEST)) != NULL)
		return why;
	snprintf(tpm, sizeof tpm, "--tpm=%s", m->vtpm.tcti);
	snprintf(ak, sizeof ak, "0x%x", VTPM_AK);
	why = fetch(m, BOOT_DISK_KEY,
		    (const char *const[]){tpm, "--tpm-pcrs", "0,1,2,3,4,5,6,7", "--tpm-ak", ak,
					  "--nonce", NONCE, NULL},
		    &key, out);
	if (why == NULL && out->exit_status == 0) {
		why = check_certified(m, digest);
		if (why == NULL)
			why = open_disk(m, key, out);
		out->stage = BOOT_DONE;
	}
	close(key);
	return why;
}

const char *machine_boot(struct machine *m, const struct circumstances *c, struct boot *out)
{
	const char *why;
	machine_off(m);
	memset(out, 0, sizeof *out);
	out->stage = BOOT_NO_VTPM_KEY;
	if ((why = start_vtpm(m, c, out)) != NULL || out->stage == BOOT_NO_VTPM_KEY)
		return why;
	if ((why = measure(m, c)) != NULL ||
	    (why = vtpm_ak(&m->vtpm, out->ak, &out->is_new_ak)) != NULL)
		return why;
	return unlock_disk(m, c, out);
}

bool machine_state_opens(struct machine *m, const uint8_t *key)
{
	int fd = key == NULL ? -1 : memfd_create("key", 0);
	machine_off(m);
	bool is_ready = key == NULL ||
			(write(fd, key, KEY_BYTES) == KEY_BYTES && lseek(fd, 0, SEEK_SET) == 0);
	bool opens = is_ready && vtpm_start(&m->vtpm, path_of(m, "vtpm"), fd) == NULL;
	if (fd >= 0)
		close(fd);
	machine_off(m);
	return opens;
}

/* ---- a stolen token ---- */

char *machine_token(struct machine *m)
{
	char *token = slurp(path_of(m, "token"));
	if (token != NULL)
		token[strcspn(token, "\n")] = '\0';
	return token;
}

char *machine_token_forged(struct machine *m)
{
	char *token = machine_token(m), *forged = NULL;
	char *dot1 = token == NULL ? NULL : strchr(token, '.'),
	     *dot2 = dot1 == NULL ? NULL : strrchr(token, '.');
	size_t len = 0;
	uint8_t *claims =
		dot1 == dot2 ? NULL : proof_b64url(dot1 + 1, (size_t)(dot2 - dot1 - 1), &len);
	json_t *doc = claims == NULL ? NULL : json_loadb((const char *)claims, len, 0, NULL);
	json_t *keys = json_object_get(json_object_get(doc, "x-ms-runtime"), "keys");
	if (json_array_set_new(keys, 0, guest_jwk(m->other, KID_GUEST)) == 0) {
		char *text = json_dumps(doc, JSON_COMPACT),
		     *middle = proof_b64url_text((const uint8_t *)text, strlen(text));
		if (asprintf(&forged, "%.*s.%s%s", (int)(dot1 - token), token, middle, dot2) < 0)
			forged = NULL;
		free(text);
		free(middle);
	}
	json_decref(doc);
	free(claims);
	free(token);
	return forged;
}

const char *machine_rob(struct machine *m, const char *token, int *status)
{
	struct link *l;
	struct reply r = {0};
	struct ask a = {.name = BOOT_DISK_KEY, .token = token};
	const char *why = token == NULL ? "no token" : link_open(&m->in->at, &l);
	if (why != NULL)
		return why;
	/* A signature that does not fit is not final until the key set was fetched once more. */
	for (unsigned long long end = now_ms() + 15000;;) {
		char wait[16];
		why = guest_ask(l, &a, &r);
		*status = why == NULL ? r.status : 0;
		if (*status != 503 || now_ms() > end)
			break;
		int wait_s = atoi(reply_header(&r, "Retry-After", wait, sizeof wait));
		reply_free(&r);
		sleep_ms((unsigned)(wait_s > 0 ? wait_s : 1) * 1000);
	}
	link_close(l);
	reply_free(&r);
	return why;
}

/* ---- what the operator reads ---- */

const char *boot_verdict(struct instance *in, const char *key, struct verdict *out)
{
	char *text = NULL;
	const char *code = "", *claim = "";
	memset(out, 0, sizeof *out);
	if (CTL(in, &text, "--json", "ledger", "show", "--key", key) != 0 || text == NULL ||
	    *text == '\0') {
		free(text);
		return "keybrokerctl ledger show";
	}
	text[strlen(text) - 1] = '\0'; /* the last line's end */
	const char *last = strrchr(text, '\n');
	json_t *doc = json_loads(last == NULL ? text : last + 1, 0, NULL);
	json_unpack(doc, "{s:s, s?[{s:s}]}", "code", &code, "failing", "claim", &claim);
	snprintf(out->code, sizeof out->code, "%s", code);
	snprintf(out->claim, sizeof out->claim, "%s", claim);
	json_decref(doc);
	const char *why =
		out->code[0] != '\0' ? NULL : wrong("a record without a code: %.300s", text);
	free(text);
	return why;
}
