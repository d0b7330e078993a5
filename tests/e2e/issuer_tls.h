/* tests/e2e/issuer_tls.h — the test issuer's certificates: the good one, and bad ones for clients
 * that ask by their names. */
#ifndef KB_TESTS_ISSUER_TLS_H
#define KB_TESTS_ISSUER_TLS_H
#include <openssl/ssl.h>

/* From server.pem and server.key in `dir`.  When ca.key and ca.pem are there too, a ClientHello for
 * these names meets a fault: expired.localhost  self.localhost  foreign.localhost (of another CA)
 * old.localhost (TLS 1.1)  stall.localhost (no answer)  reset.localhost NULL: cannot be used. */
SSL_CTX *issuer_tls_new(const char *dir);

#endif
