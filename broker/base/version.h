/* broker/base/version.h — the product's version, in one place. */
#ifndef KB_BASE_VERSION_H
#define KB_BASE_VERSION_H

#define KB_VERSION "0.1.0"

#endif
