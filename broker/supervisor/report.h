/* broker/supervisor/report.h — what the supervisor tells keybrokerctl: one line of JSON in
 * state/keybrokerd.report. */
#ifndef KB_SUPERVISOR_REPORT_H
#define KB_SUPERVISOR_REPORT_H
#include <stddef.h>
#include <stdint.h>

enum { REPORT_ENDING = 8, REPORT_WHY = 320 };
struct reload_report {
	/* Reloads are counted.  `begun` is written before the files are read: who has seen it
	 * and then sends SIGHUP waits for a higher one in `taken` or `refused`. */
	uint32_t begun, taken, refused; /* the last one of each; 0: none yet */
	uint32_t generation;            /* in force */
	char why[REPORT_WHY];           /* the last refusal's reason */
	size_t n_ending;                /* older generations that still run */
	struct {
		uint64_t generation, connections;
	} ending[REPORT_ENDING];
};

/* Over the file from its beginning, in one write of constant length; nothing when it is what was
 * written last. */
void report_write(int fd, const struct reload_report *r);

#endif
