/* broker/supervisor/notify.h — report our state to the service manager: sd_notify(3), one datagram
 * to NOTIFY_SOCKET. */
#ifndef KB_SUPERVISOR_NOTIFY_H
#define KB_SUPERVISOR_NOTIFY_H
#include <stdint.h>

/* Removes NOTIFY_SOCKET and WATCHDOG_… from the environment, so that no process inherits them. */
void notify_init(void);
void notify_ready(const char *status);
void notify_reloading(void);
void notify_stopping(void);
/* WatchdogSec= of the unit: say that our loop turns, when a third of that time has passed. */
void notify_watchdog(int64_t now_ms);

#endif
