/* policy/debug.c — is the guest debuggable by its evidence, and does the policy allow exactly that?
 * A debugger reads the guest's memory, and so the released key.  Trusts: the claims are verified,
 * the policy holds for them.  Must never pass a claim because of a condition that the policy does
 * not need, nor because of a value that is not known as harmless. */
#include "policy/debug.h"

#include <jansson.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/json.h"
#include "policy/rules_priv.h"

/* ---- the table; keybroker.json(5), "Evidence that can be debugged", shows it to operators ---- */

enum level {
	TOP,
	ISOLATION_TEE, /* Azure: the hardware's claims in a guest's token */
	/* Intel Trust Authority: one object per kind of evidence; its first version has the same
	 * names at the top. */
	ITA_SEVSNP,
	ITA_TDX,
	ITA_SGX,
	ITA_NVGPU,
	/* Confidential Containers: per submodule, one object per kind of evidence; three spellings
	 * of a vTPM's kind. */
	EAR_SNP,
	EAR_AZ_SNP,
	EAR_AZSNP,
	EAR_TDX,
	EAR_AZ_TDX,
	EAR_AZTDX,
	EAR_SGX,
	TCB, /* Confidential Containers' token before EAR: names joined by dots, or objects */
	TCB_SNP,
	TCB_AZ_SNP,
	TCB_AZSNP,
	TCB_TDX,
	TCB_AZ_TDX,
	TCB_AZTDX,
	TCB_SGX,
	LEVEL_COUNT
};

/* Stands for every member; compared by address, so a member of this name is not meant. */
static const char each[] = "*";
#define EAR         "submods", each, "ear.veraison.annotated-evidence"
#define LEVEL_NAMES 6

/* The objects to walk from the top of the token.  A name with dots is one name: no path of a policy
 * reaches it. */
static const char *const levels[LEVEL_COUNT][LEVEL_NAMES] = {
	[TOP] = {NULL},
	[ISOLATION_TEE] = {"x-ms-isolation-tee"},
	[ITA_SEVSNP] = {"sevsnp"},
	[ITA_TDX] = {"tdx"},
	[ITA_SGX] = {"sgx"},
	[ITA_NVGPU] = {"nvgpu"},
	[EAR_SNP] = {EAR, "snp"},
	[EAR_AZ_SNP] = {EAR, "az-snp-vtpm"},
	[EAR_AZSNP] = {EAR, "azsnpvtpm"},
	[EAR_TDX] = {EAR, "tdx", "td_attributes"},
	[EAR_AZ_TDX] = {EAR, "az-tdx-vtpm", "td_attributes"},
	[EAR_AZTDX] = {EAR, "aztdxvtpm", "td_attributes"},
	[EAR_SGX] = {EAR, "sgx", "body"},
	[TCB] = {"tcb-status"},
	[TCB_SNP] = {"tcb-status", "snp"},
	[TCB_AZ_SNP] = {"tcb-status", "az-snp-vtpm"},
	[TCB_AZSNP] = {"tcb-status", "azsnpvtpm"},
	[TCB_TDX] = {"tcb-status", "tdx", "td_attributes"},
	[TCB_AZ_TDX] = {"tcb-status", "az-tdx-vtpm", "td_attributes"},
	[TCB_AZTDX] = {"tcb-status", "aztdxvtpm", "td_attributes"},
	[TCB_SGX] = {"tcb-status", "sgx", "body"},
};

/* Values that mean "no debugger".  Every other one, of whatever type, counts as "debuggable". */
enum harmless { IS_FALSE, IS_TRUE, IS_DISABLED, IS_SGX_FLAGS };

#define HARMLESS_TEXTS 5 /* NULL ends them */
static const char *const harmless_texts[][HARMLESS_TEXTS] = {
	[IS_FALSE] = {"false", "0"},
	[IS_TRUE] = {"true", "1"},
	/* RFC 9711 section 4.2.9 */
	[IS_DISABLED] = {"disabled", "disabled-since-boot", "disabled-permanently",
			 "disabled-fully-and-permanently"},
	[IS_SGX_FLAGS] = {NULL}, /* see is_sgx_production() */
};

#define AT(level) (1u << (level))
#define AZURE     (AT(TOP) | AT(ISOLATION_TEE))
#define COCO_SNP                                                                                   \
	(AT(EAR_SNP) | AT(EAR_AZ_SNP) | AT(EAR_AZSNP) | AT(TCB_SNP) | AT(TCB_AZ_SNP) |             \
	 AT(TCB_AZSNP))
#define COCO_TDX                                                                                   \
	(AT(EAR_TDX) | AT(EAR_AZ_TDX) | AT(EAR_AZTDX) | AT(TCB_TDX) | AT(TCB_AZ_TDX) |             \
	 AT(TCB_AZTDX))
_Static_assert(LEVEL_COUNT <= 32, "a level is a bit of an unsigned int");

/* `twins` are names of one fact.  A policy that needs a condition on one that means "debuggable"
 * covers the others in the same object, too. */
#define TWINS 3
static const struct debug_claim {
	unsigned levels;
	struct {
		const char *name;
		enum harmless harmless;
	} twins[TWINS];
} debug_claims[] = {
	/* AMD SEV-SNP */
	{AZURE, {{"x-ms-sevsnpvm-is-debuggable", IS_FALSE}}},
	{AT(TOP) | AT(ITA_SEVSNP), {{"sevsnp_is_debuggable", IS_FALSE}}},
	{COCO_SNP, {{"policy_debug_allowed", IS_FALSE}}},
	{AT(TCB), {{"snp.policy_debug_allowed", IS_FALSE}}},
	{AT(TCB), {{"az-snp-vtpm.policy_debug_allowed", IS_FALSE}}},
	{AT(TCB), {{"azsnpvtpm.policy_debug_allowed", IS_FALSE}}},
	/* Intel TDX; dbgstat alone is Google's, too */
	{AZURE | AT(ITA_TDX),
	 {{"tdx_td_attributes_debug", IS_FALSE},
	  {"tdx_is_debuggable", IS_FALSE},
	  {"dbgstat", IS_DISABLED}}},
	{COCO_TDX, {{"debug", IS_FALSE}}},
	{AT(TCB), {{"tdx.td_attributes.debug", IS_FALSE}}},
	{AT(TCB), {{"az-tdx-vtpm.td_attributes.debug", IS_FALSE}}},
	{AT(TCB), {{"aztdxvtpm.td_attributes.debug", IS_FALSE}}},
	/* Intel SGX */
	{AZURE, {{"x-ms-sgx-is-debuggable", IS_FALSE}, {"is-debuggable", IS_FALSE}}},
	{AT(TOP) | AT(ITA_SGX), {{"sgx_is_debuggable", IS_FALSE}}},
	{AT(EAR_SGX) | AT(TCB_SGX), {{"attributes.flags", IS_SGX_FLAGS}}},
	{AT(TCB), {{"sgx.body.attributes.flags", IS_SGX_FLAGS}}},
	/* the operating system of an Azure VM, from its TPM's log */
	{AZURE, {{"x-ms-azurevm-kerneldebug-enabled", IS_FALSE}}},
	{AZURE, {{"x-ms-azurevm-bootdebug-enabled", IS_FALSE}}},
	{AZURE, {{"x-ms-azurevm-hypervisordebug-enabled", IS_FALSE}}},
	{AZURE, {{"x-ms-azurevm-debuggersdisabled", IS_TRUE}}},
	{AZURE, {{"bootDebuggingDisabled", IS_TRUE}}},
	/* NVIDIA GPU */
	{AT(ITA_NVGPU), {{"dbgstat", IS_DISABLED}}},
};

/* ATTRIBUTES.FLAGS as 16 hex digits, bytes in memory order: DEBUG is bit 1 of the first byte, so of
 * its second digit. */
static bool is_sgx_production(struct span hex)
{
	if (hex.len != 16)
		return false;
	for (size_t i = 0; i < hex.len; i++)
		if (hex_digit(hex.p[i]) < 0)
			return false;
	return (hex_digit(hex.p[1]) & 2) == 0;
}

/* A value that is no scalar has an empty text, which is in no row. */
static bool is_harmless(const struct json_t *value, enum harmless harmless)
{
	const char *const *texts = harmless_texts[harmless];
	struct scalar s = scalar_of(value);

	if (harmless == IS_SGX_FLAGS)
		return is_sgx_production(scalar_text(&s));
	for (; *texts != NULL; texts++)
		if (span_eq_cstr(scalar_text(&s), *texts))
			return true;
	return false;
}

/* ---- the note of the explanation ---- */

/* of each object on the way: a submodule's name is the issuer's or the guest's, and may be
 * longer */
#define NAME_BYTES 32
#define PATH_BYTES (LEVEL_NAMES * (NAME_BYTES + 1) + 48)

/* The claim's path.  False when one of its names has a dot, so that no path of a policy names
 * it. */
static bool write_path(char out[static PATH_BYTES], const char *const *level, const char *submodule,
		       const char *name)
{
	bool is_nameable = strchr(name, '.') == NULL;
	size_t at = 0;

	for (; *level != NULL; level++) {
		const char *part = *level == each ? submodule : *level;
		is_nameable &= strchr(part, '.') == NULL;
		for (size_t i = 0; i < NAME_BYTES && part[i] != '\0'; i++)
			out[at++] = part[i] > ' ' && part[i] < 0x7f ? part[i] : '?';
		out[at++] = '.';
	}
	(void)snprintf(out + at, PATH_BYTES - at, "%s", name);
	return is_nameable;
}

/* The value as a condition writes it, NULL when it is no scalar or its text needs escapes. */
static const char *value_text(const struct json_t *value, struct scalar *scalar,
			      char out[static 40])
{
	static const char plain[] =
		"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-+._";

	*scalar = scalar_of(value);
	struct span text = scalar_text(scalar);
	if (text.len == 0 || text.len >= 40)
		return NULL;
	for (size_t i = 0; i < text.len; i++)
		if (memchr(plain, text.p[i], sizeof plain - 1) == NULL)
			return NULL;
	(void)snprintf(out, 40, "%.*s", (int)text.len, (const char *)text.p);
	return out;
}

static const char *kind_text(const struct json_t *value)
{
	return json_is_null(value)     ? "null"
	       : json_is_object(value) ? "an object"
	       : json_is_array(value)  ? "an array"
	       : json_is_string(value) ? "another text"
				       : "another number";
}

static void write_note(char note[static KB_DEBUG_NOTE], const char *path, bool is_nameable,
		       const struct json_t *value)
{
	struct scalar scalar;
	char storage[40];
	const char *text = value_text(value, &scalar, storage);
	const char *shown = text != NULL ? text : kind_text(value);

	if (!is_nameable)
		(void)snprintf(note, KB_DEBUG_NOTE,
			       "holds, but %s is %s: no path of a policy names this claim, so no "
			       "policy allows it",
			       path, shown);
	else if (text == NULL)
		(void)snprintf(note, KB_DEBUG_NOTE,
			       "holds, but %s is %s, and it needs no condition that reads this; to "
			       "allow it, add to an allOf "
			       "{\"claim\":\"%s\",\"exists\":true}",
			       path, shown, path);
	else
		(void)snprintf(note, KB_DEBUG_NOTE,
			       "holds, but %s is %s, and it needs no condition that reads this; to "
			       "allow it, add to an allOf "
			       "{\"claim\":\"%s\",\"equals\":\"%s\"}",
			       path, shown, path, text);
}

/* ---- the check ---- */

struct judged { /* everything borrowed */
	const struct rules *policy;
	struct span iss;
	const struct json_t *claims;
	char *note;
};

/* One object in which the row's names may stand.  Only the twins that mean "debuggable" count: a
 * condition that one is false does not allow the other. */
static enum kb_err check_object(const struct judged *j, const struct debug_claim *row,
				const char *const *level, const char *submodule,
				const struct json_t *object)
{
	const char *hot[TWINS];
	struct claim_set set = {.object = object, .names = hot};
	char path[PATH_BYTES];

	for (size_t t = 0; t < TWINS && row->twins[t].name != NULL; t++) {
		const struct json_t *value = json_object_get(object, row->twins[t].name);
		if (value != NULL && !is_harmless(value, row->twins[t].harmless))
			hot[set.n++] = row->twins[t].name;
	}
	if (set.n == 0 || !rules_hold_without(j->policy, j->iss, j->claims, &set))
		return KB_OK;
	bool is_nameable = write_path(path, level, submodule, hot[0]);
	write_note(j->note, path, is_nameable, json_object_get(object, hot[0]));
	return KB_E_DEBUG_EVIDENCE;
}

static const struct json_t *walk(const struct json_t *at, const char *const *names)
{
	for (; *names != NULL && *names != each; names++)
		at = json_object_get(at, *names);
	return at;
}

static enum kb_err check_level(const struct judged *j, const struct debug_claim *row,
			       const char *const *level)
{
	const struct json_t *object = walk(j->claims, level), *member;
	const char *const *rest = level;
	const char *name;
	void *it = NULL;

	while (*rest != NULL && *rest != each)
		rest++;
	if (*rest == NULL)
		return check_object(j, row, level, NULL, object);
	/* As many as the token has. The first that means "debuggable" is final: no policy can name
	 * a claim below here. */
	while (json_next(object, &it, &name, &member)) {
		enum kb_err err = check_object(j, row, level, name, walk(member, rest + 1));
		if (err != KB_OK)
			return err;
	}
	return KB_OK;
}

enum kb_err debug_check(const struct rules *policy, struct span iss, const struct json_t *claims,
			char note[static KB_DEBUG_NOTE])
{
	const struct judged j = {policy, iss, claims, note};

	for (size_t i = 0; i < sizeof debug_claims / sizeof *debug_claims; i++)
		for (unsigned l = 0; l < LEVEL_COUNT; l++) {
			if ((debug_claims[i].levels & AT(l)) == 0)
				continue;
			enum kb_err err = check_level(&j, &debug_claims[i], levels[l]);
			if (err != KB_OK)
				return err;
		}
	return KB_OK;
}
