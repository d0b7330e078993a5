/* broker/supervisor/system.c — checks before the first process starts, so that a missing user or
 * too low a limit is one clear message at the start and not a failure under load. */
#include "supervisor/system.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The supervisor stays root, and the paths of the configuration are its orders. */
static enum kb_err check_is_roots(const struct config *c)
{
	char why[FILE_WHY];

	if (config_is_roots(c, why) == KB_OK)
		return KB_OK;
	fprintf(stderr,
		"%s: %s; started as root, the broker takes orders of root alone: correct it, or "
		"start the broker as %s (runuser -u %s -- keybrokerd …)\n",
		c->path, why, c->user, c->user);
	return KB_E_CONFIG;
}

enum kb_err system_user(const struct config *c, struct sandbox_user *user)
{
	if (geteuid() != 0 && geteuid() != c->service.uid) {
		fprintf(stderr,
			"%s: started as user %u, but the broker's user is %s (%u), by \"user\" or "
			"as owner of the directory: start it as that user, or change \"user\"\n",
			c->path, geteuid(), c->service.name, c->service.uid);
		return KB_E_CONFIG;
	}
	if (geteuid() != 0)
		return KB_OK; /* the processes stay this user */
	if (c->user == NULL) {
		fprintf(stderr,
			"%s: started as root, and no \"user\" is named for the processes: "
			"add \"user\": \"keybroker\" (useradd --system keybroker), or start it as "
			"that user\n",
			c->path);
		return KB_E_CONFIG;
	}
	if (sandbox_find_user(c->user, user) == KB_OK)
		return check_is_roots(c);
	fprintf(stderr, "%s: user \"%s\" does not exist or is root\n", c->path, c->user);
	return KB_E_CONFIG;
}

enum kb_err system_limits(const struct config *c, char why[static 512])
{
	/* Twice as many processes while a reload changes generations. */
	const rlim_t wanted = KB_MIN_PROCESSES + 2 * (rlim_t)(c->gateways + c->workers);
	struct rlimit files, locked, processes, memory;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_MEMLOCK, &locked) != 0 ||
	    getrlimit(RLIMIT_NPROC, &processes) != 0 || getrlimit(RLIMIT_AS, &memory) != 0) {
		snprintf(why, 512, "the limits of resources cannot be read: %s", strerror(errno));
		return KB_E_SYS;
	}
	if (processes.rlim_cur < wanted) {
		snprintf(why, 512,
			 "the limit of processes is %llu, too few for the broker: raise "
			 "LimitNPROC (ulimit -u) to %llu, and more if the user runs other "
			 "processes",
			 (unsigned long long)processes.rlim_cur, (unsigned long long)wanted);
		return KB_E_CONFIG;
	}
	if (memory.rlim_cur < (rlim_t)KB_MIN_MIB << 20) {
		snprintf(why, 512,
			 "the limit of address space is %llu MiB, too little for a process: raise "
			 "LimitAS (ulimit -v) to %d MiB, or bound memory with "
			 "MemoryMax",
			 (unsigned long long)memory.rlim_cur >> 20, KB_MIN_MIB);
		return KB_E_CONFIG;
	}
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) != 0) {
		snprintf(why, 512, "the limit of open files cannot be raised to %llu: %s",
			 (unsigned long long)files.rlim_max, strerror(errno));
		return KB_E_SYS;
	}
	if (files.rlim_max < KB_SUPERVISOR_FILES) {
		fprintf(stderr,
			"the limit of open files is %llu, too few for the broker: raise "
			"LimitNOFILE "
			"(ulimit -n) to %d\n",
			(unsigned long long)files.rlim_max, KB_SUPERVISOR_FILES);
		return KB_E_CONFIG;
	}
	if (files.rlim_max < c->max_connections + 128u) {
		snprintf(why, 512,
			 "the limit of open files is %llu, too few for %u connections: raise "
			 "LimitNOFILE (ulimit -n) or lower limits.connections",
			 (unsigned long long)files.rlim_max, c->max_connections);
		return KB_E_CONFIG;
	}
	if (locked.rlim_cur < 2 * KB_SECRET_ARENA) {
		snprintf(why, 512,
			 "the limit of locked memory is %llu bytes, too little for secrets: raise "
			 "LimitMEMLOCK (ulimit -l) to %d",
			 (unsigned long long)locked.rlim_cur, 2 * KB_SECRET_ARENA);
		return KB_E_CONFIG;
	}
	return KB_OK;
}
