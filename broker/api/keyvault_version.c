/* broker/api/keyvault_version.c — which values of api-version are served.  Every new version of an
 * SDK asks for a newer one, so what is well formed and newer than the first with a release call is
 * taken.  Trusts nothing of the text. */
#include "api/keyvault.h"

/* A number of at most `digits` digits, without leading zeros unless `is_fixed`: then of exactly so
 * many.  Moves *text past it; −1: there is none. */
static int take_number(struct span *text, size_t digits, bool is_fixed)
{
	size_t n = 0;
	int value = 0;

	for (; n < digits && n < text->len && text->p[n] >= '0' && text->p[n] <= '9'; n++)
		value = value * 10 + (text->p[n] - '0');
	if (n == 0 || (is_fixed ? n != digits : n > 1 && text->p[0] == '0'))
		return -1;
	*text = span_sub(*text, n, text->len);
	return value;
}

static bool take(struct span *text, const char *prefix)
{
	size_t len = span_str(prefix).len;

	if (!span_eq_cstr(span_sub(*text, 0, len), prefix))
		return false;
	*text = span_sub(*text, len, text->len);
	return true;
}

/* Nothing, "-preview" or "-preview.2". */
static bool is_end(struct span text)
{
	if (text.len == 0)
		return true;
	if (!take(&text, "-preview"))
		return false;
	return text.len == 0 ||
	       (take(&text, ".") && take_number(&text, 3, false) >= 0 && text.len == 0);
}

/* "7.4", as the service counted until 7.6 */
static enum api_age age_of_number(struct span text)
{
	int major = take_number(&text, 2, false);
	int minor = major >= 0 && take(&text, ".") ? take_number(&text, 3, false) : -1;

	if (minor < 0 || !is_end(text))
		return API_UNKNOWN;
	if (major < 7)
		return API_TOO_OLD;
	return major == 7 && minor < 3 ? API_BEFORE_RELEASE : API_SERVED;
}

/* "2025-07-01", as it has since; the dates before belong to versions older than 7.0. */
static enum api_age age_of_date(struct span text)
{
	int year = take_number(&text, 4, true);
	int month = year >= 0 && take(&text, "-") ? take_number(&text, 2, true) : -1;
	int day = month >= 0 && take(&text, "-") ? take_number(&text, 2, true) : -1;

	if (month < 1 || month > 12 || day < 1 || day > 31 || !is_end(text))
		return API_UNKNOWN;
	return year > 2025 || (year == 2025 && month >= 6) ? API_SERVED : API_TOO_OLD;
}

enum api_age keyvault_version_age(struct span text)
{
	bool is_date = span_find(text, 0, '-') == 4 && span_find(text, 0, '.') > 4;

	return is_date ? age_of_date(text) : age_of_number(text);
}
