/* broker/ledger/outbox.c — a bounded queue of frames before a socket that must not block.  Decides
 * when a gateway that does not read loses responses.  Trusts its caller for whole frames. */
#include "ledger/outbox.h"

#include <errno.h>
#include <sys/socket.h>

void outbox_free(struct outbox *o)
{
	buf_free(&o->frames);
	*o = (struct outbox){.sent = 0};
}

bool outbox_is_empty(const struct outbox *o)
{
	return o->frames.len == o->sent;
}

/* 1: sent; 0: later; −1: never. */
static int send_one(int fd, struct span frame)
{
	for (;;) {
		if (send(fd, frame.p, frame.len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return 1;
		if (errno != EINTR)
			return errno == EAGAIN ? 0 : -1;
	}
}

bool outbox_put(struct outbox *o, int fd, struct span frame)
{
	const uint32_t len = (uint32_t)frame.len;

	if (outbox_is_empty(o)) {
		int sent = send_one(fd, frame);
		if (sent != 0)
			return sent > 0;
	}
	/* Move what waits to the front, so that the bound is one of bytes that wait. */
	if (o->frames.p == NULL)
		buf_init(&o->frames, KB_LEDGER_OUTBOX);
	if (o->sent > 0) {
		memmove(o->frames.p, o->frames.p + o->sent, o->frames.len - o->sent);
		o->frames.len -= o->sent;
		o->sent = 0;
	}
	const size_t before = o->frames.len;
	buf_add(&o->frames, &len, sizeof len);
	buf_add_span(&o->frames, frame);
	if (buf_ok(&o->frames) == KB_OK)
		return true;
	o->frames.len = before;
	o->frames.failed = false;
	return false;
}

size_t outbox_flush(struct outbox *o, int fd)
{
	size_t lost = 0;

	while (!outbox_is_empty(o)) {
		uint32_t len;
		memcpy(&len, o->frames.p + o->sent, sizeof len);
		int sent = send_one(fd, span_of(o->frames.p + o->sent + sizeof len, len));
		if (sent == 0)
			return lost;
		lost += sent < 0;
		o->sent += sizeof len + len;
	}
	buf_free(&o->frames); /* a burst is over */
	o->frames = (struct buf){0};
	o->sent = 0;
	return lost;
}
