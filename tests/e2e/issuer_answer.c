/* tests/e2e/issuer_answer.c — answers of the test issuer.  Each fault is what a broken or captured
 * server could really send. */
#include "issuer_answer.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/b64url.h"

enum {
	HUGE_BODY = 1200 * 1024,
	PATIENCE_S = 60,
	MANY_KEYS = 10000,
	BOMB_BYTES = 150 * 1000 * 1000
};

const char *const answer_mode_name[MODE_COUNT] = {
	"ok",        "slow",          "stall",          "half",          "500",     "404",
	"redirect",  "redirect-http", "redirect-other", "redirect-loop", "html",    "shape",
	"broken",    "huge",          "bomb",           "endless",       "many",    "empty",
	"duplicate", "twice",         "weak",           "mixed",         "private", "drop"};

enum answer_mode answer_mode_find(const char *name)
{
	unsigned i = 0;

	while (i < MODE_COUNT && strcmp(name, answer_mode_name[i]) != 0)
		i++;
	return (enum answer_mode)i;
}

void send_all(SSL *s, const char *p, size_t len)
{
	while (len > 0) {
		size_t n;
		if (SSL_write_ex(s, p, len, &n) != 1)
			return;
		p += n;
		len -= n;
	}
}

void answer(SSL *s, int status, const char *type, const char *more_headers, const char *body)
{
	char head[1024];

	int n = snprintf(head, sizeof head,
			 "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n",
			 status, status == 200 ? "OK" : "No", type, strlen(body), more_headers);
	send_all(s, head, (size_t)n);
	send_all(s, body, strlen(body));
}

void answer_json(SSL *s, int status, const char *more_headers, json_t *j)
{
	char *text = j == NULL ? NULL : json_dumps(j, JSON_COMPACT);

	answer(s, text == NULL ? 500 : status, "application/json; charset=utf-8", more_headers,
	       text == NULL ? "{}" : text);
	free(text);
	json_decref(j);
}

/* Until the peer gives up. */
static void wait_for_ever(SSL *s, const char *byte)
{
	for (unsigned i = 0; i < PATIENCE_S && SSL_get_shutdown(s) == 0; i++) {
		size_t n;
		if (byte[0] != '\0' && SSL_write_ex(s, byte, 1, &n) != 1)
			return;
		sleep(1);
	}
}

static void answer_endless(SSL *s)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: "
				   "application/json\r\nTransfer-Encoding: chunked\r\n\r\n";

	send_all(s, head, sizeof head - 1);
	for (unsigned i = 0; i < 4096; i++)
		send_all(s, "400\r\n", 5),
			send_all(s, (const char[1026]){[1024] = '\r', [1025] = '\n'}, 1026);
}

struct bits {
	unsigned char *p;
	size_t n; /* written so far */
};

/* Deflate's order (RFC 1951 §3.1.1): from the least significant bit of each byte; Huffman codes
 * with their first bit first. */
static void add_bits(struct bits *b, unsigned code, unsigned len, bool is_huffman)
{
	for (unsigned i = 0; i < len; i++, b->n++)
		b->p[b->n / 8] |=
			(unsigned char)((code >> (is_huffman ? len - 1 - i : i) & 1) << b->n % 8);
}

/* One block of fixed codes: a zero, then copies of 258 zeros from one byte back, 13 bits each.  No
 * trailer: a client that unpacks it runs out of memory before. */
static void answer_bomb(SSL *s)
{
	static const char gzip[] = "\x1f\x8b\x08\0\0\0\0\0\0\xff";
	char head[160];
	struct bits b = {.p = calloc(1, HUGE_BODY)};

	if (b.p == NULL)
		return;
	memcpy(b.p, gzip, 10);
	b.n = 80;
	add_bits(&b, 3, 3, false);
	add_bits(&b, 0x30, 8, true);
	for (unsigned i = 0; i < BOMB_BYTES / 258; i++)
		add_bits(&b, 0xc5, 8, true), add_bits(&b, 0, 5, true);
	add_bits(&b, 0, 7, true);
	size_t len = b.n / 8 + 1;
	int n = snprintf(head, sizeof head,
			 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: "
			 "gzip\r\nContent-Length: %zu\r\n\r\n",
			 len);
	send_all(s, head, (size_t)n);
	send_all(s, (const char *)b.p, len);
	free(b.p);
}

static void answer_huge(SSL *s)
{
	char *huge = malloc(HUGE_BODY + 1);

	if (huge == NULL)
		return;
	memset(huge, ' ', HUGE_BODY);
	huge[HUGE_BODY] = '\0';
	answer(s, 200, "application/json", "", huge);
	free(huge);
}

/* A key of so many bits; with more members if its private part is wanted. */
static json_t *rsa_jwk(unsigned bits, const char *kid, bool is_private)
{
	BIGNUM *n = NULL;
	unsigned char bytes[1024];
	struct buf text;
	EVP_PKEY *key = EVP_RSA_gen(bits);
	json_t *jwk = NULL;

	buf_init(&text, 2048);
	if (key != NULL && EVP_PKEY_get_bn_param(key, "n", &n) == 1) {
		b64url_encode(&text, span_of(bytes, (size_t)BN_bn2bin(n, bytes)));
		char *modulus = span_dup(buf_span(&text));
		jwk = json_pack("{s:s, s:s, s:s, s:s}", "kty", "RSA", "kid", kid, "n", modulus, "e",
				"AQAB");
		if (is_private)
			json_object_set_new(jwk, "d", json_string(modulus));
		free(modulus);
	}
	BN_free(n);
	EVP_PKEY_free(key);
	buf_free(&text);
	return jwk;
}

static void answer_set(SSL *s, enum answer_mode mode, json_t *set)
{
	json_t *keys = json_object_get(set, "keys");

	if (mode == MODE_MANY || mode == MODE_WEAK)
		json_array_clear(keys);
	for (unsigned i = 0; mode == MODE_MANY && i < MANY_KEYS; i++) {
		char kid[16];
		snprintf(kid, sizeof kid, "k%u", i);
		json_array_append_new(keys, json_pack("{s:s, s:s, s:s, s:s}", "kty", "RSA", "kid",
						      kid, "n", "AQAB", "e", "AQAB"));
	}
	/* the same entry once more is no fault; another key of its kid is */
	if (mode == MODE_MIXED)
		json_array_append_new(keys, json_deep_copy(json_array_get(keys, 0)));
	if (mode == MODE_TWICE) {
		while (json_array_size(keys) > 1)
			json_array_remove(keys, 1);
		json_array_append_new(
			keys,
			rsa_jwk(2048,
				json_string_value(json_object_get(json_array_get(keys, 0), "kid")),
				false));
	}
	if (mode == MODE_WEAK || mode == MODE_MIXED)
		json_array_append_new(keys, rsa_jwk(1024, "weak", false));
	if (mode == MODE_PRIVATE)
		json_array_append_new(keys, rsa_jwk(2048, "private", true));
	answer_json(s, 200, "", json_incref(set));
}

void answer_fault(SSL *s, enum answer_mode mode, const char *url, const char *path, json_t *set)
{
	char text[512];
	const char *rest = strchr(url, ':'), *port = strrchr(url, ':');

	switch (mode) {
	case MODE_SLOW:
		send_all(s, "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", 40);
		wait_for_ever(s, " ");
		break;
	case MODE_STALL:
		wait_for_ever(s, "");
		break;
	case MODE_HALF:
		send_all(s, "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{\"keys\":[", 49);
		wait_for_ever(s, "");
		break;
	case MODE_500:
	case MODE_404:
		answer(s, mode == MODE_500 ? 500 : 404, "text/plain", "", "no");
		break;
	case MODE_REDIRECT:
		answer(s, 302, "text/plain", "Location: /certs\r\n", "");
		break;
	case MODE_REDIRECT_HTTP:
		snprintf(text, sizeof text, "Location: http%s/certs\r\n", rest);
		answer(s, 301, "text/plain", text, "");
		break;
	case MODE_REDIRECT_OTHER:
		snprintf(text, sizeof text, "Location: https://127.0.0.1%s/certs\r\n", port);
		answer(s, 301, "text/plain", text, "");
		break;
	case MODE_REDIRECT_LOOP:
		snprintf(text, sizeof text, "Location: %s\r\n", path);
		answer(s, 302, "text/plain", text, "");
		break;
	case MODE_HTML:
		answer(s, 200, "text/html", "",
		       "<!doctype html><title>Sign in to the hotel's network</title>");
		break;
	case MODE_SHAPE:
		answer(s, 200, "application/json", "", "{\"hello\":1}");
		break;
	case MODE_BROKEN:
		answer(s, 200, "application/json", "", "{\"keys\":[1,2");
		break;
	case MODE_HUGE:
		answer_huge(s);
		break;
	case MODE_BOMB:
		answer_bomb(s);
		break;
	case MODE_ENDLESS:
		answer_endless(s);
		break;
	case MODE_EMPTY:
		answer(s, 200, "application/json", "", "{\"keys\":[]}");
		break;
	case MODE_DUPLICATE:
		answer(s, 200, "application/json", "", "{\"keys\":[],\"keys\":[]}");
		break;
	case MODE_MANY:
	case MODE_TWICE:
	case MODE_WEAK:
	case MODE_MIXED:
	case MODE_PRIVATE:
		answer_set(s, mode, set);
		break;
	case MODE_OK:
	case MODE_DROP:
	case MODE_COUNT:
		break;
	}
	json_decref(set);
}
