/* broker/supervisor/notify.c — sd_notify(3) without libsystemd.  Without NOTIFY_SOCKET every call
 * does nothing.  Best effort: errors are ignored. */
#include "supervisor/notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

static struct sockaddr_un manager = {.sun_family = AF_UNIX};
static socklen_t manager_len; /* 0: no service manager */

static int64_t watchdog_ms; /* 0: nobody waits for us */
static int64_t watchdog_said_ms;

/* sd_watchdog_enabled(3): ours, unless it names another process. */
static int64_t watchdog_wanted_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	char *end;

	if (usec == NULL || *usec < '0' || *usec > '9' ||
	    (pid != NULL && strtol(pid, NULL, 10) != getpid()))
		return 0;
	long long n = strtoll(usec, &end, 10);
	return *end == '\0' ? n / 1000 : 0;
}

void notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path == NULL ? 0 : strlen(path);

	if (len > 1 && len < sizeof manager.sun_path && (path[0] == '/' || path[0] == '@')) {
		memcpy(manager.sun_path, path, len);
		if (path[0] == '@') /* an abstract socket */
			manager.sun_path[0] = '\0';
		manager_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	}
	watchdog_ms = manager_len == 0 ? 0 : watchdog_wanted_ms();
	watchdog_said_ms = 0;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

static void send_text(const char *text)
{
	if (manager_len == 0)
		return;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
		     (const struct sockaddr *)&manager, manager_len);
	close(fd);
}

void notify_ready(const char *status)
{
	char text[512];

	snprintf(text, sizeof text, "READY=1\nSTATUS=%s\n", status);
	send_text(text);
}

void notify_reloading(void)
{
	char text[128];

	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld\n",
		 (long long)clock_mono_us());
	send_text(text);
}

void notify_watchdog(int64_t now_ms)
{
	if (watchdog_ms <= 0 ||
	    (watchdog_said_ms != 0 && now_ms - watchdog_said_ms < watchdog_ms / 3))
		return;
	watchdog_said_ms = now_ms;
	send_text("WATCHDOG=1\n");
}

void notify_stopping(void)
{
	send_text("STOPPING=1\n");
}
