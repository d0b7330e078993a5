/* tests/fault/fake_ctl.h — the fake module in an instance, and its script from the test's side.
 * Functions return NULL, or what went wrong. */
#ifndef KB_TESTS_FAKE_CTL_H
#define KB_TESTS_FAKE_CTL_H
#include <errno.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/e2e/harness.h"
#include "tests/fault/fake_p11.h"

static struct fake_control *fake;

static inline const char *fake_copy(const char *from, const char *to, mode_t mode)
{
	static char bytes[65536];
	ssize_t n = 0;
	int src = open(from, O_RDONLY | O_CLOEXEC),
	    dst = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	while (src >= 0 && dst >= 0 && (n = read(src, bytes, sizeof bytes)) > 0 &&
	       write(dst, bytes, (size_t)n) == n)
		;
	const char *why = src < 0 || dst < 0 || n != 0 || fchmod(dst, mode) != 0
				  ? wrong("%s to %s: %s", from, to, strerror(errno))
				  : NULL;
	if (src >= 0)
		close(src);
	if (dst >= 0)
		close(dst);
	return why;
}

/* Before the broker's start: its configuration names the fake, which names the module that was
 * there.  `workers` as many. */
static inline const char *fake_install(struct instance *in, unsigned workers)
{
	char dir[96], so[128], control[144];
	const char *why;
	snprintf(dir, sizeof dir, "%s/fake", in->dir);
	snprintf(so, sizeof so, "%s/module.so", dir);
	snprintf(control, sizeof control, "%s.control", so);
	if (mkdir(dir, 0755) != 0 || chmod(dir, 0755) != 0)
		return wrong("%s: %s", dir, strerror(errno));
	if ((why = fake_copy(program("fault/fake_p11.so"), so, 0755)) != NULL)
		return why;
	int fd = open(control, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || fchmod(fd, 0666) != 0 || ftruncate(fd, sizeof *fake) != 0)
		return wrong("%s: %s", control, strerror(errno));
	fake = mmap(NULL, sizeof *fake, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (fake == MAP_FAILED)
		return "mmap";
	json_t *config = instance_json(in, "keybroker.json"), *hsm = json_object_get(config, "hsm");
	snprintf(fake->real, sizeof fake->real, "%s",
		 json_string_value(json_object_get(hsm, "module")));
	fake->magic = FAKE_MAGIC;
	json_object_set_new(hsm, "module", json_string(so));
	json_object_set_new(hsm, "workers", json_integer((json_int_t)workers));
	return instance_json_write(in, "keybroker.json", config);
}

/* Rule `i`: calls skip … skip + times − 1 of `call` from now on meet `act`. */
static inline void fake_rule(unsigned i, unsigned call, uint64_t skip, uint64_t times,
			     enum fake_act act, uint64_t value)
{
	struct fake_rule *r = &fake->rule[i];
	atomic_store(&r->armed, 0);
	r->call = call;
	r->act = (uint32_t)act;
	r->skip = skip;
	r->times = times;
	r->value = value;
	atomic_store(&r->seen, 0);
	atomic_store(&r->hits, 0);
	atomic_store(&r->armed, 1);
}

/* Rule 0, from the next call on. */
static inline void fake_next(unsigned call, uint64_t times, enum fake_act act, uint64_t value)
{
	fake_rule(0, call, 0, times, act, value);
}

static inline void fake_clear(void)
{
	for (unsigned i = 0; i < FAKE_RULES; i++)
		atomic_store(&fake->rule[i].armed, 0);
}

static inline uint64_t fake_hits(unsigned i)
{
	return atomic_load(&fake->rule[i].hits);
}

static inline uint64_t fake_calls(unsigned call)
{
	return atomic_load(&fake->calls[call]);
}

enum { FOR_EVER = 1 << 30 };

#endif
