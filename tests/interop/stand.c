/* tests/interop/stand.c — an instance for clients that are not ours: starts one with known keys,
 * describes it as one line of JSON (those keys among it: they are made for the test), and ends it
 * when its standard input is closed. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/e2e/evidence.h"
#include "tests/e2e/harness.h"

static struct instance in;

static void need(const char *why)
{
	if (why == NULL)
		return;
	fprintf(stderr, "stand: %s\n", why);
	broker_log_tail(&in);
	instance_free(&in);
	exit(1);
}

static json_t *import(const char *name, EVP_PKEY *key, const uint8_t *bytes, size_t len,
		      const char *policy)
{
	uint8_t *der = NULL;
	int n = 0;
	need(instance_import(&in, name, key, bytes, len, policy));
	if (key != NULL) { /* SubjectPublicKeyInfo: what a client can compare with either half */
		n = i2d_PUBKEY(key, &der);
		EVP_PKEY_free(key);
	}
	char *text = proof_b64url_text(key == NULL ? bytes : der, key == NULL ? len : (size_t)n);
	json_t *j = json_string(text);
	free(text);
	OPENSSL_free(der);
	return j;
}

/* A second listener, under a name that is in the certificate. */
static unsigned add_listener(void)
{
	char text[64];
	unsigned port = free_port();
	json_t *config = instance_json(&in, "keybroker.json"),
	       *listeners = json_object_get(config, "listeners");
	json_t *second = json_deep_copy(json_array_get(listeners, 0));
	snprintf(text, sizeof text, "127.0.0.1:%u", port);
	json_object_set_new(second, "address", json_string(text));
	snprintf(text, sizeof text, "https://%s:%u", OTHER_NAME, port);
	json_object_set_new(second, "base_url", json_string(text));
	json_array_append_new(listeners, second);
	need(instance_json_write(&in, "keybroker.json", config));
	return port;
}

int main(void)
{
	uint8_t bytes[32];
	char c, *out = NULL;
	signal(SIGPIPE, SIG_IGN);
	need(instance_make(&in));
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7 + 1);
	char *policy = policy_platform(in.issuer_url);
	json_t *keys = json_object();
	json_object_set_new(keys, "rsa2048", import("rsa2048", EVP_RSA_gen(2048), NULL, 0, policy));
	json_object_set_new(keys, "rsa3072", import("rsa3072", EVP_RSA_gen(3072), NULL, 0, policy));
	json_object_set_new(keys, "p256", import("p256", EVP_EC_gen("P-256"), NULL, 0, policy));
	json_object_set_new(keys, "p384", import("p384", EVP_EC_gen("P-384"), NULL, 0, policy));
	json_object_set_new(keys, "p521", import("p521", EVP_EC_gen("P-521"), NULL, 0, policy));
	json_object_set_new(keys, "oct20", import("oct20", NULL, bytes, 20, policy));
	json_object_set_new(keys, "oct32", import("oct32", NULL, bytes, 32, policy));
	json_decref(import("off", NULL, bytes, 32, policy));
	free(policy);
	if (CTL(&in, &out, "key", "disable", "off") != 0)
		need(wrong("key disable: %.300s", out));
	free(out);
	unsigned port = add_listener();
	need(broker_start(&in));
	json_t *line = json_pack("{s:s, s:s, s:i, s:s, s:s, s:o}", "url", in.base_url, "name",
				 OTHER_NAME, "namePort", port, "ca", in.ca_file, "issuer",
				 in.issuer_url, "keys", keys);
	json_dumpf(line, stdout, JSON_COMPACT);
	printf("\n");
	fflush(stdout);
	json_decref(line);
	while (read(0, &c, 1) > 0)
		;
	int status = broker_stop(&in, SIGTERM, 40000);
	instance_free(&in);
	return status;
}
