/* broker/keybroker-guest.c — the guest's program, small enough for an initramfs: options,
 * help, and the process itself (no core, no debugger, locked memory).  Trusts its command line.
 * Must never take a secret as an argument, nor wait without end. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/secret.h"
#include "base/version.h"
#include "guest/fd.h"
#include "guest/release.h"
#include "guest/reply.h"

enum { BACKSTOP_S = 5, TIMEOUT_MAX_S = 86400 };

static const char help[] =
	"usage: keybroker-guest release --url URL[,URL...] --key NAME[/VERSION] --ca FILE TOKEN "
	"--out PLACE [options]\n"
	"       keybroker-guest files OPTIONS\n\n"
	"Asks a key broker for a key, proves what this machine is, and hands the key over.\n"
	"`files` lists the files that options of `release` name, for an initramfs: public, secret "
	"or program.\n\n"
	"The token, one of:\n"
	"  --attest URL            from an attestation service, with a report of this VM's "
	"hardware\n"
	"  --token-command PROGRAM it reads the runtime data on standard input and prints the "
	"token\n"
	"  --token FILE|fd:N       made before, for the key of --ephemeral-key or --tpm-key\n\n"
	"The key's place:\n"
	"  --out fd:N|file:PATH|keyring:NAME|stdout\n"
	"  --format raw|pem|jwk    raw: PKCS#8 DER, or a symmetric key's bytes (default)\n\n"
	"Further options:\n"
	"  --signer-pin PIN[,PIN]  sha256//BASE64 of the release signer's public key, in place of "
	"its key usage\n"
	"  --enc SCHEME            CKM_RSA_AES_KEY_WRAP, RSA_AES_KEY_WRAP_256 (default), "
	"RSA_AES_KEY_WRAP_384\n"
	"  --nonce TEXT|broker     this one, or one of the broker's (default: random)\n"
	"  --api-version V         default 7.4\n"
	"  --bearer-file FILE      credential for the Authorization header\n"
	"  --ephemeral-key FILE    RSA-2048 private key (PEM) instead of a new one\n"
	"  --tpm[=TCTI]            the ephemeral key lives in the TPM\n"
	"  --tpm-pcrs N[,N...]     ... and works only while these PCRs are as they are\n"
	"  --tpm-key HANDLE        ... at a persistent handle, made there when there is none\n"
	"  --tpm-ak HANDLE         ... certified by the attestation key at this handle\n"
	"  --attest-ca FILE        trust anchor for --attest (default: that of --ca)\n"
	"  --vcek-chain FILE       PEM: VCEK, ASK, ARK, when the host gives none\n"
	"  --tsm DIR               for tests: a directory in place of "
	"/sys/kernel/config/tsm/report\n"
	"  --timeout SECONDS       for all attempts together (default 120)\n\n"
	"Exit: 0 done, 2 usage, 10 refused, 11 unreachable, 12 bad reply, 13 no evidence or token, "
	"14 TPM, 15 output failed.\n"
	"See keybroker-guest(8).\n";

static int usage(const char *what)
{
	if (what != NULL)
		message("%s", what);
	message("`keybroker-guest --help` lists the options");
	return GUEST_USAGE;
}

/* A number in the given base, within [0, most], to the end of the text or to a comma. */
static bool number(const char **text, int base, unsigned long most, unsigned long *out)
{
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	*out = strtoul(*text, &end, base);
	*text = *end == ',' ? end + 1 : end;
	return *out <= most && (*end == '\0' || (*end == ',' && end[1] != '\0'));
}

static bool take_pcrs(const char *text, struct release_options *o)
{
	unsigned long pcr;

	for (o->n_pcrs = 0; *text != '\0'; o->pcrs[o->n_pcrs++] = (unsigned)pcr)
		if (o->n_pcrs == sizeof o->pcrs / sizeof o->pcrs[0] || !number(&text, 10, 23, &pcr))
			return false;
	return o->n_pcrs > 0;
}

static bool take_handle(const char *text, uint32_t *out)
{
	unsigned long handle = 0;

	/* Persistent handles are 0x81000000 … 0x81ffffff (TPM 2.0 Part 2, table 34). */
	bool ok = strchr(text, ',') == NULL && number(&text, 16, 0x81ffffff, &handle) &&
		  handle >= 0x81000000;
	*out = (uint32_t)handle;
	return ok;
}

static bool take_timeout(const char *text, struct release_options *o)
{
	unsigned long s = 0;
	bool ok = strchr(text, ',') == NULL && number(&text, 10, TIMEOUT_MAX_S, &s) && s > 0;

	o->timeout_s = (int64_t)s;
	return ok;
}

static bool take_format(const char *text, struct release_options *o)
{
	static const char *const names[] = {
		[OUTPUT_RAW] = "raw", [OUTPUT_PEM] = "pem", [OUTPUT_JWK] = "jwk"};

	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(text, names[i]) == 0) {
			o->format = (enum output_format)i;
			return true;
		}
	return false;
}

/* What goes into a URL's path or query as it is. */
#define PLAIN "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-."
static bool is_made_of(const char *text, const char *letters, size_t max)
{
	size_t n = strlen(text);

	return n > 0 && n <= max && strspn(text, letters) == n;
}

static const char *check(const struct release_options *o)
{
	const char *slash = o->key == NULL ? NULL : strchr(o->key, '/');

	if (o->urls == NULL || o->key == NULL || o->ca == NULL || o->out == NULL)
		return "--url, --key, --ca and --out are needed";
	if (!is_made_of(o->key, PLAIN "/", KB_MAX_KEY_NAME + 33) || o->key[0] == '/' ||
	    (slash != NULL && (slash[1] == '\0' || strchr(slash + 1, '/') != NULL)))
		return "--key: NAME or NAME/VERSION";
	if (!is_made_of(o->api_version, PLAIN, 32))
		return "--api-version: not one";
	if (scheme_find(span_str(o->enc)) == NULL)
		return "--enc: CKM_RSA_AES_KEY_WRAP, RSA_AES_KEY_WRAP_256 or RSA_AES_KEY_WRAP_384";
	if (o->nonce != NULL && (o->nonce[0] == '\0' || strlen(o->nonce) > KB_MAX_NONCE))
		return "--nonce: 1 to 256 bytes";
	if ((o->token != NULL) + (o->token_command != NULL) + (o->attest != NULL) != 1)
		return "one of --attest, --token-command and --token is needed";
	if (o->token != NULL && o->ephemeral_key == NULL && !(o->use_tpm && o->tpm_key != 0))
		return "--token needs the key that it was made for: --ephemeral-key, or --tpm with "
		       "--tpm-key";
	if (o->use_tpm && o->ephemeral_key != NULL)
		return "--tpm and --ephemeral-key exclude each other";
	if (!o->use_tpm && (o->n_pcrs > 0 || o->tpm_key != 0 || o->tpm_ak != 0))
		return "--tpm-pcrs, --tpm-key and --tpm-ak need --tpm";
	return NULL;
}

/* 0: go on; else the exit code, and the fault was reported.  Each value is right; whether they are
 * right together is check()'s. */
static int parse(int argc, char **argv, struct release_options *o)
{
	enum {
		URL = 256,
		KEY,
		CA,
		SIGNER_PIN,
		API_VERSION,
		ENC,
		NONCE,
		BEARER,
		TOKEN,
		COMMAND,
		ATTEST,
		ATTEST_CA,
		TSM,
		VCEK,
		EPHEMERAL,
		TPM,
		PCRS,
		TPM_KEY,
		TPM_AK,
		OUT,
		FORMAT,
		TIMEOUT
	};
	static const struct option options[] = {
		{"url", 1, NULL, URL},
		{"key", 1, NULL, KEY},
		{"ca", 1, NULL, CA},
		{"signer-pin", 1, NULL, SIGNER_PIN},
		{"api-version", 1, NULL, API_VERSION},
		{"enc", 1, NULL, ENC},
		{"nonce", 1, NULL, NONCE},
		{"bearer-file", 1, NULL, BEARER},
		{"token", 1, NULL, TOKEN},
		{"token-command", 1, NULL, COMMAND},
		{"attest", 1, NULL, ATTEST},
		{"attest-ca", 1, NULL, ATTEST_CA},
		{"tsm", 1, NULL, TSM},
		{"vcek-chain", 1, NULL, VCEK},
		{"ephemeral-key", 1, NULL, EPHEMERAL},
		{"tpm", 2, NULL, TPM},
		{"tpm-pcrs", 1, NULL, PCRS},
		{"tpm-key", 1, NULL, TPM_KEY},
		{"tpm-ak", 1, NULL, TPM_AK},
		{"out", 1, NULL, OUT},
		{"format", 1, NULL, FORMAT},
		{"timeout", 1, NULL, TIMEOUT},
		{0},
	};
	/* The options whose value is stored as it is. */
	const struct {
		int option;
		const char **to;
	} texts[] = {{URL, &o->urls},
		     {KEY, &o->key},
		     {CA, &o->ca},
		     {SIGNER_PIN, &o->signer_pins},
		     {API_VERSION, &o->api_version},
		     {ENC, &o->enc},
		     {NONCE, &o->nonce},
		     {BEARER, &o->bearer_file},
		     {TOKEN, &o->token},
		     {COMMAND, &o->token_command},
		     {ATTEST, &o->attest},
		     {ATTEST_CA, &o->attest_ca},
		     {TSM, &o->tsm},
		     {VCEK, &o->vcek_chain},
		     {EPHEMERAL, &o->ephemeral_key},
		     {OUT, &o->out}};

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
			if (texts[i].option == c)
				*texts[i].to = optarg;
		if (c == '?')
			return usage(NULL);
		if (c == TPM) {
			o->use_tpm = true;
			o->tcti = optarg;
		}
		if (c == PCRS && !take_pcrs(optarg, o))
			return usage("--tpm-pcrs: numbers from 0 to 23, separated by commas");
		if (c == TPM_KEY && !take_handle(optarg, &o->tpm_key))
			return usage("--tpm-key: a persistent handle, 0x81000000 to 0x81ffffff");
		if (c == TPM_AK && !take_handle(optarg, &o->tpm_ak))
			return usage("--tpm-ak: a persistent handle, 0x81000000 to 0x81ffffff");
		if (c == FORMAT && !take_format(optarg, o))
			return usage("--format: raw, pem or jwk");
		if (c == TIMEOUT && !take_timeout(optarg, o))
			return usage("--timeout: 1 to 86400 seconds");
	}
	if (optind != argc)
		return usage("there is an argument too many");
	return 0;
}

/* What the options name, for the programs that build an initramfs: they copy it, and keep others
 * from reading a secret. One parser decides what an option is. */
static int files(const struct release_options *o)
{
	const struct {
		const char *kind, *path;
	} all[] = {{"public", o->ca},
		   {"public", o->attest_ca},
		   {"public", o->vcek_chain},
		   {"secret", o->bearer_file},
		   {"secret", o->ephemeral_key},
		   {"secret", o->token},
		   {"program", o->token_command}};
	int fd;

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		if (all[i].path != NULL && !fd_named(all[i].path, &fd))
			printf("%s %s\n", all[i].kind, all[i].path);
	return fflush(stdout) == 0 ? GUEST_OK : GUEST_OUTPUT;
}

/* Resolving a name and a TPM's answer have no deadline of their own. */
static void on_alarm(int sig)
{
	static const char text[] =
		"keybroker-guest: gave up: a step was still waiting after --timeout\n";

	(void)sig;
	if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
		_exit(GUEST_UNREACHABLE);
	_exit(GUEST_UNREACHABLE);
}

int main(int argc, char **argv)
{
	struct release_options o = {.api_version = "7.4",
				    .enc = "RSA_AES_KEY_WRAP_256",
				    .timeout_s = KB_GUEST_TIMEOUT_S};

	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		fputs(help, stdout);
		return fflush(stdout) == 0 ? GUEST_OK : GUEST_OUTPUT;
	}
	if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
		printf("keybroker-guest %s\n", KB_VERSION);
		return fflush(stdout) == 0 ? GUEST_OK : GUEST_OUTPUT;
	}
	bool is_files = argc >= 2 && strcmp(argv[1], "files") == 0;
	if (argc < 2 || (!is_files && strcmp(argv[1], "release") != 0))
		return usage("the command is `release` or `files`");
	int fault = parse(argc - 1, argv + 1, &o);
	if (fault != 0)
		return fault;
	if (is_files)
		return files(&o);
	const char *why = check(&o);
	if (why != NULL)
		return usage(why);
	if (output_check(o.out, &why) != KB_OK) {
		message("--out %s: %s", o.out, why);
		return usage(NULL);
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, on_alarm);
	if (prctl(PR_SET_DUMPABLE, 0) != 0 || setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) != 0 ||
	    secret_arena_init() != KB_OK) {
		message("memory for the key cannot be locked");
		message("check: `ulimit -l` is at least %d KiB", KB_SECRET_ARENA / 1024);
		return GUEST_OUTPUT;
	}
	alarm((unsigned)o.timeout_s + BACKSTOP_S);
	return (int)release(&o);
}
