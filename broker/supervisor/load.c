/* broker/supervisor/load.c — loads the whole configuration from its files, for a start, a reload,
 * or only a check. */
#include "supervisor/load.h"

#include <stdio.h>

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

void load_print_faults(const struct config_faults *f, enum kb_err err)
{
	for (size_t i = 0; i < f->n; i++)
		fprintf(stderr, "%s\n", f->text[i]);
	if (f->n == 0)
		fprintf(stderr, "the configuration cannot be loaded: %s\n", kb_err_name(err));
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
	return err == KB_OK ? 0 : 1;
}
