/* tests/unit/softhsm.h — a throw-away SoftHSM token in a directory of its own, and a keystore on
 * it.  In memory where there is /dev/shm: SoftHSM truncates and rewrites a file for each attribute
 * that it sets, and ext4 writes such a file to the disk at once (auto_da_alloc). */
#ifndef KB_TESTS_SOFTHSM_H
#define KB_TESTS_SOFTHSM_H
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/secret.h"
#include "keystore/keystore.h"
#include "keystore/provision.h"

#define SOFTHSM_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define SOFTHSM_TOKEN  "pkcs11:token=kbtest"
#define SOFTHSM_PIN    "canary-pin-7f3a9c51e0d2"
#define SOFTHSM_SO_PIN "canary-so-pin-4be1"

struct softhsm {
	char dir[64];
};

static inline struct secret *softhsm_secret(const char *text)
{
	struct secret *s = secret_new(strlen(text));

	if (s != NULL)
		memcpy(secret_bytes(s), text, strlen(text));
	return s;
}

static inline int softhsm_remove(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	return remove(path);
}

static inline void softhsm_stop(struct softhsm *h)
{
	nftw(h->dir, softhsm_remove, 16, FTW_DEPTH | FTW_PHYS);
	unsetenv("SOFTHSM2_CONF");
}

/* One more token in the same directory. */
static inline bool softhsm_add(const char *label)
{
	char why[PROVISION_WHY];
	struct secret *so = softhsm_secret(SOFTHSM_SO_PIN), *pin = softhsm_secret(SOFTHSM_PIN);
	bool good = so != NULL && pin != NULL &&
		    keystore_init_token(SOFTHSM_MODULE, label, so, pin, why) == KB_OK;

	secret_free(so);
	secret_free(pin);
	return good;
}

/* False when something of it fails: the test cannot go on. */
static inline bool softhsm_start(struct softhsm *h)
{
	char path[128];

	if (secret_arena_init() != KB_OK)
		return false;
	snprintf(h->dir, sizeof h->dir, "/dev/shm/kb-softhsm-XXXXXX");
	if (mkdtemp(h->dir) == NULL) {
		snprintf(h->dir, sizeof h->dir, "/tmp/kb-softhsm-XXXXXX");
		if (mkdtemp(h->dir) == NULL)
			return false;
	}
	snprintf(path, sizeof path, "%s/tokens", h->dir);
	if (mkdir(path, 0700) != 0)
		return false;
	snprintf(path, sizeof path, "%s/softhsm2.conf", h->dir);
	FILE *f = fopen(path, "w");
	if (f == NULL)
		return false;
	fprintf(f,
		"directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n",
		h->dir);
	if (fclose(f) != 0 || setenv("SOFTHSM2_CONF", path, 1) != 0)
		return false;
	return softhsm_add("kbtest");
}

static inline enum kb_err softhsm_open_pin(const char *pin_text, struct keystore **out)
{
	struct secret *pin = softhsm_secret(pin_text);
	struct keystore_params p = {
		.module = SOFTHSM_MODULE, .token = SOFTHSM_TOKEN, .pin = pin, .is_writable = true};
	enum kb_err err = keystore_open(&p, out);

	secret_free(pin);
	return err;
}

static inline enum kb_err softhsm_open(struct keystore **out)
{
	return softhsm_open_pin(SOFTHSM_PIN, out);
}

#endif
