/* tests/e2e/test_softhsm.c — the real SoftHSM behind the running broker: its directory goes and
 * comes back, its files are deleted, locked and damaged, and keys in it are exchanged.  Never
 * a wrong key. */
#include <dlfcn.h>
#include <ftw.h>
#include <openssl/core_names.h>
#include <pwd.h>
#include <sys/wait.h>

#include "tests/fault/hsm_stand.h"

enum { WORKERS = 2 };

static int setup(void **state)
{
	(void)state;
	stand_start(WORKERS);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	stand_stop();
	return 0;
}

static void shell(const char *script)
{
	char *out = NULL;
	if (run_program(&out, (const char *const[]){"/bin/sh", "-ec", script, in.dir, NULL}) != 0)
		GOOD(wrong("%s: %s", script, out));
	free(out);
}

/* New workers, which read the token anew. */
static void reload(void)
{
	char *out = NULL;
	if (CTL(&in, &out, "reload") != 0)
		GOOD(wrong("reload: %s", out));
	free(out);
	workers_are_up(WORKERS);
}

static int well_again(void **state)
{
	(void)state;
	shell("cd \"$0/hsm\"; if [ -d away ]; then rm -rf tokens; cp -a away tokens; fi");
	GOOD(broker_wait_ready(&in, READY_MS));
	reload();
	GOOD(invariants_hold(&in));
	return 0;
}

/* Right or refused, nothing else. */
static bool right_or_refused(const char *name)
{
	struct outcome o = ask_key(name);
	if ((o.status != 200 && o.status != 503 && !is_hsm_refusal(&o)) || o.why[0] != '\0')
		GOOD(wrong("%s: status %d, %s %s", name, o.status, o.code, o.why));
	return o.status == 200;
}

/* ---- C15 ---- */

/* Clients that go on asking, from another process; they stop at a wrong key. */
static pid_t ask_for_ever(void)
{
	static const char *const names[] = {"key", "rsa", "other"};
	pid_t parent = getpid(), pid = fork();
	if (pid != 0)
		return pid;
	for (unsigned i = 0; getppid() == parent; i++) {
		struct outcome o = ask_key(names[i % 3]);
		/* never 403: what is gone is the device, and no fault of the one key */
		if ((o.status == 200 && o.why[0] != '\0') || (o.status != 200 && o.status != 503)) {
			fprintf(stderr, "%s: status %d %s %s\n", names[i % 3], o.status, o.code,
				o.why);
			_exit(1);
		}
	}
	_exit(0);
}

static void stop_asking(pid_t pid)
{
	int status;
	if (waitpid(pid, &status, WNOHANG) == pid)
		GOOD("a client got a wrong key, or an answer that is none");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static void test_c15_token_directory_goes_and_comes_back(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		pid_t asking = ask_for_ever();
		sleep_ms(200);
		shell("cd \"$0/hsm\"; mv tokens gone");
		unsigned red_ms = until_ready_is(503, 10000);
		sleep_ms(1000);
		assert_int_equal(metrics_get(&in, "/readyz", NULL), 503);
		shell("cd \"$0/hsm\"; mv gone tokens");
		unsigned long long from = now_ms();
		GOOD(ask_within("key", 10000));
		GOOD(broker_wait_ready(&in, READY_MS));
		unsigned back_ms = (unsigned)(now_ms() - from);
		stop_asking(asking);
		if (red_ms > 3000 || back_ms > 10000)
			GOOD(wrong("/readyz was red after %u ms, back after %u ms", red_ms,
				   back_ms));
		workers_are_up(WORKERS);
	}
}

/* While it runs, and for workers that start on what is left: clients ask all the time and never get
 * a wrong key. */
static void damaged(const char *script, bool may_start)
{
	char *out = NULL;
	shell("cd \"$0/hsm\"; rm -rf away; cp -a tokens away");
	pid_t asking = ask_for_ever();
	sleep_ms(200);
	shell(script);
	sleep_ms(1200); /* long enough for idle workers to look after their token */
	int status =
		CTL(&in, &out, "reload"); /* the old workers stay when the new ones cannot start */
	free(out);
	if (status == 0 && !may_start)
		GOOD(wrong("a reload on %s was accepted", script));
	shell("cd \"$0/hsm\"; rm -rf tokens; cp -a away tokens");
	unsigned long long from = now_ms();
	GOOD(ask_within("key", 10000));
	GOOD(ask_within("rsa", 10000));
	assert_true(now_ms() - from < 12000);
	stop_asking(asking);
}

/* The signer's objects are the oldest.  In another order a key's object is missing on a token that
 * still serves, for a moment, and the refusal of that key is right. */
#define OLDEST_FIRST "cd \"$0/hsm/tokens\"; files=$(ls -tr */*.object); "

static void test_c15_token_files_deleted(void **state)
{
	(void)state;
	damaged(OLDEST_FIRST "rm -f $files", false);
}

/* The one file that logins write: it comes back from its copy, and with it every key. */
static void test_c15_token_object_deleted(void **state)
{
	char *out = NULL;

	(void)state;
	shell("cd \"$0/hsm/tokens\"; ls */token.keep >/dev/null; rm -f */token.object");
	assert_int_equal(CTL(&in, &out, "reload"), 0);
	free(out);
	shell("cd \"$0/hsm/tokens\"; cmp */token.object */token.keep");
	GOOD(ask_within("key", 10000));
	GOOD(ask_within("rsa", 10000));
}

/* A copy is made of what a login was good for, and of nothing else. */
static void test_c15_garbage_is_not_kept(void **state)
{
	char *out = NULL;

	(void)state;
	shell("cd \"$0/hsm\"; rm -rf away; cp -a tokens away; for f in tokens/*/token.object; do "
	      "head -c 400 /dev/urandom >\"$f\"; done");
	assert_int_not_equal(CTL(&in, &out, "reload"), 0);
	free(out);
	shell("cd \"$0/hsm\"; cmp tokens/*/token.keep away/*/token.keep");
}

static void test_c15_token_files_read_only(void **state)
{
	(void)state;
	damaged("cd \"$0/hsm/tokens\"; chmod -R a-w .", true);
	damaged("cd \"$0/hsm/tokens\"; chmod -R a-r .", geteuid() != 0);
}

static void test_c15_token_files_empty_or_garbage(void **state)
{
	(void)state;
	damaged(OLDEST_FIRST "for f in $files; do : >\"$f\"; done", false);
	damaged(OLDEST_FIRST "for f in $files; do head -c 400 /dev/urandom >\"$f\"; "
			     "done",
		false);
}

/* One bit of one key's value, in the file: the module decrypts it to another key without an
 * error. */
static void test_c15_one_damaged_byte_is_no_other_key(void **state)
{
	(void)state;
	static const char *const script =
		/* every object's file at one place, a different one each round */
		"cd \"$0/hsm/tokens\"; for f in */*.object; do n=$(stat -c %s \"$f\"); [ "
		"\"${f##*/}\" = token.object ] && continue; "
		"at=$((n * @ / 100)); b=$(od -An -tu1 -j $at -N 1 \"$f\"); printf \"\\\\$(printf "
		"%o $((b ^ 1)))\" | dd of=\"$f\" bs=1 seek=$at "
		"conv=notrunc 2>/dev/null; done";
	unsigned refused = 0;
	shell("cd \"$0/hsm\"; rm -rf away; cp -a tokens away");
	for (unsigned percent = 30; percent < 100; percent += 12) {
		char text[512];
		const char *at = strchr(script, '@');
		snprintf(text, sizeof text, "%.*s%u%s", (int)(at - script), script, percent,
			 at + 1);
		shell(text);
		/* workers that never read it before; the signer's file is damaged, too, so they may
		 * not start: then the old ones answer */
		char *out = NULL;
		(void)CTL(&in, &out, "reload");
		free(out);
		static const char *const names[] = {"key", "other", "rsa"};
		for (unsigned i = 0; i < 3; i++)
			refused += right_or_refused(names[i]) ? 0 : 1;
		shell("cd \"$0/hsm\"; rm -rf tokens; cp -a away tokens");
		/* A module that has read a damaged file may go on missing the object. */
		(void)CTL(&in, &out, "reload");
		free(out);
		GOOD(ask_within("key", 10000));
	}
	print_message("%u refused\n", refused);
}

/* ---- C10: keys in the token are exchanged ---- */

enum change { REPLACE, ADD_SECOND, REMOVE, UNEXTRACTABLE };

static CK_OBJECT_HANDLE find_by(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE s, CK_OBJECT_CLASS class,
				CK_ATTRIBUTE_TYPE type, void *value, CK_ULONG len)
{
	CK_ATTRIBUTE t[] = {{CKA_CLASS, &class, sizeof class}, {type, value, len}};
	CK_OBJECT_HANDLE hit = CK_INVALID_HANDLE;
	CK_ULONG n = 0;
	if (p11->C_FindObjectsInit(s, t, 2) != CKR_OK ||
	    p11->C_FindObjects(s, &hit, 1, &n) != CKR_OK || p11->C_FindObjectsFinal(s) != CKR_OK)
		_exit(10);
	return n == 1 ? hit : CK_INVALID_HANDLE;
}

static void make_pair(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE s, uint8_t *id, CK_ULONG id_len,
		      CK_BBOOL extractable)
{
	CK_MECHANISM mech = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
	CK_BBOOL yes = CK_TRUE;
	CK_ULONG bits = 2048;
	uint8_t e[] = {1, 0, 1};
	CK_OBJECT_HANDLE public, private;
	CK_ATTRIBUTE pub[] = {{CKA_TOKEN, &yes, 1},
			      {CKA_ID, id, id_len},
			      {CKA_LABEL, "rsa", 3},
			      {CKA_MODULUS_BITS, &bits, sizeof bits},
			      {CKA_PUBLIC_EXPONENT, e, sizeof e}};
	CK_ATTRIBUTE priv[] = {{CKA_TOKEN, &yes, 1},     {CKA_PRIVATE, &yes, 1},
			       {CKA_ID, id, id_len},     {CKA_LABEL, "rsa", 3},
			       {CKA_SENSITIVE, &yes, 1}, {CKA_EXTRACTABLE, &extractable, 1}};
	if (p11->C_GenerateKeyPair(s, &mech, pub, 5, priv, 6, &public, &private) != CKR_OK)
		_exit(11);
}

/* In the child: as the broker's user, straight on the token. */
static void change_token(enum change what, uint8_t *modulus, CK_ULONG modulus_len)
{
	char path[160], pin[256];
	static uint8_t id[64];
	static CK_ULONG id_len;
	CK_FUNCTION_LIST *p11;
	CK_SLOT_ID slot[16];
	CK_ULONG n = 16;
	CK_SESSION_HANDLE s;

	snprintf(path, sizeof path, "%s/hsm/pin", in.dir);
	FILE *f = fopen(path, "r");
	if (f == NULL || fgets(pin, sizeof pin, f) == NULL)
		_exit(12);
	pin[strcspn(pin, "\r\n")] = '\0';
	const struct passwd *nobody = getpwnam("nobody");
	if (geteuid() == 0 &&
	    (nobody == NULL || setgid(nobody->pw_gid) != 0 || setuid(nobody->pw_uid) != 0))
		_exit(13);
	snprintf(path, sizeof path, "%s/hsm/softhsm2.conf", in.dir);
	setenv("SOFTHSM2_CONF", path, 1);
	void *so = dlopen(fake->real, RTLD_NOW);
	union {
		void *symbol;
		CK_C_GetFunctionList call;
	} get = {.symbol = so == NULL ? NULL : dlsym(so, "C_GetFunctionList")};
	if (get.symbol == NULL || get.call(&p11) != CKR_OK || p11->C_Initialize(NULL) != CKR_OK ||
	    p11->C_GetSlotList(CK_TRUE, slot, &n) != CKR_OK ||
	    p11->C_OpenSession(slot[0], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &s) !=
		    CKR_OK ||
	    p11->C_Login(s, CKU_USER, (CK_UTF8CHAR_PTR)pin, strlen(pin)) != CKR_OK)
		_exit(14);
	/* the first call finds the key by its numbers and leaves its id for the others */
	CK_OBJECT_HANDLE key = find_by(p11, s, CKO_PRIVATE_KEY, CKA_MODULUS, modulus, modulus_len);
	if (key != CK_INVALID_HANDLE) {
		CK_ATTRIBUTE a = {CKA_ID, id, sizeof id};
		if (p11->C_GetAttributeValue(s, key, &a, 1) != CKR_OK)
			_exit(15);
		id_len = a.ulValueLen;
		memcpy(fake->note, id, sizeof id);
		fake->note_len = id_len;
	}
	memcpy(id, fake->note, sizeof id);
	id_len = fake->note_len;
	for (unsigned class = 0; class < 2 && what != ADD_SECOND; class ++) {
		CK_OBJECT_HANDLE old;
		while ((old = find_by(p11, s, class == 0 ? CKO_PRIVATE_KEY : CKO_PUBLIC_KEY, CKA_ID,
				      id, id_len)) != CK_INVALID_HANDLE)
			if (p11->C_DestroyObject(s, old) != CKR_OK)
				_exit(16);
	}
	if (what != REMOVE)
		make_pair(p11, s, id, id_len, what != UNEXTRACTABLE);
	_exit(0);
}

static void change(enum change what)
{
	uint8_t modulus[512];
	int status;
	BIGNUM *bn = NULL;
	assert_int_equal(EVP_PKEY_get_bn_param(rsa, OSSL_PKEY_PARAM_RSA_N, &bn), 1);
	int len = BN_bn2bin(bn, modulus);
	BN_free(bn);
	pid_t pid = fork();
	if (pid == 0)
		change_token(what, modulus, (CK_ULONG)len);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		GOOD(wrong("the token was not changed: 0x%x", (unsigned)status));
}

static void refused(const char *code)
{
	struct outcome o = ask_key("rsa");
	if (o.status != status_of(code) || strcmp(o.code, code) != 0 || o.records != 1)
		GOOD(wrong("status %d, code %s, %u records; expected %s %s", o.status, o.code,
			   o.records, code, o.why));
}

static void test_c10_key_exchanged_while_running(void **state)
{
	(void)state;
	shell("cd \"$0/hsm\"; rm -rf away; cp -a tokens away");
	for (unsigned i = 0; i < 8; i++) /* both workers have its handle */
		GOOD(ask_within("rsa", 1000));
	change(REPLACE); /* the same label and id, another key */
	for (unsigned i = 0; i < 4; i++)
		refused("HSM_KEY_ATTR");
	/* nor by workers that never saw the old one: its fingerprint is in the record */
	reload();
	refused("HSM_KEY_ATTR");
	change(ADD_SECOND);
	reload();
	refused("HSM_KEY_AMBIGUOUS");
	change(REMOVE);
	reload();
	/* the log names the call or the finding that was the cause, and the object */
	unsigned before = log_count("\"call\":\"no object matches\",\"object\":\"pkcs11:");
	fake_next(FAKE_C_WrapKey, 1, FAKE_RETURN, CKR_FUNCTION_FAILED);
	(void)ask_key("key"); /* another key's fault */
	fake_clear();
	for (unsigned i = 0; i < 4; i++)
		refused("HSM_KEY_MISSING");
	assert_int_equal(log_count("\"call\":\"no object matches\",\"object\":\"pkcs11:"),
			 before + 4);
	change(UNEXTRACTABLE);
	reload();
	refused("HSM_KEY_ATTR");
	GOOD(ask_within("key", 1000)); /* one key's fault is that key's */
}

#define T(f) cmocka_unit_test_teardown(f, well_again)
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_c15_token_directory_goes_and_comes_back),
		T(test_c15_token_files_deleted),
		T(test_c15_token_object_deleted),
		T(test_c15_garbage_is_not_kept),
		T(test_c15_token_files_read_only),
		T(test_c15_token_files_empty_or_garbage),
		T(test_c15_one_damaged_byte_is_no_other_key),
		T(test_c10_key_exchanged_while_running),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
