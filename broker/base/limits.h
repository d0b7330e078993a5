/* base/limits.h — every bound of the product on one screen: unit, and why this number.  README
 * repeats the table. */
#ifndef KB_BASE_LIMITS_H
#define KB_BASE_LIMITS_H

/* Attestation token and the JSON in it */
#define KB_MAX_TOKEN        (192 * 1024) /* bytes, compact form; tokens with many GPUs reach 170 KiB */
#define KB_MAX_TOKEN_HEADER 4096         /* bytes, decoded; Azure Attestation's is ~200 */
#define KB_MAX_JSON_DEPTH   16           /* nested arrays/objects; real tokens use 5 */
#define KB_MAX_JSON_VALUES                                                                         \
	16384 /* values of one document, commas and brackets counted; real tokens have some        \
		 hundred */
#define KB_SCARCE                                                                                  \
	(8 * 1024 * 1024) /* bytes reserved for a parse that memory fails: 16384 values and three  \
			     copies of the longest text */
#define KB_MAX_KID       256 /* bytes; the longest seen is 44 */
#define KB_MAX_ISS       256 /* bytes */
#define KB_MAX_AUD       512 /* bytes; Google Confidential Space allows 512 */
#define KB_MAX_AUD_COUNT 16  /* entries of an `aud` array */
#define KB_MAX_NONCE     256 /* bytes, as text */
#define KB_NONCE_S                                                                                 \
	600 /* seconds a nonce of ours may be used: attestation services take seconds              \
	     */
#define KB_MAX_RUNTIME_KEYS 16 /* entries of x-ms-runtime.keys looked at; more is refused */

/* Issuer key sets */
#define KB_MAX_JWKS       (1024 * 1024) /* bytes of one fetched document */
#define KB_MAX_JWKS_KEYS  64            /* keys in one set; real sets hold 4–5 */
#define KB_MAX_X5C        8             /* certificates in one x5c */
#define KB_RSA_MIN_BITS   2048          /* NIST SP 800-131A */
#define KB_RSA_MAX_BITS   4096          /* a verify costs the square of this */
#define KB_RSA_MAX_E_BITS 32            /* a 3,072-bit exponent makes a verify 130 times dearer */

/* Release policy */
#define KB_MAX_POLICY (64 * 1024) /* bytes; the default CVM policy is 27 KiB */
#define KB_MAX_POLICY_NODES                                                                        \
	999 /* authorities + conditions + groups; the default CVM policy has 300 */
#define KB_MAX_POLICY_DEPTH 16   /* nested anyOf/allOf */
#define KB_MAX_CLAIM_PATH   256  /* bytes of a claim path */
#define KB_MAX_CLAIM_PARTS  16   /* names in a claim path */
#define KB_MAX_POLICY_VALUE 1024 /* bytes of a compared value */
#define KB_MAX_FAILINGS     8    /* failing conditions named in one ledger record */

/* HTTP */
#define KB_MAX_REQUEST_LINE 4096 /* bytes */
#define KB_MAX_HEADER_LINE                                                                         \
	8192 /* bytes of one header line; a bearer token of Azure AD is ~2 KiB                     \
	      */
#define KB_MAX_HEADER_BYTES 16384                 /* bytes of the whole head */
#define KB_MAX_HEADERS      64                    /* header lines; SDKs send about 12 */
#define KB_MAX_BODY         (KB_MAX_TOKEN + 8192) /* bytes: the token and the JSON round it */
#define KB_MAX_REPLY                                                                               \
	(160 * 1024) /* bytes of a reply's body: a 64 KiB policy is in it, in base64 twice over */
#define KB_MAX_CLIENT_REQUEST_ID 128  /* bytes echoed back */
#define KB_MAX_CHALLENGE         1024 /* bytes of a WWW-Authenticate value */
#define KB_BODY_BYTES                                                                              \
	(256 * 1024 * 1024) /* of request bodies that one gateway holds at once, declared sizes */
#define KB_BODY_BYTES_SOURCE                                                                       \
	(32 * 1024 * 1024) /* … of one source: 160 bodies of the greatest size, 3,000 usual ones \
			    */
#define KB_READ_IDLE   4096 /* bytes buffered of a connection that is idle or waits for its reply */
#define KB_MAX_METRICS (4 * 1024 * 1024) /* bytes of /metrics */

/* Frames between processes */
#define KB_MAX_FRAME     (256 * 1024) /* bytes of one SOCK_SEQPACKET message */
#define KB_MAX_BEARER    8192         /* bytes of a bearer token, for a dialect that asks for it */
#define KB_MAX_PEER      64           /* bytes of a client's address as text */
#define KB_MAX_NAME      256          /* bytes of a key's or an issuer's name beside a reply */
#define KB_MAX_REFUSAL   4096 /* bytes of the refusal that goes along with a single-use release */
#define KB_SOCKET_BUFFER (1024 * 1024) /* bytes of send buffer a process socket must have */

/* Time, milliseconds unless said */
#define KB_HANDSHAKE_MS                                                                            \
	10000 /* TLS handshake, accept to finished; from its turn, when it had to wait for one */
#define KB_ADMISSION_MS                                                                            \
	20000 /* first byte there until the handshake's turn: our own slowness, in a crowd */
#define KB_ACTIVE_MS                                                                               \
	500 /* a handshake counts as service for so long; after that it is the client who is slow  \
	     */
#define KB_FIRST_MS    100   /* and then, until the first request is there, for so long */
#define KB_HEADER_MS   10000 /* first byte of a head to its end */
#define KB_BODY_MS     10000 /* end of head to end of body */
#define KB_WRITE_MS    10000 /* reply handed to TLS until the last byte is taken */
#define KB_IDLE_MS     60000 /* keep-alive without a request */
#define KB_REQUEST_MS  10000 /* request complete until its reply is there; then 503 */
#define KB_HSM_CALL_MS 5000  /* a worker this long in one request is killed */
#define KB_DRAIN_MS    30000 /* an old generation may finish for this long */
#define KB_SPARE_IDLE_MS                                                                           \
	1000 /* when connections are all taken, one that is idle for so long makes room */
#define KB_DRAIN_IDLE_MS 1000 /* draining: an idle connection is closed after this */
#define KB_LINGER_MS                                                                               \
	2000 /* after our close_notify, wait this long for the peer's end, so that it reads the    \
		reply before a reset */
#define KB_TICK_MS       100  /* how finely a gateway looks at its deadlines */
#define KB_METRICS_MS    5000 /* one call of /metrics, /healthz or /readyz, accept to last byte */
#define KB_TLS_SESSION_S 3600 /* seconds a TLS session ticket is good for */
#define KB_RETRY_AFTER_S 1    /* seconds, in Retry-After */
#define KB_MAX_SKEW_S    300  /* seconds of clock skew a configuration may ask for */
#define KB_EPOCH_MIN_S   1785542400 /* 2026-08-01: a wall clock before this was never set */

/* Connections: defaults, the configuration may change them */
#define KB_CONNECTIONS        16384 /* in all */
#define KB_CONNECTIONS_SOURCE 1024  /* from one address (IPv6: one /64) */
#define KB_QUEUE              1024  /* requests waiting for a worker */
#define KB_MAX_WINDOW                                                                              \
	192 /* requests of one gateway that the vaults and the ledger hold at once: 2 a worker and \
	       one batch of the ledger */
#define KB_METRICS_CONNECTIONS 64 /* at once on the metrics listener */
#define KB_ACCEPT_BATCH                                                                            \
	32 /* connections taken, and handshakes begun, at one go, so that those there are get      \
	      their turn */
#define KB_ACTIVE                                                                                  \
	128 /* connections in service, beyond which nobody's handshake begins but a source's that  \
	       has less than its share */
#define KB_ACCEPT_PAUSE_MS 1000 /* after the descriptors ran out */
#define KB_CONNECTION_BYTES                                                                        \
	(32 * 1024) /* of memory a connection takes, about: TLS, buffers, itself */
#define KB_TRIM_BYTES                                                                              \
	(128 * 1024) /* given back to the system when a gateway holds half of what it held, and so \
			much less … */
#define KB_TRIM_MS           1000 /* … but not more often than this */
#define KB_SPARE_DESCRIPTORS 64   /* beside one a connection: listeners, processes, the loop */
#define KB_MAX_CLIENT_CHAIN                                                                        \
	32768 /* bytes of a TLS client's certificates: strangers send them before they are anyone  \
	       */

/* Fetcher */
#define KB_FETCH_MS        5000 /* one document, connect to last byte */
#define KB_FETCH_MIN_S     30   /* seconds between two fetches of one issuer, whatever asks */
#define KB_FRESH_MIN_S     300  /* Cache-Control is clamped to [this, KB_FRESH_MAX_S] */
#define KB_FRESH_MAX_S     86400
#define KB_FRESH_DEFAULT_S 3600  /* without Cache-Control */
#define KB_STALE_MAX_S     86400 /* seconds: default age at which a key set counts as absent */

/* Ledger */
#define KB_MAX_RECORD   8192 /* bytes of one line */
#define KB_LEDGER_BATCH 64   /* records committed by one sync at the most */
#define KB_COMMIT_WAIT_US                                                                          \
	2000 /* µs a batch waits for the record of a worker that is in a request: one sync serves \
		more */
#define KB_COMMIT_WAIT_BUSY_US                                                                     \
	6000 /* … while every worker is in one, because requests queue for them */
#define KB_COMMIT_LOOK_US 1500               /* … looking so often whether that is still so */
#define KB_LEDGER_SEGMENT (64 * 1024 * 1024) /* bytes; a new segment after this */
#define KB_LEDGER_CONFIGS                                                                          \
	64 /* configurations remembered, so that an old one that comes back is seen */
#define KB_REPLAY_ENTRIES                                                                          \
	262144 /* used tokens remembered for issuers with single_use; full means deny */

/* Guest program, broker/guest */
#define KB_GUEST_HEAD 32768 /* bytes of a reply's head */
#define KB_GUEST_REPLY                                                                             \
	(1024 * 1024)             /* bytes of a reply's body: what the clients that exist allow */
#define KB_GUEST_URLS       16    /* brokers of one --url */
#define KB_GUEST_TIMEOUT_S  120   /* seconds: default of --timeout, all attempts together */
#define KB_GUEST_CONNECT_MS 5000  /* one address; then the next one gets its chance */
#define KB_GUEST_CALL_MS    30000 /* one call, connect to last byte */
#define KB_GUEST_BACKOFF_MS                                                                        \
	500 /* the first wait is a random part of this, every next one of twice as much */
#define KB_GUEST_BACKOFF_MAX_MS 30000       /* … up to this */
#define KB_GUEST_RETRY_AFTER_S  60          /* seconds a Retry-After is honoured for */
#define KB_GUEST_CERTIFICATES   (64 * 1024) /* bytes of a VCEK's chain; AMD's is 6 KiB */

/* HSM */
#define KB_LOGIN_TURN_MS                                                                           \
	10000 /* a worker that starts waits this long for the others' logins: they take turns */
#define KB_LOGIN_LOOK_MS                                                                           \
	2000 /* one that serves, for a token that cannot be read while somebody logs in */
#define KB_HSM_ATTEMPTS 2 /* one call, and once more after a lost session */
#define KB_HSM_FAULTS                                                                              \
	3 /* device errors without a success between them; then a worker proves its HSM again, or  \
	     makes room for one that can */
#define KB_MAX_WORKERS  64
#define KB_MAX_SECRET   8192         /* bytes of one secret: RSA-4096 PKCS#8 is 2.4 KiB */
#define KB_SECRET_ARENA (256 * 1024) /* bytes locked in memory for secrets */
#define KB_MAX_OCT      64           /* bytes of a symmetric key; Managed HSM's limit */
#define KB_MIN_OCT      16

/* Processes: what the kernel gives them at the most, and must be able to give */
#define KB_VAULT_FILES                                                                             \
	64 /* descriptors of a vault; 9, and one that SoftHSM opens for each look at its token */
#define KB_LEDGER_FILES  256  /* … of the ledger: 16 a generation */
#define KB_FETCHER_FILES 2048 /* … of the fetcher: 6 an issuer, while it is fetched */
#define KB_LEDGER_MIB    512  /* MiB of the ledger's memory; one batch and the used tokens are 50 */
#define KB_FETCHER_MIB                                                                             \
	4096 /* … of the fetcher's: 256 issuers, each with a thread that resolves a name */
#define KB_MIN_PROCESSES                                                                           \
	8               /* processes the user may have, beside two a gateway and two a worker      \
			 */
#define KB_MIN_MIB 1024 /* MiB of address space a process may have, if that is limited at all */

/* Configuration */
#define KB_MAX_CONFIG    (1024 * 1024) /* bytes of one configuration file */
#define KB_MAX_LISTENERS 16
#define KB_MAX_GATEWAYS                                                                            \
	15 /* of one generation: a control message carries 16 descriptors, one of them for replies \
	    */
#define KB_MAX_ISSUERS  256
#define KB_MAX_KEYS     65536 /* key records; more need sealed versions */
#define KB_MAX_VERSIONS 100   /* versions of one key */
#define KB_MAX_KEY_NAME 127   /* bytes; Key Vault's limit */
#define KB_MAX_TAGS     15    /* Key Vault's limit */

#endif
