/* broker/ctl/ledger_border.c — reads and writes archived.json.  It proves nothing by itself: who
 * reads it checks its heads against the chain. */
#include "ctl/ledger_border.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"

enum { MAX_BORDER = 8192, BORDER_MODE = 0640 };

void head_text(const struct chain *c, char out[static HEAD_TEXT])
{
	int n = snprintf(out, HEAD_TEXT, "%llu:", (unsigned long long)c->seq);

	*hex_put(out + n, span_of(c->last, sizeof c->last)) = '\0';
}

bool head_parse(struct span text, struct chain *out)
{
	size_t n = 0;

	*out = (struct chain){.seq = 0};
	for (; n < text.len && n < 19 && text.p[n] >= '0' && text.p[n] <= '9'; n++)
		out->seq = out->seq * 10 + (unsigned)(text.p[n] - '0');
	return n > 0 && n < text.len && text.p[n] == ':' &&
	       hex_decode(span_sub(text, n + 1, text.len), out->last, sizeof out->last);
}

static bool read_head(const struct json_t *doc, const char *name, bool *has, struct chain *out)
{
	struct span text;

	*has = json_has(doc, name);
	return !*has ||
	       (json_get_str(doc, name, HEAD_TEXT, &text) == KB_OK && head_parse(text, out));
}

enum kb_err border_read(int dir, struct ledger_border *out)
{
	static const char *const known[] = {"begin", "end", "segment", "bytes", "to", NULL};
	KB_AUTO(fd) int fd = openat(dir, BORDER_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	KB_AUTO(json) struct json_t *doc = NULL;
	struct span to = span_of("", 0);
	int64_t segment = 0;

	*out = (struct ledger_border){.segment = 0};
	if (fd < 0)
		return errno == ENOENT ? KB_OK : KB_E_FILE;
	KB_AUTO(buf) struct buf text;
	buf_init(&text, MAX_BORDER);
	if (file_read_all(fd, &text) != KB_OK)
		return KB_E_FILE;
	if (json_load_strict(buf_span(&text), MAX_BORDER, &doc, NULL) != KB_OK ||
	    json_only(doc, known, NULL) != KB_OK ||
	    !read_head(doc, "begin", &out->has_begin, &out->begin) ||
	    !read_head(doc, "end", &out->has_end, &out->end) ||
	    (json_has(doc, "to") && json_get_str(doc, "to", BORDER_TO - 1, &to) != KB_OK))
		return KB_E_LEDGER_CHAIN;
	if (out->has_end && (json_get_int(doc, "segment", &segment) != KB_OK || segment <= 0 ||
			     segment >= UINT32_MAX ||
			     json_get_int(doc, "bytes", &out->bytes) != KB_OK || out->bytes <= 0))
		return KB_E_LEDGER_CHAIN;
	out->segment = (uint32_t)segment;
	snprintf(out->to, sizeof out->to, "%.*s", (int)to.len, (const char *)to.p);
	return KB_OK;
}

enum kb_err border_give(int dir, const char *name)
{
	struct stat st, owner;

	if (geteuid() != 0)
		return KB_OK;
	KB_AUTO(fd) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	/* One name: not a link to another file of root's, put there by the directory's owner. */
	return fd >= 0 && fd_stat(dir, &owner) == 0 && fd_stat(fd, &st) == 0 &&
			       S_ISREG(st.st_mode) && st.st_nlink == 1 &&
			       fchown(fd, owner.st_uid, owner.st_gid) == 0
		       ? KB_OK
		       : KB_E_FILE;
}

enum kb_err border_write(int dir, const struct ledger_border *b)
{
	char head[HEAD_TEXT];

	KB_AUTO(buf) struct buf text;
	buf_init(&text, MAX_BORDER);
	buf_add_str(&text, "{");
	if (b->has_begin) {
		head_text(&b->begin, head);
		json_add_member(&text, "begin", span_str(head));
	}
	if (b->has_end) {
		head_text(&b->end, head);
		json_add_member(&text, "end", span_str(head));
		json_add_int(&text, "segment", b->segment);
		json_add_int(&text, "bytes", b->bytes);
	}
	if (b->to[0] != '\0')
		json_add_member(&text, "to", span_str(b->to));
	buf_add_str(&text, "}\n");
	if (buf_ok(&text) != KB_OK)
		return KB_E_FILE;
	enum kb_err err = file_replace(dir, BORDER_FILE, BORDER_MODE, 0, buf_span(&text));
	return err == KB_OK ? border_give(dir, BORDER_FILE) : err;
}
