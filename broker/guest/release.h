/* broker/guest/release.h — one release from the first step to the last. */
#ifndef KB_GUEST_RELEASE_H
#define KB_GUEST_RELEASE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/console.h"
#include "guest/output.h"

/* The command line, checked as far as it can be without acting on it; NULL: not given. */
struct release_options {
	const char *urls, *key, *ca, *api_version, *enc, *nonce, *bearer_file;
	const char *signer_pins;
	const char *token, *token_command, *attest, *attest_ca, *tsm,
		*vcek_chain; /* one of the first three */
	const char *ephemeral_key;
	bool use_tpm;
	const char *tcti;
	unsigned pcrs[24];
	size_t n_pcrs;
	uint32_t tpm_key, tpm_ak; /* 0: none */
	const char *out;
	enum output_format format;
	int64_t timeout_s;
};

enum guest_exit release(const struct release_options *o);

#endif
