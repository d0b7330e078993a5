/* keystore/module.c — decides which file may be loaded as the PKCS#11 module and what its return
 * values mean. Trusts the file that it has checked: a module is code in this process. Trusts no
 * length that the module reports.  Must never load by name or search path. */
#include "keystore/module.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

/* PKCS#11 v2.40 §5.1, all of it, and v3.0's additions.  What is worth a new session is _SESSION,
 * what is worth a new search is _HANDLE; the rest is final for the request. */
#define CKR_TABLE(X)                                                                               \
	X(CKR_OK, KB_OK)                                                                           \
	X(CKR_CANCEL, KB_E_HSM)                                                                    \
	X(CKR_HOST_MEMORY, KB_E_HSM_MEMORY)                                                        \
	X(CKR_SLOT_ID_INVALID, KB_E_HSM_TOKEN)                                                     \
	X(CKR_GENERAL_ERROR, KB_E_HSM_DEVICE)                                                      \
	X(CKR_FUNCTION_FAILED, KB_E_HSM_DEVICE)                                                    \
	X(CKR_ARGUMENTS_BAD, KB_E_HSM)                                                             \
	X(CKR_NO_EVENT, KB_E_HSM)                                                                  \
	X(CKR_NEED_TO_CREATE_THREADS, KB_E_HSM_MODULE)                                             \
	X(CKR_CANT_LOCK, KB_E_HSM_MODULE)                                                          \
	X(CKR_ATTRIBUTE_READ_ONLY, KB_E_HSM_KEY_ATTR)                                              \
	X(CKR_ATTRIBUTE_SENSITIVE, KB_E_HSM_KEY_ATTR)                                              \
	X(CKR_ATTRIBUTE_TYPE_INVALID, KB_E_HSM_KEY_ATTR)                                           \
	X(CKR_ATTRIBUTE_VALUE_INVALID, KB_E_HSM_KEY_ATTR)                                          \
	X(CKR_ACTION_PROHIBITED, KB_E_HSM_KEY_ATTR)                                                \
	X(CKR_DATA_INVALID, KB_E_HSM)                                                              \
	X(CKR_DATA_LEN_RANGE, KB_E_HSM)                                                            \
	X(CKR_DEVICE_ERROR, KB_E_HSM_DEVICE)                                                       \
	X(CKR_DEVICE_MEMORY, KB_E_HSM_MEMORY)                                                      \
	X(CKR_DEVICE_REMOVED, KB_E_HSM_DEVICE)                                                     \
	X(CKR_ENCRYPTED_DATA_INVALID, KB_E_HSM)                                                    \
	X(CKR_ENCRYPTED_DATA_LEN_RANGE, KB_E_HSM)                                                  \
	X(CKR_FUNCTION_CANCELED, KB_E_HSM)                                                         \
	X(CKR_FUNCTION_NOT_PARALLEL, KB_E_HSM)                                                     \
	X(CKR_FUNCTION_NOT_SUPPORTED, KB_E_HSM_MECHANISM)                                          \
	X(CKR_KEY_HANDLE_INVALID, KB_E_HSM_HANDLE)                                                 \
	X(CKR_KEY_SIZE_RANGE, KB_E_HSM_KEY_ATTR)                                                   \
	X(CKR_KEY_TYPE_INCONSISTENT, KB_E_HSM_KEY_ATTR)                                            \
	X(CKR_KEY_NOT_NEEDED, KB_E_HSM)                                                            \
	X(CKR_KEY_CHANGED, KB_E_HSM_HANDLE)                                                        \
	X(CKR_KEY_NEEDED, KB_E_HSM)                                                                \
	X(CKR_KEY_INDIGESTIBLE, KB_E_HSM_KEY_ATTR)                                                 \
	X(CKR_KEY_FUNCTION_NOT_PERMITTED, KB_E_HSM_KEY_ATTR)                                       \
	X(CKR_KEY_NOT_WRAPPABLE, KB_E_HSM_KEY_ATTR)                                                \
	X(CKR_KEY_UNEXTRACTABLE, KB_E_HSM_KEY_ATTR)                                                \
	X(CKR_MECHANISM_INVALID, KB_E_HSM_MECHANISM)                                               \
	X(CKR_MECHANISM_PARAM_INVALID, KB_E_HSM_MECHANISM)                                         \
	X(CKR_OBJECT_HANDLE_INVALID, KB_E_HSM_HANDLE)                                              \
	X(CKR_OPERATION_ACTIVE, KB_E_HSM_SESSION) /* a stuck operation ends with its session */    \
	X(CKR_OPERATION_NOT_INITIALIZED, KB_E_HSM_SESSION)                                         \
	X(CKR_PIN_INCORRECT, KB_E_HSM_PIN)                                                         \
	X(CKR_PIN_INVALID, KB_E_HSM_PIN)                                                           \
	X(CKR_PIN_LEN_RANGE, KB_E_HSM_PIN)                                                         \
	X(CKR_PIN_EXPIRED, KB_E_HSM_PIN)                                                           \
	X(CKR_PIN_LOCKED, KB_E_HSM_PIN)                                                            \
	X(CKR_SESSION_CLOSED, KB_E_HSM_SESSION)                                                    \
	X(CKR_SESSION_COUNT, KB_E_HSM_MEMORY)                                                      \
	X(CKR_SESSION_HANDLE_INVALID, KB_E_HSM_SESSION)                                            \
	X(CKR_SESSION_PARALLEL_NOT_SUPPORTED, KB_E_HSM)                                            \
	X(CKR_SESSION_READ_ONLY, KB_E_HSM)                                                         \
	X(CKR_SESSION_EXISTS, KB_E_HSM)                                                            \
	X(CKR_SESSION_READ_ONLY_EXISTS, KB_E_HSM)                                                  \
	X(CKR_SESSION_READ_WRITE_SO_EXISTS, KB_E_HSM)                                              \
	X(CKR_SIGNATURE_INVALID, KB_E_HSM)                                                         \
	X(CKR_SIGNATURE_LEN_RANGE, KB_E_HSM)                                                       \
	X(CKR_TEMPLATE_INCOMPLETE, KB_E_HSM_KEY_ATTR)                                              \
	X(CKR_TEMPLATE_INCONSISTENT, KB_E_HSM_KEY_ATTR)                                            \
	X(CKR_TOKEN_NOT_PRESENT, KB_E_HSM_TOKEN)                                                   \
	X(CKR_TOKEN_NOT_RECOGNIZED, KB_E_HSM_TOKEN)                                                \
	X(CKR_TOKEN_WRITE_PROTECTED, KB_E_HSM)                                                     \
	X(CKR_UNWRAPPING_KEY_HANDLE_INVALID, KB_E_HSM_HANDLE)                                      \
	X(CKR_UNWRAPPING_KEY_SIZE_RANGE, KB_E_HSM_KEY_ATTR)                                        \
	X(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT, KB_E_HSM_KEY_ATTR)                                 \
	X(CKR_USER_ALREADY_LOGGED_IN, KB_E_HSM)                                                    \
	/* the login went with another session: one reopening asks again */                        \
	X(CKR_USER_NOT_LOGGED_IN, KB_E_HSM_SESSION)                                                \
	/* no try was counted: SoftHSM returns it while another process writes the token */        \
	X(CKR_USER_PIN_NOT_INITIALIZED, KB_E_HSM_TOKEN)                                            \
	X(CKR_USER_TYPE_INVALID, KB_E_HSM_PIN)                                                     \
	X(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, KB_E_HSM)                                            \
	X(CKR_USER_TOO_MANY_TYPES, KB_E_HSM)                                                       \
	X(CKR_WRAPPED_KEY_INVALID, KB_E_HSM_OUTPUT)                                                \
	X(CKR_WRAPPED_KEY_LEN_RANGE, KB_E_HSM_OUTPUT)                                              \
	X(CKR_WRAPPING_KEY_HANDLE_INVALID, KB_E_HSM_HANDLE)                                        \
	X(CKR_WRAPPING_KEY_SIZE_RANGE, KB_E_HSM_KEY_ATTR)                                          \
	X(CKR_WRAPPING_KEY_TYPE_INCONSISTENT, KB_E_HSM_KEY_ATTR)                                   \
	X(CKR_RANDOM_SEED_NOT_SUPPORTED, KB_E_HSM)                                                 \
	X(CKR_RANDOM_NO_RNG, KB_E_HSM)                                                             \
	X(CKR_DOMAIN_PARAMS_INVALID, KB_E_HSM_KEY_ATTR)                                            \
	X(CKR_CURVE_NOT_SUPPORTED, KB_E_HSM_MECHANISM)                                             \
	X(CKR_BUFFER_TOO_SMALL, KB_E_HSM_OUTPUT)                                                   \
	X(CKR_SAVED_STATE_INVALID, KB_E_HSM)                                                       \
	X(CKR_INFORMATION_SENSITIVE, KB_E_HSM_KEY_ATTR)                                            \
	X(CKR_STATE_UNSAVEABLE, KB_E_HSM)                                                          \
	X(CKR_CRYPTOKI_NOT_INITIALIZED, KB_E_HSM_MODULE)                                           \
	X(CKR_CRYPTOKI_ALREADY_INITIALIZED, KB_E_HSM_MODULE)                                       \
	X(CKR_MUTEX_BAD, KB_E_HSM_MODULE)                                                          \
	X(CKR_MUTEX_NOT_LOCKED, KB_E_HSM_MODULE)                                                   \
	X(CKR_NEW_PIN_MODE, KB_E_HSM_PIN)                                                          \
	X(CKR_NEXT_OTP, KB_E_HSM_PIN)                                                              \
	X(CKR_EXCEEDED_MAX_ITERATIONS, KB_E_HSM)                                                   \
	X(CKR_FIPS_SELF_TEST_FAILED, KB_E_HSM_DEVICE)                                              \
	X(CKR_LIBRARY_LOAD_FAILED, KB_E_HSM_MODULE)                                                \
	X(CKR_PIN_TOO_WEAK, KB_E_HSM_PIN)                                                          \
	X(CKR_PUBLIC_KEY_INVALID, KB_E_HSM_KEY_ATTR)                                               \
	X(CKR_FUNCTION_REJECTED, KB_E_HSM)

static const struct {
	CK_RV rv;
	const char *name;
	enum kb_err err;
} ckr_table[] = {
#define X(rv, err) {rv, #rv, err},
	CKR_TABLE(X)
#undef X
	/* p11-kit's header numbers these five otherwise than PKCS#11 v2.40 does; a module returns
	 * the standard's. */
	{0x1b5, "CKR_EXCEEDED_MAX_ITERATIONS", KB_E_HSM},
	{0x1b6, "CKR_FIPS_SELF_TEST_FAILED", KB_E_HSM_DEVICE},
	{0x1b7, "CKR_LIBRARY_LOAD_FAILED", KB_E_HSM_MODULE},
	{0x1b8, "CKR_PIN_TOO_WEAK", KB_E_HSM_PIN},
	{0x1b9, "CKR_PUBLIC_KEY_INVALID", KB_E_HSM_KEY_ATTR},
};

enum { CKR_COUNT = sizeof ckr_table / sizeof ckr_table[0] };

enum kb_err ckr_err(CK_RV rv)
{
	for (size_t i = 0; i < CKR_COUNT; i++)
		if (ckr_table[i].rv == rv)
			return ckr_table[i].err;
	return KB_E_HSM; /* vendor-defined and future values */
}

const char *ckr_name(CK_RV rv)
{
	for (size_t i = 0; i < CKR_COUNT; i++)
		if (ckr_table[i].rv == rv)
			return ckr_table[i].name;
	return "CKR_?";
}

void p11_begin(struct keystore *ks)
{
	if (ks->call_since_ms != NULL)
		atomic_store(ks->call_since_ms, clock_mono_ms());
}

/* The call counts as begun later by what it may take longer than others. */
void p11_begin_slow(struct keystore *ks)
{
	if (ks->call_since_ms != NULL)
		atomic_store(ks->call_since_ms,
			     clock_mono_ms() + KB_HSM_GENERATE_MS - KB_HSM_CALL_MS);
}

CK_RV p11_end(struct keystore *ks, CK_RV rv)
{
	if (ks->call_since_ms != NULL)
		atomic_store(ks->call_since_ms, 0);
	return rv;
}

enum kb_err p11_outcome(struct keystore *ks, const char *call, CK_RV rv)
{
	if (rv == CKR_OK)
		return KB_OK;
	snprintf(ks->fault, sizeof ks->fault, "%s: %s (0x%lx)", call, ckr_name(rv), rv);
	log_event(ks->is_probing ? LOG_DEBUG : LOG_WARN, "hsm.call", "fault", ks->fault, "err",
		  kb_err_name(ckr_err(rv)), NULL);
	return ckr_err(rv);
}

void fault_begin(struct keystore *ks, const char *object)
{
	ks->fault[0] = '\0';
	snprintf(ks->fault_object, sizeof ks->fault_object, "%s", object == NULL ? "" : object);
}

enum kb_err fault_is(struct keystore *ks, enum kb_err err, const char *why)
{
	if (err != KB_OK)
		snprintf(ks->fault, sizeof ks->fault, "%s", why);
	return err;
}

/* The file behind `path`, symlinks followed: Debian's own path to SoftHSM is one.  What counts is
 * who can change the code that will run: the file, and every directory and link on the way that is
 * written in the configuration and on the one behind the links. */
static enum kb_err module_check(const char *path, char **real)
{
	/* A module that root loads while it acts as another user can be root again. */
	struct file_trust trust = {.n = 0};
	char why[FILE_WHY];
	KB_AUTO(fd) int fd = -1;

	if (getuid() != 0)
		trust = file_trust_self();
	*real = NULL;
	if (path[0] != '/') {
		log_event(LOG_ERROR, "hsm.module", "path", path, "why",
			  "the path of the module must be absolute", NULL);
		return KB_E_HSM_MODULE;
	}
	KB_AUTO(cstr) char *file = realpath(path, NULL);
	struct stat st;
	if (file == NULL || lstat(file, &st) != 0) {
		log_event(LOG_ERROR, "hsm.module", "path", path, "why", strerror(errno), NULL);
		return KB_E_HSM_MODULE;
	}
	if (!S_ISREG(st.st_mode)) {
		log_event(LOG_ERROR, "hsm.module", "path", file, "why", "is not a regular file",
			  NULL);
		return KB_E_HSM_MODULE;
	}
	if (file_open_trusted(path, &trust, S_IWGRP | S_IWOTH, &fd, why) != KB_OK) {
		log_event(LOG_ERROR, "hsm.module", "path", path, "why", why, NULL);
		return KB_E_FILE_MODE;
	}
	*real = file;
	file = NULL;
	return KB_OK;
}

enum kb_err module_load(const char *path, CK_FUNCTION_LIST **out)
{
	enum kb_err err;
	KB_AUTO(cstr) char *real = NULL;

	*out = NULL;
	if ((err = module_check(path, &real)) != KB_OK)
		return err;
	p11_kit_be_quiet(); /* it would write to stderr, which holds one JSON object a line */
	CK_FUNCTION_LIST *p11 = p11_kit_module_load(real, P11_KIT_MODULE_UNMANAGED);
	if (p11 == NULL) {
		log_event(LOG_ERROR, "hsm.module", "path", real, "why", p11_kit_message(), NULL);
		return KB_E_HSM_MODULE;
	}
	CK_RV rv = p11_kit_module_initialize(p11);
	if (rv != CKR_OK) {
		log_event(LOG_ERROR, "hsm.module", "path", real, "why", ckr_name(rv), NULL);
		p11_kit_module_release(p11);
		return KB_E_HSM_MODULE;
	}
	*out = p11;
	return KB_OK;
}

void module_unload(CK_FUNCTION_LIST *p11)
{
	(void)p11_kit_module_finalize(p11);
	p11_kit_module_release(p11);
}

enum kb_err attr_get(struct keystore *ks, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
		     void *out, size_t cap, size_t *len)
{
	CK_ATTRIBUTE a = {type, out, cap};
	enum kb_err err;

	*len = 0;
	if ((err = P11(ks, C_GetAttributeValue, ks->session, object, &a, 1)) != KB_OK)
		return err;
	if (a.ulValueLen > cap)
		return fault_is(ks, KB_E_HSM_OUTPUT,
				"C_GetAttributeValue: more bytes than there is room for");
	*len = a.ulValueLen;
	return KB_OK;
}

enum kb_err attr_check_value(struct keystore *ks, CK_OBJECT_HANDLE object, struct hsm_public *p)
{
	size_t len;
	enum kb_err err = attr_get(ks, object, CKA_CHECK_VALUE, p->check, sizeof p->check, &len);

	p->has_check = err == KB_OK && len == sizeof p->check;
	return err == KB_E_HSM_KEY_ATTR ? KB_OK : err; /* a module need not have it */
}

enum kb_err attr_bool(struct keystore *ks, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
		      bool *out)
{
	CK_BBOOL value = CK_FALSE;
	size_t len;
	enum kb_err err = attr_get(ks, object, type, &value, sizeof value, &len);

	*out = false;
	if (err != KB_OK)
		return err;
	if (len != sizeof value)
		return fault_is(ks, KB_E_HSM_OUTPUT,
				"C_GetAttributeValue: a boolean that has not one byte");
	*out = value == CK_TRUE;
	return KB_OK;
}

enum kb_err uri_parse(const char *text, P11KitUriType type, P11KitUri **out)
{
	*out = NULL;
	P11KitUri *uri = p11_kit_uri_new();
	if (uri == NULL)
		return KB_E_NOMEM;
	/* A PIN in a URI would end up in files and logs. A module in it would compete with the
	 * configured one. */
	if (p11_kit_uri_parse(text, type, uri) != P11_KIT_URI_OK ||
	    p11_kit_uri_any_unrecognized(uri) || p11_kit_uri_get_pin_value(uri) != NULL ||
	    p11_kit_uri_get_pin_source(uri) != NULL || p11_kit_uri_get_module_name(uri) != NULL ||
	    p11_kit_uri_get_module_path(uri) != NULL) {
		p11_kit_uri_free(uri);
		return KB_E_HSM_URI;
	}
	*out = uri;
	return KB_OK;
}
