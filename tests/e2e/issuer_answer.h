/* tests/e2e/issuer_answer.h — what the test issuer answers: good answers, and every bad one that an
 * issuer's server may give. */
#ifndef KB_TESTS_ISSUER_ANSWER_H
#define KB_TESTS_ISSUER_ANSWER_H
#include <jansson.h>
#include <openssl/ssl.h>

enum answer_mode {
	MODE_OK,
	MODE_SLOW,  /* a byte a second */
	MODE_STALL, /* no byte at all */
	MODE_HALF,  /* half a body, then nothing */
	MODE_500,
	MODE_404,
	MODE_REDIRECT,       /* on this server */
	MODE_REDIRECT_HTTP,  /* 301, to http: */
	MODE_REDIRECT_OTHER, /* 301, to another host */
	MODE_REDIRECT_LOOP,  /* to the same document */
	MODE_HTML,
	MODE_SHAPE,     /* JSON, but no key set */
	MODE_BROKEN,    /* no JSON */
	MODE_HUGE,      /* announced too big */
	MODE_BOMB,      /* gzip, 150 MB of zeros in 0.9 MB */
	MODE_ENDLESS,   /* chunks without an end */
	MODE_MANY,      /* 10,000 keys */
	MODE_EMPTY,     /* no key */
	MODE_DUPLICATE, /* a member twice */
	MODE_TWICE,     /* a key id twice */
	MODE_WEAK,      /* only keys that are too weak */
	MODE_MIXED,     /* the good ones and one that is too weak */
	MODE_PRIVATE,   /* the good ones and one with its private part */
	MODE_DROP,      /* the connection ends without a byte */
	MODE_COUNT
};
extern const char *const answer_mode_name[MODE_COUNT];
enum answer_mode answer_mode_find(const char *name); /* MODE_COUNT: none of them */

void send_all(SSL *s, const char *p, size_t len);
void answer(SSL *s, int status, const char *type, const char *more_headers, const char *body);
void answer_json(SSL *s, int status, const char *more_headers,
		 json_t *j); /* takes the value over */
void answer_fault(SSL *s, enum answer_mode mode, const char *url, const char *path,
		  json_t *set); /* takes over `set`, a good key set; not for OK and DROP */

#endif
