/* tests/e2e/files.h — small files that a test writes for a program, and reads back. */
#ifndef KB_TESTS_FILES_H
#define KB_TESTS_FILES_H
#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/e2e/harness.h"

/* The file's first bytes and a NUL; how many they are, 0 when there is none. */
static inline size_t file_read(const char *path, char *to, size_t cap)
{
	FILE *f = fopen(path, "re");
	size_t n = f == NULL ? 0 : fread(to, 1, cap - 1, f);

	if (f != NULL)
		fclose(f);
	to[n] = '\0';
	return n;
}

static inline void file_write(const char *path, const void *bytes, size_t len, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

static inline void file_write_key(const char *path, EVP_PKEY *key)
{
	FILE *f = fopen(path, "we");

	assert_true(f != NULL && fchmod(fileno(f), 0600) == 0 &&
		    PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 &&
		    fclose(f) == 0);
}

/* A token program: asks the test issuer for a platform token that holds the runtime data's key, and
 * leaves the nonce that it was given in a file. */
static inline void file_write_token_program(const struct instance *of, const char *path,
					    const char *nonce_path)
{
	char text[2048];
	int n = snprintf(text, sizeof text,
			 "#!/bin/sh\nruntime=$(cat)\necho \"$KEYBROKER_NONCE\" >%s\n"
			 "printf "
			 "'{\"claims\":{\"x-ms-compliance-status\":\"azure-compliant-cvm\",\"x-ms-"
			 "attestation-type\":\"sevsnpvm\","
			 "\"x-ms-sevsnpvm-is-debuggable\":false,\"nonce\":\"%%s\",\"x-ms-runtime\":"
			 "%%s}}' \"$KEYBROKER_NONCE\" \"$runtime\" |\n"
			 "curl -sf --cacert %s --data-binary @- -H 'Content-Type: "
			 "application/json' %s/attest | sed 's/.*\"token\": *\"//; s/\".*//'\n",
			 nonce_path, of->ca_file, of->issuer_url);

	file_write(path, text, (size_t)n, 0700);
}

#endif
