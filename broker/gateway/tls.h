/* broker/gateway/tls.h — the server's TLS: 1.2 and 1.3, AEAD and ECDHE only, no
 * renegotiation, no compression, no early data.  Sessions are resumed in TLS 1.3 alone, and never
 * on a listener that asks for client certificates. */
#ifndef KB_GATEWAY_TLS_H
#define KB_GATEWAY_TLS_H
#include <openssl/ssl.h>

#include "base/bytes.h"
#include "base/limits.h"

struct tls_server {              /* PEM; borrowed */
	struct span certificate; /* leaf first, then its chain */
	struct span key;
	struct span client_ca; /* empty: no client certificate is asked for */
	/* Empty: no certificate is looked up.  Else every CA of a client's chain needs a list that
	 * holds now, and none of them may name a certificate of the chain. */
	struct span client_crl;
	/* The handshake fails without a valid client certificate; needs client_ca. */
	bool is_client_required;
};

/* KB_E_CONFIG with the reason in *why (static text) when the PEM is not usable, KB_E_NOMEM.  The
 * caller frees with SSL_CTX_free(). */
KB_MUST_CHECK enum kb_err tls_server_new(const struct tls_server *t, SSL_CTX **out,
					 const char **why);
/* There is a client certificate, this connection's handshake verified it against client_ca, and
 * every certificate of its chain, and a list of each of their CAs, is valid at now_s (wall clock):
 * a connection can live longer than its certificate. */
bool tls_client_verified(SSL *ssl, int64_t now_s);

/* Whose certificate the handshake verified, valid now or not: its SHA-256, and its common name or
 * else the first alternative name that is text, cut to KB_MAX_CALLER_NAME bytes.  False: none. */
bool tls_client_identity(SSL *ssl, uint8_t sha256[static 32], char name[static KB_MAX_CALLER_NAME],
			 size_t *name_len);
/* When the first CA has no revocation list any more that holds; 0: there are no lists. */
int64_t tls_crls_until(const SSL_CTX *ctx);

#endif
