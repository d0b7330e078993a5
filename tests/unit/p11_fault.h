/* tests/unit/p11_fault.h — faults at the PKCS#11 interface: a copy of the module's function list
 * in which named calls fail when told to. The fake module of the end-to-end tests
 * (tests/fault/fake_p11.c) stands between two processes and is scripted through a file; here both
 * are one, and a test also puts functions of its own into the list: they share the list of calls,
 * not the bodies. */
#ifndef KB_TESTS_P11_FAULT_H
#define KB_TESTS_P11_FAULT_H
#include "keystore/module.h"
#include "tests/fault/p11_calls.h"

enum fault_call {
#define X(call, params, args) FAULT_##call,
	P11_CALLS(X)
#undef X
		FAULT_COUNT
};

static struct {
	CK_FUNCTION_LIST list, *real;
	unsigned skip[FAULT_COUNT];  /* after so many good calls … */
	CK_RV rv[FAULT_COUNT];       /* … what a call returns … */
	unsigned left[FAULT_COUNT];  /* … for so many times */
	unsigned calls[FAULT_COUNT]; /* how often it was called */
	int *inside;                 /* not NULL: counts up while the module works */
} p11_fault;

static inline void fault_counted(int by)
{
	if (p11_fault.inside != NULL)
		*p11_fault.inside += by;
}

static inline CK_RV fault_counted_rv(CK_RV rv)
{
	fault_counted(-1);
	return rv;
}

#define X(call, params, args)                                                                      \
	static CK_RV fault_##call params                                                           \
	{                                                                                          \
		p11_fault.calls[FAULT_##call]++;                                                   \
		if (p11_fault.left[FAULT_##call] == 0 ||                                           \
		    (p11_fault.skip[FAULT_##call] > 0 && p11_fault.skip[FAULT_##call]--))          \
			return fault_counted(1), fault_counted_rv(p11_fault.real->call args);      \
		p11_fault.left[FAULT_##call]--;                                                    \
		return p11_fault.rv[FAULT_##call];                                                 \
	}
P11_CALLS(X)
#undef X

static inline void fault_install(struct keystore *ks)
{
	memset(&p11_fault, 0, sizeof p11_fault);
	p11_fault.real = ks->p11;
	p11_fault.list = *ks->p11;
#define X(call, params, args) p11_fault.list.call = fault_##call;
	P11_CALLS(X)
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
