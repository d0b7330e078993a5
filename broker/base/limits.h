/* broker/base/limits.h — every bound of the product, with its unit and the reason for the number.
 * keybroker-limits(7) is generated from this file: run `make limits-page` after a change.
 *
 * Format: a heading "---- Group ----", then for each limit a comment "unit: reason" directly above
 * its #define. */
#ifndef KB_BASE_LIMITS_H
#define KB_BASE_LIMITS_H

/* ---- Attestation token and its JSON ---- */

/* bytes: Length of a token in compact form. Tokens that describe many GPUs reach 170 KiB. */
#define KB_MAX_TOKEN (192 * 1024)
/* bytes: Length of the decoded token header. Azure Attestation's header has about 200. */
#define KB_MAX_TOKEN_HEADER 4096
/* levels: Nesting of arrays and objects in JSON. Real tokens use 5. */
#define KB_MAX_JSON_DEPTH 16
/* values: Size of one JSON document, counted by its commas and brackets. Real tokens have some
 * hundred. */
#define KB_MAX_JSON_VALUES 16384
/* bytes: Length of a number that is compared. Other numbers are read, but no condition about them
 * holds. A 64-bit integer has 20. */
#define KB_MAX_NUMBER 64
/* bytes: Reserve for jansson and cjose when malloc() fails, because they do not handle that. Enough
 * for KB_MAX_JSON_VALUES values and three copies of the longest text. */
#define KB_RESERVE (8 * 1024 * 1024)
/* bytes: Length of a key id. The longest one seen has 44. */
#define KB_MAX_KID 256
/* bytes: Length of "iss". */
#define KB_MAX_ISS 256
/* bytes: Length of one audience. Google Confidential Space allows 512. */
#define KB_MAX_AUD 512
/* entries: Audiences in an "aud" array. */
#define KB_MAX_AUD_COUNT 16
/* bytes: Length of a nonce as text. */
#define KB_MAX_NONCE 256
/* seconds: Lifetime of a nonce made by the broker. Attestation services take seconds. */
#define KB_NONCE_S 600
/* entries: Keys in x-ms-runtime.keys. A token with more is refused. */
#define KB_MAX_RUNTIME_KEYS 16

/* ---- Issuer key sets ---- */

/* bytes: Size of one fetched document. */
#define KB_MAX_JWKS (1024 * 1024)
/* keys: Keys in one set. Real sets hold 4 or 5. */
#define KB_MAX_JWKS_KEYS 64
/* entries: Entries of a key set that are not used and whose reason is shown. */
#define KB_MAX_JWKS_DROPS 8
/* certificates: Length of one x5c chain. */
#define KB_MAX_X5C 8
/* bits: Smallest RSA modulus that is accepted (NIST SP 800-131A). */
#define KB_RSA_MIN_BITS 2048
/* bits: Largest RSA modulus that is accepted. The cost of a verification grows with its square. */
#define KB_RSA_MAX_BITS 4096
/* bits: Largest RSA public exponent. With a 3,072-bit exponent, a verification costs 130 times as
 * much. */
#define KB_RSA_MAX_E_BITS 32

/* ---- Release policy ---- */

/* bytes: Size of one policy. Azure's default policy for confidential VMs has 27 KiB. */
#define KB_MAX_POLICY (64 * 1024)
/* nodes: Authorities, conditions and groups in one policy. The default policy has 300. */
#define KB_MAX_POLICY_NODES 999
/* levels: Nesting of anyOf and allOf. */
#define KB_MAX_POLICY_DEPTH 16
/* bytes: Length of a claim's path. */
#define KB_MAX_CLAIM_PATH 256
/* names: Names in a claim's path. */
#define KB_MAX_CLAIM_PARTS 16
/* objects: Objects of the token that are searched for one path with dots, which may be divided into
 * names in several ways. With more, the condition does not hold. */
#define KB_MAX_CLAIM_OBJECTS 64
/* places: Places of the token that one path names. With more, the condition does not hold. */
#define KB_MAX_CLAIM_PLACES 8
/* parts: Parts of one token (submodules) that can be debugged and that a policy may allow. With
 * more, the token is refused: the policy is evaluated once for each. */
#define KB_MAX_DEBUG_PARTS 16
/* bytes: Length of a value that a claim is compared with. */
#define KB_MAX_POLICY_VALUE 1024
/* conditions: Failed conditions that one ledger record names. */
#define KB_MAX_FAILINGS 8

/* ---- HTTP ---- */

/* bytes: Length of the request line. */
#define KB_MAX_REQUEST_LINE 4096
/* bytes: Length of one header line. A bearer token of Microsoft Entra has about 2 KiB. */
#define KB_MAX_HEADER_LINE 8192
/* bytes: Size of the whole request head. */
#define KB_MAX_HEADER_BYTES 16384
/* lines: Header lines in one request. SDKs send about 12. */
#define KB_MAX_HEADERS 64
/* bytes: Size of a request body: the token and the JSON around it. */
#define KB_MAX_BODY (KB_MAX_TOKEN + 8192)
/* bytes: Size of a reply body. It holds the policy (up to 64 KiB) encoded in base64 twice. */
#define KB_MAX_REPLY (160 * 1024)
/* bytes: Length of a client's request id, which the reply repeats. */
#define KB_MAX_CLIENT_REQUEST_ID 128
/* bytes: Length of a WWW-Authenticate value. */
#define KB_MAX_CHALLENGE 1024
/* bytes: Request bodies that one gateway holds at once, by their declared sizes. */
#define KB_BODY_BYTES (256 * 1024 * 1024)
/* bytes: The same for one source address: 160 bodies of the largest size, or 3,000 usual ones. */
#define KB_BODY_BYTES_SOURCE (32 * 1024 * 1024)
/* bytes: Input buffered for a connection that is idle or waits for its reply. */
#define KB_READ_IDLE 4096
/* bytes: Size of the /metrics document. */
#define KB_MAX_METRICS (4 * 1024 * 1024)

/* ---- Frames between processes ---- */

/* bytes: Size of one SOCK_SEQPACKET message. */
#define KB_MAX_FRAME (256 * 1024)
/* bytes: Length of a bearer token that travels to a worker, for an API dialect that asks for it. */
#define KB_MAX_BEARER 8192
/* bytes: Length of a client's address as text. */
#define KB_MAX_PEER 64
/* bytes: Length of the key's name or the issuer's name that travels with a reply. */
#define KB_MAX_NAME 256
/* bytes: Size of the refusal that travels with a single-use release. The ledger sends it when the
 * token was used before. */
#define KB_MAX_REFUSAL 4096
/* bytes: Send buffer that a socket between processes must have. */
#define KB_SOCKET_BUFFER (1024 * 1024)

/* ---- Deadlines and times ---- */

/* ms: Duration of a TLS handshake, from accept. A handshake that waited for admission is counted
 * from admission. */
#define KB_HANDSHAKE_MS 10000
/* ms: Longest wait for admission, from a connection's first byte until its handshake starts. The
 * wait is caused by the broker's load, not by the client. */
#define KB_ADMISSION_MS 20000
/* ms: A handshake counts as active for this long. After that the client is the slow side. */
#define KB_ACTIVE_MS 500
/* ms: After the handshake, the connection stays active for this long to send its first request. */
#define KB_FIRST_MS 100
/* ms: From the first byte of a request head to its end. */
#define KB_HEADER_MS 10000
/* ms: From the end of the head to the end of the body. */
#define KB_BODY_MS 10000
/* ms: From handing the reply to TLS until the last byte is written. */
#define KB_WRITE_MS 10000
/* ms: A kept-alive connection without a request is closed after this. Before its first request, a
 * connection has KB_HEADER_MS for the first byte, and again for the rest of the head. */
#define KB_IDLE_MS 60000
/* ms: From the complete request to its reply. After that the client gets 503. */
#define KB_REQUEST_MS 10000
/* ms: A worker that stays in one request for this long is killed. */
#define KB_HSM_CALL_MS 5000
/* ms: The same for the generation of a key pair, which takes a small HSM many seconds. The
 * self-test at the start needs one. */
#define KB_HSM_GENERATE_MS 15000
/* ms: After a reload, the old gateways may serve the connections that they have for this long: all
 * deadlines of one connection after another, from accept to the last byte of its reply. */
#define KB_DRAIN_MS 92000
/* ms: After its gateways have ended, the vaults of an old generation may take this long to read
 * what is left in their sockets: the deadline of the last request, and one call that hangs. */
#define KB_EMPTY_MS 15000
/* ms: When the broker stops, connections are served for this long. Together with KB_EMPTY_MS it is
 * less than a service manager waits (TimeoutStopSec=40). */
#define KB_STOP_MS 20000
/* ms: An old gateway that has not given up its listening sockets after this hangs and is killed.
 * The reload is reported when all have given them up. */
#define KB_HANDOVER_MS 3000
/* ms: When all connections are taken, one that was idle for this long is closed for a new one. */
#define KB_SPARE_IDLE_MS 1000
/* ms: In a generation that ends, a connection that has had an answer is closed when it was idle for
 * this long. */
#define KB_DRAIN_IDLE_MS 1000
/* ms: After close_notify, wait this long for the client to close. Closing at once could send a
 * reset, and the client would lose the reply. */
#define KB_LINGER_MS 2000
/* ms: Interval in which a gateway checks its deadlines. */
#define KB_TICK_MS 100
/* ms: One call of /metrics, /healthz or /readyz, from accept to the last byte. */
#define KB_METRICS_MS 5000
/* seconds: Lifetime of a TLS session ticket. */
#define KB_TLS_SESSION_S 3600
/* seconds: Value of the Retry-After header. */
#define KB_RETRY_AFTER_S 1
/* seconds: Largest clock skew that a configuration may allow; a stored time that is further ahead
 * of the clock counts as none. */
#define KB_MAX_SKEW_S 300
/* seconds since 1970: 2026-08-01. A wall clock before this was never set. */
#define KB_EPOCH_MIN_S 1785542400
/* seconds since 1970: The end of the year 9999, the last that RFC 3339 can write. Sums of two such
 * times, and microseconds of one, fit into 64 bits. */
#define KB_TIME_MAX_S 253402300799

/* ---- Connections and queue ---- */

/* connections: Connections in all; default of limits.connections. */
#define KB_CONNECTIONS 16384
/* connections: Connections of one source address (IPv6: one /64); default of
 * limits.connections_per_source. */
#define KB_CONNECTIONS_SOURCE 1024
/* requests: Requests that wait for a worker; default of limits.queue. */
#define KB_QUEUE 1024
/* requests: Requests of one gateway that the vaults and the ledger hold at once: 2 for each worker
 * and one batch of the ledger. */
#define KB_MAX_WINDOW 192
/* connections: Connections of the metrics listener at once. */
#define KB_METRICS_CONNECTIONS 64
/* connections: Connections accepted, and handshakes started, before the event loop serves the
 * existing connections again. */
#define KB_ACCEPT_BATCH 32
/* connections: Soft limit of active connections. Above it, only sources below their fair share may
 * start a TLS handshake. */
#define KB_ACTIVE 128
/* ms: Pause of accept() after it ran out of file descriptors. */
#define KB_ACCEPT_PAUSE_MS 1000
/* bytes: Memory that one connection takes, about: TLS state, buffers, its own structure. */
#define KB_CONNECTION_BYTES (32 * 1024)
/* bytes: Call malloc_trim() when memory use has fallen by half and by at least this many bytes. */
#define KB_TRIM_BYTES (128 * 1024)
/* ms: Shortest interval between two calls of malloc_trim(). */
#define KB_TRIM_MS 1000
/* descriptors: File descriptors beside one for each connection: listeners, sockets to the other
 * processes, the event loop. */
#define KB_SPARE_DESCRIPTORS 64
/* bytes: Size of a TLS client's certificate chain. Clients send it before they are
 * authenticated. */
#define KB_MAX_CLIENT_CHAIN 32768

/* ---- Penalties of source addresses ---- */

/* seconds: Penalty for one refused call, failed handshake or wrong credential; default of
 * penalties.failure. A client that fails less often than once in this time is never blocked. */
#define KB_PENALTY_FAILURE_S 1
/* seconds: Sum of penalties from which on a source address is blocked; default of
 * penalties.threshold. */
#define KB_PENALTY_THRESHOLD_S 30
/* seconds: Largest sum of penalties, so the longest block; default of penalties.longest. */
#define KB_PENALTY_LONGEST_S 60
/* seconds: A source address is not blocked for this long after a release: many guests may share it
 * (NAT), and one that fails must not lock out the others. */
#define KB_PENALTY_TRUST_S 600
/* sources: Source addresses that one gateway remembers penalties and releases of, 32 bytes each.
 * When a place is needed, the one whose time ends first is forgotten. */
#define KB_PENALTY_SOURCES 16384
/* networks: Entries of penalties.exempt. */
#define KB_PENALTY_EXEMPT 64

/* ---- Log ---- */

/* lines: Lines of one event that a process logs at once. What clients can repeat must not fill the
 * log. */
#define KB_LOG_BURST 256
/* ms: After that burst, one line of an event in this time: 4 MB a day. */
#define KB_LOG_EVERY_MS 6000
/* events: Events whose lines a process counts apart. The product has about 80. */
#define KB_LOG_EVENTS 128

/* ---- Fetcher ---- */

/* ms: One document, from connect to the last byte. */
#define KB_FETCH_MS 5000
/* seconds: Shortest interval between two fetches from one issuer, whatever asks for them; default
 * of min_interval. */
#define KB_FETCH_MIN_S 30
/* seconds: Shortest time that a key set counts as fresh, whatever its Cache-Control says. */
#define KB_FRESH_MIN_S 300
/* seconds: Longest time that a key set counts as fresh, whatever its Cache-Control says. */
#define KB_FRESH_MAX_S 86400
/* seconds: Time that a key set counts as fresh when it has no Cache-Control. */
#define KB_FRESH_DEFAULT_S 3600
/* seconds: Age at which a key set counts as absent; default of max_stale. */
#define KB_STALE_MAX_S 86400

/* tokens: Unknown kids that a worker remembers for each issuer, to say a final no after the next
 * fetch. */
#define KB_KID_MISSES 8
/* seconds: How often a worker looks for a new key set without being asked. */
#define KB_KEYSET_LOOK_S 1
/* seconds: Files of key sets that the configuration does not name are removed when they are as old
 * as this: longer than an older generation may live. */
#define KB_KEYSET_SWEEP_S 600

/* ---- Ledger ---- */

/* bytes: Length of one record. */
#define KB_MAX_RECORD 8192
/* records: Records that one sync commits. */
#define KB_LEDGER_BATCH 64
/* bytes: Responses that wait for one gateway. A gateway that does not read for longer loses
 * responses, and its clients get 503. */
#define KB_LEDGER_OUTBOX (2 * 1024 * 1024)
/* us: A batch waits this long for the record of a worker that is in a request, so that one sync
 * serves more requests. */
#define KB_COMMIT_WAIT_US 2000
/* us: The same while every worker is in a request: then others wait in the queue. */
#define KB_COMMIT_WAIT_BUSY_US 6000
/* us: During that wait, interval between two checks that every worker is still in a request. */
#define KB_COMMIT_LOOK_US 1500
/* bytes: Size after which a new segment starts; default of limits.ledger_segment_bytes. */
#define KB_LEDGER_SEGMENT (64 * 1024 * 1024)
/* configurations: Configurations remembered to detect that an old one is in force again. */
#define KB_LEDGER_CONFIGS 64
/* tokens: Used tokens remembered for issuers with single_use. When this memory is full, their
 * releases are answered 503 until a token in it has expired. */
#define KB_REPLAY_ENTRIES 262144
/* seconds: Retry-After while that memory is full. */
#define KB_REPLAY_RETRY_S 30
/* seconds: A token of an issuer with single_use is answered again for this long after its first
 * answer, which may have been lost; default of single_use_grace. */
#define KB_SINGLE_USE_GRACE_S 60
/* seconds: Largest single_use_grace. */
#define KB_SINGLE_USE_GRACE_MAX_S 600
/* bytes: Free space kept for records of releases; default of limits.ledger_reserve. With less free
 * space, refusals are only counted. Enough for 50,000 releases. */
#define KB_LEDGER_RESERVE (128 * 1024 * 1024)
/* seconds: Refusals that are only counted are recorded as sums after this time. */
#define KB_REFUSAL_WINDOW_S 60
/* records: Refusals of one source address with one code that are recorded whole in that time;
 * default of refusals.per_source. */
#define KB_REFUSAL_WHOLE 5
/* bytes: Size of all records of refusals in that time, sums included; default of refusals.bytes. */
#define KB_REFUSAL_BYTES 1000000
/* sums: Sums by source address and code in that time. Further ones are summed by code alone. */
#define KB_REFUSAL_SUMS 1024
/* sums: The same while the free space is below limits.ledger_reserve. */
#define KB_REFUSAL_SUMS_LOW 64

/* ---- Guest program ---- */

/* bytes: Size of a reply's head. */
#define KB_GUEST_HEAD 32768
/* bytes: Size of a reply's body. Existing clients allow the same. */
#define KB_GUEST_REPLY (1024 * 1024)
/* URLs: Brokers in one --url. */
#define KB_GUEST_URLS 16
/* pins: Public keys in one --signer-pin. */
#define KB_GUEST_PINS 16
/* addresses: Of one name that the guest tries. A name server may send thousands. */
#define KB_GUEST_ADDRESSES 8
/* seconds: All attempts together; default of --timeout. */
#define KB_GUEST_TIMEOUT_S 120
/* ms: Resolving one name. Resolvers ask the second name server after 5 seconds. */
#define KB_GUEST_RESOLVE_MS 10000
/* ms: Connecting to one address. */
#define KB_GUEST_CONNECT_MS 5000
/* ms: The TLS handshake with one address. Longer than KB_ADMISSION_MS: a busy broker lets a
 * handshake wait that long, and a guest that gives up before loses its turn. */
#define KB_GUEST_TLS_MS 25000
/* ms: After this time without a finished handshake, the next address is tried at the same time
 * (RFC 8305). It is long for that, so that a slow broker is not asked twice without need. */
#define KB_GUEST_NEXT_MS 2000
/* ms: One call, from the end of the handshake to the last byte. */
#define KB_GUEST_CALL_MS 30000
/* ms: The first wait before a retry is a random part of this. The bound doubles with each retry. */
#define KB_GUEST_BACKOFF_MS 500
/* ms: Largest bound of the wait before a retry. */
#define KB_GUEST_BACKOFF_MAX_MS 30000
/* seconds: Longest Retry-After that is obeyed. */
#define KB_GUEST_RETRY_AFTER_S 60
/* bytes: Size of a VCEK certificate chain. AMD's has 6 KiB. */
#define KB_GUEST_CERTIFICATES (64 * 1024)

/* ---- HSM ---- */

/* ms: A starting worker waits this long for the logins of other workers. Logins run one at a time
 * because SoftHSM rewrites the token's file at each. */
#define KB_LOGIN_TURN_MS 10000
/* ms: A serving worker waits this long when it cannot read the token while another worker logs
 * in. */
#define KB_LOGIN_LOOK_MS 2000
/* attempts: One call, and one repetition after a lost session. */
#define KB_HSM_ATTEMPTS 2
/* errors: Device errors without a success between them. Then the worker repeats the self-test of
 * its HSM, or exits and is replaced by one whose HSM works. */
#define KB_HSM_FAULTS 3
/* processes: Vault workers; upper bound of hsm.workers. */
#define KB_MAX_WORKERS 64
/* bytes: Length of one secret. PKCS#8 of RSA-4096 has 2.4 KiB. */
#define KB_MAX_SECRET 8192
/* bytes: Locked memory that secrets live in. */
#define KB_SECRET_ARENA (256 * 1024)
/* bytes: Longest symmetric key; Managed HSM has the same limit. */
#define KB_MAX_OCT 64
/* bytes: Shortest symmetric key. */
#define KB_MIN_OCT 16

/* ---- Resources of the processes ---- */

/* descriptors: Open files of a vault. It needs 9, and SoftHSM opens one more for each access to its
 * token. */
#define KB_VAULT_FILES 64
/* descriptors: Open files of the ledger: 16 for each generation. */
#define KB_LEDGER_FILES 256
/* descriptors: Open files of the fetcher: 6 for each issuer while it is fetched. */
#define KB_FETCHER_FILES 2048
/* MiB: Address space of the ledger. One batch and the used tokens take 50. */
#define KB_LEDGER_MIB 512
/* MiB: Address space of the fetcher: 256 issuers, each with a thread that resolves a name. */
#define KB_FETCHER_MIB 4096
/* descriptors: Open files that the supervisor must be allowed: two numbers for the page of each
 * possible process, and the sockets of four generations. */
#define KB_SUPERVISOR_FILES 1024
/* ms: A process whose loop has not turned for this long is killed. The supervisor counts only time
 * in which it ran itself. */
#define KB_HEARTBEAT_MS 15000
/* ms: The same for a ledger during one write and sync: a slow disk is not cured by a restart. */
#define KB_HEARTBEAT_SYNC_MS 60000
/* processes: Processes that the user must be allowed, beside two for each gateway and two for each
 * worker. While generations change there are twice as many. */
#define KB_MIN_PROCESSES 8
/* MiB: Address space that a process must be allowed, where it is limited at all. */
#define KB_MIN_MIB 1024

/* ---- Configuration ---- */

/* bytes: Size of one configuration file. */
#define KB_MAX_CONFIG (1024 * 1024)
/* lists: Certificate revocation lists in one file. */
#define KB_MAX_CRLS 64
/* bytes: A caller's name in the ledger: of a line of a bearer_file, or of a client certificate. */
#define KB_MAX_CALLER_NAME 128
/* bytes: What the ledger keeps of the SHA-256 of a caller's credential: two of them are alike by
 * chance once in a billion instances with the greatest bearer_file. */
#define KB_CALLER_SHA256 8
/* listeners: Entries of "listeners". */
#define KB_MAX_LISTENERS 16
/* processes: Gateways of one generation. A control message carries 16 descriptors, and one of them
 * is for replies. */
#define KB_MAX_GATEWAYS 15
/* issuers: Files in the directory of issuers. */
#define KB_MAX_ISSUERS 256
/* records: Key records. Each is read and checked at every start and reload. */
#define KB_MAX_KEYS 65536
/* versions: Versions of one key. */
#define KB_MAX_VERSIONS 100
/* bytes: Length of a key's name; Key Vault has the same limit. */
#define KB_MAX_KEY_NAME 127
/* tags: Tags of one key; Key Vault has the same limit. */
#define KB_MAX_TAGS 15

#endif
