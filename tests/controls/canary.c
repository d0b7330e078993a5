/* tests/controls/canary.c — the search for secrets finds a planted one, in each spelling that it
 * knows, and nothing where there is none. */
#include <stdio.h>
#include <string.h>

#include "tests/e2e/invariants.h"

static int fails(const char *what)
{
	printf("canary: %s\n", what);
	return 1;
}

int main(void)
{
	static const unsigned char canary[16] = {0x9c, 0x01, 0xfe, 0x42, 0x77, 0x10, 0xab, 0x5d,
						 0x3e, 0x88, 0x00, 0xd1, 0x6a, 0x2f, 0xc4, 0x19};
	char text[256];
	unsigned char raw[64] = {0};

	invariants_secret(canary, sizeof canary);
	if (invariants_search("nothing here", 12) != NULL ||
	    invariants_search(raw, sizeof raw) != NULL)
		return fails("found where there is none");
	memcpy(raw + 7, canary, sizeof canary);
	if (invariants_search(raw, sizeof raw) == NULL)
		return fails("bytes not found");
	raw[7 + 15] ^= 1;
	if (invariants_search(raw, sizeof raw) != NULL)
		return fails("found what is another");
	snprintf(text, sizeof text, "{\"key\":\"9c01fe427710ab5d3e8800d16a2fc419\"}");
	if (invariants_search(text, strlen(text)) == NULL)
		return fails("hexadecimal digits not found");
	snprintf(text, sizeof text, "x%s.y", "nAH-QncQq10-iADRai_EGQ");
	if (invariants_search(text, strlen(text)) == NULL)
		return fails("base64url not found");
	return 0;
}
