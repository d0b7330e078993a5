/* tests/lint.h — what of <sys/queue.h> cppcheck must know, and cannot read there.  Given by
 * --include: a -D with parentheses silently ends its checks. */
#define TAILQ_HEAD(name, type)                                                                     \
	struct name {                                                                              \
		struct type *first;                                                                \
	}
#define TAILQ_ENTRY(type)                                                                          \
	struct {                                                                                   \
		struct type *next;                                                                 \
	}
#define LIST_HEAD(name, type)   TAILQ_HEAD(name, type)
#define LIST_ENTRY(type)        TAILQ_ENTRY(type)
#define STAILQ_HEAD(name, type) TAILQ_HEAD(name, type)
#define STAILQ_ENTRY(type)      TAILQ_ENTRY(type)
