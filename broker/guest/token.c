/* broker/guest/token.c — tokens from a file, a descriptor or a program. Trusts the program that the
 * operator named; does not verify tokens. Must never leave that program running. */
#include "guest/token.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/b64url.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "guest/fd.h"

static void trim(struct buf *b)
{
	size_t from = 0;

	while (b->len > 0 && strchr(" \t\r\n", b->p[b->len - 1]) != NULL)
		b->len--;
	while (from < b->len && strchr(" \t\r\n", b->p[from]) != NULL)
		from++;
	if (from > 0) {
		memmove(b->p, b->p + from, b->len - from);
		b->len -= from;
	}
}

static enum kb_err fits(struct buf *token)
{
	if (buf_ok(token) != KB_OK)
		return KB_E_TOKEN_SIZE;
	trim(token);
	return token->len == 0 ? KB_E_TOKEN_SIZE : KB_OK;
}

/* Read what is available; false at the end. */
static bool read_some(int fd, struct buf *out, enum kb_err *err)
{
	uint8_t chunk[4096];
	ssize_t n = read(fd, chunk, sizeof chunk);

	if (n > 0)
		buf_add(out, chunk, (size_t)n);
	if (n < 0 && errno != EINTR && errno != EAGAIN)
		*err = KB_E_FILE;
	return n != 0 && *err == KB_OK && !out->failed;
}

enum kb_err token_read(const char *source, struct buf *token)
{
	enum kb_err err = KB_OK;
	int fd;

	bool is_ours = !fd_named(source, &fd);
	if (is_ours && (fd = open(source, O_RDONLY | O_CLOEXEC)) < 0)
		return KB_E_FILE;
	buf_init(token, KB_MAX_TOKEN + 64);
	while (read_some(fd, token, &err))
		;
	if (is_ours)
		close(fd);
	return err != KB_OK ? err : fits(token);
}

/* ---- a program ---- */

struct program {
	pid_t pid;
	int to, from;
};

static void program_main(const char *program, struct span nonce, int in, int out)
{
	const char *const argv[] = {program, NULL};
	char *text = span_dup(nonce);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setpgid(0, 0) != 0 || text == NULL || dup2(in, STDIN_FILENO) < 0 ||
	    dup2(out, STDOUT_FILENO) < 0 || close_range(3, ~0u, 0) != 0)
		_exit(126);
	signal(SIGPIPE, SIG_DFL);
	if (nonce.len > 0 ? setenv("KEYBROKER_NONCE", text, 1) != 0
			  : unsetenv("KEYBROKER_NONCE") != 0)
		_exit(126);
	execvp(program, (char *const *)(uintptr_t)argv);
	_exit(127);
}

static enum kb_err program_start(const char *program, struct span nonce, struct program *c)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) != 0)
		return KB_E_SYS;
	if (pipe2(from, O_CLOEXEC) != 0) {
		close(to[0]);
		close(to[1]);
		return KB_E_SYS;
	}
	/* A process group of its own, so that a kill reaches its children.  Both processes call
	 * setpgid(): it must have happened before either goes on. */
	c->pid = fork();
	if (c->pid == 0)
		program_main(program, nonce, to[0], from[1]);
	else if (c->pid > 0)
		(void)setpgid(c->pid, c->pid);
	close(to[0]);
	close(from[1]);
	c->to = to[1];
	c->from = from[0];
	fcntl(c->to, F_SETFL, O_NONBLOCK);
	fcntl(c->from, F_SETFL, O_NONBLOCK);
	if (c->pid > 0)
		return KB_OK;
	close(c->to);
	close(c->from);
	return KB_E_SYS;
}

/* Write its input and read its output until it closes it. */
static enum kb_err program_talk(struct program *c, struct span input, int64_t deadline_ms,
				struct buf *token)
{
	enum kb_err err = KB_OK;

	for (;;) {
		struct pollfd p[2] = {{.fd = c->from, .events = POLLIN},
				      {.fd = c->to, .events = POLLOUT}};
		int64_t left = deadline_ms - clock_mono_ms();
		if (left <= 0)
			return KB_E_FETCH_TIMEOUT;
		if (poll(p, 2, left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR)
			return KB_E_SYS;
		if (p[1].revents != 0) {
			ssize_t n = write(c->to, input.p, input.len);
			input = span_sub(input, n > 0 ? (size_t)n : 0, input.len);
			if (input.len == 0 || (n < 0 && errno != EAGAIN &&
					       errno != EINTR)) { /* it may ignore its input */
				close(c->to);
				c->to = -1;
			}
		}
		if (p[0].revents != 0 && !read_some(c->from, token, &err))
			return err != KB_OK ? err : fits(token);
	}
}

/* Close its pipes and wait for it until the deadline; `is_over`: kill it now. True: it
 * succeeded. */
static bool program_end(struct program *c, bool is_over, int64_t deadline_ms)
{
	int status = 0;
	pid_t got;

	if (c->to >= 0)
		close(c->to);
	close(c->from);
	while ((got = waitpid(c->pid, &status, WNOHANG)) == 0) {
		if (is_over || clock_mono_ms() >= deadline_ms) {
			kill(-c->pid, SIGKILL);
			got = waitpid(c->pid, &status, 0);
			break;
		}
		poll(NULL, 0, 5);
	}
	return got == c->pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

enum kb_err token_command(const char *program, struct span runtime_data, struct span nonce,
			  int64_t deadline_ms, struct buf *token)
{
	struct program c;

	buf_init(token, KB_MAX_TOKEN + 64);
	enum kb_err err = program_start(program, nonce, &c);
	if (err != KB_OK)
		return err;
	err = program_talk(&c, runtime_data, deadline_ms, token);
	/* A program that printed nothing usually failed: report that, not the empty token. */
	if (!program_end(&c, err == KB_E_FETCH_TIMEOUT, deadline_ms) && err != KB_E_FETCH_TIMEOUT)
		err = KB_E_SYS;
	return err;
}

/* ---- the wrapping key in a token ---- */

static bool number_is(const struct json_t *jwk, const char *name, struct span want)
{
	KB_AUTO(buf) struct buf got;
	struct span text;

	buf_init(&got, 1024);
	if (json_get_str(jwk, name, 1024, &text) != KB_OK || b64url_decode(text, &got) != KB_OK)
		return false;
	struct span bytes = buf_span(&got);
	while (bytes.len > 0 && bytes.p[0] == 0)
		bytes = span_sub(bytes, 1, bytes.len);
	return span_eq(bytes, want);
}

enum kb_err token_wrapping_kid(struct span token, struct span n, struct span e, struct buf *kid)
{
	KB_AUTO(buf) struct buf claims;
	KB_AUTO(json) struct json_t *doc = NULL;
	const struct json_t *runtime, *keys;
	struct span text;

	buf_init(&claims, KB_MAX_TOKEN);
	size_t first = span_find(token, 0, '.'), second = span_find(token, first + 1, '.');
	if (second >= token.len ||
	    b64url_decode(span_sub(token, first + 1, second - first - 1), &claims) != KB_OK ||
	    json_load_strict(buf_span(&claims), KB_MAX_TOKEN, &doc, NULL) != KB_OK)
		return KB_E_TOKEN_FORMAT;
	if (json_get_obj(doc, "x-ms-runtime", &runtime) != KB_OK ||
	    json_get_arr(runtime, "keys", &keys) != KB_OK)
		return KB_E_KEY_BINDING;
	for (size_t i = 0; i < json_len(keys); i++) {
		const struct json_t *jwk = json_at(keys, i);
		if (!json_isa_obj(jwk) || !number_is(jwk, "n", n) || !number_is(jwk, "e", e) ||
		    json_get_str(jwk, "kid", KB_MAX_KID, &text) != KB_OK)
			continue;
		buf_add_span(kid, text);
		return buf_ok(kid);
	}
	return KB_E_KEY_BINDING;
}
