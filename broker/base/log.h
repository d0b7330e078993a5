/* broker/base/log.h — the operational log: one JSON object a line on stderr.  It may drop lines;
 * the ledger may not.  Never log a token, a claim's value, key bytes or header dumps. */
#ifndef KB_BASE_LOG_H
#define KB_BASE_LOG_H
#include <stdatomic.h>

#include "base/bytes.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

#define KB_MAX_LOG_VALUE 256  /* bytes of one value; the rest is cut */
#define KB_MAX_LOG_LINE  4096 /* bytes: one write to a pipe stays whole */

/* `process` is written to every line; it is not copied. */
void log_init(const char *process, enum log_level most);

/* For a process that must go on while nobody reads its log: a line that is not taken at once is
 * dropped, and the next one that is taken is preceded by "log.dropped" with their number.  A pipe
 * or terminal at stderr is opened once more, so that the others who have it see no O_NONBLOCK. */
void log_never_wait(void);
/* Count dropped lines there, too. */
void log_count_dropped(_Atomic uint64_t *counter);

/* Pairs of name and value, C strings, ended by NULL.  A value that is NULL is written as "null".
 * Values are escaped and cut at KB_MAX_LOG_VALUE:
 * log_event(LOG_WARN, "token.rejected", "req", id, "err", kb_err_name(e), NULL);
 *
 * `event` is a constant.  When its lines come too often (KB_LOG_BURST, KB_LOG_EVERY_MS) they are
 * dropped; the next one says how many ("dropped"). */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));

/* A number as text for a pair, in one of 8 static buffers: valid until the 8th next call. */
const char *log_i64(int64_t n);

#endif
