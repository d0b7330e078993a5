/* broker/base/method.h — HTTP methods as numbers: what the gateway reads, frames carry and the API
 * dialects route by. */
#ifndef KB_BASE_METHOD_H
#define KB_BASE_METHOD_H

enum kb_method {
	KB_METHOD_NONE, /* any method that no dialect serves */
	KB_METHOD_GET,
	KB_METHOD_POST,
	KB_METHOD_PUT,
	KB_METHOD_PATCH,
	KB_METHOD_DELETE
};

#endif
