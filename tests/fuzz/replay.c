/* tests/fuzz/replay.c — a fuzz target without the fuzzer and without sanitizers: every input of the
 * given files and directories once, and what it costs.
 *
 *   replay FLOOR FILE|DIR…
 *
 * An input that takes more than 100 ms of CPU is a finding (a client could stop a worker with it),
 * and so is a target that runs fewer than FLOOR inputs a second of CPU (a slow target finds
 * nothing).  CPU time, not wall time: the machine may be busy. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

enum { SLOW_US = 100 * 1000, INPUT_BYTES = 4 * 1024 * 1024, MIN_RUNS = 200 };

static uint8_t input[INPUT_BYTES];
static uint64_t runs, total_us, worst_us;
static char worst[512];

/* Targets with a mutator of their own name it; nothing is mutated here. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size)
{
	(void)data;
	return size < max_size ? size : max_size;
}

static uint64_t cpu_us(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
		abort();
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void run_file(const char *path)
{
	FILE *f = fopen(path, "rb");

	if (f == NULL) {
		perror(path);
		exit(1);
	}
	size_t len = fread(input, 1, sizeof input, f);
	fclose(f);
	uint64_t best =
		UINT64_MAX; /* of two: the first may have warmed a cache or met an interrupt */
	for (int i = 0; i < 2; i++) {
		/* A copy of exactly this size, as libFuzzer gives it. */
		uint8_t *copy = malloc(len > 0 ? len : 1);
		if (copy == NULL)
			abort();
		memcpy(copy, input, len);
		uint64_t from = cpu_us();
		(void)LLVMFuzzerTestOneInput(copy, len);
		uint64_t took = cpu_us() - from;
		free(copy);
		best = took < best ? took : best;
		total_us += took;
		runs++;
	}
	if (best >= worst_us) {
		worst_us = best;
		snprintf(worst, sizeof worst, "%s", path);
	}
}

static void run_path(const char *path)
{
	struct stat st;
	struct dirent *e;
	char file[1024];

	if (stat(path, &st) != 0)
		return;
	if (!S_ISDIR(st.st_mode)) {
		run_file(path);
		return;
	}
	DIR *d = opendir(path);
	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' &&
		    (size_t)snprintf(file, sizeof file, "%s/%s", path, e->d_name) < sizeof file)
			run_file(file);
	closedir(d);
}

int main(int argc, char **argv)
{
	uint64_t floor = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;

	do {
		for (int i = 2; i < argc; i++)
			run_path(argv[i]);
		if (runs == 0) {
			fprintf(stderr, "replay: no input\n");
			return 1;
		}
	} while (runs < MIN_RUNS);
	uint64_t per_s = runs * 1000000 / (total_us > 0 ? total_us : 1);
	printf("%llu runs, %llu a second, slowest %llu us (%s)\n", (unsigned long long)runs,
	       (unsigned long long)per_s, (unsigned long long)worst_us, worst);
	if (worst_us > SLOW_US) {
		printf("FINDING: more than %d ms for %s\n", SLOW_US / 1000, worst);
		return 1;
	}
	if (per_s < floor) {
		printf("FINDING: fewer than %llu inputs a second\n", (unsigned long long)floor);
		return 1;
	}
	return 0;
}
