/* broker/fetcher/fetch.c — one document over https, by libcurl.  Decides which addresses may be
 * connected to and how long and large a transfer may be.  Trusts a server only by its certificate.
 * Must never follow a redirect, speak anything but https, or use a proxy that the caller did not
 * name, a cookie, a cached connection or a compressed body. */
#include "fetcher/fetch.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/limits.h"

enum { MAX_HEADERS = 64 * 1024 };

struct fetch_set {
	CURLM *multi;
};
struct fetch {
	struct fetch_set *set;
	CURL *easy;
	struct curl_slist *headers;
	struct fetch_params p;
	struct buf body;
	size_t header_bytes;
	int64_t max_age;
	bool is_too_big, is_refused; /* a limit was exceeded; an address was not permitted */
	enum kb_err outcome;
	char detail[CURL_ERROR_SIZE];
};

/* ---- addresses ---- */

struct range {
	uint8_t net[16];
	unsigned bits;
};

static bool in_range(const uint8_t *address, const struct range *r)
{
	unsigned whole = r->bits / 8, rest = r->bits % 8;

	if (memcmp(address, r->net, whole) != 0)
		return false;
	return rest == 0 || ((address[whole] ^ r->net[whole]) >> (8 - rest)) == 0;
}

/* The IANA special-purpose registry (RFC 6890), and 168.63.129.16, where Azure's host serves its
 * virtual machines. */
static bool ipv4_ok(const uint8_t *a)
{
	static const struct range refused[] = {
		{{0}, 8},
		{{10}, 8},
		{{100, 64}, 10},
		{{127}, 8},
		{{169, 254}, 16},
		{{172, 16}, 12},
		{{192, 0, 0}, 24},
		{{192, 0, 2}, 24},
		{{192, 88, 99}, 24},
		{{192, 168}, 16},
		{{198, 18}, 15},
		{{198, 51, 100}, 24},
		{{203, 0, 113}, 24},
		{{224}, 4},
		{{240}, 4},
		{{168, 63, 129, 16}, 32},
	};

	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		if (in_range(a, &refused[i]))
			return false;
	return true;
}

static bool ipv6_ok(const uint8_t *a)
{
	static const struct range global = {{0x20}, 3}, mapped = {{[10] = 0xff, [11] = 0xff}, 96},
				  nat64 = {{0, 0x64, 0xff, 0x9b}, 96},
				  sixtofour = {{0x20, 0x02}, 16};
	static const struct range refused[] = {
		{{0x20, 0x01}, 23}, {{0x20, 0x01, 0x0d, 0xb8}, 32}, {{0x3f, 0xff}, 20}};

	if (in_range(a, &mapped) || in_range(a, &nat64))
		return ipv4_ok(a + 12);
	if (in_range(a, &sixtofour))
		return ipv4_ok(a + 2);
	if (!in_range(a, &global))
		return false;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		if (in_range(a, &refused[i]))
			return false;
	return true;
}

bool fetch_address_ok(const struct sockaddr *address, socklen_t len)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (address->sa_family == AF_INET && len >= sizeof v4) {
		memcpy(&v4, address, sizeof v4);
		return ipv4_ok((const uint8_t *)&v4.sin_addr);
	}
	if (address->sa_family == AF_INET6 && len >= sizeof v6) {
		memcpy(&v6, address, sizeof v6);
		return ipv6_ok(v6.sin6_addr.s6_addr);
	}
	return false;
}

/* A proxy resolves names itself, but an address in the URL is known before. */
static bool literal_ok(const char *url)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	CURLU *u = curl_url();
	char *host = NULL;
	bool ok = true;

	if (u == NULL || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
		ok = false;
	} else if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) { /* curl has normalised it */
		ok = ipv4_ok((const uint8_t *)&v4.sin_addr);
	} else if (host[0] == '[') {
		host[strcspn(host, "]%")] = '\0';
		ok = inet_pton(AF_INET6, host + 1, &v6.sin6_addr) == 1 &&
		     ipv6_ok(v6.sin6_addr.s6_addr);
	}
	curl_free(host);
	curl_url_cleanup(u);
	return ok;
}

/* Check the address that is connected to, after name resolution: a name cannot be rebound between
 * check and connection.  That of a proxy is the operator's choice. */
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct fetch *f = ctx;

	if (purpose != CURLSOCKTYPE_IPCXN || (f->p.proxy == NULL && !f->p.allow_private_addresses &&
					      !fetch_address_ok(&a->addr, a->addrlen))) {
		f->is_refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* ---- the response ---- */

static size_t take_body(char *p, size_t size, size_t n, void *ctx)
{
	struct fetch *f = ctx;

	buf_add(&f->body, p, size * n);
	if (buf_ok(&f->body) == KB_OK)
		return size * n;
	f->is_too_big = true;
	return 0;
}

static struct span trim(struct span s)
{
	while (s.len > 0 && strchr(" \t\r\n", s.p[0]) != NULL)
		s = span_sub(s, 1, s.len);
	while (s.len > 0 && strchr(" \t\r\n", s.p[s.len - 1]) != NULL)
		s.len--;
	return s;
}

static bool is_token(struct span s, const char *token)
{
	return s.len == strlen(token) && strncasecmp((const char *)s.p, token, s.len) == 0;
}

/* RFC 9111 section 5.2.2.  The smallest of several values counts; unknown directives do not. */
static void cache_control(struct fetch *f, struct span value)
{
	for (size_t at = 0; at < value.len;) {
		size_t end = span_find(value, at, ',');
		struct span part = trim(span_sub(value, at, end - at));
		at = end + 1;
		size_t equals = span_find(part, 0, '=');
		int64_t age = -1;
		if (is_token(part, "no-store") || is_token(part, "no-cache")) {
			age = 0;
		} else if (is_token(trim(span_sub(part, 0, equals)), "max-age")) {
			struct span digits = trim(span_sub(part, equals + 1, part.len));
			for (size_t i = 0;
			     i < digits.len && i < 12 && digits.p[i] >= '0' && digits.p[i] <= '9';
			     i++)
				age = (age < 0 ? 0 : age * 10) + (digits.p[i] - '0');
		}
		if (age >= 0 && (f->max_age < 0 || age < f->max_age))
			f->max_age = age;
	}
}

static size_t take_header(char *p, size_t size, size_t n, void *ctx)
{
	static const char name[] = "cache-control:";
	struct fetch *f = ctx;
	struct span line = span_of(p, size * n);

	f->header_bytes += line.len;
	if (f->header_bytes > MAX_HEADERS) {
		f->is_too_big = true;
		return 0;
	}
	if (line.len >= sizeof name - 1 && strncasecmp(p, name, sizeof name - 1) == 0)
		cache_control(f, span_sub(line, sizeof name - 1, line.len));
	return line.len;
}

/* ---- the transfer ---- */

static bool configure(struct fetch *f)
{
	CURL *e = f->easy;
	bool ok = true;

#define SET(option, value) ok = curl_easy_setopt(e, option, value) == CURLE_OK && ok
	SET(CURLOPT_URL, f->p.url);
	SET(CURLOPT_PRIVATE, f);
	SET(CURLOPT_ERRORBUFFER, f->detail);
	SET(CURLOPT_PROTOCOLS_STR, "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	/* Both are said, so that the environment's proxy variables have no effect. */
	SET(CURLOPT_PROXY, f->p.proxy == NULL ? "" : f->p.proxy);
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* the proxy has no say in Cache-Control */
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_HTTPHEADER, f->headers);
	SET(CURLOPT_USERAGENT, "keybroker");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)KB_FETCH_MS);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)KB_FETCH_MS);
	SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)f->p.max_bytes);
	/* A connection made for one issuer must never serve another, whose CA or address rule may
	 * be stricter. */
	SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_FORBID_REUSE, 1L);
	SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
	SET(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, f);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, f);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, f);
	if (f->p.ca.len > 0) {
		struct curl_blob ca = {(void *)(uintptr_t)f->p.ca.p, f->p.ca.len, CURL_BLOB_NOCOPY};
		SET(CURLOPT_CAINFO_BLOB, &ca);
		SET(CURLOPT_CAINFO, NULL);
		SET(CURLOPT_CAPATH, NULL); /* otherwise the system's CAs would be accepted, too */
	}
#undef SET
	return ok;
}

enum kb_err fetch_start(struct fetch_set *s, const struct fetch_params *p, struct fetch **out)
{
	struct fetch *f = calloc(1, sizeof *f);

	*out = NULL;
	if (f == NULL)
		return KB_E_NOMEM;
	f->set = s;
	f->p = *p;
	f->max_age = -1;
	f->outcome = KB_E_BUG;
	buf_init(&f->body, p->max_bytes);
	f->headers = curl_slist_append(NULL, "Accept: application/json");
	f->easy = curl_easy_init();
	f->is_refused = p->proxy != NULL && !p->allow_private_addresses && !literal_ok(p->url);
	if (f->is_refused) {
		fetch_free(f);
		return KB_E_FETCH_ADDRESS;
	}
	if (f->headers == NULL || f->easy == NULL || !configure(f) ||
	    curl_multi_add_handle(s->multi, f->easy) != CURLM_OK) {
		fetch_free(f);
		return KB_E_NOMEM;
	}
	*out = f;
	return KB_OK;
}

void fetch_free(struct fetch *f)
{
	if (f == NULL)
		return;
	if (f->easy != NULL)
		curl_multi_remove_handle(f->set->multi, f->easy);
	curl_easy_cleanup(f->easy);
	curl_slist_free_all(f->headers);
	buf_free(&f->body);
	free(f);
}

/* libcurl adds codes with every version: one that is not listed counts as a failed connection. */
static enum kb_err translate(const struct fetch *f, CURLcode code)
{
	static const struct {
		CURLcode code;
		enum kb_err err;
	} table[] = {
		{CURLE_OPERATION_TIMEDOUT, KB_E_FETCH_TIMEOUT},
		{CURLE_SSL_CONNECT_ERROR, KB_E_FETCH_TLS},
		{CURLE_PEER_FAILED_VERIFICATION, KB_E_FETCH_TLS},
		{CURLE_SSL_CACERT_BADFILE, KB_E_FETCH_TLS},
		{CURLE_SSL_CERTPROBLEM, KB_E_FETCH_TLS},
		{CURLE_SSL_CIPHER, KB_E_FETCH_TLS},
		{CURLE_SSL_ISSUER_ERROR, KB_E_FETCH_TLS},
		{CURLE_SSL_INVALIDCERTSTATUS, KB_E_FETCH_TLS},
		{CURLE_FILESIZE_EXCEEDED, KB_E_FETCH_SIZE},
		{CURLE_UNSUPPORTED_PROTOCOL, KB_E_FETCH_CONTENT},
		{CURLE_URL_MALFORMAT, KB_E_FETCH_CONTENT},
		{CURLE_LOGIN_DENIED, KB_E_FETCH_CONTENT}, /* a user name in the URL */
	};

	if (f->is_too_big)
		return KB_E_FETCH_SIZE;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		if (code == table[i].code)
			return table[i].err;
	return f->is_refused ? KB_E_FETCH_ADDRESS : KB_E_FETCH_CONNECT;
}

static void finish(struct fetch *f, CURLcode code)
{
	long status = 0;

	if (code != CURLE_OK) {
		f->outcome = translate(f, code);
		if (f->detail[0] == '\0')
			snprintf(f->detail, sizeof f->detail, "%s", curl_easy_strerror(code));
		return;
	}
	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	snprintf(f->detail, sizeof f->detail, "HTTP status %ld", status);
	if (status == 200)
		f->outcome = KB_OK;
	else
		f->outcome =
			status >= 300 && status < 400 ? KB_E_FETCH_REDIRECT : KB_E_FETCH_STATUS;
}

enum kb_err fetch_set_new(struct fetch_set **out)
{
	*out = NULL;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return KB_E_SYS;
	struct fetch_set *s = calloc(1, sizeof *s);
	if (s == NULL)
		return KB_E_NOMEM;
	if ((s->multi = curl_multi_init()) == NULL) {
		free(s);
		return KB_E_NOMEM;
	}
	*out = s;
	return KB_OK;
}

void fetch_set_free(struct fetch_set *s)
{
	if (s == NULL)
		return;
	curl_multi_cleanup(s->multi);
	free(s);
}

static struct fetch *next_done(struct fetch_set *s)
{
	int left;

	for (CURLMsg *m; (m = curl_multi_info_read(s->multi, &left)) != NULL;) {
		char *private = NULL;
		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
		struct fetch *f = (struct fetch *)(void *)private;
		finish(f, m->data.result);
		return f;
	}
	return NULL;
}

enum kb_err fetch_wait(struct fetch_set *s, struct pollfd *extra, unsigned n_extra, int timeout_ms,
		       struct fetch **done)
{
	struct curl_waitfd fds[8];
	int running;

	*done = NULL;
	if (n_extra > sizeof fds / sizeof fds[0])
		return KB_E_BUG;
	for (unsigned i = 0; i < n_extra; i++)
		fds[i] = (struct curl_waitfd){.fd = extra[i].fd, .events = CURL_WAIT_POLLIN};
	if (curl_multi_perform(s->multi, &running) != CURLM_OK)
		return KB_E_SYS;
	if ((*done = next_done(s)) != NULL)
		timeout_ms = 0;
	if (curl_multi_poll(s->multi, fds, n_extra, timeout_ms, NULL) != CURLM_OK)
		return KB_E_SYS;
	/* libcurl reports CURL_WAIT_* bits only, no end of file: the caller must read without
	 * blocking to see that. */
	for (unsigned i = 0; i < n_extra; i++)
		extra[i].revents = fds[i].revents;
	if (*done == NULL && curl_multi_perform(s->multi, &running) == CURLM_OK)
		*done = next_done(s);
	return KB_OK;
}

enum kb_err fetch_outcome(const struct fetch *f)
{
	return f->outcome;
}

const char *fetch_detail(const struct fetch *f)
{
	return f->detail;
}

struct span fetch_body(const struct fetch *f)
{
	return buf_span(&f->body);
}

int64_t fetch_max_age(const struct fetch *f)
{
	return f->max_age;
}

void *fetch_owner(const struct fetch *f)
{
	return f->p.owner;
}
