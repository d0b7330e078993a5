/* broker/gateway/response.c — writes HTTP responses.  Decides no status.  Must never name the
 * server, its version, or the reason of a refusal. */
#include "gateway/response.h"

#include "gateway/http.h"
#include "process/frame.h"

static void add_header(struct buf *out, const char *name, struct span value)
{
	if (value.len == 0)
		return;
	buf_add_str(out, name);
	buf_add_span(out, value);
	buf_add(out, "\r\n", 2);
}

void reply_write(const struct reply *r, struct buf *out)
{
	char id[37];

	frame_uuid_text(r->uuid, id);
	buf_addf(out, "HTTP/1.1 %d %s\r\n", r->status, http_reason(r->status));
	if (r->status != 204) /* RFC 9110 §8.6: no Content-Length in a 204 */
		buf_addf(out,
			 "Content-Type: application/json; charset=utf-8\r\nContent-Length: %zu\r\n",
			 r->body.len);
	buf_add_str(out, "Cache-Control: no-store\r\n");
	add_header(out, "x-ms-request-id: ", span_of(id, 36));
	add_header(out, "x-ms-client-request-id: ", r->client_request_id);
	add_header(out, "WWW-Authenticate: ", r->challenge);
	if (r->status == 405)
		buf_add_str(out, "Allow: GET, POST, PUT, PATCH, DELETE\r\n");
	if (r->retry_after_s > 0)
		buf_addf(out, "Retry-After: %u\r\n", r->retry_after_s);
	if (r->is_closing)
		buf_add_str(out, "Connection: close\r\n");
	buf_add(out, "\r\n", 2);
	if (r->status != 204)
		buf_add_span(out, r->body);
}

#define ERROR(code, message)                                                                       \
	span_str("{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\"}}")

struct span reply_error_body(enum kb_err e, int status)
{
	if (e == KB_E_HTTP_BODY_TYPE)
		return ERROR(
			"BadParameter",
			"Transfer-Encoding is not accepted: send the body with Content-Length.");
	switch (status) {
	case 400:
		return ERROR("BadParameter", "The request is not well-formed HTTP/1.1.");
	case 405:
		return ERROR("MethodNotAllowed", "The method is not allowed.");
	case 408:
		return ERROR("RequestTimeout", "The request was not complete in time.");
	case 413:
		return ERROR("RequestEntityTooLarge", "The request body is too large.");
	case 414:
		return ERROR("BadParameter", "The request line is too long.");
	case 431:
		return ERROR("BadParameter", "The request headers are too many or too long.");
	case 503:
		return ERROR("ServiceUnavailable",
			     "The service is busy or not available: try again later.");
	case 505:
		return ERROR("BadParameter", "Only HTTP/1.1 is spoken here.");
	default: /* a status, not an enum: anything else is a fault of ours */
		return ERROR("InternalServerError", "The request failed.");
	}
}
