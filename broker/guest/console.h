/* broker/guest/console.h — lines for a boot console (the step, the URL, what to check next) and the
 * exit codes. */
#ifndef KB_GUEST_CONSOLE_H
#define KB_GUEST_CONSOLE_H
#include "base/bytes.h"

/* keybroker-guest(8) documents them; they never change meaning. */
enum guest_exit {
	GUEST_OK = 0,
	GUEST_USAGE = 2,
	GUEST_REFUSED = 10,     /* refused: a retry changes nothing */
	GUEST_UNREACHABLE = 11, /* no server answered, or could serve, within --timeout */
	GUEST_BAD_REPLY = 12,   /* a reply that fails a check */
	GUEST_NO_EVIDENCE = 13, /* no report, no token, or one for another key */
	GUEST_TPM = 14,
	GUEST_OUTPUT = 15, /* the key was released and could not be handed over */
};

/* One line on stderr, "keybroker-guest: …": what is not printable ASCII is '?', whoever sent it.
 * Never pass a secret or a token. */
void message(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Text from outside for a terminal: printable ASCII, cut to 200 bytes. Valid until the next
 * call. */
const char *plain(struct span s);

#endif
