/* broker/base/err_text.c — what each code means to an operator, and what to do next.  One sentence
 * or two for every row of err.h. */
#include "base/err.h"

#include <stddef.h>

static const char *const texts[KB_ERR_COUNT] = {
	[KB_OK] = "no failure",
	[KB_E_BUG] = "a state that cannot occur: report it with the line of the log",
	[KB_E_NOMEM] = "malloc() failed: give the machine or the container more memory",

	[KB_E_JSON_SYNTAX] = "the header or the claims, or the document, are not JSON (RFC 8259)",
	[KB_E_JSON_DUPLICATE] = "an object has a member twice: two readers would take different "
				"ones",
	[KB_E_JSON_DEPTH] = "JSON nested deeper than 16 levels",
	[KB_E_JSON_SIZE] = "more bytes or values than keybroker-limits(7) allows",
	[KB_E_JSON_MISSING] = "a member that is required is absent",
	[KB_E_JSON_TYPE] = "a member has another type than it must have",
	[KB_E_JSON_LENGTH] = "a text is empty or longer than keybroker-limits(7) allows",
	[KB_E_JSON_UNKNOWN] = "a member that is not known here: a misspelt one would have no "
			      "effect",
	[KB_E_ENCODING] = "the text is UTF-16 or UTF-32: save it as UTF-8",
	[KB_E_B64] = "not canonical base64 or base64url (RFC 4648)",

	[KB_E_TOKEN_SIZE] = "the token is longer than keybroker-limits(7) allows",
	[KB_E_TOKEN_FORMAT] =
		"not three base64url parts joined by dots whose claims are an object (RFC 7515 "
		"section 7.1): was the token cut, or is there something before or after it?",
	[KB_E_TOKEN_HEADER] = "the token's header is no object, too long, or has a member that "
			      "changes what the token means or brings a key (crit, b64, zip, jwk, "
			      "x5c)",
	[KB_E_TOKEN_TYPE] = "this is no attestation token: an encrypted or nested one, one in JSON "
			    "form or of another `typ`, or, with profile \"maa\", one that does not "
			    "name what was attested (x-ms-attestation-type)",
	[KB_E_TOKEN_ALG] = "the issuer's file does not allow the token's algorithm, or the "
			   "key is for another one",
	[KB_E_TOKEN_CURVE] = "the key is on another curve than the algorithm (RFC 7518 section "
			     "3.4)",
	[KB_E_TOKEN_SIG_LENGTH] = "the signature has not the length that its key makes: the token "
				  "was cut or changed",
	[KB_E_TOKEN_SIGNATURE] = "the token was changed, or another key signed it",
	[KB_E_KID_MISSING] = "no `kid` says which of the issuer's keys is meant",
	[KB_E_KID_LENGTH] = "the `kid` is empty or longer than keybroker-limits(7) allows",
	[KB_E_KID_UNKNOWN] = "the issuer's key set has no usable key of this kid: it may have been "
			     "rotated since, or stands among the entries that are not used",
	[KB_E_KID_PENDING] =
		"the key set has no key of this kid that fits the token, and is fetched "
		"again: try again",
	[KB_E_ISSUER] = "no file in issuers.d has this token's `iss` as its \"issuer\", letter by "
			"letter",
	[KB_E_ISSUER_UNAVAILABLE] = "no current key set of the issuer: see `keybrokerctl "
				    "status` for why it could not be fetched",

	[KB_E_JWKS_FORMAT] = "the key set is not a JSON Web Key Set: an object with an array "
			     "\"keys\" of objects",
	[KB_E_JWKS_EMPTY] = "no usable key is left in the key set: weak keys, keys of other types, "
			    "keys without kid, and different keys of one kid are not used",
	[KB_E_JWKS_DUPLICATE] = "different usable keys have this kid: which one is meant would be "
				"a guess, so none is used",
	[KB_E_JWKS_COUNT] = "the key set has more keys than keybroker-limits(7) allows",

	[KB_E_KEY_FORMAT] = "the key is not a JWK or certificate that can be read (RFC 7517, RFC "
			    "7518 section 6), or its numbers and its certificate differ",
	[KB_E_KEY_TYPE] = "a key of a type that is not taken here: RSA or EC verifies, RSA wraps",
	[KB_E_KEY_SIZE] = "an RSA key needs 2048 to 4096 bits",
	[KB_E_KEY_EXPONENT] = "an RSA key needs an odd exponent from 3 on, of at most 32 bits",
	[KB_E_KEY_WEAK] = "the numbers are no good RSA key: a small factor, the ROCA pattern, or "
			  "no product of two primes",
	[KB_E_KEY_CURVE] = "an EC key must be a point on P-256, P-384 or P-521, in full width",
	[KB_E_KEY_PRIVATE] = "the key comes with its private part: whoever published it has lost "
			     "it, and must make a new one",
	[KB_E_KEY_USE] = "`use`, `key_ops` or `alg` say that the key is meant for something else",
	[KB_E_KEY_BINDING] = "the token has no RSA key for encryption with a kid where the "
			     "issuer's file has \"wrapping_key\" (by default in "
			     "x-ms-runtime.keys): there is nothing to wrap to",

	[KB_E_CLAIM_MISSING] = "a claim that every token must have is absent: `iss`, `iat`, `exp`",
	[KB_E_CLAIM_TYPE] = "`iss` must be a text of at most 256 bytes; `iat`, `exp` and `nbf` "
			    "must be numbers of seconds since 1970",
	[KB_E_EXPIRED] = "the guest must ask for a fresh token; an old one can be explained "
			 "at its own time with --at",
	[KB_E_NOT_YET] = "the token was issued in the future: compare the clocks",
	[KB_E_TOO_OLD] = "older than the issuer's \"max_token_age\" allows",
	[KB_E_LIFETIME] = "its lifetime (exp - iat) is longer than the issuer's file allows, "
			  "or not positive",
	[KB_E_AUDIENCE] = "`aud` is not the issuer file's \"audience\"",
	[KB_E_NONCE] = "the issuer's file demands a nonce, and the token has none or another one",
	[KB_E_REPLAY] = "single use: this token has released this key before, or the ledger cannot "
			"exclude it; the guest must ask for a fresh token",
	[KB_E_REPLAY_FULL] = "The ledger remembers as many used tokens as it can: it takes others "
			     "again when some have expired.",
	[KB_E_CLOCK_UNSET] = "this machine's clock was never set",

	[KB_E_POLICY_FORMAT] = "this is not a release policy in Azure's grammar",
	[KB_E_POLICY_LIMIT] = "the policy is beyond a limit of keybroker-limits(7)",
	[KB_E_NO_POLICY] = "the key has no release policy, so nobody gets it",
	[KB_E_POLICY] = "every ✗ line above that stands under ✗ lines only must become ✓",
	[KB_E_DEBUG_EVIDENCE] = "the guest can be debugged; only a condition without which "
				"the policy does not hold allows that: see the policy step",

	[KB_E_KEY_NOT_FOUND] =
		"There is no such key, or no such version of it: see `keybrokerctl key list`.",
	[KB_E_KEY_DISABLED] = "The key is disabled: `keybrokerctl key enable NAME` undoes it.",
	[KB_E_KEY_NOT_YET] = "The key's \"nbf\" is in the future.",
	[KB_E_KEY_EXPIRED] = "The key is past its \"exp\".",
	[KB_E_KEY_NOT_EXPORTABLE] = "The key was created not to be released.",

	[KB_E_NO_CREDENTIAL] = "The call has no credential. SDKs begin like this and send one "
			       "after the challenge.",
	[KB_E_CREDENTIAL] = "The bearer token is not in \"bearer_file\", or there is no client "
			    "certificate where \"auth\" is \"mtls\".",
	[KB_E_PATH] = "No API has this path.",
	[KB_E_METHOD] = "The path does not have this method.",
	[KB_E_API_VERSION] = "The api-version is missing, malformed, or older than the call that "
			     "is asked for.",
	[KB_E_BODY_FORMAT] = "The body is not one JSON object.",
	[KB_E_BODY_MEMBER] = "A member of the body is missing or wrong.",
	[KB_E_ENC] = "\"enc\" names no wrapping scheme that is known.",
	[KB_E_CONTENT_TYPE] = "The body must be application/json.",

	[KB_E_HTTP_SYNTAX] = "This is not an HTTP/1.1 request (RFC 9112).",
	[KB_E_HTTP_VERSION] = "Only HTTP/1.1 is served.",
	[KB_E_HTTP_HEADERS] = "More header lines or bytes than keybroker-limits(7) allows.",
	[KB_E_HTTP_URI] = "The request line is longer than keybroker-limits(7) allows.",
	[KB_E_HTTP_BODY_SIZE] = "The body is longer than keybroker-limits(7) allows.",
	[KB_E_HTTP_BODY_TYPE] = "The body must come with Content-Length, without an encoding.",
	[KB_E_DEADLINE] = "The client, or the workers, took too long.",
	[KB_E_QUEUE_FULL] = "More requests wait than there is room for: more \"workers\", or a "
			    "flood.",
	[KB_E_RELOADED] = "A reload changed what judges before a worker had the request: the same "
			  "call is judged by the new configuration.",
	[KB_E_PENALTY] = "The source address failed too often and is blocked for a while: if many "
			 "guests share it, add it to \"penalties\".\"exempt\".",
	[KB_E_CONN_LIMIT] = "Too many connections, in all or of one source address.",
	[KB_E_TLS] = "The TLS handshake failed: see the log.",

	[KB_E_FRAME] = "A message between processes is malformed: report it.",
	[KB_E_PROCESS_LOST] = "The worker that had the request has ended. The same call may "
			      "succeed.",

	[KB_E_LEDGER] = "The record could not be made durable: look at the disk of \"state\".",
	[KB_E_LEDGER_CHAIN] = "A line of the ledger was changed, or lines are missing: "
			      "`keybrokerctl ledger verify` says where.",
	[KB_E_LEDGER_LOCKED] = "Another process writes this ledger: is a broker running?",

	[KB_E_HSM] = "The module failed; its log says why.",
	[KB_E_HSM_MODULE] = "The module must be an absolute path to a library that root alone can "
			    "write, and its own files readable by the broker's user.",
	[KB_E_HSM_TOKEN] = "No single token matches: check \"hsm\".\"token\", and for SoftHSM the "
			   "directory in softhsm2.conf and its owner and mode.",
	[KB_E_HSM_DEVICE] = "The device does not answer or is in error: see its own log.",
	[KB_E_HSM_SESSION] = "The session with the HSM was lost. A new one is opened.",
	[KB_E_HSM_HANDLE] = "The object was replaced in the HSM meanwhile. It is found again.",
	[KB_E_HSM_PIN] = "The PIN was refused and is not tried again: put the right one in the PIN "
			 "file, then `keybrokerctl reload`.",
	[KB_E_HSM_MEMORY] = "The device or the module has no memory left.",
	[KB_E_HSM_MECHANISM] = "The module lacks a mechanism that is needed (AES key wrap, RSA).",
	[KB_E_HSM_SIGNER] = "The release signer's key is missing in the HSM or unfit: "
			    "`keybrokerctl check --hsm` says what is wrong.",
	[KB_E_HSM_OUTPUT] = "What the HSM returned is not right: `keybrokerctl check --hsm`.",
	[KB_E_HSM_KEY_MISSING] = "The object of the key's record is not in the token: a backup was "
				 "restored, or it was deleted.",
	[KB_E_HSM_KEY_AMBIGUOUS] =
		"More than one object matches the record's URI: name it by its id.",
	[KB_E_HSM_KEY_ATTR] = "The object is not the key that the record means: another type, not "
			      "extractable, or replaced by another key.",
	[KB_E_HSM_URI] = "Not a PKCS#11 URI of an object (RFC 7512).",
	[KB_E_WRAP] = "The key could not be wrapped, or not unwrapped.",

	[KB_E_FILE] = "A file cannot be opened, read or written.",
	[KB_E_FILE_MODE] = "Others can change a file or a directory that must be protected.",
	[KB_E_FILE_SIZE] = "A file is larger than keybroker-limits(7) allows.",
	[KB_E_CONFIG] = "The configuration or an argument is wrong: `keybrokerctl check` names the "
			"line.",
	[KB_E_SYS] = "A system call or a library failed: see the log.",

	[KB_E_TPM] = "The TPM refused a command.",
	[KB_E_TPM_PCR] = "The PCRs have other values than at sealing.",
	[KB_E_TPM_MISSING] = "No TPM answers, or no key is at the handle.",

	[KB_E_FETCH_CONNECT] = "The server cannot be reached.",
	[KB_E_FETCH_TLS] = "The server's certificate is not trusted, or TLS failed.",
	[KB_E_FETCH_TIMEOUT] = "The answer took too long.",
	[KB_E_FETCH_STATUS] = "Another HTTP status than 200.",
	[KB_E_FETCH_REDIRECT] = "A redirect: never followed. Write the URL that it leads to.",
	[KB_E_FETCH_SIZE] = "The document is larger than keybroker-limits(7) allows.",
	[KB_E_FETCH_ADDRESS] = "A private address, which the issuer's file does not allow.",
	[KB_E_FETCH_CONTENT] = "The document is not what was asked for, or was damaged.",
	[KB_E_KEYSET_ORIGIN] = "It was fetched for another issuer, from another URL or by another "
			       "CA than the configuration names now.",
	[KB_E_KEYSET_STALE] = "The key set was fetched longer ago than max_stale allows.",
	[KB_E_KEYSET_AHEAD] = "The key set says that it was fetched at a time that is to come: the "
			      "clock went back, or the file was changed. It is fetched again.",
};

const char *kb_err_text(enum kb_err e)
{
	const char *text = (unsigned)e < KB_ERR_COUNT ? texts[e] : NULL;

	return text != NULL ? text : "";
}
