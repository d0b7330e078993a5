/* tests/e2e/harness.h — a throw-away instance: made by keybrokerctl, with the test issuer and the
 * real broker on free loopback ports. Functions return NULL, or what went wrong.  Everything is
 * below one temporary directory and ends with instance_free(). */
#ifndef KB_TESTS_HARNESS_H
#define KB_TESTS_HARNESS_H
#include <sys/types.h>

#include "tests/e2e/guest.h"

struct instance {
	char dir[64], config[96], ca_file[96], log[96];
	char base_url[64], issuer_url[64];
	unsigned port, metrics_port, issuer_port;
	pid_t broker, issuer; /* 0: not running */
	int issuer_stdin;
	struct place at, issuer_at; /* of broker and issuer */
	X509 *root;                 /* of the release signer's chain */
};

#define OTHER_NAME "v.skr.test"              /* certificates hold these beside localhost */
#define VAULT_NAME "kb.vault.azure.net.test" /* for clients that look for Azure's name in a URL */

/* keybrokerctl init, free ports, the issuer running and configured.  No key yet and no broker. */
const char *instance_make(struct instance *in);
void instance_free(struct instance *in);

/* Write a file below the instance (mode 0600), given a path relative to it. */
const char *instance_write(struct instance *in, const char *path, const void *bytes, size_t len);
/* Load a JSON file of the instance, NULL when it is none; and write it back (consumed). */
json_t *instance_json(struct instance *in, const char *path);
const char *instance_json_write(struct instance *in, const char *path, json_t *j);

/* keybrokerctl -c CONFIG args…: the exit status (−1: killed or not started); *out (NULL allowed)
 * gets stdout and stderr, malloc'd. */
int ctl(struct instance *in, char **out, const char *const args[]);
#define CTL(in, out, ...) ctl(in, out, (const char *const[]){__VA_ARGS__, NULL})
/* The same with any program. */
int run_program(char **out, const char *const argv[]);
/* path of one of ours in the build directory (environment BUILD, else build) */
const char *program(const char *name);

unsigned free_port(void); /* on loopback, a moment ago */

/* Import `key` (PKCS#8) or `bytes` under a name with a policy text. */
const char *instance_import(struct instance *in, const char *name, EVP_PKEY *key, const void *bytes,
			    size_t len, const char *policy);

const char *issuer_start(struct instance *in); /* on in->issuer_port, 0: any */
void issuer_stop(struct instance *in);
const char *broker_start(struct instance *in);         /* and wait until /readyz says 200 */
const char *broker_start_unready(struct instance *in); /* without waiting */
/* Until /readyz answers 200.  READY_MS is for a broker that never gets there: a start on a busy
 * machine may take long. */
enum { READY_MS = 60000 };
const char *broker_wait_ready(struct instance *in, unsigned ms);
int broker_stop(struct instance *in, int sig,
		unsigned ms); /* exit status, −1: killed by a signal, −2: had to be killed */
pid_t broker_process(struct instance *in, const char *process,
		     unsigned nth); /* pid of the nth child whose command line says so, 0: none */
const char *broker_log_clean(
	struct instance *in); /* no sanitizer's report, no "should not happen" */
/* At the end of a program: the broker, if it runs, ends well and in time, its log is clean; then
 * the instance is freed. */
const char *instance_end(struct instance *in);
void broker_log_tail(struct instance *in); /* last lines to stderr: for failures */

/* Plain HTTP GET on the metrics port: status, 0 when nobody answers; *body (NULL allowed)
 * malloc'd. */
int metrics_get(struct instance *in, const char *path, char **body);
/* A metric's value, "name{labels}" as it is printed; −1 when it is not there. */
double metric(struct instance *in, const char *name);

/* Every ledger line, in order, as one text (malloc'd), and how many lines contain `part`. */
char *ledger_text(struct instance *in);
unsigned ledger_count(struct instance *in, const char *part);
unsigned long long now_ms(void);
void sleep_ms(unsigned ms);

#endif
