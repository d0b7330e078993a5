/* broker/supervisor/supervisor.h — the parent of all processes. */
#ifndef KB_SUPERVISOR_SUPERVISOR_H
#define KB_SUPERVISOR_SUPERVISOR_H

/* Load the configuration, start the processes and restart them until SIGTERM or SIGINT.  SIGHUP:
 * reload.  SIGUSR1: the ledger begins a new segment.  Returns the exit code: 0 after an orderly
 * end, 1 when it could not start. */
int supervisor_run(const char *config_path);
/* Only load and check; faults go to standard error.  0: good, 1: not. */
int supervisor_check(const char *config_path);

#endif
