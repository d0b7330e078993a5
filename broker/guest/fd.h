/* broker/guest/fd.h — "fd:N", as --token and --out write it. */
#ifndef KB_GUEST_FD_H
#define KB_GUEST_FD_H
#include <stdbool.h>
#include <string.h>

/* At most three digits: a descriptor that the parent opened. */
static inline bool fd_named(const char *text, int *fd)
{
	size_t len = strlen(text);

	*fd = -1;
	if (strncmp(text, "fd:", 3) != 0 || len < 4 || len > 6 ||
	    strspn(text + 3, "0123456789") != len - 3)
		return false;
	*fd = 0;
	for (const char *p = text + 3; *p != '\0'; p++)
		*fd = *fd * 10 + (*p - '0');
	return true;
}

#endif
