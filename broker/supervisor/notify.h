/* broker/supervisor/notify.h — report our state to the service manager: sd_notify(3), one datagram
 * to NOTIFY_SOCKET. */
#ifndef KB_SUPERVISOR_NOTIFY_H
#define KB_SUPERVISOR_NOTIFY_H

/* Removes NOTIFY_SOCKET from the environment, so that no process inherits it. */
void notify_init(void);
void notify_ready(const char *status);
void notify_reloading(void);
void notify_stopping(void);

#endif
