/* tests/bench/storm.c — a boot storm: many confidential VMs start at once, and every one wants the
 * key of its vTPM's state, then its disk's.
 *
 *   storm [GUESTS]       (default 10,000; make bench-storm GUESTS=500)
 *
 * Starts an instance of its own, prints nothing that it did not measure.  Exits 1 when a guest did
 * not boot, a process ended, or memory grew with the number of guests; the goals for time are
 * printed and decide nothing: the guests, and other work on this machine, share the broker's
 * processors. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/fleet.h"
#include "tests/bench/load.h"
#include "tests/bench/measure.h"
#include "tests/e2e/evidence.h"
#include "tests/e2e/issuer_keys.h"

enum { KEYS = 1000, LIMIT_S = 180, FLOOR_S = 2, SAMPLE_MS = 250 };
#define MAX_GROWTH 1.15 /* of memory, from one storm to four times the guests */
enum { NOISY = 600, ROUNDS = 5, ROUND_GUESTS = 20, QUIET = ROUNDS * ROUND_GUESTS };
#define NOISY_ADDRESS 0x7f000002u
#define QUIET_ADDRESS 0x7f000003u
#define FLEET_ADDRESS 0x7f010000u /* 127.1.0.0 and on: an address a guest */
#define VTPM_KEY      "vtpm-state"
#define DISK_KEY      "disk"
#define ENC           "RSA_AES_KEY_WRAP_256"

static struct instance in;
static struct corpus keys;
static char **tokens;
static bool is_good = true;

static void need(const char *why)
{
	if (why == NULL)
		return;
	fprintf(stderr, "storm: %s\n", why);
	broker_log_tail(&in);
	instance_free(&in);
	exit(1);
}

/* ---- the guests ---- */

/* Each with its own VM id, signed here with the test issuer's key: asking it would take longer than
 * the storm. */
static const char *mint(unsigned i)
{
	char id[40];
	const char *why = NULL;
	json_t *evidence = evidence_guest(keys.item[i % keys.n].key, NULL);
	json_t *tee = json_object_get(json_object_get(evidence, "claims"), "x-ms-isolation-tee");
	json_t *vm = json_object_get(json_object_get(tee, "x-ms-runtime"), "vm-configuration");
	snprintf(id, sizeof id, "5B930000-4027-4971-8CCE-%012X", i);
	evidence_set(evidence, "x-ms-azurevm-vmid", json_string(id));
	json_object_set_new(vm, "vmUniqueId", json_string(id));
	tokens[i] = issuer_token(evidence, &why);
	json_decref(evidence);
	return tokens[i] == NULL ? why : NULL;
}

static void guest_init(struct fleet_guest *g, unsigned i, unsigned n, uint32_t address,
		       double arrive_s)
{
	*g = (struct fleet_guest){.token = tokens[i % n],
				  .key = keys.item[i % n % keys.n].key,
				  .address = address,
				  .arrive_s = arrive_s};
}

/* ---- one broker, one storm ---- */

/* Seconds that all processors together were idle so far: what neither they nor the processes nor
 * the guests used, others did. */
static double idle_s(void)
{
	double user, nice, system, idle = 0, waiting = 0;
	FILE *f = fopen("/proc/stat", "r");
	if (f != NULL &&
	    fscanf(f, "cpu %lf %lf %lf %lf %lf", &user, &nice, &system, &idle, &waiting) != 5)
		idle = waiting = 0;
	if (f != NULL)
		fclose(f);
	return (idle + waiting) / (double)sysconf(_SC_CLK_TCK);
}

/* What the broker says of itself while it is busy, by a process of its own. */
struct peaks {
	double connections, queue;
};

static pid_t watch_start(struct peaks *peaks)
{
	pid_t parent = getpid(), pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (; getppid() == parent; sleep_ms(SAMPLE_MS)) {
		double connections = metric(&in, "keybroker_connections_open"),
		       queue = metric(&in, "keybroker_queue");
		peaks->connections =
			connections > peaks->connections ? connections : peaks->connections;
		peaks->queue = queue > peaks->queue ? queue : peaks->queue;
	}
	_exit(0);
}

static void watch_stop(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void set_limits(json_t *limits) /* NULL: the usual ones */
{
	json_t *config = instance_json(&in, "keybroker.json");
	json_object_del(config, "limits");
	if (limits != NULL)
		json_object_set_new(config, "limits", limits);
	json_object_set_new(json_object_get(config, "hsm"), "workers", json_integer(2));
	need(instance_json_write(&in, "keybroker.json", config));
}

static void start(void)
{
	need(broker_start(&in));
	for (unsigned long long end = now_ms() + 10000;
	     broker_process(&in, "vault", 1) == 0 && now_ms() < end;)
		sleep_ms(20); /* it is ready with its first worker */
	sleep_ms(300);
}

static void stop(void)
{
	int status = broker_stop(&in, SIGTERM, 40000);
	need(status == 0 ? NULL : wrong("the broker ended with status %d", status));
	need(broker_log_clean(&in));
}

static const struct fleet_plan *fleet_plan(void)
{
	static struct expect want;
	static struct fleet_plan plan;
	want = (struct expect){.root = in.root,
			       .host = "localhost",
			       .base_url = in.base_url,
			       .api_version = "7.4",
			       .enc = ENC,
			       .kek_kid = KID_GUEST};
	plan = (struct fleet_plan){.at = &in.at,
				   .key = {VTPM_KEY, DISK_KEY},
				   .enc = ENC,
				   .want = &want,
				   .limit_s = LIMIT_S};
	return &plan;
}

struct storm {
	struct fleet_guest *guest;
	unsigned n;
	struct fleet_result got;
	struct processes processes;
	struct peaks *peaks;
	double idle_s;
	struct floor beside;
};

static long peak_kib(const struct storm *s, const char *name) /* NULL: all */
{
	long kib = 0;
	for (unsigned i = 0; i < s->processes.n; i++)
		if (name == NULL || strcmp(s->processes.process[i].name, name) == 0)
			kib += s->processes.process[i].peak_kib;
	return kib;
}

static void check(bool is_fine, const char *what)
{
	if (is_fine)
		return;
	printf("  ✗ %s\n", what);
	is_good = false;
}

/* A broker that was not used before: its peaks are this storm's. */
static void storm_run(struct storm *s, unsigned n)
{
	s->n = n;
	s->guest = calloc(n, sizeof *s->guest);
	s->peaks = mmap(NULL, sizeof *s->peaks, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	need(s->guest == NULL || s->peaks == MAP_FAILED ? "no memory" : NULL);
	for (unsigned i = 0; i < n; i++)
		guest_init(&s->guest[i], i, n, FLEET_ADDRESS + 1 + i, 0);
	struct floor_beside floor;
	start();
	need(floor_beside(&in, VTPM_KEY, &floor));
	sleep_ms(300); /* it logs in */
	s->processes.in = &in;
	pid_t watch = watch_start(s->peaks);
	processes_mark(&s->processes, true);
	s->idle_s = idle_s();
	const char *why = fleet_run(fleet_plan(), s->guest, n, &s->got);
	s->idle_s = idle_s() - s->idle_s;
	processes_mark(&s->processes, false);
	need(floor_beside_end(&floor, &s->beside));
	watch_stop(watch);
	need(why);
	stop();
}

static const char *seconds_text(double ms, char out[static 16])
{
	snprintf(out, 16, ms < 0 ? "never" : "%.2f s", ms / 1e3);
	return out;
}

static double boot_us(const struct floor *f)
{
	return f->handshake + FLEET_KEYS * f->release;
}

/* Of a boot, at that time: the machine's speed changes within seconds, and guests that share its
 * caches slow down the floor's work as they do the processes'. A storm that was too short for
 * enough of them is held against those before and after it. */
static double floor_us(const struct storm *s, const struct floor around[static 2])
{
	printf("  floor, µs           before %.0f, after %.0f, beside it %.0f (%u releases)\n",
	       boot_us(&around[0]), boot_us(&around[1]), boot_us(&s->beside), s->beside.n);
	return s->beside.n >= 50 ? boot_us(&s->beside)
				 : (boot_us(&around[0]) + boot_us(&around[1])) / 2;
}

static void storm_print(const struct storm *s, const struct floor around[static 2])
{
	static const char *const names[] = {"gateway", "vault", "ledger", "fetcher", "supervisor"};
	const struct fleet_result *r = &s->got;
	double cores = (double)sysconf(_SC_NPROCESSORS_ONLN),
	       processes = processes_us(&s->processes, NULL);
	double processes_s = processes / 1e6, guests_s = r->client_us / 1e6;
	char half[16], most_all[16];
	unsigned most = 0;
	for (unsigned i = 0; i < s->n; i++)
		most = s->guest[i].n_attempts > most ? s->guest[i].n_attempts : most;
	printf("\n%u guests at once\n", s->n);
	double floor = floor_us(s, around), goal_s = 1.3 * floor * s->n / cores / 1e6;
	printf("  booted              50 %% %s   99 %% %s   all %.2f s\n",
	       seconds_text(fleet_quantile(s->guest, s->n, 0.5), half),
	       seconds_text(fleet_quantile(s->guest, s->n, 0.99), most_all), r->seconds);
	printf("  failed              %u   (%u replies opened to the key)\n", r->failed,
	       r->checked);
	printf("  overload            %llu turned away before TLS, %llu answered 429 or 503, %llu "
	       "connections lost; %llu retries, at most %u "
	       "connections a "
	       "guest\n",
	       r->turned_away, r->busy, r->lost, r->connections - s->n, most);
	printf("  peaks               %.0f connections, %.0f requests waiting; MiB resident: all "
	       "%.1f",
	       s->peaks->connections, s->peaks->queue, (double)peak_kib(s, NULL) / 1024);
	for (unsigned i = 0; i < 5; i++)
		printf("  %s %.1f", names[i], (double)peak_kib(s, names[i]) / 1024);
	printf("\n  CPU of a boot, µs   all processes %.0f:", processes / s->n);
	for (unsigned i = 0; i < 5; i++)
		printf("  %s %.0f", names[i], processes_us(&s->processes, names[i]) / s->n);
	printf("\n                      floor (handshake + %d releases) %.0f, ratio %.2f; the "
	       "guests themselves %.0f\n",
	       FLEET_KEYS, floor, processes / s->n / floor, r->client_us / s->n);
	/* The goal is the broker's; the guests' own work, done by the same processors, is not its
	 * matter but takes their time all the same. */
	double all_s = r->seconds * cores, rest_s = all_s - processes_s - guests_s - s->idle_s;
	printf("  time, broker alone  %.2f s of %.0f processors, goal ≤ 1.3 × (floor × N ÷ %.0f) = "
	       "%.2f s  %s\n",
	       processes_s / cores, cores, cores, goal_s,
	       processes_s / cores <= goal_s ? "✓" : "✗");
	printf("  time, by the wall   %.2f s, goal ≤ 1.3 × ((floor + the guests' own) × N ÷ %.0f) "
	       "= %.2f s  %s\n",
	       r->seconds, cores, goal_s + 1.3 * guests_s / cores,
	       r->seconds <= goal_s + 1.3 * guests_s / cores ? "✓" : "✗");
	printf("                      the processors' time: processes %.0f %%, guests %.0f %%, "
	       "others on this machine and the kernel's own work %.0f "
	       "%%, idle %.0f %%\n",
	       100 * processes_s / all_s, 100 * guests_s / all_s,
	       100 * (rest_s > 0 ? rest_s : 0) / all_s, 100 * s->idle_s / all_s);
	check(r->failed == 0 && r->booted == s->n,
	      wrong("%u guests did not boot, last status %d", s->n - r->booted, r->bad_status));
	check(processes_lost(&s->processes) == 0, "a process ended during the storm");
}

/* ---- the fair queue ---- */

struct neighbours {
	double p50_ms, p99_ms, tls_ms; /* of the quiet; TLS stood after tls_ms on average */
	double noisy_ms;
	struct fleet_result quiet, noisy;
};

static void noise(unsigned n_tokens, struct neighbours *out)
{
	static struct fleet_guest guest[NOISY];
	for (unsigned i = 0; i < NOISY; i++)
		guest_init(&guest[i], i, n_tokens, NOISY_ADDRESS, 0);
	const char *why = fleet_run(fleet_plan(), guest, NOISY, &out->noisy);
	out->noisy_ms = fleet_quantile(guest, NOISY, 0.5);
	if (why != NULL)
		fprintf(stderr, "storm: %s\n", why);
	_exit(why == NULL ? 0 : 1);
}

/* Guests of one address in rounds, and beside them those of another, all at the beginning: in a
 * process of their own, because in ours the quiet ones would wait for the others' share of the
 * client's work. */
static void neighbours_run(bool is_noisy, unsigned n_tokens, struct neighbours *out)
{
	static struct fleet_guest guest[QUIET];
	int status = 0;
	for (unsigned i = 0; i < QUIET; i++)
		guest_init(&guest[i], i, n_tokens, QUIET_ADDRESS, 0.3 + 0.25 * (i / ROUND_GUESTS));
	pid_t pid = is_noisy ? fork() : -1;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		noise(n_tokens, out);
	}
	const char *why = fleet_run(fleet_plan(), guest, QUIET, &out->quiet);
	if (is_noisy && (waitpid(pid, &status, 0) != pid || status != 0) && why == NULL)
		why = "the noisy guests' process";
	need(why);
	out->p50_ms = fleet_quantile(guest, QUIET, 0.5);
	out->p99_ms = fleet_quantile(guest, QUIET, 0.99);
	out->tls_ms = 0;
	for (unsigned i = 0; i < QUIET; i++)
		out->tls_ms += guest[i].tls_ms / QUIET;
	unsigned failed = out->quiet.failed + out->noisy.failed;
	check(failed == 0, wrong("%u guests did not boot", failed));
}

/* Handshakes and requests are served by source, in rotation.  Shown with the usual number of
 * connections a source may hold, and with a small one. */
static void fairness(unsigned n_tokens, int per_source)
{
	struct neighbours *at = mmap(NULL, 2 * sizeof *at, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0),
			  *alone = at, *beside = at + 1;
	need(at == MAP_FAILED ? "no memory" : NULL);
	set_limits(json_pack("{s:i}", "connections_per_source", per_source));
	start();
	neighbours_run(false, n_tokens, alone);
	neighbours_run(true, n_tokens, beside);
	stop();
	double ratio = beside->p50_ms / alone->p50_ms;
	printf("\n%d guests of one address, %d times, beside %d of another; "
	       "limits.connections_per_source %d\n",
	       ROUND_GUESTS, ROUNDS, NOISY, per_source);
	printf("  alone               50 %% %.0f ms   99 %% %.0f ms   (TLS after %.0f ms)\n",
	       alone->p50_ms, alone->p99_ms, alone->tls_ms);
	printf("  beside the others   50 %% %.0f ms   99 %% %.0f ms   (TLS after %.0f ms)\n",
	       beside->p50_ms, beside->p99_ms, beside->tls_ms);
	printf("  ratio               50 %% %.1f   99 %% %.1f, goal ≤ 2: two sources, half for "
	       "each  %s\n",
	       ratio, beside->p99_ms / alone->p99_ms, ratio <= 2 ? "✓" : "✗");
	printf("  the others          50 %% %.0f ms, all %.2f s; %llu turned away before TLS, %llu "
	       "answered 429 or 503\n",
	       beside->noisy_ms, beside->noisy.seconds, beside->noisy.turned_away,
	       beside->noisy.busy);
}

int main(int argc, char **argv)
{
	static struct storm quarter, whole;
	/* before, between and after the two: the machine's speed changes within minutes */
	struct floor floor[3];
	char *end = NULL;
	unsigned long n = argc > 1 ? strtoul(argv[1], &end, 10) : 10000;
	if (n < 100 || n > 60000 || (end != NULL && *end != '\0')) {
		fprintf(stderr, "usage: storm [GUESTS]    100 to 60000\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);

	need(instance_make(&in));
	char *policy = policy_guest(in.issuer_url), issuer_dir[128];
	for (unsigned i = 0; i < FLEET_KEYS; i++) {
		EVP_PKEY *key = EVP_RSA_gen(2048);
		need(instance_import(&in, i == 0 ? VTPM_KEY : DISK_KEY, key, NULL, 0, policy));
		EVP_PKEY_free(key);
	}
	free(policy);
	need(corpus_keys(&keys, program("bench/keys.der"), n < KEYS ? (unsigned)n : KEYS));
	snprintf(issuer_dir, sizeof issuer_dir, "%s/issuer", in.dir);
	need(issuer_keys_load(in.issuer_url, issuer_dir));
	tokens = calloc(n, sizeof *tokens);
	need(tokens == NULL ? "no memory" : NULL);
	for (unsigned i = 0; i < n; i++)
		need(mint(i));
	need(floor_token(&in, tokens[0]));

	set_limits(NULL);
	printf("guests and broker share this machine's %ld processors; a token of %zu bytes each, "
	       "keys RSA-2048, %s; the usual limits\n",
	       sysconf(_SC_NPROCESSORS_ONLN), strlen(tokens[0]), ENC);
	need(floor_run(&in, VTPM_KEY, FLOOR_S, true, &floor[0]));
	storm_run(&quarter, (unsigned)n / 4);
	need(floor_run(&in, VTPM_KEY, FLOOR_S, true, &floor[1]));
	storm_run(&whole, (unsigned)n);
	need(floor_run(&in, VTPM_KEY, FLOOR_S, true, &floor[2]));
	storm_print(&quarter, floor);
	storm_print(&whole, floor + 1);
	double grown = (double)peak_kib(&whole, NULL) / (double)peak_kib(&quarter, NULL);
	printf("\nmemory of four times the guests: × %.2f, bounded when ≤ %.2f  %s\n", grown,
	       MAX_GROWTH, grown <= MAX_GROWTH ? "✓" : "✗");
	check(grown <= MAX_GROWTH, "memory grows with the number of guests");
	fairness((unsigned)n, 1024);
	fairness((unsigned)n, 64);

	for (unsigned i = 0; i < n; i++)
		free(tokens[i]);
	free(tokens);
	free(quarter.guest);
	free(whole.guest);
	corpus_free(&keys);
	instance_free(&in);
	return is_good ? 0 : 1;
}
