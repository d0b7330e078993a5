/* tests/e2e/demo_boot.c — `make demo-boot`: a confidential VM boots with keys from the broker, with
 * real parts; then everything that must stop it does. Every line is something that was just done
 * and checked; one ✗ and the exit status is 1. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/e2e/boot.h"
#include "tests/e2e/narrate.h"

enum { REFUSED = 10 };

static struct instance in;
static struct machine vm;
static const struct circumstances as_usual;

static bool prepare(void)
{
	title("A broker, and an administrator's two keys");
	if (!step(instance_make(&in),
		  "keybrokerctl init: HSM token, certificates, configuration — in %s", in.dir))
		return false;
	step(NULL,
	     "a test issuer shaped like Azure Attestation runs at %s; its tokens can be used once",
	     in.issuer_url);
	step(machine_make(&vm, &in),
	     "key create vtpm-state, disk: 32 bytes each, generated in the HSM, known to nobody");
	step(NULL, "vtpm-state is for one VM by its unique id, compliant, not debuggable");
	step(NULL, "disk is for the same VM and one state of it: the digest of PCRs 0 … 7, "
		   "computed from what firmware will measure");
	return step(broker_start(&in), "keybrokerd serves %s", in.base_url) && n_bad == 0;
}

static const char *has_booted(const struct boot *b)
{
	return b->stage == BOOT_DONE ? NULL : wrong("it ended at step %d: %s", b->stage, b->said);
}

static void play_boots(void)
{
	struct boot first, second;
	title("The first boot");
	const char *why = machine_boot(&vm, &as_usual, &first);
	if (!step(why != NULL ? why : has_booted(&first),
		  "firmware: keybroker-guest brought the key of the vTPM's state, swtpm started "
		  "with it"))
		return;
	step(is_true(first.is_new_ak, "there was one"),
	     "a new vTPM: its attestation key was made, name %.20s…", first.ak);
	step(NULL, "inside: an ephemeral key in that vTPM, usable under PCRs 0 … 7 alone, "
		   "certified by the attestation key: checked");
	step(is_true(first.is_new_disk, "there was one"),
	     "keybroker-guest brought the disk's key: LUKS2 formatted, and cryptsetup opens it");
	show(first.said, 8);
	machine_off(&vm);
	step(is_true(!machine_state_opens(&vm, (const uint8_t[32]){0}) &&
			     !machine_state_opens(&vm, NULL),
		     "it starts"),
	     "power off; under another key, and under none, swtpm does not take the state");

	title("The second boot, in fresh processes");
	why = machine_boot(&vm, &as_usual, &second);
	if (!step(why != NULL ? why : has_booted(&second),
		  "both keys were released again, to new ephemeral keys and new tokens"))
		return;
	step(is_true(!second.is_new_ak && strcmp(first.ak, second.ak) == 0, second.ak),
	     "the same vTPM: attestation key %.20s…", second.ak);
	step(is_true(!second.is_new_disk, "it is new"), "the same disk opens");
}

/* The ledger's last record of a key. */
static void ledger_says(const char *key, const char *code, const char *claim)
{
	struct verdict v;
	const char *why = boot_verdict(&in, key, &v);
	if (why == NULL && (strcmp(v.code, code) != 0 || strcmp(v.claim, claim) != 0))
		why = wrong("%s, %s", v.code, v.claim);
	step(why, "the ledger says why: %s%s%s", code, claim[0] == '\0' ? "" : ", failing on ",
	     claim);
}

static void refused(const struct circumstances *c, enum boot_stage stage, const char *code,
		    const char *claim)
{
	struct boot b;
	const char *why = machine_boot(&vm, c, &b);
	if (why == NULL && (b.stage != stage || b.exit_status != REFUSED))
		why = wrong("step %d, exit status %d: %s", b.stage, b.exit_status, b.said);
	step(why, "no boot: %s is refused, keybroker-guest ends with status %d",
	     stage == BOOT_NO_VTPM_KEY ? "the key of the vTPM's state"
				       : "the disk's key, though the vTPM is there,",
	     b.exit_status);
	ledger_says(stage == BOOT_NO_VTPM_KEY ? BOOT_VTPM_KEY : BOOT_DISK_KEY, code, claim);
}

static void play_changes(void)
{
	title("Another boot loader: PCR 4 is not as it was");
	refused(&(struct circumstances){.loader = "boot loader 1.0, patched"}, BOOT_NO_DISK_KEY,
		"POLICY", BOOT_PCR_CLAIM);
	title("A guest with debugging on");
	refused(&(struct circumstances){.is_debugged = true}, BOOT_NO_VTPM_KEY, "POLICY",
		"x-ms-sevsnpvm-is-debuggable");
	title("Another VM asks for this one's keys");
	refused(&(struct circumstances){.vm_id = "11111111-2222-3333-4444-555555555555"},
		BOOT_NO_VTPM_KEY, "POLICY", "x-ms-runtime.vm-configuration.vmUniqueId");
}

static void play_thief(void)
{
	struct boot b;
	int status = 0;
	title("A stolen token, and another ephemeral key");
	const char *why = machine_boot(&vm, &as_usual, &b);
	step(why != NULL ? why : has_booted(&b), "the VM boots; an attacker copies its token");
	char *token = machine_token(&vm), *forged = machine_token_forged(&vm);
	why = machine_rob(&vm, token, &status);
	step(why != NULL ? why : is_true(status == 403, wrong("status %d", status)),
	     "the attacker asks again with it: 403");
	ledger_says(BOOT_DISK_KEY, "REPLAY", "");
	why = machine_rob(&vm, forged, &status);
	step(why != NULL ? why : is_true(status == 403, wrong("status %d", status)),
	     "the attacker writes another ephemeral key into it: 403");
	ledger_says(BOOT_DISK_KEY, "TOKEN_SIGNATURE", "");
	free(token);
	free(forged);
}

static void play_disabled(void)
{
	struct boot b;
	char *out = NULL;
	title("The administrator disables the disk's key");
	step(is_true(CTL(&in, &out, "key", "disable", BOOT_DISK_KEY, "--reload") == 0, out),
	     "keybrokerctl key disable disk --reload");
	free(out);
	refused(&as_usual, BOOT_NO_DISK_KEY, "KEY_DISABLED", "");
	step(is_true(CTL(&in, &out, "key", "enable", BOOT_DISK_KEY, "--reload") == 0, out),
	     "keybrokerctl key enable disk --reload");
	free(out);
	const char *why = machine_boot(&vm, &as_usual, &b);
	step(why != NULL ? why : has_booted(&b), "and the VM boots");
}

int main(void)
{
	unsigned long long from = now_ms();
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (prepare()) {
		play_boots();
		play_changes();
		play_thief();
		play_disabled();
		machine_off(&vm);
		title("The end");
		step(is_true(broker_stop(&in, SIGTERM, 40000) == 0, "exit status"),
		     "SIGTERM: every process ended by itself");
	}
	if (n_bad > 0)
		broker_log_tail(&in);
	machine_free(&vm);
	instance_free(&in);
	printf("\n%s%u wrong%s, %.1f s; nothing is left behind\n",
	       colour(n_bad == 0 ? "\033[32m" : "\033[31m"), n_bad, colour("\033[0m"),
	       (double)(now_ms() - from) / 1e3);
	return n_bad == 0 ? 0 : 1;
}
