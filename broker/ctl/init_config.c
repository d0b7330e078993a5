/* broker/ctl/init_config.c — keybroker.json, one issuer and one policy of a new instance. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "ctl/files.h"
#include "ctl/init.h"

bool init_is_ipv6(const char *text)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET6, text, bytes) == 1;
}

static void add_host(struct buf *b, const char *host)
{
	buf_add_str(b, init_is_ipv6(host) ? "[" : "");
	buf_add_str(b, host);
	buf_add_str(b, init_is_ipv6(host) ? "]" : "");
}

static void add_member(struct buf *b, const char *before, const char *name, const char *value)
{
	buf_add_str(b, before);
	json_add_str(b, span_str(name));
	buf_add_str(b, ": ");
	json_add_str(b, span_str(value));
}

static enum kb_err main_file_make(const struct instance *in)
{
	KB_AUTO(buf) struct buf b = {0};
	KB_AUTO(buf) struct buf url = {0};
	char token[128];

	buf_init(&b, KB_MAX_CONFIG);
	buf_init(&url, 1024);
	snprintf(token, sizeof token, "pkcs11:token=%s", in->label);
	buf_add_str(&url, "https://");
	add_host(&url, in->host);
	if (in->port != 443)
		buf_addf(&url, ":%lld", in->port);
	buf_add(&url, "", 1);
	if (buf_ok(&url) != KB_OK)
		return KB_E_NOMEM;

	buf_add_str(&b, "{\n  \"listeners\": [\n    {\n      \"address\": \"");
	add_host(&b, in->address);
	buf_addf(&b, ":%lld\"", in->port);
	add_member(&b, ",\n      ", "base_url", (const char *)url.p);
	buf_add_str(&b, ",\n      \"apis\": [\"keyvault\"],\n      \"auth\": \"none\"");
	buf_add_str(&b, ",\n      \"tls\": {\"certificate\": \"tls/server.pem\", \"key\": "
			"\"tls/server.key\", \"client_ca\": null}\n    }\n  ]");
	if (in->metrics != 0)
		buf_addf(&b, ",\n  \"metrics\": {\"address\": \"127.0.0.1:%lld\"}", in->metrics);
	add_member(&b, ",\n  \"hsm\": {\n    ", "module", in->module);
	add_member(&b, ",\n    ", "token", token);
	buf_add_str(&b, ",\n    \"pin_file\": \"hsm/pin\"");
	if (in->is_softhsm)
		buf_add_str(&b,
			    ",\n    \"environment\": {\"SOFTHSM2_CONF\": \"hsm/softhsm2.conf\"}");
	buf_add_str(&b, ",\n    \"workers\": 2\n  }");
	add_member(&b, ",\n  \"signer\": {", "object", in->signer);
	buf_add_str(&b, ", \"certificates\": \"tls/signer-chain.pem\"}");
	buf_add_str(&b, ",\n  \"issuers\": \"issuers.d\",\n  \"keys\": \"keys.d\"");
	add_member(&b, ",\n  ", "state", in->state);
	if (in->user != NULL)
		add_member(&b, ",\n  ", "user", in->user);
	buf_add_str(&b, "\n}\n");
	return init_put_buf(in, "keybroker.json", 0644, &b);
}

static enum kb_err issuer_make(const struct instance *in)
{
	KB_AUTO(buf) struct buf b = {0};
	KB_AUTO(buf) struct buf jwks = {0};
	enum kb_err err = KB_E_BUG;

	buf_init(&jwks, KB_MAX_JWKS);
	if (in->jwks != NULL) {
		buf_free(&jwks);
		if ((err = ctl_read(in->jwks, KB_MAX_JWKS, &jwks)) != KB_OK ||
		    (err = init_put_buf(in, "issuers.d/issuer.jwks", 0644, &jwks)) != KB_OK)
			return err;
	}
	buf_init(&b, KB_MAX_CONFIG);
	add_member(&b, "{\n  ", "issuer", in->issuer);
	buf_addf(&b, ",\n  \"profile\": \"maa\",\n  \"keys\": {%s}",
		 in->jwks != NULL ? "\"jwks_file\": \"issuer.jwks\"" : "\"discovery\": true");
	buf_add_str(&b, ",\n  \"algorithms\": [\"RS256\"],\n  \"max_token_age\": \"8h\",\n  "
			"\"clock_skew\": \"60s\",\n  \"audience\": null\n}\n");
	return init_put_buf(in, "issuers.d/issuer.json", 0644, &b);
}

/* Any confidential VM that Azure calls compliant, AMD or Intel.  A start: the operator narrows
 * it. */
static enum kb_err policy_make(const struct instance *in)
{
	KB_AUTO(buf) struct buf b = {0};

	buf_init(&b, KB_MAX_CONFIG);
	buf_add_str(&b, "{\n  \"version\": \"1.0.0\",\n  \"anyOf\": [\n    {");
	add_member(&b, "\n      ", "authority", in->issuer);
	buf_add_str(&b,
		    ",\n      \"allOf\": [\n"
		    "        {\"claim\": \"x-ms-compliance-status\", \"equals\": "
		    "\"azure-compliant-cvm\"},\n"
		    "        {\"anyOf\": [\n"
		    "          {\"claim\": \"x-ms-attestation-type\", \"equals\": \"sevsnpvm\"},\n"
		    "          {\"claim\": \"x-ms-attestation-type\", \"equals\": \"tdxvm\"}\n"
		    "        ]}\n"
		    "      ]\n    }\n  ]\n}\n");
	return init_put_buf(in, "policies/cvm.json", 0644, &b);
}

enum kb_err init_config(const struct instance *in)
{
	enum kb_err err = issuer_make(in);

	if (err != KB_OK || (err = policy_make(in)) != KB_OK)
		return err;
	return main_file_make(in);
}
