/* tests/fault/p11_calls.h — the PKCS#11 calls of the keystore, one list for all that is put between
 * it and the module: X(call, (parameters), (arguments)). */
#ifndef KB_TESTS_P11_CALLS_H
#define KB_TESTS_P11_CALLS_H

/* Those that a request, a lost session or the self-test may make. */
#define P11_CALLS(X)                                                                               \
	X(C_GetTokenInfo, (CK_SLOT_ID a, CK_TOKEN_INFO_PTR b), (a, b))                             \
	X(C_OpenSession,                                                                           \
	  (CK_SLOT_ID a, CK_FLAGS b, CK_VOID_PTR c, CK_NOTIFY d, CK_SESSION_HANDLE_PTR e),         \
	  (a, b, c, d, e))                                                                         \
	X(C_GetSessionInfo, (CK_SESSION_HANDLE a, CK_SESSION_INFO_PTR b), (a, b))                  \
	X(C_Login, (CK_SESSION_HANDLE a, CK_USER_TYPE b, CK_UTF8CHAR_PTR c, CK_ULONG d),           \
	  (a, b, c, d))                                                                            \
	X(C_CreateObject,                                                                          \
	  (CK_SESSION_HANDLE a, CK_ATTRIBUTE_PTR b, CK_ULONG c, CK_OBJECT_HANDLE_PTR d),           \
	  (a, b, c, d))                                                                            \
	X(C_DestroyObject, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b), (a, b))                      \
	X(C_GetAttributeValue,                                                                     \
	  (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b, CK_ATTRIBUTE_PTR c, CK_ULONG d), (a, b, c, d)) \
	X(C_FindObjectsInit, (CK_SESSION_HANDLE a, CK_ATTRIBUTE_PTR b, CK_ULONG c), (a, b, c))     \
	X(C_FindObjects,                                                                           \
	  (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE_PTR b, CK_ULONG c, CK_ULONG_PTR d), (a, b, c, d)) \
	X(C_FindObjectsFinal, (CK_SESSION_HANDLE a), (a))                                          \
	X(C_GenerateKey,                                                                           \
	  (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_ATTRIBUTE_PTR c, CK_ULONG d,                \
	   CK_OBJECT_HANDLE_PTR e),                                                                \
	  (a, b, c, d, e))                                                                         \
	X(C_GenerateKeyPair,                                                                       \
	  (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_ATTRIBUTE_PTR c, CK_ULONG d,                \
	   CK_ATTRIBUTE_PTR e, CK_ULONG f, CK_OBJECT_HANDLE_PTR g, CK_OBJECT_HANDLE_PTR h),        \
	  (a, b, c, d, e, f, g, h))                                                                \
	X(C_SignInit, (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c), (a, b, c))    \
	X(C_Sign, (CK_SESSION_HANDLE a, CK_BYTE_PTR b, CK_ULONG c, CK_BYTE_PTR d, CK_ULONG_PTR e), \
	  (a, b, c, d, e))                                                                         \
	X(C_WrapKey,                                                                               \
	  (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c, CK_OBJECT_HANDLE d,        \
	   CK_BYTE_PTR e, CK_ULONG_PTR f),                                                         \
	  (a, b, c, d, e, f))                                                                      \
	X(C_UnwrapKey,                                                                             \
	  (CK_SESSION_HANDLE a, CK_MECHANISM_PTR b, CK_OBJECT_HANDLE c, CK_BYTE_PTR d, CK_ULONG e, \
	   CK_ATTRIBUTE_PTR f, CK_ULONG g, CK_OBJECT_HANDLE_PTR h),                                \
	  (a, b, c, d, e, f, g, h))

/* Those of the beginning and the end. */
#define P11_LIFE_CALLS(X)                                                                          \
	X(C_Initialize, (CK_VOID_PTR a), (a))                                                      \
	X(C_Finalize, (CK_VOID_PTR a), (a))                                                        \
	X(C_GetSlotList, (CK_BBOOL a, CK_SLOT_ID_PTR b, CK_ULONG_PTR c), (a, b, c))                \
	X(C_CloseSession, (CK_SESSION_HANDLE a), (a))

#endif
