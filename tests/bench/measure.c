/* tests/bench/measure.c — what a run cost: processor time and memory of the processes from /proc,
 * and the floor from its own program. Trusts the kernel's accounting.  Decides nothing; must never
 * count a process that it did not see from the beginning to the end. */
#include "tests/bench/measure.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- processes: processor time and memory from /proc ---- */

static double cpu_us(pid_t pid) /* first number: nanoseconds on a processor, user and system */
{
	char path[64];
	double ns = 0;
	snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
	FILE *f = fopen(path, "r");
	if (f != NULL && fscanf(f, "%lf", &ns) != 1)
		ns = 0;
	if (f != NULL)
		fclose(f);
	return ns / 1e3;
}

static long status_kib(pid_t pid, const char *field)
{
	char path[64], line[256];
	size_t n = strlen(field);
	long kib = 0;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "r");
	while (f != NULL && kib == 0 && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, field, n) == 0)
			kib = strtol(line + n, NULL, 10);
	if (f != NULL)
		fclose(f);
	return kib;
}

long rss_kib(pid_t pid)
{
	return status_kib(pid, "VmRSS:");
}

static void processes_find(struct processes *r)
{
	static const char *const names[] = {"gateway", "vault", "ledger", "fetcher"};
	r->n = 0;
	r->process[r->n++] = (struct process_use){.pid = r->in->broker, .name = "supervisor"};
	for (unsigned i = 0; i < 4; i++)
		for (unsigned nth = 0; r->n < PROCESSES; nth++) {
			struct process_use *u = &r->process[r->n];
			if ((u->pid = broker_process(r->in, names[i], nth)) == 0)
				break;
			snprintf(u->name, sizeof u->name, "%s", names[i]);
			r->n++;
		}
}

void processes_mark(void *context, bool is_start)
{
	struct processes *r = context;
	if (is_start)
		processes_find(r);
	for (unsigned i = 0; i < r->n; i++) {
		struct process_use *u = &r->process[i];
		*(is_start ? &u->before_us : &u->after_us) = cpu_us(u->pid);
		u->rss_kib = rss_kib(u->pid);
		u->peak_kib = status_kib(u->pid, "VmHWM:");
	}
}

double processes_us(const struct processes *r, const char *name)
{
	double us = 0;
	for (unsigned i = 0; i < r->n; i++)
		if (name == NULL || strcmp(r->process[i].name, name) == 0)
			us += r->process[i].after_us - r->process[i].before_us;
	return us;
}

unsigned processes_lost(const struct processes *r)
{
	unsigned lost = 0;
	for (unsigned i = 0; i < r->n; i++)
		lost += r->process[i].after_us < r->process[i].before_us;
	return lost;
}

/* ---- the floor ---- */

const char *const floor_part[FLOOR_PARTS] = {"verify", "json",     "import",
					     "oaep",   "hsm_wrap", "hsm_sign"};

static const char *floor_read(const char *text, struct floor *f)
{
	json_t *j = json_loads(text, 0, NULL);
	f->release = json_number_value(json_object_get(j, "release"));
	f->handshake = json_number_value(json_object_get(j, "handshake"));
	f->n = (unsigned)json_integer_value(json_object_get(j, "iterations"));
	for (unsigned i = 0; i < FLOOR_PARTS; i++)
		f->parts[i] = json_number_value(json_object_get(j, floor_part[i]));
	bool is_there = json_is_number(json_object_get(j, "release"));
	json_decref(j);
	return is_there ? NULL : "floor printed nothing";
}

const char *floor_run(struct instance *in, const char *key, double seconds, bool is_crowded,
		      struct floor *f)
{
	char *out = NULL, limit[32], token_file[256];
	const char *script =
		is_crowded ? "\"$0\" \"$@\" >/dev/null 2>&1 & \"$0\" \"$@\"; s=$?; wait; exit $s"
			   : "exec \"$0\" \"$@\"";
	snprintf(token_file, sizeof token_file, "%s/" FLOOR_TOKEN, in->dir);
	snprintf(limit, sizeof limit, "%.1f", seconds);
	if (run_program(&out, (const char *const[]){"/bin/sh", "-c", script, program("bench/floor"),
						    in->dir, key, token_file, limit, NULL}) != 0) {
		const char *why = wrong("floor: %.300s", out == NULL ? "" : out);
		free(out);
		return why;
	}
	const char *why = floor_read(out, f);
	free(out);
	return why;
}

const char *floor_beside(struct instance *in, const char *key, struct floor_beside *b)
{
	char token_file[256];
	int out[2];
	snprintf(token_file, sizeof token_file, "%s/" FLOOR_TOKEN, in->dir);
	sigset_t end, before;
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	if (pipe(out) != 0)
		return "pipe";
	sigprocmask(SIG_BLOCK, &end, &before); /* for the child, until it waits for it */
	b->pid = fork();
	if (b->pid != 0)
		sigprocmask(SIG_SETMASK, &before, NULL);
	if (b->pid < 0)
		return "fork";
	if (b->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup2(out[1], STDOUT_FILENO) == STDOUT_FILENO && close(out[0]) == 0)
			execl(program("bench/floor"), "floor", in->dir, key, token_file, "beside",
			      NULL);
		_exit(127);
	}
	close(out[1]);
	b->out = out[0];
	return NULL;
}

const char *floor_beside_end(struct floor_beside *b, struct floor *f)
{
	char text[512];
	kill(b->pid, SIGTERM);
	waitpid(b->pid, NULL, 0);
	ssize_t n =
		read(b->out, text, sizeof text - 1); /* one line, shorter than what a pipe holds */
	close(b->out);
	text[n > 0 ? n : 0] = '\0';
	return floor_read(text, f);
}

/* The issuer's signing certificate, for the floor: the one whose kid the token names. */
static const char *save_issuer_key(struct instance *in, const char *token)
{
	struct reply r;
	size_t len, i;
	const char *x5c = NULL, *why = place_call(&in->issuer_at, "GET", "/certs", "", NULL, &r);
	uint8_t *text = proof_b64url(token, strcspn(token, "."), &len);
	json_t *header = text == NULL ? NULL : json_loadb((const char *)text, len, 0, NULL),
	       *kid = json_object_get(header, "kid"), *key;
	json_t *set = why == NULL ? json_loadb(r.body, r.len, 0, NULL) : NULL;
	json_array_foreach(json_object_get(set, "keys"), i, key)
	{
		if (json_equal(json_object_get(key, "kid"), kid))
			x5c = json_string_value(json_array_get(json_object_get(key, "x5c"), 0));
	}
	char pem[8192] = "-----BEGIN CERTIFICATE-----\n";
	for (size_t at = 0; x5c != NULL && at < strlen(x5c) && strlen(pem) < 8000; at += 64)
		snprintf(pem + strlen(pem), sizeof pem - strlen(pem), "%.64s\n", x5c + at);
	snprintf(pem + strlen(pem), sizeof pem - strlen(pem), "-----END CERTIFICATE-----\n");
	if (why == NULL)
		why = x5c == NULL ? "the issuer's /certs"
				  : instance_write(in, "bench-issuer.pem", pem, strlen(pem));
	json_decref(set);
	json_decref(header);
	free(text);
	reply_free(&r);
	return why;
}

const char *floor_token(struct instance *in, const char *token)
{
	const char *why = instance_write(in, FLOOR_TOKEN, token, strlen(token));
	return why != NULL ? why : save_issuer_key(in, token);
}
