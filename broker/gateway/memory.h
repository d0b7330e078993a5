/* broker/gateway/memory.h — libevent's memory.  Its buffers hold what clients sent. */
#ifndef KB_GATEWAY_MEMORY_H
#define KB_GATEWAY_MEMORY_H
#include <stddef.h>

/* Before any other call of libevent: from then on it wipes all memory that it gives up. */
void memory_wipe_events(void);

/* What libevent is given, for tests. */
void *memory_move(void *p, size_t size);
void memory_free(void *p);

#endif
