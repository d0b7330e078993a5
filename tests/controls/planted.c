/* tests/controls/planted.c — one planted fault each, for tests/controls/run: the detector that is
 * meant for it must see it.  -DPLANT=… picks the fault; without one the program is sound, and
 * nothing may be seen. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOTHING    0
#define AFTER_FREE 1
#define OVERFLOW   2
#define SHIFT      3
#define LEAK       4
#define FUZZ       5
#define SLOW       6
#define UNREACHED  7
#ifndef PLANT
#define PLANT NOTHING
#endif

enum planted_err { KB_OK, KB_E_PLANTED };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* For the fuzzer: a word in the input is a crash.  For the replay: it takes 150 ms. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (PLANT == FUZZ && size >= 4 && data[0] == 'K' && data[1] == 'e' && data[2] == 'y' &&
	    data[3] == '!')
		abort();
	if (PLANT == SLOW) {
		clock_t end = clock() + CLOCKS_PER_SEC * 15 / 100;
		while (clock() < end)
			continue;
	}
	return 0;
}

#ifndef PLANT_IS_TARGET
/* For the coverage gate: an error that nobody makes. */
static enum planted_err check(int value)
{
	if (value < 0)
		return KB_E_PLANTED;
	return KB_OK;
}

int main(int argc, char **argv)
{
	volatile int n = argc; /* known at run time alone */
	char *p = malloc(16);

	if (p == NULL)
		return 3;
	snprintf(p, 16, "%.15s", argv[0]);
	if (PLANT == OVERFLOW)
		p[15 + n] = 'x';
	if (PLANT == SHIFT)
		n = n << (31 + n);
	if (PLANT == LEAK) {
		p = NULL;
		return 0;
	}
	free(p);
	if (PLANT == AFTER_FREE)
		n += p[n];
	if (PLANT != UNREACHED && check(-n) != KB_E_PLANTED)
		return 4;
	return check(n) == KB_OK && n != 12345 ? 0 : 5;
}
#endif
