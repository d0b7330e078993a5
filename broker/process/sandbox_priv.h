/* broker/process/sandbox_priv.h — the parts of sandbox_enter().  Private to sandbox*.c. */
#ifndef KB_PROCESS_SANDBOX_PRIV_H
#define KB_PROCESS_SANDBOX_PRIV_H
#include "process/sandbox.h"

/* From now on only the calls that the table in sandbox_syscalls.c allows this process.  KB_E_SYS,
 * logged. */
KB_MUST_CHECK enum kb_err sandbox_limit_calls(enum process_kind process,
					      const struct sandbox_needs *needs);
/* From now on only these paths, no TCP without `has_network`, no signal to and no abstract socket
 * of a process outside.  KB_OK also where the kernel has no Landlock; KB_E_SYS, logged. */
KB_MUST_CHECK enum kb_err sandbox_limit_files(const struct sandbox_needs *needs);

#endif
