/* broker/supervisor/supervisor.h — the parent of all processes. */
#ifndef KB_SUPERVISOR_SUPERVISOR_H
#define KB_SUPERVISOR_SUPERVISOR_H

/* Load the configuration, start the processes, keep them going until SIGTERM or SIGINT.  SIGHUP:
 * reload.  SIGUSR1: the ledger begins a new segment.  Returns the exit code: 0 after an orderly
 * end, 1 when it could not start. */
int supervisor_run(const char *config_path);
/* Only load and check; faults go to stderr.  0 when it is good, else 1. */
int supervisor_check(const char *config_path);

#endif
