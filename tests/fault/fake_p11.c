/* tests/fault/fake_p11.c — a PKCS#11 module that passes every call to a real one, except what its
 * script says (fake_p11.h). Decides nothing by itself.  Its script is the file MODULE.control
 * beside it, opened before anything else, so that it works in a process that later loses the right
 * to open files.  Never part of the product. */
#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/fault/fake_p11.h"

static struct fake_control *control;
static CK_FUNCTION_LIST *real, list;
static unsigned open_sessions; /* of this process */
static struct {                /* what the last C_WrapKey and C_Sign of this process gave */
	uint8_t bytes[16384];
	CK_ULONG len;
} last[2];

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out);

static void sleep_ms(uint64_t ms)
{
	const struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}

/* The rule that this call meets now, or NULL.  Each rule counts for itself, over all processes. */
static struct fake_rule *rule_for(enum fake_call call)
{
	struct fake_rule *met = NULL;

	atomic_fetch_add(&control->calls[call], 1);
	for (unsigned i = 0; i < FAKE_RULES; i++) {
		struct fake_rule *r = &control->rule[i];
		if (atomic_load(&r->armed) == 0 ||
		    (r->call != (uint32_t)call && r->call != FAKE_ANY))
			continue;
		uint64_t n = atomic_fetch_add(&r->seen, 1);
		if (met == NULL && n >= r->skip && n - r->skip < r->times) {
			atomic_fetch_add(&r->hits, 1);
			met = r;
		}
	}
	return met;
}

/* What happens before the call.  True: `rv` is the answer and there is no call. */
static bool before(struct fake_rule *r, CK_RV *rv)
{
	CK_SLOT_ID slots[16];
	CK_ULONG n = 16;

	switch (r == NULL ? FAKE_NOTHING : (enum fake_act)r->act) {
	case FAKE_RETURN:
		*rv = r->value;
		return true;
	case FAKE_HANG:
		while (atomic_load(&r->armed) != 0)
			sleep_ms(10);
		break;
	case FAKE_SLOW:
		sleep_ms(r->value);
		break;
	case FAKE_ABORT:
		abort();
	case FAKE_SEGV:
		signal(SIGSEGV, SIG_DFL);
		raise(SIGSEGV);
		break;
	case FAKE_EXIT:
		_exit(0);
	case FAKE_LOSE:
		if (real->C_GetSlotList(CK_TRUE, slots, &n) == CKR_OK)
			for (CK_ULONG i = 0; i < n && i < 16; i++)
				real->C_CloseAllSessions(slots[i]);
		open_sessions = 0;
		break;
	case FAKE_NOTHING:
	case FAKE_AFTER:
	case FAKE_KILL:
	case FAKE_LEN_ZERO:
	case FAKE_LEN_BEYOND:
	case FAKE_LEN_SHORT:
	case FAKE_LEN_LONG:
	case FAKE_ZEROS:
	case FAKE_FLIP:
	case FAKE_REPEAT:
	case FAKE_FLAGS:
		break;
	}
	return false;
}

/* The output of C_WrapKey or C_Sign, made something else. */
static void mutate(const struct fake_rule *r, unsigned which, CK_BYTE_PTR out, CK_ULONG_PTR len)
{
	const CK_ULONG true_len = *len;
	uint8_t saved[sizeof last[0].bytes];

	if (true_len > sizeof saved)
		return;
	memcpy(saved, out, true_len);
	switch (r == NULL ? FAKE_NOTHING : (enum fake_act)r->act) {
	case FAKE_LEN_ZERO:
		*len = 0;
		break;
	case FAKE_LEN_BEYOND:
		*len = 1u << 20;
		break;
	case FAKE_LEN_SHORT:
		*len -= 8;
		break;
	case FAKE_LEN_LONG:
		*len += 8;
		break;
	case FAKE_ZEROS:
		memset(out, 0, true_len);
		break;
	case FAKE_FLIP:
		out[true_len / 2] ^= 4;
		break;
	case FAKE_REPEAT:
		memcpy(out, last[which].bytes, last[which].len);
		*len = last[which].len;
		return;
	case FAKE_NOTHING:
	case FAKE_RETURN:
	case FAKE_AFTER:
	case FAKE_HANG:
	case FAKE_SLOW:
	case FAKE_ABORT:
	case FAKE_SEGV:
	case FAKE_EXIT:
	case FAKE_KILL:
	case FAKE_LOSE:
	case FAKE_FLAGS:
		break;
	}
	memcpy(last[which].bytes, saved, true_len);
	last[which].len = true_len;
}

static void keep_max(_Atomic uint64_t *max, uint64_t n)
{
	uint64_t now = atomic_load(max);

	while (n > now && !atomic_compare_exchange_weak(max, &now, n))
		;
}

/* What a release leaves in the module: sessions of this process, and their session objects. */
static void census(CK_SESSION_HANDLE session)
{
	CK_BBOOL no = CK_FALSE;
	CK_ATTRIBUTE t = {CKA_TOKEN, &no, sizeof no};
	CK_OBJECT_HANDLE hit[64];
	CK_ULONG n = 0;

	if (real->C_FindObjectsInit(session, &t, 1) == CKR_OK) {
		if (real->C_FindObjects(session, hit, 64, &n) == CKR_OK)
			keep_max(&control->max_session_objects, n);
		real->C_FindObjectsFinal(session);
	}
	keep_max(&control->max_sessions, open_sessions);
	atomic_fetch_add(&control->censuses, 1);
}

static CK_RV after(const struct fake_rule *r, CK_RV rv)
{
	if (r != NULL && r->act == FAKE_KILL)
		kill(getpid(), SIGKILL);
	return r != NULL && r->act == FAKE_AFTER ? (CK_RV)r->value : rv;
}

#define X(call, params, args)                                                                      \
	static CK_RV plain_##call params                                                           \
	{                                                                                          \
		CK_RV rv;                                                                          \
		struct fake_rule *r = rule_for(FAKE_##call);                                       \
		if (before(r, &rv))                                                                \
			return rv;                                                                 \
		return after(r, real->call args);                                                  \
	}
P11_CALLS(X)
P11_LIFE_CALLS(X)
#undef X

static CK_RV special_wrap(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE by,
			  CK_OBJECT_HANDLE key, CK_BYTE_PTR out, CK_ULONG_PTR n)
{
	CK_RV rv;
	struct fake_rule *r = rule_for(FAKE_C_WrapKey);

	if (before(r, &rv))
		return rv;
	rv = real->C_WrapKey(s, m, by, key, out, n);
	if (rv == CKR_OK && out != NULL)
		mutate(r, 0, out, n);
	return after(r, rv);
}

static CK_RV special_sign(CK_SESSION_HANDLE s, CK_BYTE_PTR data, CK_ULONG data_len, CK_BYTE_PTR out,
			  CK_ULONG_PTR n)
{
	CK_RV rv;
	struct fake_rule *r = rule_for(FAKE_C_Sign);

	if (before(r, &rv))
		return rv;
	rv = real->C_Sign(s, data, data_len, out, n);
	if (rv == CKR_OK && out != NULL)
		mutate(r, 1, out, n);
	if (atomic_load(&control->census) != 0)
		census(s);
	return after(r, rv);
}

static CK_RV special_create(CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR t, CK_ULONG n,
			    CK_OBJECT_HANDLE_PTR out)
{
	const uint64_t refusal = atomic_load(&control->no_plain_keys);

	for (CK_ULONG i = 0; refusal != 0 && i < n; i++)
		if (t[i].type == CKA_CLASS && *(CK_OBJECT_CLASS *)t[i].pValue != CKO_PUBLIC_KEY)
			return (CK_RV)refusal;
	return plain_C_CreateObject(s, t, n, out);
}

static CK_RV special_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
	CK_RV rv;
	struct fake_rule *r = rule_for(FAKE_C_GetTokenInfo);

	if (before(r, &rv))
		return rv;
	rv = real->C_GetTokenInfo(slot, info);
	if (rv == CKR_OK && r != NULL && r->act == FAKE_FLAGS)
		info->flags |= r->value;
	return after(r, rv);
}

static CK_RV special_open(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR app, CK_NOTIFY notify,
			  CK_SESSION_HANDLE_PTR out)
{
	CK_RV rv = plain_C_OpenSession(slot, flags, app, notify, out);

	open_sessions += rv == CKR_OK;
	return rv;
}

static CK_RV special_close(CK_SESSION_HANDLE s)
{
	CK_RV rv = plain_C_CloseSession(s);

	open_sessions -= rv == CKR_OK;
	return rv;
}

/* ---- loading ---- */

static CK_RV fail(const char *what)
{
	fprintf(stderr, "fake_p11: %s\n", what);
	return CKR_GENERAL_ERROR;
}

static CK_RV map_control(void)
{
	char path[512];
	Dl_info self;

	if (dladdr(&list, &self) == 0 ||
	    snprintf(path, sizeof path, "%s.control", self.dli_fname) >= (int)sizeof path)
		return fail("where am I?");
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *p = fd < 0 ? MAP_FAILED
			 : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (p == MAP_FAILED || ((struct fake_control *)p)->magic != FAKE_MAGIC)
		return fail("no script beside the module");
	control = p;
	return CKR_OK;
}

static CK_RV load_real(void)
{
	void *so = dlopen(control->real, RTLD_NOW | RTLD_LOCAL);
	union {
		void *symbol;
		CK_C_GetFunctionList call;
	} get = {.symbol = so == NULL ? NULL : dlsym(so, "C_GetFunctionList")};

	if (get.symbol == NULL)
		return fail(dlerror());
	return get.call(&real);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out)
{
	CK_RV rv;

	*out = NULL;
	if (real == NULL) {
		if ((rv = map_control()) != CKR_OK || (rv = load_real()) != CKR_OK)
			return rv;
		list = *real;
		list.C_GetFunctionList = C_GetFunctionList;
#define X(call, params, args) list.call = plain_##call;
		P11_CALLS(X)
		P11_LIFE_CALLS(X)
#undef X
		list.C_WrapKey = special_wrap;
		list.C_Sign = special_sign;
		list.C_CreateObject = special_create;
		list.C_OpenSession = special_open;
		list.C_CloseSession = special_close;
		list.C_GetTokenInfo = special_token_info;
	}
	*out = &list;
	return CKR_OK;
}
