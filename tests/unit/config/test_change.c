/* tests/unit/config/test_change.c — which change of the configuration ends the judging of the old
 * one. The real loader, on a copy of conf/. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include "base/clock.h"
#include "base/secret.h"
#include "config/certificates.h"
#include "config/change.h"
#include "tests/unit/tls_mint.h"

static char dir[40];
static struct tls_pair *ca, *server, *second;

static void put(const char *name, struct span text)
{
	char path[160];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0 && write(fd, text.p, text.len) == (ssize_t)text.len);
	close(fd);
}

static void run(const char *format)
{
	char command[512];

	snprintf(command, sizeof command, "cd %s && %s", dir, format);
	assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
	char command[256];

	(void)state;
	snprintf(dir, sizeof dir, "/tmp/kb-change-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(command, sizeof command,
		 "umask 022 && cp -R conf/. %s && chmod -R u+w,go-w %s && mkdir %s/tls %s/hsm", dir,
		 dir, dir, dir);
	assert_int_equal(system(command), 0);
	ca = tls_mint("test CA", NULL, NULL, 3600);
	server = tls_mint("localhost", ca, "serverAuth", 3600);
	second = tls_mint("localhost", ca, "serverAuth", 3600);
	put("tls/server.pem", buf_span(&server->cert_pem));
	put("tls/server.key", buf_span(&server->key_pem));
	put("tls/ca.pem", buf_span(&ca->cert_pem));
	put("tls/signer-chain.pem", buf_span(&ca->cert_pem));
	put("hsm/pin", span_str("0123456789abcdef0123456789abcdef\n"));
	snprintf(command, sizeof command, "directories.tokendir = %s/hsm\n", dir);
	put("hsm/softhsm2.conf", span_str(command));
	run("sed -i 's|\"client_ca\": null|\"client_ca\": \"tls/ca.pem\"|' keybroker.json");
	return 0;
}

static int teardown(void **state)
{
	char command[80];

	(void)state;
	tls_mint_free(ca);
	tls_mint_free(server);
	tls_mint_free(second);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

struct loaded {
	struct snapshot *src;
	struct config *c;
};

static struct loaded load(void)
{
	char path[80];
	struct loaded l = {0};
	struct config_faults faults;

	snprintf(path, sizeof path, "%s/keybroker.json", dir);
	assert_int_equal(snapshot_files(&l.src), KB_OK);
	enum kb_err err = config_load(l.src, path, CONFIG_ALL, &l.c, &faults);
	for (size_t i = 0; i < faults.n; i++)
		print_error("  %s\n", faults.text[i]);
	config_faults_free(&faults);
	assert_int_equal(err, KB_OK);
	return l;
}

static void unload(struct loaded *l)
{
	config_free(l->c);
	snapshot_free(l->src);
}

static void test_e10_what_ends_the_judging_of_the_old(void **state)
{
	static const struct {
		const char *command;
		enum change want;
	} row[] = {
		{"true", CHANGE_NONE},
		{"touch issuers.d/* keys.d/* policies/*", CHANGE_NONE},
		/* taken away, narrowed, or just different */
		{"sed -i 's|\"enabled\": true|\"enabled\": false|' keys.d/cvm-disk-key.json",
		 CHANGE_JUDGES},
		{"rm keys.d/cvm-disk-key.json", CHANGE_JUDGES},
		{"mv keys.d/cvm-disk-key.json keys.d/other.json && sed -i 's|cvm-disk-key|other|g' "
		 "keys.d/other.json",
		 CHANGE_JUDGES},
		{"cp policies/trusted-launch.json policies/cvm-default.json", CHANGE_JUDGES},
		{"printf ' ' >> policies/cvm-default.json", CHANGE_JUDGES},
		{"rm issuers.d/sharedwus.json", CHANGE_JUDGES},
		{"printf ' ' >> issuers.d/sharedneu.json", CHANGE_JUDGES},
		{"cat tls/server.pem >> tls/ca.pem", CHANGE_JUDGES},
		{"cat tls/ca.pem >> tls/signer-chain.pem", CHANGE_JUDGES},
		{"sed -i 's|\"tls/ca.pem\"|null|' keybroker.json", CHANGE_JUDGES},
		{"sed -i 's|\"auth\": \"none\"|\"auth\": \"mtls\"|' keybroker.json", CHANGE_JUDGES},
		{"sed -i 's|0.0.0.0:443|0.0.0.0:444|' keybroker.json", CHANGE_JUDGES},
		{"sed -i 's|pkcs11:token=[a-z]*|pkcs11:token=other|' keybroker.json",
		 CHANGE_JUDGES},
		{"mkdir k2 && cp keys.d/* k2 && sed -i 's|\"keys.d\"|\"k2\"|' keybroker.json",
		 CHANGE_JUDGES},
		/* added */
		{"sed 's|cvm-disk-key|another|' keys.d/cvm-disk-key.json > keys.d/another.json",
		 CHANGE_ADDS},
		/* … beside something that was taken away */
		{"sed 's|cvm-disk-key|another|' keys.d/cvm-disk-key.json > keys.d/another.json && "
		 "rm issuers.d/sharedwus.json",
		 CHANGE_JUDGES},
		/* judges nothing */
		{"sed -i 's|\"workers\": [0-9]*|\"workers\": 9|' keybroker.json", CHANGE_NONE},
		{"sed -i '0,/{/s|{|{\"limits\": {\"queue\": 77},|' keybroker.json", CHANGE_NONE},
		{"cp tls/second.pem tls/server.pem && cp tls/second.key tls/server.key",
		 CHANGE_NONE},
		/* … but the same file may have another use */
		{"cp tls/second.pem tls/server.pem && cp tls/second.key tls/server.key && rm "
		 "keys.d/cvm-disk-key.json",
		 CHANGE_JUDGES},
	};
	unsigned bad = 0;

	(void)state;
	put("tls/second.pem", buf_span(&second->cert_pem));
	put("tls/second.key", buf_span(&second->key_pem));
	run("mkdir ../$(basename $PWD).was && cp -Rp . ../$(basename $PWD).was");
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct loaded old = load();
		run(row[i].command);
		struct loaded now = load();
		enum change got = config_change(old.c, old.src, now.c, now.src);
		if (got != row[i].want) {
			print_error("%s: %d, not %d\n", row[i].command, (int)got, (int)row[i].want);
			bad++;
		}
		unload(&old);
		unload(&now);
		run("rm -rf ./* && cp -Rp ../$(basename $PWD).was/. .");
	}
	run("rm -rf ../$(basename $PWD).was");
	assert_int_equal(bad, 0);
}

/* One file with two uses: as a certificate it may change, as a list of CAs not. */
static void test_e10_a_file_of_two_uses(void **state)
{
	(void)state;
	run("cp tls/server.pem was && sed -i 's|\"tls/ca.pem\"|\"tls/server.pem\"|' "
	    "keybroker.json");
	struct loaded old = load();
	run("cat tls/ca.pem >> tls/server.pem");
	struct loaded now = load();
	assert_int_equal(config_change(old.c, old.src, now.c, now.src), CHANGE_JUDGES);
	unload(&old);
	unload(&now);
	run("cp was tls/server.pem && sed -i 's|\"client_ca\": \"tls/server.pem\"|\"client_ca\": "
	    "\"tls/ca.pem\"|' keybroker.json");
}

/* A list of revoked certificates says who may ask: any change of it ends the old judgement. */
static void test_b28_a_new_list_judges(void **state)
{
	KB_AUTO(buf) struct buf list;

	(void)state;
	buf_init(&list, 65536);
	tls_mint_crl(&list, ca, NULL, 3600);
	put("tls/crl.pem", buf_span(&list));
	struct loaded without = load();
	run("sed -i 's|\"client_ca\": \"tls/ca.pem\"|&, \"client_crl\": \"tls/crl.pem\"|' "
	    "keybroker.json");
	struct loaded old = load();
	assert_true(old.c->listeners[0].client_crl.len > 0);
	assert_int_equal(config_change(without.c, without.src, old.c, old.src), CHANGE_JUDGES);
	assert_int_equal(config_change(old.c, old.src, without.c, without.src), CHANGE_JUDGES);
	buf_reset(&list);
	tls_mint_crl(&list, ca, server, 3600);
	put("tls/crl.pem", buf_span(&list));
	struct loaded now = load();
	assert_int_equal(config_change(old.c, old.src, now.c, now.src), CHANGE_JUDGES);
	unload(&without);
	unload(&old);
	unload(&now);
	/* One file with two uses: as a certificate it may change, as a list not. */
	run("cp tls/server.pem was && cat tls/crl.pem >> tls/server.pem && "
	    "sed -i 's|tls/crl.pem|tls/server.pem|' keybroker.json");
	old = load();
	run("cat was tls/crl.pem tls/crl.pem > tls/server.pem");
	now = load();
	assert_int_equal(config_change(old.c, old.src, now.c, now.src), CHANGE_JUDGES);
	unload(&old);
	unload(&now);
	run("cp was tls/server.pem && sed -i 's|, \"client_crl\": \"tls/server.pem\"||' "
	    "keybroker.json");
}

struct noted {
	enum certificate_state state;
	char text[1024];
};

static void note_last(void *ctx, enum certificate_state state, struct span pem, const char *text)
{
	struct noted *n = ctx;

	(void)pem;
	if (strstr(text, "client_crl") == NULL)
		return;
	assert_int_equal(n->text[0], '\0'); /* one finding each */
	n->state = state;
	snprintf(n->text, sizeof n->text, "%s", text);
}

/* What check, start and reload say of a list, as time goes by. */
static void test_b28_lists_that_end(void **state)
{
	static const struct {
		int64_t later_s;
		enum certificate_state state;
		const char *says; /* NULL: nothing */
	} want[] = {
		{0, CERTIFICATE_BAD, NULL},
		{15000, CERTIFICATE_WARNING, "put the next list in its place"},
		{20001, CERTIFICATE_ENDED, "put the current list in its place"},
		{-7200, CERTIFICATE_ENDED, "is the clock right?"},
	};
	KB_AUTO(buf) struct buf list;
	struct tls_pair *other = tls_mint("other CA", NULL, NULL, 3600);
	int64_t now_s = clock_wall_s();

	(void)state;
	buf_init(&list, 65536);
	tls_mint_crl(&list, ca, NULL, 20000);
	put("tls/crl.pem", buf_span(&list));
	run("sed -i 's|\"client_ca\": \"tls/ca.pem\"|&, \"client_crl\": \"tls/crl.pem\"|' "
	    "keybroker.json");
	struct loaded l = load();
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		struct noted n = {.text = ""};
		config_certificates(l.c, now_s + want[i].later_s, note_last, &n);
		if (want[i].says == NULL) {
			assert_string_equal(n.text, "");
			continue;
		}
		assert_int_equal(n.state, want[i].state);
		assert_non_null(strstr(n.text, want[i].says));
	}
	unload(&l);
	/* the list of another CA alone */
	buf_reset(&list);
	tls_mint_crl(&list, other, NULL, 20000);
	put("tls/crl.pem", buf_span(&list));
	l = load();
	struct noted n = {.text = ""};
	config_certificates(l.c, now_s, note_last, &n);
	assert_int_equal(n.state, CERTIFICATE_WARNING);
	assert_non_null(strstr(n.text, "no list is signed by the CA"));
	assert_non_null(strstr(n.text, "test CA"));
	unload(&l);
	tls_mint_free(other);
	run("sed -i 's|, \"client_crl\": \"tls/crl.pem\"||' keybroker.json");
}

static void test_e14_what_needs_a_restart_is_named(void **state)
{
	char names[64];
	struct loaded old = load();

	(void)state;
	config_restart_names(old.c, old.c, names);
	assert_string_equal(names, "");
	run("sed -i 's|\"state\": \"\\([^\"]*\\)\"|\"state\": \"elsewhere\", \"user\": "
	    "\"daemon\"|' "
	    "keybroker.json");
	struct loaded now = load();
	config_restart_names(old.c, now.c, names);
	assert_string_equal(names, "state, user");
	config_restart_names(now.c, old.c, names);
	assert_string_equal(names, "state, user");
	unload(&old);
	unload(&now);
}

/* What the gateway's TLS would refuse is a fault of the configuration, so that the check says so.
 */
static void test_e15_weak_certificate(void **state)
{
	struct tls_pair *weak =
		tls_mint_with(EVP_RSA_gen(512), "localhost", ca, "serverAuth", 3600);
	struct config_faults faults;
	struct snapshot *src;
	struct config *c;
	char path[80];

	(void)state;
	run("cp tls/server.pem was.pem && cp tls/server.key was.key");
	put("tls/server.pem", buf_span(&weak->cert_pem));
	put("tls/server.key", buf_span(&weak->key_pem));
	snprintf(path, sizeof path, "%s/keybroker.json", dir);
	assert_int_equal(snapshot_files(&src), KB_OK);
	assert_int_equal(config_load(src, path, CONFIG_ALL, &c, &faults), KB_E_CONFIG);
	assert_int_equal(faults.n, 1);
	assert_non_null(strstr(faults.text[0], "a certificate is too weak for TLS"));
	config_faults_free(&faults);
	snapshot_free(src);
	tls_mint_free(weak);
	run("mv was.pem tls/server.pem && mv was.key tls/server.key");
}

/* The table is the manual page's. */
static void test_e14_the_manual_has_the_table(void **state)
{
	static char page[65536];
	FILE *f = fopen("broker/keybroker.json.5", "r");

	(void)state;
	assert_non_null(f);
	page[fread(page, 1, sizeof page - 1, f)] = '\0';
	fclose(f);
	const char *section = strstr(page, ".Sh WHAT A RELOAD TAKES UP");
	assert_non_null(section);
	for (const struct config_member *m = config_members; m->name != NULL; m++) {
		char want[64];
		snprintf(want, sizeof want, ".It Ic %s\n", m->name);
		if (strstr(section, want) == NULL)
			print_error("%s is not in the manual\n", m->name);
		assert_non_null(strstr(section, want));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_e10_what_ends_the_judging_of_the_old),
		cmocka_unit_test(test_e10_a_file_of_two_uses),
		cmocka_unit_test(test_e15_weak_certificate),
		cmocka_unit_test(test_b28_a_new_list_judges),
		cmocka_unit_test(test_b28_lists_that_end),
		cmocka_unit_test(test_e14_what_needs_a_restart_is_named),
		cmocka_unit_test(test_e14_the_manual_has_the_table),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
