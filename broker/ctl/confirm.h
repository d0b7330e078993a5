/* broker/ctl/confirm.h — ask the operator before something that cannot be undone. */
#ifndef KB_CTL_CONFIRM_H
#define KB_CTL_CONFIRM_H
#include <stdbool.h>

/* Print `question` and read a line.  True: it is exactly `answer`.  False also when standard input
 * is no terminal, which is reported. */
bool ctl_confirm(const char *question, const char *answer);

#endif
