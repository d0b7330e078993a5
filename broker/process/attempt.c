/* broker/process/attempt.c — writes and reads the outcome of an attempt, and the file that asks for
 * one.  A question is known by its inode and time, so that its answer cannot be that of another
 * one, and its content never has to be read by another user. */
#include "process/attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

enum { MAX_BYTES = 1024 + 6 * 2 * ATTEMPT_TEXT }; /* JSON writes some bytes as six */

static const char kind[] = "attempt", question[] = "refresh";

enum kb_err attempt_write(const char *state_dir, const char *name,
			  const struct keyset_origin *origin, const struct attempt *a)
{
	char path[KEYSET_PATH];
	KB_AUTO(buf) struct buf b;
	enum kb_err err = keyset_path(path, state_dir, name, origin, kind);

	buf_init(&b, MAX_BYTES);
	if (err != KB_OK)
		return err;
	buf_add_str(&b, "{");
	json_add_int(&b, "at", a->at_s);
	json_add_member(&b, "outcome", span_str(kb_err_name(a->outcome)));
	if (a->detail[0] != '\0')
		json_add_member(&b, "detail", span_str(a->detail));
	if (a->note[0] != '\0')
		json_add_member(&b, "note", span_str(a->note));
	json_add_int(&b, "keys", a->keys);
	json_add_int(&b, "asked", (int64_t)(a->asked >> 1));
	buf_add_str(&b, "}\n");
	if ((err = buf_ok(&b)) != KB_OK)
		return err;
	return file_replace_path(path, 0640, FILE_UNSYNCED, buf_span(&b));
}

/* "" when it is not there. */
static enum kb_err get_text(const struct json_t *j, const char *member,
			    char out[static ATTEMPT_TEXT])
{
	struct span text;

	out[0] = '\0';
	enum kb_err err = json_get_str(j, member, ATTEMPT_TEXT - 1, &text);

	if (err == KB_OK)
		snprintf(out, ATTEMPT_TEXT, "%.*s", (int)text.len,
			 text.len > 0 ? (const char *)text.p : "");
	return err == KB_E_JSON_MISSING ? KB_OK : err;
}

/* KB_E_BUG for a name that this version does not have. */
static enum kb_err outcome_of(const char *name)
{
	for (unsigned e = 0; e < KB_ERR_COUNT; e++)
		if (strcmp(kb_err_name((enum kb_err)e), name) == 0)
			return (enum kb_err)e;
	return KB_E_BUG;
}

enum kb_err attempt_read(const char *state_dir, const char *name,
			 const struct keyset_origin *origin, struct attempt *out)
{
	char path[KEYSET_PATH], outcome[ATTEMPT_TEXT];
	uint8_t bytes[MAX_BYTES];
	size_t size, len = 0;
	int64_t asked;
	KB_AUTO(fd) int fd = -1;
	KB_AUTO(json) struct json_t *j = NULL;
	enum kb_err err = keyset_path(path, state_dir, name, origin, kind);

	*out = (struct attempt){.outcome = KB_E_BUG};
	if (err != KB_OK ||
	    (err = keyset_open(path, state_dir, sizeof bytes, &fd, &size)) != KB_OK ||
	    (err = file_read(fd, bytes, sizeof bytes, &len)) != KB_OK ||
	    (err = json_load_strict(span_of(bytes, len), sizeof bytes, &j, NULL)) != KB_OK ||
	    (err = json_get_int(j, "at", &out->at_s)) != KB_OK ||
	    (err = get_text(j, "outcome", outcome)) != KB_OK ||
	    (err = get_text(j, "detail", out->detail)) != KB_OK ||
	    (err = get_text(j, "note", out->note)) != KB_OK ||
	    (err = json_get_int(j, "keys", &out->keys)) != KB_OK ||
	    (err = json_get_int(j, "asked", &asked)) != KB_OK)
		return err;
	out->outcome = outcome_of(outcome);
	out->asked = asked <= 0 ? 0 : (uint64_t)asked << 1 | 1;
	return KB_OK;
}

/* ---- the question ---- */

enum kb_err attempt_ask(const char *state_dir, const char *name, const struct keyset_origin *origin,
			uint64_t *asked)
{
	char path[KEYSET_PATH];
	struct stat st;
	enum kb_err err = keyset_path(path, state_dir, name, origin, question);

	*asked = 0;
	if (err != KB_OK)
		return err;
	/* One that is there already is as good: its answer is ours, too. */
	KB_AUTO(fd)
	int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640);
	if (fd < 0 || fd_stat(fd, &st) != 0)
		return KB_E_FILE;
	*asked = keyset_mark(&st);
	return KB_OK;
}

uint64_t attempt_take(const char *state_dir, const char *name, const struct keyset_origin *origin)
{
	char path[KEYSET_PATH];
	struct stat st;

	if (keyset_path(path, state_dir, name, origin, question) != KB_OK ||
	    lstat(path, &st) != 0 || unlink(path) != 0)
		return 0;
	return keyset_mark(&st);
}
