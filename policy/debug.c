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
	/* Confidential Containers' token before EAR: names joined by dots, or objects. */
	TCB_SNP,
	TCB_AZ_SNP,
	TCB_AZSNP,
	TCB_TDX,
	TCB_AZ_TDX,
	TCB_AZTDX,
	TCB_SGX,
	LEVEL_COUNT
};

/* Paths of objects, read in every way they can be read (reading.h): the names may stand one in the
 * other, or joined in one. */
#define EAR "ear.veraison.annotated-evidence"
static const struct {
	const char *path;  /* NULL: the names stand at the beginning */
	bool is_submodule; /* in every member of "submods" */
} levels[LEVEL_COUNT] = {
	[TOP] = {NULL, false},
	[ISOLATION_TEE] = {"x-ms-isolation-tee", false},
	[ITA_SEVSNP] = {"sevsnp", false},
	[ITA_TDX] = {"tdx", false},
	[ITA_SGX] = {"sgx", false},
	[ITA_NVGPU] = {"nvgpu", false},
	[EAR_SNP] = {EAR ".snp", true},
	[EAR_AZ_SNP] = {EAR ".az-snp-vtpm", true},
	[EAR_AZSNP] = {EAR ".azsnpvtpm", true},
	[EAR_TDX] = {EAR ".tdx.td_attributes", true},
	[EAR_AZ_TDX] = {EAR ".az-tdx-vtpm.td_attributes", true},
	[EAR_AZTDX] = {EAR ".aztdxvtpm.td_attributes", true},
	[EAR_SGX] = {EAR ".sgx.body", true},
	[TCB_SNP] = {"tcb-status.snp", false},
	[TCB_AZ_SNP] = {"tcb-status.az-snp-vtpm", false},
	[TCB_AZSNP] = {"tcb-status.azsnpvtpm", false},
	[TCB_TDX] = {"tcb-status.tdx.td_attributes", false},
	[TCB_AZ_TDX] = {"tcb-status.az-tdx-vtpm.td_attributes", false},
	[TCB_AZTDX] = {"tcb-status.aztdxvtpm.td_attributes", false},
	[TCB_SGX] = {"tcb-status.sgx.body", false},
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
 * covers the others at the same level of the same part of the token, too. */
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
	/* Intel TDX; dbgstat alone is Google's, too */
	{AZURE | AT(ITA_TDX),
	 {{"tdx_td_attributes_debug", IS_FALSE},
	  {"tdx_is_debuggable", IS_FALSE},
	  {"dbgstat", IS_DISABLED}}},
	{COCO_TDX, {{"debug", IS_FALSE}}},
	/* Intel SGX */
	{AZURE, {{"x-ms-sgx-is-debuggable", IS_FALSE}, {"is-debuggable", IS_FALSE}}},
	{AT(TOP) | AT(ITA_SGX), {{"sgx_is_debuggable", IS_FALSE}}},
	{AT(EAR_SGX) | AT(TCB_SGX), {{"attributes.flags", IS_SGX_FLAGS}}},
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

/* ---- the parts of a token ---- */

struct part { /* the token, or one of its submodules; borrowed */
	const struct json_t *claims;
	const char *submodule;    /* NULL: the token */
	bool is_entry;            /* of an array: only its number is known */
	struct claim_place place; /* of the submodule, when it is a member */
};

/* ---- the note of the explanation ---- */

#define NAME_BYTES 96 /* of a submodule's name, which is the issuer's or the guest's */
#define PATH_BYTES (KB_MAX_CLAIM_PATH + NAME_BYTES + 16)

/* The claim's path from the top of the token.  False: no path with dots names it. */
static bool write_path(char out[static PATH_BYTES], const struct part *part, const char *path)
{
	char name[NAME_BYTES + 1];
	bool is_nameable = !part->is_entry;
	enum kb_err err;
	size_t n = 0;

	if (part->submodule == NULL) {
		(void)snprintf(out, PATH_BYTES, "%s", path);
		return true;
	}
	for (; n < NAME_BYTES && part->submodule[n] != '\0'; n++) {
		char c = part->submodule[n];
		bool is_plain = c > ' ' && c < 0x7f && c != '"' && c != '\\';
		is_nameable &= is_plain;
		name[n] = is_plain ? c : '?';
	}
	is_nameable &= part->submodule[n] == '\0';
	name[n] = '\0';
	(void)snprintf(out, PATH_BYTES, "submods.%s%s%s", name, path[0] != '\0' ? "." : "", path);
	return is_nameable && claim_path_fault(span_str(out), &err) == NULL;
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
	char storage[JSON_INT_TEXT];
	struct span number;

	return json_is_null(value)                       ? "null"
	       : json_is_object(value)                   ? "an object"
	       : json_is_array(value)                    ? "an array"
	       : json_as_number(value, storage, &number) ? "another number"
							 : "another text";
}

struct suspect {                    /* a claim that means "debuggable", or may */
	const char *path;           /* within its part */
	const struct json_t *value; /* NULL: it cannot be read for certain */
	enum reading_kind kind;
};

static void write_note(char note[static KB_DEBUG_NOTE], const struct part *part,
		       const struct suspect *suspect)
{
	struct scalar scalar;
	char storage[40], path[PATH_BYTES];
	bool is_nameable = write_path(path, part, suspect->path);
	const char *text = value_text(suspect->value, &scalar, storage);
	const char *shown = text != NULL ? text : kind_text(suspect->value);

	if (suspect->kind == READ_ARRAY)
		(void)snprintf(note, KB_DEBUG_NOTE,
			       "holds, but %s leads into an array, where it cannot be read: no "
			       "policy allows that",
			       path);
	else if (suspect->kind == READ_MANY)
		(void)snprintf(note, KB_DEBUG_NOTE,
			       "holds, but %s is at too many places: no policy allows that", path);
	else if (suspect->kind == READ_DIFFERS)
		(void)snprintf(note, KB_DEBUG_NOTE,
			       "holds, but %s is there more than once, with different values, one "
			       "of which is %s",
			       path, shown);
	else if (!is_nameable)
		(void)snprintf(note, KB_DEBUG_NOTE,
			       "holds, but %s is %s: no path with dots names this claim, so no "
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
	unsigned n_allowed; /* evaluations so far, each of which found its condition */
};

static enum kb_err refuse(const struct judged *j, const struct part *part,
			  const struct suspect *suspect)
{
	write_note(j->note, part, suspect);
	return KB_E_DEBUG_EVIDENCE;
}

struct suspects { /* the places of one row that mean "debuggable" */
	struct claim_place place[2 * TWINS * KB_MAX_CLAIM_PLACES];
	size_t n;
	struct suspect first;
};

/* False: there are more than are compared. */
static bool add_suspect(struct suspects *all, const struct suspect *one, struct claim_place place)
{
	if (all->n == 0)
		all->first = *one;
	if (all->n == sizeof all->place / sizeof *all->place)
		return false;
	all->place[all->n++] = place;
	return true;
}

/* False, and *suspect filled: the path cannot be read for certain. */
static bool add_reading(struct suspects *all, const struct json_t *claims, const char *path,
			enum harmless harmless, struct suspect *suspect)
{
	struct reading reading;

	claims_read(claims, span_str(path), &reading);
	*suspect = (struct suspect){.path = path, .kind = reading.kind};
	for (size_t i = 0; i < reading.n; i++) {
		suspect->value = reading.at[i];
		if (!is_harmless(reading.at[i], harmless) &&
		    !add_suspect(all, suspect, reading.place[i]))
			suspect->kind = READ_MANY;
	}
	return suspect->kind != READ_ARRAY && suspect->kind != READ_MANY;
}

/* A submodule's name may have the beginning of the path in it: "cpu0.ear.veraison". */
static bool add_joined(struct suspects *all, const struct part *part, const char *path,
		       enum harmless harmless, struct suspect *suspect)
{
	const char *dot = part->submodule == NULL ? NULL : strchr(part->submodule, '.');

	for (; dot != NULL; dot = strchr(dot + 1, '.')) {
		const char *rest = dot + 1;
		size_t len = strlen(rest);
		if (strncmp(path, rest, len) != 0)
			continue;
		*suspect = (struct suspect){path + len, part->claims, READ_FOUND};
		if (path[len] == '.' &&
		    !add_reading(all, part->claims, path + len + 1, harmless, suspect))
			return false;
		if (path[len] == '\0' && !is_harmless(part->claims, harmless) &&
		    !add_suspect(all, suspect, part->place))
			return false;
	}
	return true;
}

/* One row at one level of one part.  Only the twins that mean "debuggable" count: a condition that
 * one is false does not allow the other. */
static enum kb_err check_row(struct judged *j, const struct debug_claim *row,
			     const char *const level, const struct part *part)
{
	struct suspects all = {.n = 0};
	char path[TWINS][KB_MAX_CLAIM_PATH];
	struct suspect suspect;

	for (size_t t = 0; t < TWINS && row->twins[t].name != NULL; t++) {
		enum harmless harmless = row->twins[t].harmless;
		(void)snprintf(path[t], sizeof path[t], "%s%s%s", level != NULL ? level : "",
			       level != NULL ? "." : "", row->twins[t].name);
		if (!add_reading(&all, part->claims, path[t], harmless, &suspect) ||
		    !add_joined(&all, part, path[t], harmless, &suspect))
			return refuse(j, part, &suspect);
	}
	if (all.n == 0)
		return KB_OK;
	const struct claim_set set = {all.place, all.n};
	/* Each submodule costs an evaluation of the policy. */
	if (j->n_allowed++ == KB_MAX_DEBUG_PARTS ||
	    rules_hold_without(j->policy, j->iss, j->claims, &set))
		return refuse(j, part, &all.first);
	return KB_OK;
}

static enum kb_err check_part(struct judged *j, const struct part *part)
{
	for (size_t i = 0; i < sizeof debug_claims / sizeof *debug_claims; i++)
		for (unsigned l = 0; l < LEVEL_COUNT; l++) {
			if ((debug_claims[i].levels & AT(l)) == 0 ||
			    levels[l].is_submodule != (part->submodule != NULL))
				continue;
			enum kb_err err = check_row(j, &debug_claims[i], levels[l].path, part);
			if (err != KB_OK)
				return err;
		}
	return KB_OK;
}

/* The members of `object` whose names begin with `prefix`. */
static enum kb_err check_members(struct judged *j, const struct json_t *object, const char *prefix)
{
	struct part part = {0};
	const char *name;
	void *it = NULL;

	while (json_next(object, &it, &name, &part.claims)) {
		if (strncmp(name, prefix, strlen(prefix)) != 0)
			continue;
		part.submodule = name + strlen(prefix);
		part.place = (struct claim_place){object, span_str(name)};
		enum kb_err err = check_part(j, &part);
		if (err != KB_OK)
			return err;
	}
	return KB_OK;
}

static enum kb_err check_submodules(struct judged *j)
{
	const struct json_t *submods = json_object_get(j->claims, "submods");
	char number[24];

	for (size_t i = 0; json_is_array(submods) && i < json_len(submods); i++) {
		(void)snprintf(number, sizeof number, "%zu", i);
		const struct part part = {json_at(submods, i), number, true, {0}};
		enum kb_err err = check_part(j, &part);
		if (err != KB_OK)
			return err;
	}
	enum kb_err err = check_members(j, submods, "");
	return err != KB_OK ? err : check_members(j, j->claims, "submods.");
}

enum kb_err debug_check(const struct rules *policy, struct span iss, const struct json_t *claims,
			char note[static KB_DEBUG_NOTE])
{
	struct judged j = {policy, iss, claims, note, 0};
	const struct part token = {claims, NULL, false, {0}};

	enum kb_err err = check_part(&j, &token);
	return err != KB_OK ? err : check_submodules(&j);
}
