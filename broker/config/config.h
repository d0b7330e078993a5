/* broker/config/config.h — keybroker.json, issuers.d, keys.d and the policies, parsed and checked.
 * Unknown members are faults.  Every fault has path and line. */
#ifndef KB_CONFIG_CONFIG_H
#define KB_CONFIG_CONFIG_H
#include "base/file.h"
#include "base/limits.h"
#include "base/source.h"
#include "base/user.h"
#include "config/snapshot.h"
#include "keystore/record.h"
#include "policy/issuer.h"
#include "policy/rules.h"
#include "process/keyset.h"

enum config_part {
	CONFIG_GATEWAY = 1,
	CONFIG_VAULT = 2,
	CONFIG_FETCHER = 4,
	CONFIG_LEDGER = 8,
	CONFIG_ALL = 15
};

struct api;

enum listener_auth { AUTH_NONE, AUTH_MTLS, AUTH_BEARER }; /* "none", "mtls", "bearer_file" */

struct bearer {
	uint8_t sha256[32];
	struct span name; /* whose token it is, for the ledger; may be empty */
};

struct listener_config {
	char *address;         /* "127.0.0.1:8443", "[::1]:8443" */
	char *base_url;        /* without trailing slash; what key ids begin with */
	const struct api *api; /* the dialect that "apis" names */
	enum listener_auth auth;
	/* PEM; gateway only; the last two are empty when null */
	struct span certificate, key, client_ca, client_crl;
	struct bearer *bearers; /* accepted tokens; vault only */
	size_t n_bearers;
	char *challenge_authorization,
		*challenge_resource; /* of the 401 challenge; defaults from base_url */
};

enum key_source { KEYS_DISCOVERY, KEYS_JWKS_URI, KEYS_JWKS_FILE };
struct issuer_config {
	struct issuer_rules rules;
	enum key_source source;
	char *jwks_uri;               /* KEYS_JWKS_URI: https only */
	struct span jwks_file;        /* KEYS_JWKS_FILE: the document's bytes */
	struct span ca;               /* PEM of a private CA; empty: the system's CAs */
	bool allow_private_addresses; /* fetch from loopback, link-local and private ranges, too */
	char *proxy;                  /* URL of an http proxy; NULL: none */
	int64_t max_stale_s;          /* a set older than this is absent */
	int64_t min_interval_s;       /* at least so long between two fetches */
};

struct key_config {
	struct key_record *record;
	const struct rules *policy; /* NULL: no policy; keys that name one file share it */
};
struct penalty_config { /* of source addresses; gateway/penalties.h */
	bool is_off;
	int64_t failure_s;             /* added for one failure */
	int64_t threshold_s;           /* from here on the source is blocked */
	int64_t longest_s;             /* the penalty is no more */
	struct source_network *exempt; /* never blocked */
	size_t n_exempt;
};
struct config_policy; /* a compiled policy and where it came from: keys.c */

struct config {
	char *path, *dir; /* of keybroker.json */
	struct listener_config *listeners;
	size_t n_listeners;
	char *metrics_address;                       /* NULL: none */
	char *hsm_module, *hsm_token, *hsm_pin_file; /* absolute paths */

	/* "NAME=absolute path", NULL-terminated: set in the vault before the module is loaded. */
	char **hsm_environment;
	bool hsm_is_network; /* the module may open sockets */
	unsigned workers, gateways;
	char *signer_object;
	struct span signer_chain; /* PEM: leaf … root */
	struct issuer_config *issuers;
	size_t n_issuers;
	struct key_config *keys; /* sorted by name, without case, as Key Vault compares names */
	size_t n_keys;
	struct config_policy *policies; /* sorted by path */
	size_t n_policies;
	char *state_dir, *ledger_dir; /* absolute; ledger_dir = state/ledger */
	char *keys_dir, *issuers_dir;
	char *user; /* whom the processes run as when started by root; NULL: not given */

	/* Of files: whose service it is.  `user`; else the owner of the configuration's directory;
	 * else, when that is root, whoever runs this program. */
	struct user service;
	unsigned max_connections, max_connections_source, max_queue;
	struct penalty_config penalties;
	int64_t ledger_segment_bytes;
	int64_t refusals_per_source, refusals_bytes; /* recorded in KB_REFUSAL_WINDOW_S */
	int64_t ledger_reserve; /* bytes of free space that are kept for releases; 0: none */
	char digest[65];        /* snapshot_digest(), hex */
};

enum { KB_MAX_FAULTS = 200 }; /* reported of one configuration; a last line counts the rest */
struct config_faults {        /* "path:line: text" each */
	char **text;
	size_t n;
};
void config_faults_free(struct config_faults *f);

/* Root reads the files of a snapshot_as_service() with the rights of the service's user, and those
 * of a configuration that is not root's: what that user cannot read is a fault.  `parts`: what to
 * read beside keybroker.json itself.  The gateway's part is certificates and TLS keys; the
 * fetcher's, issuers and their CAs; the vault's, those too (a stored key set is valid only with the
 * CA by which it was fetched), and signer, keys, policies and bearer tokens. On KB_OK *out is the
 * caller's; it borrows bytes of `src`, which must outlive it.  Otherwise KB_E_CONFIG and at least
 * one fault.  *faults is filled in either case: config_faults_free(). */
KB_MUST_CHECK enum kb_err config_load(struct snapshot *src, const char *path, unsigned parts,
				      struct config **out, struct config_faults *faults);
void config_free(struct config *c);
/* The PIN file: it and the way to it are root's or the service's user's, and its owner alone can
 * read it. */
KB_MUST_CHECK enum kb_err config_pin_open(const struct config *c, int *fd,
					  char why[static FILE_WHY]);
/* keybroker.json and the way to it belong to root alone: only then may root follow its paths with
 * its own rights.  KB_E_FILE or KB_E_FILE_MODE. */
KB_MUST_CHECK enum kb_err config_is_roots(const struct config *c, char why[static FILE_WHY]);
static inline void config_cleanup(struct config **c)
{
	config_free(*c);
}

/* `rel` relative to the absolute `dir`, without ".", ".." and "//": so a file has one name.  NULL
 * when there is no memory. */
char *path_join(const char *dir, const char *rel);
/* NULL when there is none. */
const struct key_config *config_key(const struct config *c, struct span name);
/* Compared byte for byte; NULL when there is none. */
const struct issuer_config *config_issuer(const struct config *c, struct span iss);
/* Which issuer's keys, from which source, by which CA.  Borrows from `issuer`; needs a part that
 * reads issuers. */
void config_origin(const struct issuer_config *issuer, struct keyset_origin *out);

#endif
