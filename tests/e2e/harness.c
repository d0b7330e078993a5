/* tests/e2e/harness.c — starts and ends the real programs.
 * Decides nothing about the product.  Must never leave a process or a directory behind, nor end a
 * process that it did not start. */
#include "tests/e2e/harness.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

unsigned long long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (unsigned long long)t.tv_sec * 1000 + (unsigned long long)t.tv_nsec / 1000000;
}

void sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

const char *program(const char *name)
{
	static char path[4][256];
	static unsigned turn;
	const char *build = getenv("BUILD");
	char *p = path[turn++ % 4];
	snprintf(p, sizeof path[0], "%s/%s", build == NULL ? "build" : build, name);
	return p;
}

/* ---- processes ---- */

/* Everything a child writes goes to `out_fd`; it ends when we do. */
static pid_t spawn(const char *const argv[], int in_fd, int out_fd, int err_fd)
{
	pid_t parent = getpid(), pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(127);
	dup2(in_fd, 0);
	dup2(out_fd, 1);
	dup2(err_fd, 2);
	close_range(3, ~0u, 0);
	execv(argv[0], (char *const *)(uintptr_t)argv);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int reap(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* As reap(), with a time limit. */
static int reap_within(pid_t pid, unsigned ms)
{
	int status;
	for (unsigned long long end = now_ms() + ms; now_ms() < end; sleep_ms(5))
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	kill(pid, SIGKILL);
	reap(pid);
	return -2;
}

int run_program(char **out, const char *const argv[])
{
	int fd[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	size_t len = 0, cap = 0;
	char *text = NULL;
	if (out != NULL)
		*out = NULL;
	if (null < 0 || pipe2(fd, O_CLOEXEC) != 0)
		return -1;
	pid_t pid = spawn(argv, null, fd[1], fd[1]);
	close(fd[1]);
	close(null);
	for (ssize_t n = 1; n > 0; len += (size_t)n) {
		if (len + 4096 > cap && (text = realloc(text, cap += 65536)) == NULL)
			abort();
		n = read(fd[0], text + len, cap - len - 1);
		if (n <= 0)
			break;
	}
	close(fd[0]);
	text[len] = '\0';
	if (out != NULL)
		*out = text;
	else
		free(text);
	return pid < 0 ? -1 : reap(pid);
}

int ctl(struct instance *in, char **out, const char *const args[])
{
	const char *argv[32] = {program("keybrokerctl"), "-c", in->config};
	for (size_t i = 0; args[i] != NULL && i < 28; i++)
		argv[3 + i] = args[i];
	/* As root it becomes the broker's user for this; LeakSanitizer cannot look at a process
	 * that has changed its user. */
	if (strcmp(args[0], "issuer") == 0)
		setenv("LSAN_OPTIONS", "detect_leaks=0", 1);
	int status = run_program(out, argv);
	unsetenv("LSAN_OPTIONS");
	return status;
}

/* ---- files ---- */

const char *instance_write(struct instance *in, const char *path, const void *bytes, size_t len)
{
	char full[256], temporary[272];
	snprintf(full, sizeof full, "%s/%s", in->dir, path);
	snprintf(temporary, sizeof temporary, "%s.new", full);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat st; /* the broker's group, as keybrokerctl gives it */
	if (fd < 0 || stat(in->dir, &st) != 0 || fchown(fd, (uid_t)-1, st.st_gid) != 0 ||
	    fchmod(fd, 0640) != 0 || write(fd, bytes, len) != (ssize_t)len || close(fd) != 0 ||
	    rename(temporary, full) != 0)
		return wrong("%s: %s", full, strerror(errno));
	return NULL;
}

json_t *instance_json(struct instance *in, const char *path)
{
	char full[256];
	snprintf(full, sizeof full, "%s/%s", in->dir, path);
	return json_load_file(full, 0, NULL);
}

const char *instance_json_write(struct instance *in, const char *path, json_t *j)
{
	char *text = json_dumps(j, JSON_INDENT(2));
	json_decref(j);
	const char *why = text == NULL ? "no JSON" : instance_write(in, path, text, strlen(text));
	free(text);
	return why;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

/* ---- making an instance ---- */

unsigned free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is_bound = bind(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
			getsockname(fd, (struct sockaddr *)&a, &len) == 0;
	close(fd);
	return is_bound ? ntohs(a.sin_port) : 0;
}

const char *issuer_start(struct instance *in)
{
	char port[16], tls[96], state[96], line[64] = "";
	int to[2], from[2];
	snprintf(port, sizeof port, "%u", in->issuer_port);
	snprintf(tls, sizeof tls, "%s/tls", in->dir);
	snprintf(state, sizeof state, "%s/issuer", in->dir);
	mkdir(state, 0700);
	if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
		return "pipe";
	in->issuer = spawn((const char *const[]){program("e2e/test-issuer"), "--dir", tls, "--port",
						 port, "--state", state, NULL},
			   to[0], from[1], 2);
	close(to[0]);
	close(from[1]);
	in->issuer_stdin = to[1];
	for (size_t n = 0; n < sizeof line - 1 && strchr(line, '\n') == NULL; n++)
		if (read(from[0], line + n, 1) != 1)
			break;
	close(from[0]);
	if (sscanf(line, "ready %u", &in->issuer_port) != 1) {
		issuer_stop(in);
		return wrong("the test issuer did not start: %s", line);
	}
	return NULL;
}

void issuer_stop(struct instance *in)
{
	if (in->issuer <= 0)
		return;
	close(in->issuer_stdin);
	kill(in->issuer, SIGTERM);
	reap_within(in->issuer, 3000);
	in->issuer = 0;
}

/* The test issuer instead of Azure: found by discovery, on loopback, under the instance's own
 * root. */
static const char *trust_issuer(struct instance *in)
{
	json_t *issuer =
		json_pack("{s:s, s:s, s:{s:b, s:s, s:s}, s:[s], s:s, s:s, s:n, s:b, s:i}", "issuer",
			  in->issuer_url, "profile", "maa", "keys", "discovery", 1, "ca_file",
			  "../tls/root.pem", "min_interval", "5s", "algorithms", "RS256",
			  "max_token_age", "8h", "clock_skew", "60s", "audience",
			  "private_addresses", 1, "single_use_grace", 0);
	return instance_json_write(in, "issuers.d/issuer.json", issuer);
}

/* Tests look at the record of each refusal, and are refused more often than a client. */
static const char *record_refusals(struct instance *in)
{
	json_t *config = instance_json(in, "keybroker.json");
	json_object_set_new(config, "refusals",
			    json_pack("{s:i, s:i}", "per_source", 1000000, "bytes", 1000000000));
	return instance_json_write(in, "keybroker.json", config);
}

const char *instance_make(struct instance *in)
{
	const char *why;
	char *out = NULL, port[16], metrics_port[16];
	const char *tmp = getenv("TMPDIR");
	memset(in, 0, sizeof *in);
	snprintf(in->dir, sizeof in->dir, "%s/keybroker-XXXXXX",
		 tmp != NULL && strlen(tmp) < 32 ? tmp : "/tmp");
	if (mkdtemp(in->dir) == NULL)
		return wrong("%s: %s", in->dir, strerror(errno));
	chmod(in->dir, 0755); /* the processes run as another user when we are root */
	strncat(in->dir, "/i", sizeof in->dir - strlen(in->dir) - 1);
	snprintf(in->config, sizeof in->config, "%s/keybroker.json", in->dir);
	snprintf(in->ca_file, sizeof in->ca_file, "%s/tls/root.pem", in->dir);
	snprintf(in->log, sizeof in->log, "%s/broker.log", in->dir);
	in->port = free_port();
	in->metrics_port = free_port();
	in->issuer_port = free_port();
	snprintf(port, sizeof port, "%u", in->port);
	snprintf(metrics_port, sizeof metrics_port, "%u", in->metrics_port);
	snprintf(in->base_url, sizeof in->base_url, "https://localhost:%u", in->port);
	snprintf(in->issuer_url, sizeof in->issuer_url, "https://localhost:%u", in->issuer_port);
	const char *path = program("keybrokerctl");
	const char *argv[] = {path,        "init",       in->dir,    "--port",       port,
			      "--metrics", metrics_port, "--issuer", in->issuer_url, "--name",
			      "localhost", "--name",     OTHER_NAME, "--name",       VAULT_NAME,
			      "--user",    "nobody",     NULL};
	if (geteuid() != 0)
		argv[15] = NULL;
	if (run_program(&out, argv) != 0)
		why = wrong("keybrokerctl init: %s", out == NULL ? "" : out);
	else
		why = issuer_start(in);
	free(out);
	if (why != NULL)
		return why;
	if ((in->root = proof_certificate(in->ca_file)) == NULL)
		return wrong("%s: no certificate", in->ca_file);
	if ((why = place_init(&in->at, "localhost", in->port, in->ca_file)) != NULL ||
	    (why = place_init(&in->issuer_at, "localhost", in->issuer_port, in->ca_file)) != NULL)
		return why;
	if ((why = record_refusals(in)) != NULL)
		return why;
	return trust_issuer(in);
}

void instance_free(struct instance *in)
{
	if (in->broker > 0)
		broker_stop(in, SIGTERM, 5000);
	issuer_stop(in);
	place_free(&in->at);
	place_free(&in->issuer_at);
	X509_free(in->root);
	in->root = NULL;
	char *end = strrchr(in->dir, '/'); /* the temporary directory is one up */
	if (end != NULL && strstr(in->dir, "keybroker-") != NULL && getenv("KEEP") == NULL) {
		*end = '\0';
		nftw(in->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
	in->dir[0] = '\0';
}

const char *instance_import(struct instance *in, const char *name, EVP_PKEY *key, const void *bytes,
			    size_t len, const char *policy)
{
	char file[96], policy_file[256], relative[128], *out = NULL;
	const char *why;
	uint8_t *der = NULL;
	snprintf(relative, sizeof relative, "policies/%s.json", name);
	snprintf(policy_file, sizeof policy_file, "%s/%s", in->dir, relative);
	snprintf(file, sizeof file, "%s/import.bin", in->dir);
	if ((why = instance_write(in, relative, policy, strlen(policy))) != NULL)
		return why;
	if (key != NULL) {
		PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
		int n = info == NULL ? -1 : i2d_PKCS8_PRIV_KEY_INFO(info, &der);
		PKCS8_PRIV_KEY_INFO_free(info);
		if (n <= 0)
			return "PKCS#8";
		bytes = der;
		len = (size_t)n;
	}
	const char *kty = key == NULL                                 ? "oct-HSM"
			  : EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA ? "RSA-HSM"
								      : "EC-HSM";
	why = instance_write(in, "import.bin", bytes, len);
	if (why == NULL && CTL(in, &out, "key", "import", name, "--kty", kty, "--file", file,
			       "--policy", policy_file) != 0)
		why = wrong("key import %s: %.300s", name, out == NULL ? "" : out);
	OPENSSL_free(der);
	free(out);
	unlink(file);
	return why;
}

/* ---- the broker ---- */

const char *broker_start_unready(struct instance *in)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC),
	    log = open(in->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (null < 0 || log < 0)
		return wrong("%s: %s", in->log, strerror(errno));
	in->broker = spawn((const char *const[]){program("keybrokerd"), "-c", in->config, NULL},
			   null, log, log);
	close(null);
	close(log);
	return in->broker > 0 ? NULL : "fork";
}

const char *broker_wait_ready(struct instance *in, unsigned ms)
{
	for (unsigned long long end = now_ms() + ms; now_ms() < end; sleep_ms(20)) {
		int status;
		if (metrics_get(in, "/readyz", NULL) == 200)
			return NULL;
		if (waitpid(in->broker, &status, WNOHANG) == in->broker) {
			in->broker = 0;
			return wrong("keybrokerd ended with status 0x%x", (unsigned)status);
		}
	}
	return wrong("keybrokerd was not ready within %u ms", ms);
}

const char *broker_start(struct instance *in)
{
	const char *why = broker_start_unready(in);
	return why != NULL ? why : broker_wait_ready(in, READY_MS);
}

int broker_stop(struct instance *in, int sig, unsigned ms)
{
	kill(in->broker, sig);
	int status = reap_within(in->broker, ms);
	in->broker = 0;
	return status;
}

pid_t broker_process(struct instance *in, const char *process, unsigned nth)
{
	char path[64], text[512], want[32];
	pid_t found = 0;
	DIR *proc = opendir("/proc");
	snprintf(want, sizeof want, "%s", process);
	for (struct dirent *e; proc != NULL && found == 0 && (e = readdir(proc)) != NULL;) {
		int pid = atoi(e->d_name), parent = 0;
		FILE *f;
		if (pid <= 0)
			continue;
		snprintf(path, sizeof path, "/proc/%d/stat", pid);
		if ((f = fopen(path, "r")) == NULL)
			continue;
		if (fgets(text, sizeof text, f) != NULL && strrchr(text, ')') != NULL)
			sscanf(strrchr(text, ')'), ") %*c %d", &parent);
		fclose(f);
		if (parent != in->broker)
			continue;
		snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
		if ((f = fopen(path, "r")) == NULL)
			continue;
		size_t n = fread(text, 1, sizeof text - 1, f);
		fclose(f);
		text[n] = '\0';
		for (size_t i = 0; i < n; i++)
			if (text[i] == '\0')
				text[i] = ' ';
		if (strstr(text, want) != NULL && nth-- == 0)
			found = pid;
	}
	if (proc != NULL)
		closedir(proc);
	return found;
}

const char *broker_log_clean(struct instance *in)
{
	static const char *const bad[] = {"Sanitizer", "runtime error:", "\"event\":\"bug\""};
	char line[4096];
	const char *why = NULL;
	FILE *f = fopen(in->log, "r");
	while (f != NULL && why == NULL && fgets(line, sizeof line, f) != NULL)
		for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
			if (strstr(line, bad[i]) != NULL)
				why = wrong("the broker's log says: %.300s", line);
	if (f != NULL)
		fclose(f);
	return why;
}

const char *instance_end(struct instance *in)
{
	int status = in->broker > 0 ? broker_stop(in, SIGTERM, 40000) : 0;
	const char *why =
		status != 0 ? wrong("the broker ended with %d", status) : broker_log_clean(in);
	if (why == NULL)
		instance_free(in);
	return why;
}

void broker_log_tail(struct instance *in)
{
	char text[6000];
	FILE *f = fopen(in->log, "r");
	if (f == NULL)
		return;
	if (fseek(f, -(long)sizeof text + 1, SEEK_END) != 0)
		rewind(f);
	size_t n = fread(text, 1, sizeof text - 1, f);
	fprintf(stderr, "--- the broker's log ends:\n%.*s---\n", (int)n, text);
	fclose(f);
}

/* ---- metrics and ledger ---- */

int metrics_get(struct instance *in, const char *path, char **body)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)in->metrics_port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct timeval limit = {.tv_sec = 5};
	static char text[1 << 20];
	size_t len = 0;
	int status = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (body != NULL)
		*body = NULL;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	int n = snprintf(text, sizeof text,
			 "GET %s HTTP/1.1\r\nHost: localhost:%u\r\nConnection: close\r\n\r\n", path,
			 in->metrics_port);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
	    send(fd, text, (size_t)n, MSG_NOSIGNAL) == n)
		for (ssize_t got; len < sizeof text - 1 &&
				  (got = recv(fd, text + len, sizeof text - 1 - len, 0)) > 0;)
			len += (size_t)got;
	close(fd);
	text[len] = '\0';
	char *end = strstr(text, "\r\n\r\n");
	if (end == NULL || sscanf(text, "HTTP/1.1 %3d", &status) != 1)
		return 0;
	if (body != NULL)
		*body = strdup(end + 4);
	return status;
}

double metric(struct instance *in, const char *name)
{
	char *text = NULL;
	double value = -1;
	size_t n = strlen(name);
	if (metrics_get(in, "/metrics", &text) == 200)
		for (char *line = text; line != NULL && *line != '\0';
		     line = strchr(line, '\n') == NULL ? NULL : strchr(line, '\n') + 1)
			if (strncmp(line, name, n) == 0 && line[n] == ' ')
				value = strtod(line + n, NULL);
	free(text);
	return value;
}

static int is_segment(const struct dirent *e)
{
	const char *dot = strrchr(e->d_name, '.');
	return dot != NULL && strcmp(dot, ".jsonl") == 0;
}

/* What follows these bytes of the segment before was never confirmed. */
static size_t counted_bytes(const char *first_line, size_t most)
{
	const char *at = strstr(first_line, "\"previous_bytes\":");
	size_t n = at == NULL ? most : strtoul(at + 17, NULL, 10);
	return n < most ? n : most;
}

char *ledger_text(struct instance *in)
{
	char path[512], dir[96];
	struct dirent **names = NULL;
	size_t len = 0, before = 0;
	char *text = calloc(1, 1);
	snprintf(dir, sizeof dir, "%s/state/ledger", in->dir);
	int n = scandir(dir, &names, is_segment, alphasort);
	for (int i = 0; i < n; i++) {
		struct stat st;
		snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
		FILE *f = fopen(path, "r");
		if (f != NULL && fstat(fileno(f), &st) == 0 &&
		    (text = realloc(text, len + (size_t)st.st_size + 1)) != NULL) {
			size_t got = fread(text + len, 1, (size_t)st.st_size, f);
			text[len + got] = '\0';
			size_t keep = before + counted_bytes(text + len, len - before);
			memmove(text + keep, text + len, got + 1);
			before = keep;
			len = keep + got;
		}
		if (f != NULL)
			fclose(f);
		free(names[i]);
	}
	free(names);
	return text;
}

unsigned ledger_count(struct instance *in, const char *part)
{
	unsigned n = 0;
	char *text = ledger_text(in);
	for (char *line = text, *end; line != NULL && (end = strchr(line, '\n')) != NULL;
	     line = end + 1) {
		*end = '\0';
		n += strstr(line, part) != NULL;
	}
	free(text);
	return n;
}
