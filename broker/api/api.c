/* broker/api/api.c — the table of API dialects.  Decides which dialect a name means. */
#include "api/api.h"

#include "base/json.h"

static const struct api *const apis[] = {
	&keyvault_api,
};

const struct api *api_find(struct span name)
{
	for (size_t i = 0; i < sizeof apis / sizeof apis[0]; i++)
		if (span_eq_cstr(name, apis[i]->name))
			return apis[i];
	return NULL;
}

void api_names(struct buf *text)
{
	for (size_t i = 0; i < sizeof apis / sizeof apis[0]; i++)
		buf_addf(text, "%s\"%s\"", i == 0 ? "" : ", ", apis[i]->name);
}

struct span api_body(const struct api *api, enum kb_err code, int status)
{
	const struct api_body *b = api->bodies;

	while ((b->code != KB_OK && b->code != code) || (b->status != 0 && b->status != status))
		b++;
	return span_str(b->text);
}

void call_free(struct call *call)
{
	json_free(call->body);
	call->body = NULL;
}
