/* broker/ctl/hint.c — what codes of files, keys and the HSM mean, and what to do next.  The codes
 * of a judgement are explained in policy/explain.c. */
#include "ctl/output.h"

static const struct {
	enum kb_err code;
	const char *text;
} hints[] = {
	{KB_E_JWKS_FORMAT,
	 "The key set is not a JSON Web Key Set: an object with an array \"keys\"."},
	{KB_E_JWKS_EMPTY, "No usable key is left in the key set: weak keys, keys of other types "
			  "and keys without kid are dropped."},
	{KB_E_JWKS_DUPLICATE, "Two keys of one kid: the whole set is refused, because two "
			      "readers would pick differently."},
	{KB_E_KEYSET_ORIGIN, "It was fetched for another issuer, from another URL or by another "
			     "CA than the configuration names now."},
	{KB_E_KEY_NOT_FOUND,
	 "There is no such key, or no such version of it: see `keybrokerctl key list`."},
	{KB_E_KEY_DISABLED, "The key is disabled: `keybrokerctl key enable NAME` undoes it."},
	{KB_E_KEY_NOT_YET, "The key's \"nbf\" is in the future."},
	{KB_E_KEY_EXPIRED, "The key is past its \"exp\"."},
	{KB_E_KEY_NOT_EXPORTABLE, "The key was created not to be released."},
	{KB_E_REPLAY_FULL, "The ledger remembers as many used tokens as it can: it takes others "
			   "again when some have expired."},
	{KB_E_PENALTY, "The source address failed too often and is blocked for a while: if many "
		       "guests share it, add it to \"penalties\".\"exempt\"."},
	{KB_E_HSM, "The module failed; its log says why."},
	{KB_E_HSM_MODULE, "The module must be an absolute path to a library that root alone can "
			  "write, and its own files readable by the broker's user."},
	{KB_E_HSM_TOKEN, "No single token matches: check \"hsm\".\"token\", and for SoftHSM the "
			 "directory in softhsm2.conf and its owner and mode."},
	{KB_E_HSM_PIN, "The PIN was refused and is not tried again: put the right one in the PIN "
		       "file, then `keybrokerctl reload`."},
	{KB_E_HSM_MECHANISM, "The module lacks a mechanism that is needed (AES key wrap, RSA)."},
	{KB_E_HSM_KEY_MISSING, "The object of the key's record is not in the token: a backup was "
			       "restored, or it was deleted."},
	{KB_E_HSM_KEY_AMBIGUOUS,
	 "More than one object matches the record's URI: name it by its id."},
	{KB_E_HSM_KEY_ATTR, "The object is not the key that the record means: another type, not "
			    "extractable, or replaced by another key."},
};

const char *ctl_hint(enum kb_err err)
{
	for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
		if (hints[i].code == err)
			return hints[i].text;
	return "";
}
