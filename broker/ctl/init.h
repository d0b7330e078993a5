/* broker/ctl/init.h — the parts of `keybrokerctl init`.  Each function reports what went wrong. */
#ifndef KB_CTL_INIT_H
#define KB_CTL_INIT_H
#include <sys/types.h>

#include "base/bytes.h"
#include "ctl/ctl.h"

struct hsm_public;
enum { PATH_BYTES = 4096 };

struct instance {
	char dir[PATH_BYTES]; /* absolute */
	const char *module, *label, *user, *address, *issuer, *jwks;
	long long port, metrics;
	bool is_softhsm;
	const char *names[CTL_MAX_REPEAT + 3]; /* localhost, 127.0.0.1, ::1, then --name */
	size_t n_names;
	const char *host; /* in key ids */
	uid_t uid;        /* of the processes; ours without --user */
	gid_t gid;
	bool is_begun;           /* something is in `dir` */
	char *signer;            /* its pkcs11: URI */
	const char *state;       /* in the configuration: "state", or an absolute path */
	char tokens[PATH_BYTES]; /* SoftHSM's directory, as `state` */
};

/* init_files.c.  `name` is relative to the instance, or absolute. */
char *init_path(const struct instance *in, const char *name); /* caller frees */
KB_MUST_CHECK enum kb_err init_put(const struct instance *in, const char *name, mode_t mode,
				   struct span text);
KB_MUST_CHECK enum kb_err init_put_buf(const struct instance *in, const char *name, mode_t mode,
				       const struct buf *text);
/* The mode of a file that the broker reads and others may not: its group is the broker's. */
mode_t init_private(const struct instance *in);
/* The processes' user becomes the owner. */
KB_MUST_CHECK enum kb_err init_give(const struct instance *in, const char *name);
/* False: errno is ENOTEMPTY, or says why it cannot be read. */
bool init_is_empty(const char *path);
/* A directory of the owner, which the processes' group may enter, or of the processes' user. */
KB_MUST_CHECK enum kb_err init_dir(const struct instance *in, const char *name, bool is_processes);

/* init_hsm.c: the token, its PINs, the release signer's key. */
KB_MUST_CHECK enum kb_err init_hsm(struct instance *in, struct hsm_public *signer);
/* init_tls.c: a demo CA, the server's certificate and the signer's. */
KB_MUST_CHECK enum kb_err init_tls(const struct instance *in, const struct hsm_public *signer);
/* init_config.c: an issuer, a policy, and last keybroker.json: without it there is no instance. */
KB_MUST_CHECK enum kb_err init_config(const struct instance *in);
bool init_is_ipv6(const char *text);

#endif
