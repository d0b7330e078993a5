/* tests/unit/p11_fault.h — faults at the standard's own seam: a copy of the module's function list in which named calls fail when told to. */
#ifndef KB_TESTS_P11_FAULT_H
#define KB_TESTS_P11_FAULT_H
#include "keystore/module.h"

#define FAULT_CALLS(X)                                                                                                                               \
	X(C_GetTokenInfo, (CK_SLOT_ID a, CK_TOKEN_INFO_PTR b), (a, b))                                                                               \
	X(C_OpenSession, (CK_SLOT_ID a, CK_FLAGS b, CK_VOID_PTR c, CK_NOTIFY d, CK_SESSION_HANDLE_PTR e), (a, b, c, d, e))                           \
	X(C_GetSessionInfo, (CK_SESSION_HANDLE a, CK_SESSION_INFO_PTR b), (a, b))                                                                    \
	X(C_Login, (CK_SESSION_HANDLE a, CK_USER_TYPE b, CK_UTF8CHAR_PTR c, CK_ULONG d), (a, b, c, d))                                               \
	X(C_CreateObject, (CK_SESSION_HANDLE a, CK_ATTRIBUTE_PTR b, CK_ULONG c, CK_OBJECT_HANDLE_PTR d), (a, b, c, d))                               \
	X(C_DestroyObject, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b), (a, b))                                                                        \
	X(C_GetAttributeValue, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b, CK_ATTRIBUTE_PTR c, CK_ULONG d), (a, b, c, d))                              \
	X(C_FindObjectsInit, (CK_SESSION_HANDLE a, CK_ATTRIBUTE_PTR b, CK_ULONG c), (a, b, c))                                                       \
	X(C_FindObjects, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE_PTR b, CK_ULONG c, CK_ULONG_PTR d), (a, b, c, d))                                    \
	X(C_FindObjectsFinal, (CK_SESSION_HANDLE a), (a))                                                                                            \
	X(C_GenerateKey, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_ATTRIBUTE_PTR c, CK_ULONG d, CK_OBJECT_HANDLE_PTR e), (a, b, c, d, e))         \
	X(C_SignInit, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c), (a, b, c))                                                      \
	X(C_Sign, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG c, CK_BYTE_PTR d, CK_ULONG_PTR e), (a, b, c, d, e))                                  \
	X(C_WrapKey, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c, CK_OBJECT_HANDLE d, CK_BYTE_PTR e, CK_ULONG_PTR f),               \
	  (a, b, c, d, e, f))                                                                                                                        \
	X(C_UnwrapKey,                                                                                                                               \
	  (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c, CK_BYTE_PTR d, CK_ULONG e, CK_ATTRIBUTE_PTR f, CK_ULONG g,                   \
	   CK_OBJECT_HANDLE_PTR h),                                                                                                                  \
	  (a, b, c, d, e, f, g, h))

enum fault_call {
#define X(call, params, args) FAULT_##call,
	FAULT_CALLS(X)
#undef X
		FAULT_COUNT
};

static struct {
	CK_FUNCTION_LIST list, *real;
	unsigned skip[FAULT_COUNT];  /* after so many good calls … */
	CK_RV rv[FAULT_COUNT];       /* … what a call returns … */
	unsigned left[FAULT_COUNT];  /* … for so many times */
	unsigned calls[FAULT_COUNT]; /* how often it was called */
} p11_fault;

#define X(call, params, args)                                                                                                                        \
	static CK_RV fault_##call params                                                                                                             \
	{                                                                                                                                            \
		p11_fault.calls[FAULT_##call]++;                                                                                                     \
		if (p11_fault.left[FAULT_##call] == 0 || (p11_fault.skip[FAULT_##call] > 0 && p11_fault.skip[FAULT_##call]--))                       \
			return p11_fault.real->call args;                                                                                            \
		p11_fault.left[FAULT_##call]--;                                                                                                      \
		return p11_fault.rv[FAULT_##call];                                                                                                   \
	}
FAULT_CALLS(X)
#undef X

static inline void fault_install(struct keystore *ks)
{
	memset(&p11_fault, 0, sizeof p11_fault);
	p11_fault.real = ks->p11;
	p11_fault.list = *ks->p11;
#define X(call, params, args) p11_fault.list.call = fault_##call;
	FAULT_CALLS(X)
#undef X
	ks->p11 = &p11_fault.list;
}

static inline void fault_remove(struct keystore *ks)
{
	ks->p11 = p11_fault.real;
}

static inline void fault_next(enum fault_call call, CK_RV rv, unsigned times)
{
	p11_fault.rv[call] = rv;
	p11_fault.left[call] = times;
	p11_fault.skip[call] = 0;
	p11_fault.calls[call] = 0;
}

#endif
