/* tests/e2e/check.h — what the end-to-end tests share: assertions with a message, and one request
 * with its record in the ledger. */
#ifndef KB_TESTS_CHECK_H
#define KB_TESTS_CHECK_H
#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/e2e/evidence.h"
#include "tests/e2e/harness.h"

#include <cmocka.h> /* after the headers, so that it redefines nothing in them */

static struct instance in;

/* The call went as it must, or the test fails with what went wrong and the end of the broker's
 * log. */
#define GOOD(call) check_good((call), #call, __FILE__, __LINE__)
static inline void check_good(const char *why, const char *call, const char *file, int line)
{
	if (why == NULL)
		return;
	print_error("%s\n  %s\n", call, why);
	broker_log_tail(&in);
	_fail(file, line);
}

/* The file of an issuer's fetched keys: NAME, a digest of where they come from, "keys". */
static inline const char *keys_path(const char *name, char path[static 256])
{
	char pattern[256];
	glob_t found;
	snprintf(pattern, sizeof pattern, "%s/state/issuers/%s.????????????????.keys", in.dir,
		 name);
	if (glob(pattern, 0, NULL, &found) != 0 || found.gl_pathc != 1)
		GOOD(wrong("%s: there must be one", pattern));
	snprintf(path, 256, "%s", found.gl_pathv[0]);
	globfree(&found);
	return path;
}

/* The ledger's line for an answer, by its x-ms-request-id; malloc'd, NULL unless there is exactly
 * one. */
static inline char *record_of(const struct reply *r)
{
	char id[64], part[96], *found = NULL;
	unsigned n = 0;
	reply_header(r, "x-ms-request-id", id, sizeof id);
	snprintf(part, sizeof part, "\"request\":\"%s\"", id);
	char *text = ledger_text(&in);
	for (char *line = text, *end; line != NULL && (end = strchr(line, '\n')) != NULL;
	     line = end + 1) {
		*end = '\0';
		if (strlen(id) == 36 && strstr(line, part) != NULL && n++ == 0)
			found = strdup(line);
	}
	free(text);
	if (n != 1) {
		free(found);
		found = NULL;
	}
	return found;
}

/* Ask on a fresh connection; the answer must have this status and this error.code, and its one
 * record this audit name (NULL: no record at all). */
#define REFUSED(ask, status, code, audit_name)                                                     \
	check_refused((ask), (status), (code), (audit_name), __FILE__, __LINE__)
static inline void check_refused(const struct ask *a, int status, const char *code,
				 const char *audit_name, const char *file, int line)
{
	struct link *l;
	struct reply r = {0};
	char got[64], part[96];
	const char *why = link_open(&in.at, &l);
	if (why == NULL)
		why = guest_ask(l, a, &r);
	link_close(l);
	if (why == NULL &&
	    (r.status != status || strcmp(reply_code(&r, got, sizeof got), code) != 0))
		why = wrong("status %d, %.300s; expected %d %s (%s)", r.status, r.body, status,
			    code, audit_name == NULL ? "no record" : audit_name);
	if (why == NULL) {
		char *record = record_of(&r);
		snprintf(part, sizeof part, "\"code\":\"%s\"",
			 audit_name == NULL ? "" : audit_name);
		if ((record == NULL) != (audit_name == NULL) ||
		    (record != NULL && strstr(record, part) == NULL))
			why = wrong("record: %.300s; expected %s", record == NULL ? "none" : record,
				    audit_name == NULL ? "none" : audit_name);
		free(record);
	}
	/* The client never learns which condition failed. */
	if (why == NULL && audit_name != NULL && status == 403 &&
	    strstr(r.body, audit_name) != NULL)
		why = wrong("the reply to the client: %.300s", r.body);
	reply_free(&r);
	check_good(why, audit_name == NULL ? "refused without a record" : audit_name, file, line);
}

#endif
