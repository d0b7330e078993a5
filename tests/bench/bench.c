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
#include "tests/bench/measure.h"
#include "tests/e2e/evidence.h"
#include "tests/e2e/harness.h"

enum { GUESTS = 1000, IDLE = 10000, IDLE_KIB = 40 };
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
	char keys_file[256];
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
	char *token = corpus_token(&corpus, 0);
	need(token == NULL ? "no token" : floor_token(&in, token), &in);
	free(token);

	printf("floor, broker and load share this machine's %ld processors; %.0f s each, %u guests with a token of %zu bytes each, key RSA-2048, "
	       "%s\n\n",
	       sysconf(_SC_NPROCESSORS_ONLN), seconds, GUESTS, corpus.item[0].len, ENC);
	need(floor_run(&in, KEY, seconds / 2, false, &before), &in);
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
	need(floor_run(&in, KEY, seconds / 2, false, &after), &in);
	need(floor_run(&in, KEY, seconds / 2, true, &crowded_floor), &in);

	double floor = (before.release + after.release) / 2, shake = (before.handshake + after.handshake) / 2;
	double per_release = rooms_us(&rooms, NULL) / (double)keep_alive.done, per_connect = rooms_us(&rooms_connect, NULL) / (double)connect.done;
	print_load("keep-alive, 32 connections", &keep_alive);
	print_load("a TLS connection a release, 32", &connect);
	char title[64];
	snprintf(title, sizeof title, "keep-alive, beside %u idle", alive);
	print_load(title, &crowded);

	printf("\nCPU of one release, µs                 floor");
	for (unsigned i = 0; i < FLOOR_PARTS; i++)
		printf("  %s %.0f", floor_part[i], (before.parts[i] + after.parts[i]) / 2);
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
