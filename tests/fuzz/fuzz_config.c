/* tests/fuzz/fuzz_config.c — the first byte says which file of an instance is hostile:
 * keybroker.json, an issuer, a key record or a policy. Loading ends in a configuration or in at
 * least one fault with path and line; never in both, never in neither. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* in memory: a disk would be most of what an input costs */
static char dir[] = "/dev/shm/keybroker-fuzz-XXXXXX";

static const struct {
	const char *name, *text;
} file[] = {
	{"keybroker.json", "{\"listeners\":[],\"hsm\":{\"module\":\"/usr/lib/softhsm/"
			   "libsofthsm2.so\",\"token\":\"pkcs11:token=t\",\"pin_file\":\"pin\"},"
			   "\"signer\":{\"object\":\"pkcs11:object=s\",\"certificates\":\"chain."
			   "pem\"},\"issuers\":\"issuers.d\",\"keys\":\"keys.d\",\"state\":"
			   "\"state\"}"},
	{"issuers.d/a.json", "{\"issuer\":\"https://"
			     "i.test\",\"keys\":{\"discovery\":true},\"algorithms\":[\"RS256\"]}"},
	{"keys.d/k.json",
	 "{\"kty\":\"oct-HSM\",\"key_ops\":[\"encrypt\"],\"attributes\":{\"enabled\":true,"
	 "\"exportable\":true,\"created\":1},\"release_policy\":"
	 "{\"file\":\"../"
	 "p.json\"},\"versions\":[{\"version\":\"00000000000000000000000000000000\",\"created\":1,"
	 "\"object\":\"pkcs11:id=%01;type=secret-key\"}]}"},
	{"p.json", "{\"version\":\"1\",\"anyOf\":[{\"authority\":\"https://"
		   "i.test\",\"allOf\":[{\"claim\":\"a\",\"equals\":1}]}]}"},
	{"pin", "0123456789"},
};
enum { HOSTILE = 4, FILES = sizeof file / sizeof file[0] };

static void put(const char *name, const void *bytes, size_t len)
{
	char path[128];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		abort();
	close(fd);
}

static void make_instance(void)
{
	char path[128];

	if (mkdtemp(dir) == NULL)
		abort();
	snprintf(path, sizeof path, "%s/issuers.d", dir);
	if (mkdir(path, 0700) != 0)
		abort();
	snprintf(path, sizeof path, "%s/keys.d", dir);
	if (mkdir(path, 0700) != 0)
		abort();
	for (size_t i = 0; i < FILES; i++)
		put(file[i].name, file[i].text, strlen(file[i].text));
}

static void clean_up(void)
{
	char path[128];

	for (size_t i = 0; i < FILES; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, file[i].name);
		unlink(path);
	}
	snprintf(path, sizeof path, "%s/issuers.d", dir);
	rmdir(path);
	snprintf(path, sizeof path, "%s/keys.d", dir);
	rmdir(path);
	rmdir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_made;
	KB_AUTO(snapshot) struct snapshot *src = NULL;
	KB_AUTO(config) struct config *config = NULL;
	struct config_faults faults = {0};
	char path[128];

	if (!is_made) {
		make_instance();
		atexit(clean_up);
		is_made = true;
	}
	if (size == 0 || snapshot_files(&src) != KB_OK)
		return 0;
	size_t which = data[0] % HOSTILE;
	put(file[which].name, data + 1, size - 1);
	snprintf(path, sizeof path, "%s/keybroker.json", dir);
	enum kb_err err = config_load(src, path, CONFIG_VAULT | CONFIG_FETCHER, &config, &faults);
	if ((err == KB_OK) != (config != NULL) || (err == KB_OK) != (faults.n == 0))
		abort();
	config_faults_free(&faults);
	put(file[which].name, file[which].text, strlen(file[which].text));
	return 0;
}
