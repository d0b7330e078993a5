/* broker/base/err.c — the table of err.h as data.  Decides the HTTP status of a class. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	enum kb_class class;
} table[] = {
#define X(code, class, name) [code] = {name, class},
	KB_ERR_TABLE(X)
#undef X
};

static enum kb_err known(enum kb_err e)
{
	return (unsigned)e < KB_ERR_COUNT ? e : KB_E_BUG;
}

const char *kb_err_name(enum kb_err e)
{
	return table[known(e)].name;
}

enum kb_class kb_err_class(enum kb_err e)
{
	return table[known(e)].class;
}

int kb_err_status(enum kb_err e)
{
	switch (kb_err_class(e)) {
	case KB_CLASS_OK:
		return 200;
	case KB_CLASS_DENY:
	case KB_CLASS_UNFIT:
		return 403;
	case KB_CLASS_AUTH:
		return 401;
	case KB_CLASS_BAD:
		return 400;
	case KB_CLASS_NOT_FOUND:
		return 404;
	case KB_CLASS_BUSY:
	case KB_CLASS_HSM:
		return 503;
	case KB_CLASS_LOCAL:
	case KB_CLASS_BUG:
		return 500;
	}
	KB_BUG();
}

enum kb_err kb_err_from_name(const char *name)
{
	for (unsigned i = 0; i < KB_ERR_COUNT; i++)
		if (strcmp(table[i].name, name) == 0)
			return (enum kb_err)i;
	return KB_E_BUG;
}

enum kb_err kb_err_or_nomem(enum kb_err e)
{
	return e != KB_OK && errno == ENOMEM ? KB_E_NOMEM : e;
}

void kb_bug(const char *file, int line)
{
	fprintf(stderr, "{\"level\":\"crit\",\"event\":\"bug\",\"file\":\"%s\",\"line\":%d}\n",
		file, line);
	abort();
}
