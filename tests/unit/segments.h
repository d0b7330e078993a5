/* tests/unit/segments.h — a ledger in a directory of its own, for tests of its files. */
#ifndef KB_TESTS_SEGMENTS_H
#define KB_TESTS_SEGMENTS_H
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ledger/segment_write.h"

static char path[64];
static int dir = -1;

static inline int set_up(void **state)
{
	(void)state;
	snprintf(path, sizeof path, "/tmp/keybroker-segment-XXXXXX");
	if (mkdtemp(path) == NULL)
		return -1;
	dir = open(path, O_RDONLY | O_DIRECTORY);
	return dir < 0 ? -1 : 0;
}

static inline int tear_down(void **state)
{
	char name[SEGMENT_NAME];

	(void)state;
	for (uint32_t i = 1; i < 20; i++) {
		segment_name(i, name);
		unlinkat(dir, name, 0);
	}
	unlinkat(dir, "ledger.new", 0);
	unlinkat(dir, "elsewhere", 0);
	close(dir);
	return rmdir(path);
}

static inline struct segments start(void)
{
	struct segments s;
	struct segment_fault f;

	assert_int_equal(segment_open(dir, 1000, NULL, NULL, &s, &f), KB_OK);
	if (s.fd < 0) /* as the journal does it */
		assert_int_equal(segment_begin(&s, SEGMENT_TORN, span_of(NULL, 0)), KB_OK);
	return s;
}

static inline enum kb_err open_fails(struct segment_fault *f)
{
	struct segments s;
	enum kb_err err = segment_open(dir, 1000, NULL, NULL, &s, f);

	assert_int_equal(s.fd, -1);
	assert_int_equal(s.dir, -1);
	return err;
}

static inline enum kb_err append(struct segments *s, const char *record)
{
	struct chain after = s->chain;

	KB_AUTO(buf) struct buf lines;
	buf_init(&lines, 1 << 20);
	assert_int_equal(chain_add(&after, span_str(record), &lines), KB_OK);
	return segment_commit(s, buf_span(&lines), &after);
}

/* A ledger of `n` records after its first line, closed. */
static inline void make(unsigned n)
{
	struct segments s = start();
	char record[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(record, sizeof record, "{\"event\":\"release\",\"n\":%u}", i);
		assert_int_equal(append(&s, record), KB_OK);
	}
	segment_close(&s);
}

static inline void slurp(uint32_t number, struct buf *b)
{
	char name[SEGMENT_NAME];

	buf_init(b, 1 << 20);
	segment_name(number, name);
	int fd = openat(dir, name, O_RDONLY);
	assert_true(fd >= 0);
	off_t size = lseek(fd, 0, SEEK_END);
	uint8_t *p = size == 0 ? b->p : buf_reserve(b, (size_t)size);
	assert_true(size == 0 || p != NULL);
	assert_int_equal(pread(fd, p, (size_t)size, 0), size);
	close(fd);
}

static inline void spill(uint32_t number, struct span bytes)
{
	char name[SEGMENT_NAME];

	segment_name(number, name);
	int fd = openat(dir, name, O_WRONLY | O_TRUNC | O_CREAT, 0640);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes.p, bytes.len), bytes.len);
	close(fd);
}

/* Where line n (from 1) begins; past the last one: the length. */
static inline size_t line_at(const struct buf *b, unsigned n)
{
	size_t at = 0;

	while (--n > 0)
		at = span_find(buf_span(b), at, '\n') + 1;
	return at;
}

struct seen {
	unsigned n, repairs, segments;
	uint64_t first_seq;
};

static inline enum kb_err count(void *ctx, const struct segment_line *l)
{
	struct seen *s = ctx;

	if (s->n++ == 0)
		s->first_seq = l->parsed.seq;
	s->repairs += memmem(l->text.p, l->text.len, "\"torn_sha256\":", 14) != NULL;
	s->segments += memmem(l->text.p, l->text.len, "\"event\":\"segment\"", 17) != NULL;
	return KB_OK;
}

static inline struct seen walk_good(void)
{
	struct seen s = {0};
	struct segment_fault f;

	assert_int_equal(segment_walk(dir, 0, count, &s, NULL, &f), KB_OK);
	return s;
}

static inline struct segment_fault walk_bad(enum kb_err want)
{
	struct segment_fault f;
	struct chain end;

	assert_int_equal(segment_walk(dir, 0, NULL, NULL, &end, &f), want);
	assert_string_not_equal(f.text, "");
	return f;
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
