/* tests/bench/bench.c — what a release costs and how many there are a second, against the floor measured in the same run.
 *   bench [SECONDS]      (default 20; make bench SECONDS=20)
 * Starts an instance of its own, prints one table and nothing that it did not measure.  Exits 1 when a reply was wrong or a goal that must hold is missed. */
#include <dirent.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/bench/load.h"
#include "tests/e2e/evidence.h"
#include "tests/e2e/harness.h"

enum { GUESTS = 1000, IDLE = 10000, IDLE_KIB = 40, ROOMS = 16 };
#define KEY "bench"
#define ENC "RSA_AES_KEY_WRAP_256"

static void need(const char *why, struct instance *in)
{
	if (why == NULL)
		return;
	fprintf(stderr, "bench: %s\n", why);
	broker_log_tail(in);
	instance_free(in);
	exit(1);
}

/* ---- rooms: processor time and memory from /proc ---- */

struct room_use {
	pid_t pid;
	char name[24];
	double before_us, after_us;
	long rss_kib;
};
struct rooms {
	struct instance *in;
	struct room_use room[ROOMS];
	unsigned n;
};

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

static long rss_kib(pid_t pid)
{
	char path[64], line[256];
	long kib = 0;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return kib;
}

static void rooms_find(struct rooms *r)
{
	static const char *const names[] = {"gateway", "vault", "ledger", "fetcher"};
	r->n = 0;
	r->room[r->n++] = (struct room_use){.pid = r->in->broker, .name = "supervisor"};
	for (unsigned i = 0; i < 4; i++)
		for (unsigned nth = 0; r->n < ROOMS; nth++) {
			struct room_use *u = &r->room[r->n];
			if ((u->pid = broker_room(r->in, names[i], nth)) == 0)
				break;
			snprintf(u->name, sizeof u->name, "%s", names[i]);
			r->n++;
		}
}

/* A room that ended in between would be missing from the sum: its pid is gone, and cpu_us() of it is 0. */
static void rooms_mark(void *context, bool is_start)
{
	struct rooms *r = context;
	if (is_start)
		rooms_find(r);
	for (unsigned i = 0; i < r->n; i++) {
		struct room_use *u = &r->room[i];
		*(is_start ? &u->before_us : &u->after_us) = cpu_us(u->pid);
		u->rss_kib = rss_kib(u->pid);
	}
}

static double rooms_us(const struct rooms *r, const char *name) /* NULL: all */
{
	double us = 0;
	for (unsigned i = 0; i < r->n; i++)
		if (name == NULL || strcmp(r->room[i].name, name) == 0)
			us += r->room[i].after_us - r->room[i].before_us;
	return us;
}

static unsigned rooms_lost(const struct rooms *r)
{
	unsigned lost = 0;
	for (unsigned i = 0; i < r->n; i++)
		lost += r->room[i].after_us < r->room[i].before_us;
	return lost;
}

/* ---- the floor ---- */

struct floor {
	double release, handshake, parts[6];
};
static const char *const parts[6] = {"verify", "json", "import", "oaep", "hsm_wrap", "hsm_sign"};

/* `is_crowded`: a second one runs beside it, because two busy threads of one core slow each other down, and under load the workers are such threads. */
static const char *floor_run(struct instance *in, const char *token_file, double seconds, bool is_crowded, struct floor *f)
{
	char *out = NULL, limit[32];
	const char *script = is_crowded ? "\"$0\" \"$@\" >/dev/null & \"$0\" \"$@\"; s=$?; wait; exit $s" : "exec \"$0\" \"$@\"";
	snprintf(limit, sizeof limit, "%.1f", seconds);
	if (run_program(&out, (const char *const[]){"/bin/sh", "-c", script, program("bench/floor"), in->dir, KEY, token_file, limit, NULL}) != 0) {
		const char *why = wrong("floor: %.300s", out == NULL ? "" : out);
		free(out);
		return why;
	}
	json_t *j = json_loads(out, 0, NULL);
	f->release = json_number_value(json_object_get(j, "release"));
	f->handshake = json_number_value(json_object_get(j, "handshake"));
	for (unsigned i = 0; i < 6; i++)
		f->parts[i] = json_number_value(json_object_get(j, parts[i]));
	json_decref(j);
	free(out);
	return f->release > 0 ? NULL : "floor printed nothing";
}

/* The issuer's signing certificate, for the floor: the one whose kid the token names. */
static const char *save_issuer_key(struct instance *in, const char *token)
{
	struct reply r;
	size_t len, i;
	const char *x5c = NULL, *why = place_call(&in->issuer_at, "GET", "/certs", "", NULL, &r);
	uint8_t *text = proof_b64url(token, strcspn(token, "."), &len);
	json_t *header = text == NULL ? NULL : json_loadb((const char *)text, len, 0, NULL), *kid = json_object_get(header, "kid"), *key;
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
		why = x5c == NULL ? "the issuer's /certs" : instance_write(in, "bench-issuer.pem", pem, strlen(pem));
	json_decref(set);
	json_decref(header);
	free(text);
	reply_free(&r);
	return why;
}

/* The first guest's token to a file, and the key that verifies it to another. */
static const char *save_token(struct instance *in, const struct corpus *c, const char *name)
{
	const char *from = strstr(c->item[0].request, "{\"target\":\"");
	if (from == NULL)
		return "no request";
	from += strlen("{\"target\":\"");
	const char *why = instance_write(in, name, from, strcspn(from, "\""));
	return why != NULL ? why : save_issuer_key(in, from);
}

/* ---- the table ---- */

static void print_load(const char *title, const struct load_result *r)
{
	printf("%-34s %9.0f /s   p50 %.2f  p99 %.2f  p99.9 %.2f  max %.1f ms   (%llu, %u opened to the key)\n", title, (double)r->done / r->seconds,
	       r->p50_ms, r->p99_ms, r->p999_ms, r->max_ms, r->done, r->checked);
	if (r->refused != 0)
		printf("%-34s %9llu, the last with status %d\n", "  not released", r->refused, r->last_status);
}

static bool goal(const char *what, double is, double must, const char *unit)
{
	printf("  %-52s %8.2f %-4s goal ≤ %.2f  %s\n", what, is, unit, must, is <= must ? "✓" : "✗");
	return is <= must;
}

static void set_limits(struct instance *in)
{
	json_t *config = instance_json(in, "keybroker.json");
	json_object_set_new(config, "limits", json_pack("{s:i, s:i}", "connections", 16384, "connections_per_source", 16384));
	json_object_set_new(json_object_get(config, "hsm"), "workers", json_integer(2));
	need(instance_json_write(in, "keybroker.json", config), in);
}

int main(int argc, char **argv)
{
	static struct instance in;
	static struct corpus corpus;
	static struct load_result keep_alive, connect, crowded;
	static struct rooms rooms, rooms_connect;
	struct floor before, after, crowded_floor;
	char token_file[256], keys_file[256];
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 20;
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (seconds < 1)
		seconds = 1;
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);

	need(instance_make(&in), &in);
	set_limits(&in);
	char *policy = policy_guest(in.issuer_url);
	EVP_PKEY *key = EVP_RSA_gen(2048);
	need(instance_import(&in, KEY, key, NULL, 0, policy), &in);
	free(policy);
	EVP_PKEY_free(key);
	snprintf(keys_file, sizeof keys_file, "%s", program("bench/keys.der"));
	need(corpus_keys(&corpus, keys_file, GUESTS), &in);
	need(corpus_requests(&corpus, &in.issuer_at, &in.at, KEY, ENC), &in);
	need(save_token(&in, &corpus, "bench-token"), &in);
	snprintf(token_file, sizeof token_file, "%s/bench-token", in.dir);

	printf("floor, broker and load share this machine's %ld processors; %.0f s each, %u guests with a token of %zu bytes each, key RSA-2048, "
	       "%s\n\n",
	       sysconf(_SC_NPROCESSORS_ONLN), seconds, GUESTS, corpus.item[0].len, ENC);
	need(floor_run(&in, token_file, seconds / 2, false, &before), &in);
	need(broker_start(&in), &in);
	for (unsigned long long end = now_ms() + 10000; broker_room(&in, "vault", 1) == 0 && now_ms() < end;)
		sleep_ms(20); /* it is ready with its first worker; the load's warm-up is long enough for the second */
	rooms.in = rooms_connect.in = &in;
	struct expect want = {
		.root = in.root, .host = "localhost", .base_url = in.base_url, .name = KEY, .api_version = "7.4", .enc = ENC, .kek_kid = KID_GUEST};
	struct load_plan plan = {
		.at = &in.at, .corpus = &corpus, .want = &want, .connections = 32, .warm_s = 2, .run_s = seconds, .mark = rooms_mark};
	plan.context = &rooms;
	need(load_run(&plan, &keep_alive), &in);
	plan.context = &rooms_connect;
	plan.is_new_connection = true;
	plan.run_s = seconds / 2;
	need(load_run(&plan, &connect), &in);

	/* Idle connections: what one costs the gateway, then releases while they are held. */
	struct idle *idle = NULL;
	pid_t gateway = broker_room(&in, "gateway", 0);
	long rss_before = rss_kib(gateway);
	unsigned long long idle_from = now_ms();
	need(idle_open(&in.at, IDLE, &idle), &in);
	double idle_s = (double)(now_ms() - idle_from) / 1e3;
	sleep_ms(500);
	double idle_kib = (double)(rss_kib(gateway) - rss_before) / IDLE;
	plan.is_new_connection = false;
	plan.mark = NULL;
	plan.run_s = seconds / 4;
	need(load_run(&plan, &crowded), &in);
	unsigned alive = idle_alive(idle);
	idle_close(idle);

	double hsm_errors = metric(&in, "keybroker_hsm_errors_total");
	int stopped = broker_stop(&in, SIGTERM, 40000);
	need(floor_run(&in, token_file, seconds / 2, false, &after), &in);
	need(floor_run(&in, token_file, seconds / 2, true, &crowded_floor), &in);

	double floor = (before.release + after.release) / 2, shake = (before.handshake + after.handshake) / 2;
	double per_release = rooms_us(&rooms, NULL) / (double)keep_alive.done, per_connect = rooms_us(&rooms_connect, NULL) / (double)connect.done;
	print_load("keep-alive, 32 connections", &keep_alive);
	print_load("a TLS connection a release, 32", &connect);
	char title[64];
	snprintf(title, sizeof title, "keep-alive, beside %u idle", alive);
	print_load(title, &crowded);

	printf("\nCPU of one release, µs                 floor");
	for (unsigned i = 0; i < 6; i++)
		printf("  %s %.0f", parts[i], (before.parts[i] + after.parts[i]) / 2);
	printf("\n  floor, one process in a plain loop  %8.1f   (before %.1f, after %.1f)\n", floor, before.release, after.release);
	printf("  floor, two such processes at once   %8.1f\n", crowded_floor.release);
	printf("  all rooms together                  %8.1f\n", per_release);
	static const char *const names[] = {"gateway", "vault", "ledger", "fetcher", "supervisor"};
	for (unsigned i = 0; i < 5; i++)
		printf("    %-33s %8.1f\n", names[i], rooms_us(&rooms, names[i]) / (double)keep_alive.done);
	printf("  with a new TLS connection each      %8.1f   (floor + handshake floor: %.1f + %.1f)\n", per_connect, floor, shake);
	printf("\nmemory, KiB resident:");
	for (unsigned i = 0; i < rooms.n; i++)
		printf("  %s %ld", rooms.room[i].name, rooms.room[i].rss_kib);
	printf("\nidle: %u of %u connections held, opened in %.1f s\n\ngoals\n", alive, IDLE, idle_s);

	bool is_good = goal("CPU of a release : floor", per_release / floor, 1.25, "×");
	goal("  next", per_release / floor, 1.10, "×");
	goal("  against the floor beside a second one", per_release / crowded_floor.release, 1.25, "×");
	goal("CPU with a new TLS connection : floor + handshake", per_connect / (floor + shake), 1.25, "×");
	is_good &= goal("an idle TLS connection", idle_kib, IDLE_KIB, "KiB");
	is_good &= goal("idle connections lost", IDLE - alive, 0, "");
	is_good &= goal("releases refused or failed", (double)(keep_alive.refused + connect.refused + crowded.refused), 0, "");
	is_good &= goal("HSM errors", hsm_errors, 0, "");
	is_good &= goal("exit status of the broker", stopped, 0, "");
	is_good &= goal("rooms that ended while they were measured", rooms_lost(&rooms) + rooms_lost(&rooms_connect), 0, "");
	corpus_free(&corpus);
	instance_free(&in);
	return is_good ? 0 : 1;
}
