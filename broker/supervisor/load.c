/* broker/supervisor/load.c — loads the whole configuration from its files, for a start, a reload,
 * or only a check. */
#include "supervisor/load.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/certificates.h"
#include "supervisor/supervisor.h"

static enum kb_err load(const char *path, bool is_as_service, struct snapshot **src,
			struct config **config, struct config_faults *faults)
{
	enum kb_err err = snapshot_files(src);

	*config = NULL;
	*faults = (struct config_faults){0};
	if (err == KB_OK && is_as_service)
		snapshot_as_service(*src);
	if (err == KB_OK)
		err = config_load(*src, path, CONFIG_ALL, config, faults);
	if (err != KB_OK) {
		snapshot_free(*src);
		*src = NULL;
	}
	return err;
}

enum kb_err load_config(const char *path, struct snapshot **src, struct config **config,
			struct config_faults *faults)
{
	return load(path, false, src, config, faults);
}

struct judge {
	const struct config *in_force;
	char *why; /* of 512 bytes; "" as long as nothing is refused */
};

/* Any use of these bytes: an operator may change the order of listeners. */
static bool is_in_force(const struct config *c, struct span pem)
{
	bool is_used = span_eq(c->signer_chain, pem);

	for (size_t i = 0; i < c->n_listeners && !is_used; i++)
		is_used = span_eq(c->listeners[i].certificate, pem) ||
			  span_eq(c->listeners[i].client_ca, pem) ||
			  span_eq(c->listeners[i].client_crl, pem);
	for (size_t i = 0; i < c->n_issuers && !is_used; i++)
		is_used = span_eq(c->issuers[i].ca, pem);
	return is_used;
}

static void on_certificate(void *ctx, enum certificate_state state, struct span pem,
			   const char *text)
{
	struct judge *j = ctx;
	bool is_refused =
		state == CERTIFICATE_BAD || (state == CERTIFICATE_ENDED && j->in_force != NULL &&
					     !is_in_force(j->in_force, pem));

	log_event(is_refused ? LOG_ERROR : LOG_WARN, "config.certificate", "what", text, NULL);
	if (is_refused && j->why[0] == '\0')
		snprintf(j->why, 512, "%s", text);
}

enum kb_err load_certificates(const struct config *config, const struct config *in_force,
			      char why[static 512])
{
	struct judge j = {in_force, why};

	why[0] = '\0';
	config_certificates(config, clock_wall_s(), on_certificate, &j);
	return why[0] == '\0' ? KB_OK : KB_E_CONFIG;
}

void load_print_faults(const struct config_faults *f, enum kb_err err)
{
	for (size_t i = 0; i < f->n; i++)
		fprintf(stderr, "%s\n", f->text[i]);
	if (f->n == 0)
		fprintf(stderr, "the configuration cannot be loaded: %s\n", kb_err_name(err));
}

static void print_certificate(void *ctx, enum certificate_state state, struct span pem,
			      const char *text)
{
	bool *is_good = ctx;

	(void)pem;
	*is_good = *is_good && state == CERTIFICATE_WARNING;
	fprintf(stderr, "%s%s\n", state == CERTIFICATE_WARNING ? "warning: " : "", text);
}

int supervisor_check(const char *config_path)
{
	KB_AUTO(snapshot) struct snapshot *src = NULL;
	KB_AUTO(config) struct config *config = NULL;
	struct config_faults faults;
	/* Root asks; the one who will read the files is the service's user. */
	enum kb_err err = load(config_path, true, &src, &config, &faults);

	if (err != KB_OK)
		load_print_faults(&faults, err);
	config_faults_free(&faults);
	bool is_good = err == KB_OK;
	if (is_good)
		config_certificates(config, clock_wall_s(), print_certificate, &is_good);
	return is_good ? 0 : 1;
}
