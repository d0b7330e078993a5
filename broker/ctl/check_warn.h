/* broker/ctl/check_warn.h — what `keybrokerctl check` warns of in policies and key sets: it is
 * valid, but hardly what was meant. */
#ifndef KB_CTL_CHECK_WARN_H
#define KB_CTL_CHECK_WARN_H
#include "config/config.h"

typedef void check_say(void *ctx, const char *text);
void check_policies(const struct config *cfg, check_say *say, void *ctx);
void check_key_sets(const struct config *cfg, check_say *say, void *ctx);

#endif
