/* tests/bench/bench.c — what a release costs and how many there are a second, against the floor
 * measured in the same run.
 *
 *   bench [SECONDS]      (default 20; make bench SECONDS=20)
 *
 * Starts an instance of its own, prints one table and nothing that it did not measure.  Exits 1
 * when a reply was wrong or a goal that must hold is missed. */
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
enum { PROCESS_NAMES = 5 };
static const char *const process_name[PROCESS_NAMES] = {"gateway", "vault", "ledger", "fetcher",
							"supervisor"};

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
	printf("%-34s %9.0f /s   p50 %.2f  p99 %.2f  p99.9 %.2f  max %.1f ms   (%llu, %u opened to "
	       "the key)\n",
	       title, (double)r->done / r->seconds, r->p50_ms, r->p99_ms, r->p999_ms, r->max_ms,
	       r->done, r->checked);
	if (r->refused != 0)
		printf("%-34s %9llu, the last with status %d\n", "  not released", r->refused,
		       r->last_status);
}

static bool goal(const char *what, double is, double must, const char *unit)
{
	printf("  %-52s %8.2f %-4s goal ≤ %.2f  %s\n", what, is, unit, must,
	       is <= must ? "✓" : "✗");
	return is <= must;
}

static void set_limits(struct instance *in)
{
	json_t *config = instance_json(in, "keybroker.json");
	json_object_set_new(
		config, "limits",
		json_pack("{s:i, s:i}", "connections", 16384, "connections_per_source", 16384));
	json_object_set_new(json_object_get(config, "hsm"), "workers", json_integer(2));
	need(instance_json_write(in, "keybroker.json", config), in);
}

/* ---- against the floor ---- */

/* The speed of a machine that others use changes within seconds, by more than the difference that
 * is looked for.  So floor and broker run alternately, each run of the broker is compared with the
 * floor right before and after it, and the median of the runs counts. */
enum { TURNS = 7 };
struct turn {
	/* µs of CPU of one release, all processes; with a new connection; by process */
	double release, connect, process[PROCESS_NAMES];
};
struct comparison {
	struct floor floor[TURNS + 1];
	struct turn turn[TURNS];
	unsigned lost;
	unsigned long long refused;
};

static double one_load(struct load_plan *plan, struct processes *processes, bool is_new_connection,
		       struct comparison *c, double *by_process)
{
	struct load_result r;
	plan->context = processes;
	plan->is_new_connection = is_new_connection;
	need(load_run(plan, &r), processes->in);
	c->refused += r.refused;
	c->lost += processes_lost(processes);
	for (unsigned i = 0; by_process != NULL && i < PROCESS_NAMES; i++)
		by_process[i] = processes_us(processes, process_name[i]) / (double)r.done;
	return processes_us(processes, NULL) / (double)r.done;
}

static void compare(struct instance *in, const struct load_plan *like, double seconds,
		    struct comparison *c)
{
	static struct processes processes;
	struct load_plan plan = *like;
	processes.in = in;
	plan.mark = processes_mark;
	plan.warm_s = 0.5;
	plan.run_s = seconds;
	need(floor_run(in, KEY, seconds / 2, false, &c->floor[0]), in);
	for (unsigned i = 0; i < TURNS; i++) {
		c->turn[i].release = one_load(&plan, &processes, false, c, c->turn[i].process);
		c->turn[i].connect = one_load(&plan, &processes, true, c, NULL);
		need(floor_run(in, KEY, seconds / 2, false, &c->floor[i + 1]), in);
	}
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Of each run's ratio. */
static double ratio(const struct comparison *c, bool is_new_connection, double *least, double *most)
{
	double r[TURNS];
	for (unsigned i = 0; i < TURNS; i++) {
		const struct floor *f = &c->floor[i], *g = &c->floor[i + 1];
		double floor = (f->release + g->release) / 2,
		       shake = (f->handshake + g->handshake) / 2;
		r[i] = is_new_connection ? c->turn[i].connect / (floor + shake)
					 : c->turn[i].release / floor;
	}
	qsort(r, TURNS, sizeof *r, by_size);
	*least = r[0];
	*most = r[TURNS - 1];
	return r[TURNS / 2];
}

static void print_comparison(const struct comparison *c)
{
	double mean[FLOOR_PARTS] = {0}, process[PROCESS_NAMES] = {0}, floor = 0, shake = 0,
	       release = 0, connect = 0, least, most;
	for (unsigned i = 0; i <= TURNS; i++) {
		floor += c->floor[i].release / (TURNS + 1);
		shake += c->floor[i].handshake / (TURNS + 1);
		for (unsigned k = 0; k < FLOOR_PARTS; k++)
			mean[k] += c->floor[i].parts[k] / (TURNS + 1);
	}
	for (unsigned i = 0; i < TURNS; i++) {
		release += c->turn[i].release / TURNS;
		connect += c->turn[i].connect / TURNS;
		for (unsigned k = 0; k < PROCESS_NAMES; k++)
			process[k] += c->turn[i].process[k] / TURNS;
	}
	printf("\nCPU of one release, µs; floor and broker alternately, %u runs each\n  floor, one "
	       "process "
	       "in a plain loop  %8.1f  ",
	       TURNS, floor);
	for (unsigned k = 0; k < FLOOR_PARTS; k++)
		printf("  %s %.0f", floor_part[k], mean[k]);
	printf("\n  all processes together                  %8.1f  ", release);
	for (unsigned k = 0; k < PROCESS_NAMES; k++)
		printf("  %s %.1f", process_name[k], process[k]);
	double median = ratio(c, false, &least, &most);
	printf("\n    to the floor                      %8.2f ×   median of %.2f … %.2f\n", median,
	       least, most);
	median = ratio(c, true, &least, &most);
	printf("  with a new TLS connection each      %8.1f    floor and handshake %.1f + %.1f\n",
	       connect, floor, shake);
	printf("    to the floor                      %8.2f ×   median of %.2f … %.2f\n", median,
	       least, most);
}

int main(int argc, char **argv)
{
	static struct instance in;
	static struct corpus corpus;
	static struct load_result keep_alive, connect, crowded;
	static struct processes processes;
	static struct comparison compared;
	double least, most;
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

	printf("floor, broker and load share this machine's %ld processors; %.0f s each, %u guests "
	       "with a token of %zu bytes each, key RSA-2048, "
	       "%s\n\n",
	       sysconf(_SC_NPROCESSORS_ONLN), seconds, GUESTS, corpus.item[0].len, ENC);
	need(broker_start(&in), &in);
	/* It is ready with its first worker; the load's warm-up is long enough for the second. */
	for (unsigned long long end = now_ms() + 10000;
	     broker_process(&in, "vault", 1) == 0 && now_ms() < end;)
		sleep_ms(20);
	processes.in = &in;
	struct expect want = {.root = in.root,
			      .host = "localhost",
			      .base_url = in.base_url,
			      .name = KEY,
			      .api_version = "7.4",
			      .enc = ENC,
			      .kek_kid = KID_GUEST};
	struct load_plan plan = {.at = &in.at,
				 .corpus = &corpus,
				 .want = &want,
				 .connections = 32,
				 .warm_s = 2,
				 .run_s = seconds,
				 .mark = processes_mark};
	plan.context = &processes;
	need(load_run(&plan, &keep_alive), &in);
	plan.mark = NULL;
	plan.is_new_connection = true;
	plan.run_s = seconds / 2;
	need(load_run(&plan, &connect), &in);
	compare(&in, &plan, seconds / 8 < 1 ? 1 : seconds / 8, &compared);

	/* Idle connections: what one costs the gateway, then releases while they are held. */
	struct idle *idle = NULL;
	pid_t gateway = broker_process(&in, "gateway", 0);
	long rss_before = rss_kib(gateway);
	unsigned long long idle_from = now_ms();
	need(idle_open(&in.at, IDLE, &idle), &in);
	double idle_s = (double)(now_ms() - idle_from) / 1e3;
	sleep_ms(500);
	double idle_kib = (double)(rss_kib(gateway) - rss_before) / IDLE;
	plan.is_new_connection = false;
	plan.run_s = seconds / 4;
	need(load_run(&plan, &crowded), &in);
	unsigned alive = idle_alive(idle);
	idle_close(idle);

	double hsm_errors = metric(&in, "keybroker_hsm_errors_total");
	int stopped = broker_stop(&in, SIGTERM, 40000);

	print_load("keep-alive, 32 connections", &keep_alive);
	print_load("a TLS connection a release, 32", &connect);
	char title[64];
	snprintf(title, sizeof title, "keep-alive, beside %u idle", alive);
	print_load(title, &crowded);

	print_comparison(&compared);
	printf("\nmemory, KiB resident:");
	for (unsigned i = 0; i < processes.n; i++)
		printf("  %s %ld", processes.process[i].name, processes.process[i].rss_kib);
	printf("\nidle: %u of %u connections held, opened in %.1f s\n\ngoals\n", alive, IDLE,
	       idle_s);

	double release = ratio(&compared, false, &least, &most);
	bool is_good = goal("CPU of a release : floor", release, 1.25, "×");
	goal("  next", release, 1.10, "×");
	goal("CPU with a new TLS connection : floor + handshake",
	     ratio(&compared, true, &least, &most), 1.25, "×");
	is_good &= goal("an idle TLS connection", idle_kib, IDLE_KIB, "KiB");
	is_good &= goal("idle connections lost", IDLE - alive, 0, "");
	is_good &= goal(
		"releases refused or failed",
		(double)(keep_alive.refused + connect.refused + crowded.refused + compared.refused),
		0, "");
	is_good &= goal("HSM errors", hsm_errors, 0, "");
	is_good &= goal("exit status of the broker", stopped, 0, "");
	is_good &= goal("processes that ended while they were measured",
			processes_lost(&processes) + compared.lost, 0, "");
	corpus_free(&corpus);
	instance_free(&in);
	return is_good ? 0 : 1;
}
