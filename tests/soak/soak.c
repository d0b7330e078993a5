/* tests/soak/soak.c — the broker for minutes or days under half of what the machine can do, one
 * request in a hundred hostile, every ten seconds a fault.
 *
 *   soak [--minutes N] [--seed N] [--json FILE] [--gentle]   (30 minutes)
 *   make soak MINUTES=2 SEED=7
 *
 * --gentle: only faults that replace no process, so that growth is seen over the whole run.
 * Starts an instance of its own.  Exits 1 when a request was lost, a key was wrong, an answer has
 * no record, a hostile request got another answer than it must, memory or descriptors grow, the
 * slowest hundredth through the faults took 5 s or more, a process did not come back, crashed or
 * was left behind. */
#include <dirent.h>
#include <getopt.h>
#include <openssl/rand.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/soak/report.h"

enum {
	EVERY_S = 10,
	FIRST_S = 5,
	WARM_MS = 1500,
	CALIBRATE_MS = 4000,
	TAIL_MAX_S = 1800,
	MAX_FAULTS = 16
};

static struct soak s;
static struct report report;
static pid_t clients[CLIENTS + 1], watcher;

static void need(const char *why)
{
	if (why == NULL)
		return;
	fprintf(stderr, "soak: %s\n", why);
	if (s.all != NULL)
		s.all->stop = true; /* the children end with us */
	broker_log_tail(&s.in);
	issuer_stop(&s.once);
	instance_free(&s.in);
	exit(1);
}

/* ---- the instance ---- */

static void import(const char *name, EVP_PKEY *key, const uint8_t *bytes, char *policy)
{
	need(instance_import(&s.in, name, key, bytes, bytes == NULL ? 0 : KEY_BYTES, policy));
	free(policy);
}

/* A second issuer on another port, from the same directory: its tokens work once and bring a nonce
 * of the broker's. */
static void make_once(void)
{
	s.once = s.in;
	s.once.issuer = 0;
	s.once.issuer_port = free_port();
	snprintf(s.once.issuer_url, sizeof s.once.issuer_url, "https://localhost:%u",
		 s.once.issuer_port);
	need(issuer_start(&s.once));
	need(place_init(&s.once.issuer_at, "localhost", s.once.issuer_port, s.in.ca_file));
	json_t *issuer = instance_json(&s.in, "issuers.d/issuer.json");
	json_object_set_new(issuer, "issuer", json_string(s.once.issuer_url));
	json_object_set_new(issuer, "single_use", json_true());
	json_object_set_new(issuer, "nonce", json_string("broker"));
	need(instance_json_write(&s.in, "issuers.d/once.json", issuer));
}

static void make(void)
{
	need(instance_make(&s.in));
	make_once();
	json_t *config = instance_json(&s.in, "keybroker.json");
	/* Small tables: one that is touched for the first time for hours would look like growth. */
	json_object_set_new(config, "limits",
			    json_pack("{s:i, s:i}", "connections", 512, "queue", 500));
	json_object_set_new(json_object_get(config, "hsm"), "workers", json_integer(2));
	need(instance_json_write(&s.in, "keybroker.json", config));
	s.vtpm = EVP_RSA_gen(2048);
	s.disk = EVP_RSA_gen(3072);
	if (s.vtpm == NULL || s.disk == NULL || RAND_bytes(s.secret, KEY_BYTES) != 1 ||
	    RAND_bytes(s.spare, KEY_BYTES) != 1 || RAND_bytes(s.used_once, KEY_BYTES) != 1)
		need("keys");
	import(KEY_VTPM, s.vtpm, NULL, policy_platform(s.in.issuer_url));
	import(KEY_DISK, s.disk, NULL, policy_guest(s.in.issuer_url));
	import(KEY_SECRET, NULL, s.secret, policy_container(s.in.issuer_url));
	import(KEY_SPARE, NULL, s.spare, policy_container(s.in.issuer_url));
	import(KEY_ONCE, NULL, s.used_once, policy_guest(s.once.issuer_url));
	need(broker_start(&s.in));
	need(fault_heal(&s, 20000));
}

/* ---- the load ---- */

static void start_clients(void)
{
	char path[160];
	for (unsigned i = 0; i <= CLIENTS; i++) {
		ids_path(&s, i, path, sizeof path);
		if ((clients[i] = fork()) == 0) {
			if (i < CLIENTS)
				client_run(&s, i, path);
			slow_run(&s);
		}
		need(clients[i] > 0 ? NULL : "fork");
	}
}

static unsigned long long all_requests(void)
{
	unsigned long long n = 0;
	for (unsigned i = 0; i < CLIENTS; i++)
		n += s.all->client[i].requests;
	return n;
}

/* As fast as they go, without faults and without hostile ones; then half of that. */
static void calibrate(void)
{
	for (unsigned long long end = now_ms() + 20000;
	     all_requests() < CLIENTS && now_ms() < end;) /* keys and first tokens are made */
		sleep_ms(20);
	sleep_ms(WARM_MS);
	unsigned long long from_us = now_us(), before = all_requests();
	sleep_ms(CALIBRATE_MS);
	report.capacity = (double)(all_requests() - before) / ((double)(now_us() - from_us) / 1e6);
	need(report.capacity > 1 ? NULL : "nothing was served while the machine was measured");
	s.all->interval_us = (unsigned long long)(CLIENTS / (report.capacity / 2) * 1e6);
	s.all->is_paced = true;
	s.all->is_hostile = true;
	printf("capacity of this machine, clients and broker together: %.0f requests/s; half of it "
	       "from now on, 1 %% hostile\n",
	       report.capacity);
	for (unsigned i = 0; i < CLIENTS;
	     i++) { /* what the calibration measured is no latency of half the load */
		memset(&s.all->client[i].quiet, 0, sizeof s.all->client[i].quiet);
		memset(&s.all->client[i].faults, 0, sizeof s.all->client[i].faults);
	}
}

static void stop_clients(void)
{
	s.all->stop = true;
	for (unsigned i = 0; i <= CLIENTS; i++) {
		int status = -1;
		unsigned long long end = now_ms() + RETRY_MS + 30000;
		while (waitpid(clients[i], &status, WNOHANG) == 0 && now_ms() < end)
			sleep_ms(10);
		if (status != 0) {
			kill(clients[i], SIGKILL);
			waitpid(clients[i], NULL, 0);
			report_fault(&report, wrong("client %u ended with status 0x%x", i,
						    (unsigned)status));
		}
	}
}

/* ---- faults ---- */

/* A shuffled list without the gentle ones first, so that in a short run every kind of process is
 * killed; then shuffled lists of all.  Near the end only gentle ones, which replace no process:
 * growth of memory shows in processes that stay. */
struct deck {
	unsigned card[MAX_FAULTS], n;
	bool was_first;
};

static unsigned draw(struct deck *deck, struct dice *d, bool is_tail)
{
	static struct deck gentle;
	struct deck *from = is_tail ? &gentle : deck;
	if (from->n == 0) {
		for (unsigned i = 0; i < fault_count; i++)
			if (is_tail ? fault_table[i].is_gentle
				    : from->was_first || !fault_table[i].is_gentle)
				from->card[from->n++] = i;
		from->was_first = true;
	}
	unsigned at = (unsigned)dice_roll(d, from->n), card = from->card[at];
	from->card[at] = from->card[--from->n];
	return card;
}

static void run_fault(unsigned which, struct dice *d)
{
	const struct fault *f = &fault_table[which];
	struct fault_count *count = &report.fault[which];
	snprintf(s.all->fault_name, sizeof s.all->fault_name, "%s", f->name);
	unsigned long long from_ms = now_ms();
	s.all->fault++;
	const char *why = f->run(&s, d);
	unsigned long long took_ms = now_ms() - from_ms;
	if (why != NULL)
		report_fault(&report, wrong("%s, after %llu s: %.120s", f->name,
					    (now_ms() - s.from_ms) / 1000, why));
	count->n++;
	count->slowest_ms = took_ms > count->slowest_ms ? took_ms : count->slowest_ms;
	/* clients that come back after Retry-After belong to the fault; the rest of them have
	 * begun before its end */
	sleep_ms(500);
	s.all->fault++;
	snprintf(s.all->fault_name, sizeof s.all->fault_name, "none");
}

static void run_faults(void)
{
	static struct deck deck;
	struct dice d = {s.seed};
	unsigned long long end_ms = s.from_ms + s.seconds * 1000;
	for (unsigned long long due_ms = s.from_ms + FIRST_S * 1000; due_ms + 3000 < end_ms;
	     due_ms += EVERY_S * 1000) {
		while (now_ms() < due_ms)
			sleep_ms(10);
		run_fault(draw(&deck, &d, due_ms >= end_ms - s.tail_s * 1000), &d);
		while (due_ms + EVERY_S * 1000 <
		       now_ms()) /* one took longer: the next at its time, not at once */
			due_ms += EVERY_S * 1000;
		int status;
		if (waitpid(s.in.broker, &status, WNOHANG) == s.in.broker) {
			s.in.broker = 0;
			need(wrong("the broker itself ended with status 0x%x", (unsigned)status));
		}
	}
	while (now_ms() < end_ms)
		sleep_ms(10);
}

/* ---- the end ---- */

/* Anything that names this instance's directory: processes have the configuration's path in their
 * command line. */
static unsigned count_left(void)
{
	unsigned n = 0;
	DIR *proc = opendir("/proc");
	for (struct dirent *e; proc != NULL && (e = readdir(proc)) != NULL;) {
		char path[300], text[2048];
		snprintf(path, sizeof path, "/proc/%.20s/cmdline", e->d_name);
		FILE *f = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? fopen(path, "re") : NULL;
		if (f == NULL)
			continue;
		size_t len = fread(text, 1, sizeof text - 1, f);
		fclose(f);
		text[len] = '\0';
		n += memmem(text, len, s.in.dir, strlen(s.in.dir)) != NULL;
	}
	if (proc != NULL)
		closedir(proc);
	return n;
}

static void verify(const char *when)
{
	char *out = NULL;
	if (CTL(&s.in, &out, "ledger", "verify") != 0)
		report_fault(&report,
			     wrong("ledger verify %s: %.120s", when, out == NULL ? "" : out));
	free(out);
}

static void finish(void)
{
	int status;
	stop_clients();
	waitpid(watcher, &status, 0);
	report.killed_hung = metric(&s.in, "keybroker_killed_hung_total");
	verify("while it runs");
	status = broker_stop(&s.in, SIGTERM, 40000);
	if (status != 0)
		report_fault(&report, wrong("the broker ended with status %d", status));
	issuer_stop(&s.in);
	issuer_stop(&s.once);
	verify("after the end");
	need(recount(&s, CLIENTS, &report.ledger));
	const char *why = broker_log_clean(&s.in);
	if (why != NULL)
		report_fault(&report, why);
	report_ends(&report, s.in.log);
	report.left = count_left();
}

static void usage(void)
{
	fprintf(stderr, "usage: soak [--minutes 1…10080] [--seed N] [--json FILE] [--gentle]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"minutes", 1, NULL, 'm'},
						{"seed", 1, NULL, 's'},
						{"json", 1, NULL, 'j'},
						{"gentle", 0, NULL, 'g'},
						{0}};
	const char *json = NULL;
	unsigned long minutes = 30;
	bool is_gentle = false;
	s.seed = (unsigned long long)time(NULL) % 1000000;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'm')
			minutes = strtoul(optarg, NULL, 10);
		else if (c == 's')
			s.seed = strtoull(optarg, NULL, 10);
		else if (c == 'j')
			json = optarg;
		else if (c == 'g')
			is_gentle = true;
		else
			usage();
	}
	if (minutes < 1 || minutes > 10080 || optind != argc)
		usage();
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	s.seconds = minutes * 60;
	s.tail_s = is_gentle ? s.seconds : s.seconds / 3 > TAIL_MAX_S ? TAIL_MAX_S : s.seconds / 3;
	s.all = mmap(NULL, sizeof *s.all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (s.all == MAP_FAILED) {
		s.all = NULL;
		need("no memory");
	}
	snprintf(s.all->fault_name, sizeof s.all->fault_name, "none");
	printf("soak: %lu minutes, SEED=%llu\n", minutes, s.seed);
	make();
	start_clients();
	calibrate();
	s.from_ms = now_ms();
	if ((watcher = fork()) == 0)
		watch_run(&s);
	run_faults();
	finish();
	bool is_good = report_print(&report, &s);
	if (json != NULL)
		need(report_json(&report, &s, json));
	EVP_PKEY_free(s.vtpm);
	EVP_PKEY_free(s.disk);
	place_free(&s.once.issuer_at);
	instance_free(&s.in);
	return is_good ? 0 : 1;
}
