/* broker/supervisor/notify.h — tell the service manager how we are (sd_notify(3), by hand: one
 * datagram to NOTIFY_SOCKET). */
#ifndef KB_SUPERVISOR_NOTIFY_H
#define KB_SUPERVISOR_NOTIFY_H

void notify_init(
	void); /* takes NOTIFY_SOCKET out of the environment, so that no room inherits it */
void notify_ready(const char *status);
void notify_reloading(void);
void notify_stopping(void);

#endif
