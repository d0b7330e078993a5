/* broker/api/keyvault_error.c — refusals as Key Vault words them: what a worker refuses, and the
 * prepared bodies of the gateway.  Decides how a code reads.  Must never show which check refused a
 * token. */
#include "api/keyvault.h"
#include "base/json.h"
#include "base/limits.h"

#define API_VERSION_LATEST "7.6"
#define VERIFY_FAILED      "Target environment attestation statement cannot be verified."

static void error_body(struct buf *b, const char *code, struct span message, const char *inner)
{
	buf_add_str(b, "{\"error\":{");
	json_add_member(b, "code", span_str(code));
	json_add_member(b, "message", message);
	if (inner != NULL) {
		json_add_name(b, "innererror");
		buf_add_str(b, "{");
		json_add_member(b, "code", span_str(inner));
		buf_add_str(b, "}");
	}
	buf_add_str(b, "}}");
}

static void version_body(const struct call *call, struct buf *b)
{
	KB_AUTO(buf) struct buf text;

	buf_init(&text, 1024);
	enum api_age age = keyvault_version_age(call->api_version);
	if (call->verb == VERB_RELEASE && (age == API_BEFORE_RELEASE || age == API_TOO_OLD)) {
		buf_add_str(&text, "Release is not enabled in API Version '");
		buf_add_span(&text, span_sub(call->api_version, 0, 64));
		buf_add_str(&text, "'. Use '7.3' or later.");
		error_body(b, "BadParameter", buf_span(&text), "ProtocolNotSupported");
		return;
	}
	buf_add_str(&text, "The specified version (");
	buf_add_span(&text, span_sub(call->api_version, 0, 64));
	buf_add_str(&text, age == API_TOO_OLD ? ") is older than the first that is served (7.0)."
					      : ") is not recognized.");
	buf_add_str(&text, " Consider using the latest supported version "
			   "(" API_VERSION_LATEST ").");
	bool is_release = call->verb == VERB_RELEASE && call->api_version.len > 0;
	error_body(b, "BadParameter", buf_span(&text), is_release ? "ProtocolNotSupported" : NULL);
}

static void not_found_body(const struct call *call, struct buf *b)
{
	KB_AUTO(buf) struct buf text;

	buf_init(&text, 1024);
	buf_add_str(&text, "A key with (name/id) ");
	buf_add_span(&text, span_sub(call->key, 0, KB_MAX_KEY_NAME));
	if (call->version.len > 0) {
		buf_add_str(&text, "/");
		buf_add_span(&text, span_sub(call->version, 0, 64));
	}
	buf_add_str(&text, " was not found in this key vault.");
	error_body(b, "KeyNotFound", buf_span(&text), NULL);
}

/* Codes that read differently from their class; all others have the text of their class. */
static const struct {
	enum kb_err err;
	const char *code, *message, *inner;
} special[] = {
	{KB_E_NO_CREDENTIAL, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.",
	 NULL},
	{KB_E_CREDENTIAL, "Unauthorized",
	 "AKV10022: The token or certificate presented is not accepted here.", NULL},
	{KB_E_PATH, "NotFound", "There is nothing at this path.", NULL},
	{KB_E_METHOD, "MethodNotAllowed", "This method is not allowed here.", NULL},
	{KB_E_CONTENT_TYPE, "UnsupportedMediaType", "The body must be application/json.", NULL},
	{KB_E_BODY_FORMAT, "BadParameter", "The body is not one well-formed JSON object.", NULL},
	{KB_E_BODY_MEMBER, "BadParameter",
	 "'target' must be a string that is not empty; 'nonce', when sent, a string of at most 256 "
	 "bytes.",
	 NULL},
	{KB_E_ENC, "BadParameter",
	 "'enc' must be CKM_RSA_AES_KEY_WRAP, RSA_AES_KEY_WRAP_256 or RSA_AES_KEY_WRAP_384.", NULL},
	{KB_E_KEY_DISABLED, "Forbidden", "Operation release is not allowed on a disabled key.",
	 "KeyDisabled"},
	{KB_E_KEY_NOT_YET, "Forbidden",
	 "Operation release is not allowed on a key that is not yet valid.", "KeyNotYetValid"},
	{KB_E_KEY_EXPIRED, "Forbidden", "Operation release is not allowed on an expired key.",
	 "KeyExpired"},
	{KB_E_KEY_NOT_EXPORTABLE, "Forbidden",
	 "Operation release is not allowed on a key that is not exportable.", "AccessDenied"},
	{KB_E_NO_POLICY, "Forbidden",
	 "Operation release is not allowed on a key without release policy.", "AccessDenied"},
};

static void write_body(enum kb_err code, const struct call *call, struct buf *b)
{
	if (code == KB_E_API_VERSION) {
		version_body(call, b);
		return;
	}
	if (code == KB_E_KEY_NOT_FOUND) {
		not_found_body(call, b);
		return;
	}
	for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
		if (special[i].err == code) {
			error_body(b, special[i].code, span_str(special[i].message),
				   special[i].inner);
			return;
		}
	switch (kb_err_class(code)) {
	case KB_CLASS_DENY:
		error_body(b, "Forbidden", span_str(VERIFY_FAILED), "AccessDenied");
		return;
	case KB_CLASS_UNFIT:
		error_body(b, "Forbidden",
			   span_str("The key cannot be used, and trying again does not help. The "
				    "service's operator finds the reason by the request id."),
			   "AccessDenied");
		return;
	case KB_CLASS_AUTH:
		error_body(b, "Unauthorized", span_str("Not authorized."), NULL);
		return;
	case KB_CLASS_BAD:
	case KB_CLASS_NOT_FOUND:
		error_body(b, "BadParameter", span_str("The request is not valid."), NULL);
		return;
	case KB_CLASS_BUSY:
	case KB_CLASS_HSM:
		error_body(b, "ServiceUnavailable",
			   span_str("The service cannot answer now. Try again after the time in "
				    "Retry-After."),
			   NULL);
		return;
	case KB_CLASS_OK:
	case KB_CLASS_LOCAL:
	case KB_CLASS_BUG:
		error_body(b, "InternalServerError", span_str("An internal error occurred."), NULL);
		return;
	}
	KB_BUG();
}

int keyvault_refuse(enum kb_err code, const struct call *call, struct buf *body)
{
	write_body(code, call, body);
	if (code == KB_E_METHOD)
		return 405;
	if (code == KB_E_CONTENT_TYPE)
		return 415;
	return kb_err_status(code);
}

/* What the gateway answers itself. */
#define FIXED(code, message) "{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\"}}"
const struct api_body keyvault_bodies[] = {
	{KB_E_LEDGER, 0,
	 FIXED("ServiceUnavailable",
	       "The request cannot be recorded now. Nothing was released. Retry later.")},
	{KB_E_HTTP_BODY_TYPE, 0,
	 FIXED("BadParameter",
	       "Transfer-Encoding is not accepted: send the body with Content-Length.")},
	{KB_OK, 400, FIXED("BadParameter", "The request is not well-formed HTTP/1.1.")},
	{KB_OK, 405, FIXED("MethodNotAllowed", "The method is not allowed.")},
	{KB_OK, 408, FIXED("RequestTimeout", "The request was not complete in time.")},
	{KB_OK, 413, FIXED("RequestEntityTooLarge", "The request body is too large.")},
	{KB_OK, 414, FIXED("BadParameter", "The request line is too long.")},
	{KB_OK, 431, FIXED("BadParameter", "The request headers are too many or too long.")},
	{KB_OK, 503,
	 FIXED("ServiceUnavailable", "The service is busy or not available: try again later.")},
	{KB_OK, 505, FIXED("BadParameter", "Only HTTP/1.1 is supported.")},
	{KB_OK, 0, FIXED("InternalServerError", "The request failed.")},
};
