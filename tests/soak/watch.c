/* tests/soak/watch.c — what each process uses, looked at once a second from outside, and whether it
 * grows. Trusts /proc.  Must never judge a process by its beginning (caches fill), nor by less time
 * than a slope needs to stand out of the noise. */
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/soak/soak.h"

enum {
	TRACKS = 32,
	SAMPLES = 2048,
	LINE_S = 10,
	SETTLE_S = 25 /* a new gateway has all its slow clients only then */,
	LEAST_S = 10
};
/* A process fails when its own memory (RssAnon: pages of files it maps come and go) grows faster
 * than LIMIT, three standard errors of the fit beside, and by more than its floor in the time
 * looked at: an allocator's steps are as large.  The gateway's connections come in bursts, the
 * supervisor holds two or three configurations while they change, the ledger touches its table of
 * used tokens for the first time: what grows on shows in a longer run.  A process that could be
 * looked at for less than SHORT still fills its caches, and is allowed four times as much. */
enum { SHORT_S = 60 };
static const double limit_kib_per_hour = 1024, floor_kib = 128, gateway_kib = 256,
		    supervisor_kib = 512, ledger_kib = 128 + 1024;
/* Of the gateway's descriptors some are the clients', of the supervisor's some the processes' that
 * end and begin. */
enum { GATEWAY_DESCRIPTORS = 4, SUPERVISOR_DESCRIPTORS = 2 };

struct sample {
	double at_s, kib;
	int descriptors;
};
struct track {
	pid_t pid; /* 0: free */
	char process[16];
	double born_s;
	unsigned n, stride, skipped;
	bool is_seen;
	long rss_kib;
	struct sample sample[SAMPLES];
};
static struct track tracks[TRACKS];

/* ---- /proc ---- */

static bool read_text(pid_t pid, const char *file, char *text, size_t size)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return false;
	size_t n = fread(text, 1, size - 1, f);
	text[n] = '\0';
	fclose(f);
	return n > 0;
}

static long field_kib(const char *status, const char *name)
{
	const char *at = strstr(status, name);
	return at == NULL ? 0 : strtol(at + strlen(name), NULL, 10);
}

static int count_descriptors(pid_t pid)
{
	char path[64];
	int n = -2; /* . and .. */
	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	if (dir == NULL)
		return -1;
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

/* The process that a process of ours is, or false. */
static bool process_of(pid_t pid, pid_t broker, char process[static 16])
{
	char text[512];
	int parent = 0;
	if (pid == broker) {
		snprintf(process, 16, "supervisor");
		return true;
	}
	if (!read_text(pid, "stat", text, sizeof text) || strrchr(text, ')') == NULL ||
	    sscanf(strrchr(text, ')'), ") %*c %d", &parent) != 1 || parent != broker ||
	    !read_text(pid, "cmdline", text, sizeof text))
		return false;
	return sscanf(text, "keybrokerd: %15s", process) == 1;
}

/* ---- samples ---- */

static struct track *track_of(pid_t pid, const char *process, double at_s)
{
	struct track *free_one = NULL;
	for (unsigned i = 0; i < TRACKS; i++) {
		if (tracks[i].pid == pid && strcmp(tracks[i].process, process) == 0)
			return &tracks[i];
		if (tracks[i].pid == 0 && free_one == NULL)
			free_one = &tracks[i];
	}
	if (free_one != NULL) {
		memset(free_one, 0, sizeof *free_one);
		free_one->pid = pid;
		free_one->born_s = at_s;
		free_one->stride = 1;
		snprintf(free_one->process, sizeof free_one->process, "%s", process);
	}
	return free_one;
}

/* A long run keeps every second, fourth, eighth … look. */
static void keep(struct track *t, struct sample s)
{
	if (t->skipped++ % t->stride != 0)
		return;
	if (t->n == SAMPLES) {
		for (unsigned i = 0; i < SAMPLES / 2; i++)
			t->sample[i] = t->sample[2 * i];
		t->n = SAMPLES / 2;
		t->stride *= 2;
	}
	t->sample[t->n++] = s;
}

static void look(struct soak *s, double at_s)
{
	char status[4096], process[16];
	DIR *proc = opendir("/proc");
	for (unsigned i = 0; i < TRACKS; i++)
		tracks[i].is_seen = false;
	for (struct dirent *e; proc != NULL && (e = readdir(proc)) != NULL;) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		if (pid <= 0 || !process_of(pid, s->in.broker, process) ||
		    !read_text(pid, "status", status, sizeof status))
			continue;
		struct track *t = track_of(pid, process, at_s);
		if (t == NULL)
			continue;
		t->is_seen = true;
		t->rss_kib = field_kib(status, "VmRSS:");
		struct sample one = {at_s, (double)field_kib(status, "RssAnon:"),
				     count_descriptors(pid)};
		if (one.descriptors >= 0)
			s->all->are_descriptors_seen = true;
		if (t->rss_kib > 0)
			keep(t, one);
	}
	if (proc != NULL)
		closedir(proc);
	for (unsigned i = 0; i < TRACKS; i++)
		if (!tracks[i].is_seen)
			tracks[i].pid = 0;
}

/* ---- growth ---- */

static void fit(const struct sample *p, unsigned n, struct growth *g)
{
	double mx = 0, my = 0, sxx = 0, sxy = 0, rest = 0;
	for (unsigned i = 0; i < n; i++) {
		mx += p[i].at_s / n;
		my += p[i].kib / n;
	}
	for (unsigned i = 0; i < n; i++) {
		sxx += (p[i].at_s - mx) * (p[i].at_s - mx);
		sxy += (p[i].at_s - mx) * (p[i].kib - my);
	}
	double slope = sxy / sxx;
	for (unsigned i = 0; i < n; i++) {
		double off = p[i].kib - my - slope * (p[i].at_s - mx);
		rest += off * off;
	}
	g->seconds = p[n - 1].at_s - p[0].at_s;
	g->kib = slope * g->seconds;
	g->kib_per_hour = slope * 3600;
	g->error_kib_per_hour = sqrt(rest / (n - 2) / sxx) * 3600;
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Clients and generations come and go, which makes more; a process that is away for a moment makes
 * less: the lower quartile has neither. */
static int usual_descriptors(const struct sample *p, unsigned n)
{
	static int all[SAMPLES];
	for (unsigned i = 0; i < n; i++)
		all[i] = p[i].descriptors;
	qsort(all, n, sizeof *all, by_number);
	return all[n / 4];
}

static void judge(const struct soak *s, const struct track *t, struct growth *g)
{
	double settle_s = s->tail_s / 5 > SETTLE_S ? (double)s->tail_s / 5 : SETTLE_S,
	       half_s = (double)s->seconds / 2, from_s = t->born_s + settle_s;
	unsigned first = 0;
	memcpy(g->process, t->process, sizeof g->process);
	g->pid = t->pid;
	g->rss_kib = t->rss_kib;
	g->is_good = true;
	if (from_s < half_s)
		from_s = half_s;
	while (first < t->n && t->sample[first].at_s < from_s)
		first++;
	const struct sample *p = t->sample + first;
	unsigned n = t->n - first;
	if (n < 10 || p[n - 1].at_s - p[0].at_s < LEAST_S)
		return;
	g->is_judged = true;
	fit(p, n, g);
	bool is_gateway = strcmp(t->process, "gateway") == 0,
	     is_supervisor = strcmp(t->process, "supervisor") == 0;
	g->floor_kib = is_gateway                          ? gateway_kib
		       : is_supervisor                     ? supervisor_kib
		       : strcmp(t->process, "ledger") == 0 ? ledger_kib
							   : floor_kib;
	if (g->seconds < SHORT_S)
		g->floor_kib *= 4;
	g->descriptors = usual_descriptors(p + n - n / 3, n / 3) - usual_descriptors(p, n / 3);
	g->descriptors_per_hour = g->descriptors / (g->seconds * 2 / 3) * 3600;
	g->is_good = !(g->kib_per_hour - 3 * g->error_kib_per_hour > limit_kib_per_hour &&
		       g->kib > g->floor_kib) &&
		     g->descriptors <= (is_gateway      ? GATEWAY_DESCRIPTORS
					: is_supervisor ? SUPERVISOR_DESCRIPTORS
							: 0);
}

/* ---- the line ---- */

struct sum {
	unsigned long long requests, releases, retries, lost, wrong, hostile;
};

static struct sum add_up(const struct shared *all)
{
	struct sum sum = {0};
	for (unsigned i = 0; i <= CLIENTS; i++) {
		const struct tally *t = &all->client[i];
		sum.requests += t->requests + t->hostile;
		sum.releases += t->releases;
		sum.retries += t->retries;
		sum.lost += t->lost;
		sum.wrong += t->wrong_keys + t->hostile_wrong;
		sum.hostile += t->hostile;
	}
	return sum;
}

static void line(const struct shared *all, double at_s)
{
	static struct sum before;
	static double before_s;
	const struct histogram *both[2 * CLIENTS];
	struct sum now = add_up(all);
	unsigned processes = 0;
	for (unsigned i = 0; i < CLIENTS; i++) {
		both[2 * i] = &all->client[i].quiet;
		both[2 * i + 1] = &all->client[i].faults;
	}
	for (unsigned i = 0; i < TRACKS; i++)
		processes += tracks[i].pid != 0;
	printf("%5.0f s  %4.0f requests/s  %llu in all, %llu releases, %llu hostile, %llu retries, "
	       "%llu lost, %llu wrong; p99 %.0f ms; %u processes; "
	       "fault: %s\n",
	       at_s, (double)(now.requests - before.requests) / (at_s - before_s), now.requests,
	       now.releases, now.hostile, now.retries, now.lost, now.wrong,
	       histogram_ms(both, 2 * CLIENTS, 0.99), processes, all->fault_name);
	before = now;
	before_s = at_s;
}

void watch_run(struct soak *s)
{
	double next_line_s = LINE_S;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!s->all->stop) {
		double at_s = (double)(now_ms() - s->from_ms) / 1e3;
		look(s, at_s);
		if (at_s >= next_line_s) {
			line(s->all, at_s);
			next_line_s += LINE_S;
		}
		sleep_ms(1000);
	}
	for (unsigned i = 0; i < TRACKS && s->all->n_growth < GROWTHS; i++)
		if (tracks[i].pid != 0)
			judge(s, &tracks[i], &s->all->growth[s->all->n_growth++]);
	s->all->is_watch_done = true;
	_exit(0);
}
