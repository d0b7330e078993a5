/* broker/process/segment_priv.h — between segment_read.c and segment.c. */
#ifndef KB_PROCESS_SEGMENT_PRIV_H
#define KB_PROCESS_SEGMENT_PRIV_H
#include "process/segment.h"

struct segment_listing {
	uint32_t *number; /* ascending; malloc */
	size_t n;
};
void segment_listing_cleanup(struct segment_listing *l);
KB_MUST_CHECK enum kb_err segment_list(int dir, struct segment_listing *out);

struct segment_header { /* of a segment's first line */
	int64_t segment, previous_bytes, clock_s, replay_until_s, born_s;
};
/* KB_E_LEDGER_CHAIN when the first line is not good; *fault filled on any error. */
KB_MUST_CHECK enum kb_err segment_header_read(int dir, uint32_t number, struct segment_header *h,
					      struct segment_fault *fault);

void segment_set_fault(struct segment_fault *f, uint32_t number, uint64_t line, int64_t offset,
		       const char *text);

#endif
