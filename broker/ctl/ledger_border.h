/* broker/ctl/ledger_border.h — archived.json, the mark that `ledger archive` leaves in the ledger's
 * directory and in the archive: between which records the files of this directory lie. */
#ifndef KB_CTL_LEDGER_BORDER_H
#define KB_CTL_LEDGER_BORDER_H
#include "base/bytes.h"
#include "process/chain.h"

#define BORDER_FILE "archived.json"

enum { HEAD_TEXT = 96, BORDER_TO = 512 };

struct ledger_border {
	bool has_begin, has_end;
	struct chain begin; /* the record before the first one here */
	struct chain end;   /* the last record of an archive */
	/* that is in this segment, and ends there */
	uint32_t segment;
	int64_t bytes;
	char to[BORDER_TO]; /* where what is before `begin` was moved; "": not said */
};

/* "12:<64 hex>", as verify prints it. */
void head_text(const struct chain *c, char out[static HEAD_TEXT]);
bool head_parse(struct span text, struct chain *out);
/* No such file: nothing is set.  KB_E_LEDGER_CHAIN when it is damaged, KB_E_FILE. */
KB_MUST_CHECK enum kb_err border_read(int dir, struct ledger_border *out);
/* Atomically, and durable when it returns; the file belongs to the directory's owner. */
KB_MUST_CHECK enum kb_err border_write(int dir, const struct ledger_border *b);
/* Root made the file `name`: give it to the directory's owner, who must be able to use it. */
KB_MUST_CHECK enum kb_err border_give(int dir, const char *name);

#endif
