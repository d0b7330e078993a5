/* broker/ctl/hint.c — what a code means, and what to do next: for keybrokerctl's messages. */
#include "ctl/output.h"

const char *ctl_hint(enum kb_err err)
{
	return kb_err_text(err);
}
