/* tests/interop/gate.c — the product's token gate as a filter, for tests/interop/differential.mjs.
 * Lines in: `K` and a key set, or `T` and a token, both in base64url (their bytes may be anything).
 * For each T one line out: OK, or the code that the ledger has. The issuer is the one that the
 * token names and allows every algorithm: what is compared is the form, the key and the
 * signature. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/b64url.h"
#include "base/limits.h"
#include "policy/jwks.h"
#include "policy/token.h"

static const char *judge(struct span compact, const struct jwks *keys)
{
	KB_AUTO(token) struct token *t = NULL;

	enum kb_err err = token_open(compact, &t);
	if (err != KB_OK)
		return kb_err_name(err);
	KB_AUTO(cstr) char *iss = span_dup(token_unverified_iss(t));
	if (iss == NULL)
		return "NUL_IN_ISS";
	const struct issuer_rules issuer = {.issuer = iss, .algorithms = ~0u};
	err = token_verify(t, &issuer, keys);
	if ((err == KB_OK) != (token_claims(t) != NULL))
		return "CLAIMS_WITHOUT_VERDICT";
	return kb_err_name(err);
}

int main(void)
{
	struct jwks *keys = NULL;
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;

	while ((len = getline(&line, &cap, stdin)) > 1) {
		KB_AUTO(buf) struct buf bytes;
		buf_init(&bytes, 16 * 1024 * 1024);
		while (len > 1 && line[len - 1] == '\n')
			len--;
		if (b64url_decode(span_of(line + 1, (size_t)len - 1), &bytes) != KB_OK) {
			fprintf(stderr, "gate: a line is no base64url\n");
			return 2;
		}
		if (line[0] == 'K') {
			jwks_free(keys);
			if (jwks_parse(buf_span(&bytes), &keys, NULL) != KB_OK)
				keys = NULL;
			continue;
		}
		puts(judge(buf_span(&bytes), keys));
		if (fflush(stdout) != 0)
			return 2;
	}
	jwks_free(keys);
	free(line);
	return 0;
}
