/* broker/gateway/tls.c — decides which TLS versions and ciphers are offered, which client
 * certificates are valid, and which sessions may be resumed.  Trusts OpenSSL.  Must never ask for a
 * passphrase, write to a file, offer anything weaker than AEAD with forward secrecy, or take an
 * earlier check of a client certificate for one that is made now. */
#include "gateway/tls.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/x509.h"

#define CIPHERS_1_2                                                                                \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:" \
	"ECDHE-RSA-AES256-GCM-SHA384:"                                                             \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS      "X25519:P-256:P-384"

/* ---- what is ours of an SSL_CTX ---- */

struct ticket_key {
	uint8_t name[16], cipher[32], mac[32];
	int64_t made_ms;
	bool is_made;
};
/* The keys that tickets of one listener are encrypted with: random, and never of two processes or
 * two generations, so a ticket ends with the configuration that gave it. */
struct ticket_keys {
	struct ticket_key now, before;
};
struct own {
	struct ticket_keys tickets;
	struct x509_crls crls;
};

static void free_own(void *parent, void *arg, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
	struct own *own = arg;

	(void)parent, (void)ad, (void)index, (void)argl, (void)argp;
	if (own != NULL)
		x509_crls_cleanup(&own->crls);
	OPENSSL_clear_free(own, sizeof *own);
}

static int own_index(void)
{
	static int index = -1;

	if (index < 0)
		index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_own);
	return index;
}

static struct own *own_of(const SSL_CTX *ctx)
{
	return SSL_CTX_get_ex_data(ctx, own_index());
}

static bool add_own(SSL_CTX *ctx)
{
	struct own *own = OPENSSL_zalloc(sizeof *own);

	if (own != NULL && SSL_CTX_set_ex_data(ctx, own_index(), own) == 1)
		return true;
	OPENSSL_free(own);
	return false;
}

/* ---- files ---- */

static BIO *bio_of(struct span pem)
{
	return pem.len == 0 || pem.len > INT32_MAX ? NULL : BIO_new_mem_buf(pem.p, (int)pem.len);
}

/* An encrypted key is an error: never ask for a passphrase. */
static int no_passphrase(char *out, int size, int is_writing, void *ctx)
{
	(void)out;
	(void)size;
	(void)is_writing;
	(void)ctx;
	return -1;
}

static bool use_certificate(SSL_CTX *ctx, struct span pem)
{
	BIO *bio = bio_of(pem);
	X509 *leaf = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
	bool is_good = leaf != NULL && SSL_CTX_use_certificate(ctx, leaf) == 1;

	X509_free(leaf);
	while (is_good) {
		X509 *next = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
		if (next == NULL) {
			is_good = ERR_GET_REASON(ERR_peek_last_error()) ==
				  PEM_R_NO_START_LINE; /* the end, not a broken block */
			break;
		}
		if (SSL_CTX_add0_chain_cert(ctx, next) != 1) {
			X509_free(next);
			is_good = false;
		}
	}
	BIO_free(bio);
	return is_good;
}

static bool use_key(SSL_CTX *ctx, struct span pem)
{
	BIO *bio = bio_of(pem);
	EVP_PKEY *key =
		bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	bool is_good = key != NULL && SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
		       SSL_CTX_check_private_key(ctx) == 1;

	EVP_PKEY_free(key);
	BIO_free(bio);
	return is_good;
}

static bool use_client_ca(SSL_CTX *ctx, struct span pem, bool is_required)
{
	BIO *bio = bio_of(pem);
	unsigned n = 0;
	bool is_good = bio != NULL;

	for (X509 *ca; is_good && (ca = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL;
	     n++) {
		is_good = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca) == 1 &&
			  SSL_CTX_add_client_CA(ctx, ca) == 1;
		X509_free(ca);
	}
	is_good = is_good && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	BIO_free(bio);
	/* RFC 5280 §4.2.1.12: a certificate with extended key usages must have clientAuth. */
	if (!is_good || n == 0 || SSL_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) != 1)
		return false;
	SSL_CTX_set_verify(ctx,
			   is_required ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
				       : SSL_VERIFY_PEER,
			   NULL);
	return true;
}

/* RFC 5280 section 6.3.  CRL_CHECK_ALL: a CA that was revoked must not go on through what it
 * issued.  A list that is missing, has ended or is not signed by its CA fails the handshake. */
static bool use_client_crl(SSL_CTX *ctx, struct span pem)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	struct x509_crls *crls = &own_of(ctx)->crls;

	if (x509_crls_load(pem, crls) != KB_OK)
		return false;
	for (size_t i = 0; i < crls->n; i++)
		if (X509_STORE_add_crl(store, crls->crl[i]) != 1)
			return false;
	return X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx),
					   X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1;
}

/* RFC 7301 §3.2: a client that offers protocols, but not http/1.1, gets an alert. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		       const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* ---- session tickets ---- */

/* A key makes tickets for KB_TLS_SESSION_S and reads them for as long again. */
static bool rotate_tickets(struct ticket_keys *k, int64_t now_ms)
{
	const int64_t life_ms = (int64_t)KB_TLS_SESSION_S * 1000;
	struct ticket_key *n = &k->now;

	if (n->is_made && now_ms - n->made_ms < life_ms)
		return true;
	OPENSSL_cleanse(&k->before, sizeof k->before);
	if (n->is_made && now_ms - n->made_ms < 2 * life_ms)
		k->before = *n;
	OPENSSL_cleanse(n, sizeof *n);
	n->made_ms = now_ms;
	n->is_made = RAND_bytes(n->name, sizeof n->name) == 1 &&
		     RAND_priv_bytes(n->cipher, sizeof n->cipher) == 1 &&
		     RAND_priv_bytes(n->mac, sizeof n->mac) == 1;
	return n->is_made;
}

static int use_ticket_key(struct ticket_key *k, const uint8_t *iv, EVP_CIPHER_CTX *cipher,
			  EVP_MAC_CTX *mac, int is_new)
{
	static char sha256[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof k->mac),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
		OSSL_PARAM_construct_end()};

	return EVP_MAC_CTX_set_params(mac, params) == 1 &&
			       EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv,
						 is_new) == 1
		       ? 1
		       : -1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3).  0: no ticket, or a full handshake.  TLS 1.2 gets none:
 * there a resumed session has no new key exchange, and whoever learns a ticket's key later reads
 * what was recorded.  In TLS 1.3 each resumption has one (psk_dhe_ke). */
static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		      EVP_MAC_CTX *mac, int is_new)
{
	struct ticket_keys *k = &own_of(SSL_get_SSL_CTX(ssl))->tickets;

	if (SSL_version(ssl) < TLS1_3_VERSION)
		return 0;
	if (!rotate_tickets(k, clock_mono_ms()))
		return -1;
	if (is_new) {
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
			return -1;
		memcpy(name, k->now.name, sizeof k->now.name);
		return use_ticket_key(&k->now, iv, cipher, mac, is_new);
	}
	struct ticket_key *used =
		memcmp(name, k->now.name, sizeof k->now.name) == 0 ? &k->now
		: k->before.is_made && memcmp(name, k->before.name, sizeof k->before.name) == 0
			? &k->before
			: NULL;
	if (used == NULL)
		return 0;
	/* 2: good, and the client gets another.  RFC 8446 appendix C.4: it uses a ticket once. */
	return use_ticket_key(used, iv, cipher, mac, is_new) == 1 ? 2 : -1;
}

static bool offer_tickets(SSL_CTX *ctx)
{
	return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key) == 1 &&
	       SSL_CTX_set_num_tickets(ctx, 1) == 1;
}

/* No session is resumed where client certificates are asked for.  A ticket has the client's
 * certificate of an earlier handshake, without the chain: it would go on when one of them has ended
 * or was revoked.  So every connection shows its certificate, and all checks are made. */
static bool refuse_tickets(SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	return SSL_CTX_set_num_tickets(ctx, 0) == 1;
}

static bool set_protocol(SSL_CTX *ctx)
{
	static const unsigned char session_context[] = "keybroker";

	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA |
					 SSL_OP_CLEANSE_PLAINTEXT); /* for bearer tokens */
	/* RELEASE_BUFFERS: 32 KiB less for an idle connection.  The other two let libevent resume a
	 * partial write from a moved buffer. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
	/* A session is kept, encrypted, by the client, or not at all: no cache here. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, KB_TLS_SESSION_S);
	SSL_CTX_set_max_cert_list(ctx, KB_MAX_CLIENT_CHAIN);
	SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) == 1 &&
	       SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3) == 1 &&
	       SSL_CTX_set1_groups_list(ctx, GROUPS) == 1 &&
	       SSL_CTX_set_max_early_data(ctx, 0) == 1 &&
	       SSL_CTX_set_recv_max_early_data(ctx, 0) == 1 &&
	       SSL_CTX_set_session_id_context(ctx, session_context, sizeof session_context - 1) ==
		       1;
}

enum kb_err tls_server_new(const struct tls_server *t, SSL_CTX **out, const char **why)
{
	enum kb_err err = KB_E_CONFIG;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	*out = NULL;
	*why = "out of memory";
	ERR_clear_error();
	if (ctx == NULL || !set_protocol(ctx) || !add_own(ctx) ||
	    !(t->client_ca.len > 0 ? refuse_tickets(ctx) : offer_tickets(ctx))) {
		err = KB_E_NOMEM;
		goto out;
	}
	*why = "the certificate is not a PEM chain, or too weak";
	if (!use_certificate(ctx, t->certificate))
		goto out;
	*why = "the key is not an unencrypted PEM key, or not the certificate's";
	if (!use_key(ctx, t->key))
		goto out;
	*why = "client_ca is not a list of PEM certificates";
	if (t->client_ca.len > 0 && !use_client_ca(ctx, t->client_ca, t->is_client_required))
		goto out;
	*why = "client_crl is not a list of PEM revocation lists";
	if (t->client_crl.len > 0 && !use_client_crl(ctx, t->client_crl))
		goto out;
	*why = "client_crl is there, but there is no client_ca";
	if (t->client_crl.len > 0 && t->client_ca.len == 0)
		goto out;
	*why = "client certificates are required, but there is no client_ca";
	if (t->is_client_required && t->client_ca.len == 0)
		goto out;
	*why = NULL;
	*out = ctx;
	ctx = NULL;
	err = KB_OK;
out:
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return err;
}

static bool is_valid_at(const X509 *cert, time_t now)
{
	/* 0 is an error.  As in OpenSSL's own check, notAfter itself is too late. */
	return X509_cmp_time(X509_get0_notBefore(cert), &now) < 0 &&
	       X509_cmp_time(X509_get0_notAfter(cert), &now) > 0;
}

bool tls_client_verified(SSL *ssl, int64_t now_s)
{
	/* The verify result is X509_V_OK without a certificate, too: check both.  A resumed session
	 * has no chain. */
	const STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);

	if (SSL_get0_peer_certificate(ssl) == NULL || SSL_get_verify_result(ssl) != X509_V_OK ||
	    sk_X509_num(chain) <= 0)
		return false;
	const struct x509_crls *crls = &own_of(SSL_get_SSL_CTX(ssl))->crls;
	for (int i = 0; i < sk_X509_num(chain); i++) {
		const X509 *cert = sk_X509_value(chain, i);
		if (!is_valid_at(cert, (time_t)now_s) ||
		    (crls->n > 0 && x509_crls_until(crls, X509_get_issuer_name(cert)) <= now_s))
			return false;
	}
	return true;
}

/* A name is for people: a part of a character at its end is replaced when it is written. */
static size_t copy_name(const ASN1_STRING *s, char *name)
{
	unsigned char *utf8 = NULL;
	int len = s == NULL ? 0 : ASN1_STRING_to_UTF8(&utf8, s);
	size_t n = len <= 0 ? 0 : (size_t)len;

	if (n > KB_MAX_CALLER_NAME)
		n = KB_MAX_CALLER_NAME;
	if (n > 0)
		memcpy(name, utf8, n);
	OPENSSL_free(utf8);
	return n;
}

static size_t common_name(X509 *cert, char *name)
{
	X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

	return at < 0 ? 0
		      : copy_name(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), name);
}

static size_t alternative_name(X509 *cert, char *name)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t len = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(all) && len == 0; i++) {
		const GENERAL_NAME *n = sk_GENERAL_NAME_value(all, i);
		if (n->type == GEN_DNS || n->type == GEN_EMAIL || n->type == GEN_URI)
			len = copy_name(n->d.ia5, name);
	}
	GENERAL_NAMES_free(all);
	return len;
}

bool tls_client_identity(SSL *ssl, uint8_t sha256[static 32], char name[static KB_MAX_CALLER_NAME],
			 size_t *name_len)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);

	*name_len = 0;
	if (cert == NULL || SSL_get_verify_result(ssl) != X509_V_OK ||
	    X509_digest(cert, EVP_sha256(), sha256, NULL) != 1)
		return false;
	if ((*name_len = common_name(cert, name)) == 0)
		*name_len = alternative_name(cert, name);
	ERR_clear_error();
	return true;
}

int64_t tls_crls_until(const SSL_CTX *ctx)
{
	struct x509_times t;

	x509_crls_times(&own_of(ctx)->crls, &t);
	return t.first_end_s;
}
