/* tests/soak/fault.c — what goes wrong: processes that are killed or stopped, configurations good
 * and bad, an issuer that is away, a token directory that is not there for a moment.  Each fault
 * undoes itself and then waits for the broker to be whole: a process that does not come back is the
 * soak's failure. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/soak/soak.h"

enum { HEAL_MS = 30000, WORKERS = 2 };

/* ---- whole again ---- */

static bool are_processes_there(struct soak *s)
{
	static const struct {
		const char *process;
		unsigned n;
	} all[] = {{"gateway", 1}, {"vault", WORKERS}, {"ledger", 1}, {"fetcher", 1}};
	for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
		char name[64];
		snprintf(name, sizeof name, "keybroker_process_up{process=\"%s\"}", all[i].process);
		if (metric(&s->in, name) < all[i].n)
			return false;
	}
	return true;
}

const char *fault_heal(struct soak *s, unsigned ms)
{
	for (unsigned long long end = now_ms() + ms;;) {
		if (metrics_get(&s->in, "/readyz", NULL) == 200 && are_processes_there(s))
			return NULL;
		if (now_ms() > end)
			return wrong("not all processes were back and ready after %u ms", ms);
		sleep_ms(20);
	}
}

static const char *heal(struct soak *s)
{
	return fault_heal(s, HEAL_MS);
}

static const char *call(struct soak *s, const char *const args[])
{
	char *out = NULL;
	const char *why = ctl(&s->in, &out, args) == 0 ? NULL
						       : wrong("keybrokerctl %s: %.150s", args[0],
							       out == NULL ? "" : out);
	free(out);
	return why;
}
#define CALL(s, ...) call((s), (const char *const[]){__VA_ARGS__, NULL})

/* ---- processes that are killed ---- */

/* Which generation a process belongs to, by its command line; 0: it is gone. */
static unsigned generation_of(pid_t pid)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return 0;
	size_t n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = '\0';
	const char *at = memmem(text, n, "--generation", 13);
	return at == NULL ? 0 : (unsigned)strtoul(at + 13, NULL, 10);
}

/* Any of this kind that serves: the processes of an old generation, which end anyway, do not
 * count. */
static pid_t pick(struct soak *s, struct dice *d, const char *process)
{
	pid_t found[8], pid;
	unsigned n = 0, newest = 0;
	for (unsigned nth = 0; nth < 16 && (pid = broker_process(&s->in, process, nth)) != 0;
	     nth++) {
		unsigned generation = generation_of(pid);
		if (generation > newest)
			n = 0;
		if (generation >= newest && n < 8) {
			newest = generation;
			found[n++] = pid;
		}
	}
	return n == 0 ? 0 : found[dice_roll(d, n)];
}

static const char *kill_process(struct soak *s, struct dice *d, const char *process)
{
	pid_t pid = pick(s, d, process);
	if (pid == 0)
		return wrong("no %s process", process);
	if (kill(pid, SIGKILL) != 0 && errno != ESRCH)
		return wrong("kill: %s", strerror(errno));
	/* Its successor has another pid; without this, the old one's slot may still be counted as
	 * up. */
	for (unsigned long long end = now_ms() + 2000; kill(pid, 0) == 0 && now_ms() < end;)
		sleep_ms(2);
	return heal(s);
}

static const char *kill_gateway(struct soak *s, struct dice *d)
{
	return kill_process(s, d, "gateway");
}
static const char *kill_vault(struct soak *s, struct dice *d)
{
	return kill_process(s, d, "vault");
}
static const char *kill_ledger(struct soak *s, struct dice *d)
{
	return kill_process(s, d, "ledger");
}
static const char *kill_fetcher(struct soak *s, struct dice *d)
{
	return kill_process(s, d, "fetcher");
}

static char state_of(pid_t pid)
{
	char path[64], text[512] = "", *at;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return 0;
	bool is_read = fgets(text, sizeof text, f) != NULL;
	fclose(f);
	return is_read && (at = strrchr(text, ')')) != NULL && at[1] != '\0' ? at[2] : 0;
}

/* A stopped worker that was about to take a request or had just handed one over: seen by the call
 * that it is in. */
static bool is_between_requests(pid_t pid)
{
	char path[64];
	long call = SYS_recvfrom;
	snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return false; /* unknown: take it as it is */
	if (fscanf(f, "%ld", &call) != 1)
		call = -1;
	fclose(f);
	return call == SYS_recvfrom || call == SYS_recvmsg || call == SYS_sendto ||
	       call == SYS_sendmsg || call == SYS_poll || call == SYS_ppoll;
}

/* A worker hangs in the middle of a request, until the watchdog ends it. */
static const char *stop_vault(struct soak *s, struct dice *d)
{
	pid_t pid = 0;
	for (unsigned long long end = now_ms() + 5000; now_ms() < end;) {
		if ((pid = pick(s, d, "vault")) == 0)
			return "no vault process";
		if (kill(pid, SIGSTOP) != 0)
			continue;
		while (state_of(pid) != 'T' && state_of(pid) != 0 && now_ms() < end)
			sleep_ms(1);
		if (!is_between_requests(pid))
			break;
		kill(pid, SIGCONT);
		sleep_ms(2);
	}
	for (unsigned long long end = now_ms() + 8000; now_ms() < end && kill(pid, 0) == 0;)
		sleep_ms(20);
	kill(pid, SIGCONT); /* one that did no harm, and so was left alone */
	return heal(s);
}

/* ---- configurations ---- */

static const char *reload_changed(struct soak *s, struct dice *d)
{
	(void)d;
	json_t *config = instance_json(&s->in, "keybroker.json"),
	       *limits = json_object_get(config, "limits");
	json_int_t queue = json_integer_value(json_object_get(limits, "queue"));
	json_object_set_new(limits, "queue", json_integer(queue == 500 ? 501 : 500));
	const char *why = instance_json_write(&s->in, "keybroker.json", config);
	if (why == NULL)
		why = CALL(s, "reload");
	return why == NULL ? heal(s) : why;
}

static const char *reload_broken(struct soak *s, struct dice *d)
{
	static const char *const broken[] = {"{ \"listeners\": [,] }", "",
					     "{\"listeners\": [], \"nonsense\": 1}"};
	const char *text = broken[dice_roll(d, 3)], *why;
	json_t *good = instance_json(&s->in, "keybroker.json");
	double generation = metric(&s->in, "keybroker_config_generation"),
	       failed = metric(&s->in, "keybroker_reloads_failed_total"), now = failed;
	if ((why = instance_write(&s->in, "keybroker.json", text, strlen(text))) != NULL)
		return why;
	kill(s->in.broker, SIGHUP);
	for (unsigned long long end = now_ms() + 15000; now <= failed && now_ms() < end;
	     sleep_ms(20))
		now = metric(&s->in, "keybroker_reloads_failed_total");
	if ((why = instance_json_write(&s->in, "keybroker.json", good)) != NULL)
		return why;
	if (now <= failed || metric(&s->in, "keybroker_config_generation") !=
				     generation) /* NOLINT: small integers */
		return "a broken configuration was not refused";
	return heal(s);
}

static const char *disable_key(struct soak *s, struct dice *d)
{
	(void)d;
	const char *why;
	s->all->is_spare_off = true;
	if ((why = CALL(s, "key", "disable", KEY_SPARE, "--reload")) != NULL)
		return why;
	sleep_ms(1000);
	if ((why = CALL(s, "key", "enable", KEY_SPARE, "--reload")) != NULL)
		return why;
	/* A client that is connected to the generation that ends is answered by it, until it
	 * closes: after a second without a request. */
	sleep_ms(2000);
	s->all->is_spare_off = false;
	return heal(s);
}

/* ---- round about ---- */

static const char *issuer_away(struct soak *s, struct dice *d)
{
	struct instance *of = dice_roll(d, 2) == 0 ? &s->in : &s->once;
	issuer_stop(of);
	sleep_ms(3000 + (unsigned)dice_roll(d, 2000));
	return issuer_start(of);
}

static unsigned count_segments(struct soak *s)
{
	char path[128];
	unsigned n = 0;
	snprintf(path, sizeof path, "%s/state/ledger", s->in.dir);
	DIR *dir = opendir(path);
	for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
		n += strstr(e->d_name, ".jsonl") != NULL;
	if (dir != NULL)
		closedir(dir);
	return n;
}

static const char *rotate_ledger(struct soak *s, struct dice *d)
{
	(void)d;
	unsigned before = count_segments(s);
	kill(s->in.broker, SIGUSR1);
	for (unsigned long long end = now_ms() + 10000; count_segments(s) <= before; sleep_ms(20))
		if (now_ms() > end)
			return "no new segment of the ledger";
	return heal(s);
}

static const char *hide_token(struct soak *s, struct dice *d)
{
	char path[128], hidden[144];
	snprintf(path, sizeof path, "%s/hsm/tokens", s->in.dir);
	snprintf(hidden, sizeof hidden, "%s.hidden", path);
	if (rename(path, hidden) != 0)
		return wrong("%s: %s", path, strerror(errno));
	sleep_ms(300 + (unsigned)dice_roll(d, 700));
	if (rename(hidden, path) != 0)
		return wrong("%s: %s", hidden, strerror(errno));
	return heal(s);
}

const struct fault fault_table[] = {
	{"kill the gateway", kill_gateway, false},
	{"kill a vault worker", kill_vault, false},
	{"kill the ledger", kill_ledger, false},
	{"kill the fetcher", kill_fetcher, false},
	{"stop a vault worker", stop_vault, false},
	{"reload a change", reload_changed, false},
	{"disable and enable a key", disable_key, false},
	{"hide the token directory", hide_token, false},
	{"reload a broken file", reload_broken, true},
	{"an issuer goes away", issuer_away, true},
	{"rotate the ledger", rotate_ledger, true},
};
const unsigned fault_count = sizeof fault_table / sizeof fault_table[0];
