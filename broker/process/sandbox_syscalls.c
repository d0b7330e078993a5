/* broker/process/sandbox_syscalls.c — the system calls of each process, one table; any other call
 * ends the process (SIGSYS).  Trusts libseccomp to translate the table.  No row may let a process
 * start or trace a process, or map or load code; only the processes that need the network may open
 * a socket. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "process/sandbox_priv.h"

/* N is a vault whose PKCS#11 module is a network HSM's client library.  We cannot know what such
 * libraries call, so its list is wide (still no exec, no trace). */
enum {
	G = 1 << PROCESS_GATEWAY,
	V = 1 << PROCESS_VAULT,
	L = 1 << PROCESS_LEDGER,
	F = 1 << PROCESS_FETCHER,
	N = 1 << PROCESS_COUNT,
	ALL = G | V | L | F | N
};

/* The flags with which glibc's pthread_create() calls clone(): a complete thread and nothing
 * less. */
enum {
	THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
		 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID
};
/* The type in socket()'s second argument, without SOCK_CLOEXEC and SOCK_NONBLOCK. */
enum { TYPE_MASK = 0xf };

struct rule {
	unsigned processes;
	int call;
	struct scmp_arg_cmp when[3];
	unsigned n; /* how many of them must hold */
	/* 0: allowed.  Else the call fails with it: libraries try the call and can do without. */
	int error;
};

#define IS(arg, value) ((struct scmp_arg_cmp){(arg), SCMP_CMP_EQ, (scmp_datum_t)(value), 0})
#define BITS(arg, mask, value)                                                                     \
	((struct scmp_arg_cmp){(arg), SCMP_CMP_MASKED_EQ, (scmp_datum_t)(mask),                    \
			       (scmp_datum_t)(value)})
#define CALL(name)              SCMP_SYS(name), {{0}}, 0, 0
#define CALL1(name, a)          SCMP_SYS(name), {a}, 1, 0
#define CALL2(name, a, b)       SCMP_SYS(name), {a, b}, 2, 0
#define FAIL1(name, a, e)       SCMP_SYS(name), {a}, 1, e
#define FAIL3(name, a, b, c, e) SCMP_SYS(name), {a, b, c}, 3, e
#define FAIL(name, e)           SCMP_SYS(name), {{0}}, 0, e

static const struct rule rules[] = {
	/* what is open already: bytes in, bytes out */
	{ALL, CALL(read)},
	{ALL, CALL(readv)},
	{ALL, CALL(write)},
	{ALL, CALL(writev)},
	{ALL, CALL(close)},
	{ALL, CALL(lseek)},
	{ALL, CALL(poll)},
	{ALL, CALL(ppoll)},
	{ALL, CALL(fstat)},
	/* glibc's fd_stat(), in which a filter cannot see whether the path is empty: base/file.h.
	 * Without it stdio and others take default sizes. */
	{G | L, FAIL1(newfstatat, BITS(3, AT_EMPTY_PATH, AT_EMPTY_PATH), ENOSYS)},
	{ALL, CALL1(fcntl, IS(1, F_GETFD))},
	{ALL, CALL1(fcntl, IS(1, F_SETFD))},
	{ALL, CALL1(fcntl, IS(1, F_GETFL))},
	{ALL, CALL1(fcntl, IS(1, F_SETFL))},
	{ALL, CALL1(ioctl, IS(1, TCGETS))}, /* stdio asks whether it writes to a terminal */
	/* memory: none that can be run */
	{ALL, CALL(brk)},
	{ALL, CALL1(mmap, BITS(2, PROT_EXEC, 0))},
	{ALL, CALL1(mprotect, BITS(2, PROT_EXEC, 0))},
	{ALL, CALL(munmap)},
	{ALL, CALL(mremap)},
	{ALL, CALL(madvise)},
	/* time, random, locks */
	{ALL, CALL(clock_gettime)},
	{ALL, CALL(clock_getres)},
	{ALL, CALL(gettimeofday)},
	{ALL, CALL(time)},
	{ALL, CALL(nanosleep)},
	{ALL, CALL(clock_nanosleep)},
	{ALL, CALL(pause)},
	{ALL, CALL(sched_yield)},
	{ALL, CALL(restart_syscall)},
	{ALL, CALL(getrandom)},
	{ALL, CALL(futex)},
	/* itself, and its end */
	{ALL, CALL(getpid)},
	{ALL, CALL(gettid)},
	{ALL, CALL(getppid)},
	{ALL, CALL(getuid)},
	{ALL, CALL(geteuid)},
	{ALL, CALL(getgid)},
	{ALL, CALL(getegid)},
	{ALL, CALL(getrusage)},
	{ALL, CALL(sysinfo)}, /* glibc's qsort() asks how much memory there is */
	{ALL, CALL2(prlimit64, IS(0, 0), IS(2, 0))},
	{ALL, CALL(rt_sigaction)},
	{ALL, CALL(rt_sigprocmask)},
	{ALL, CALL(rt_sigreturn)},
	{ALL, CALL(sigaltstack)},
	{ALL, CALL(exit)},
	{ALL, CALL(exit_group)},
	/* between processes; the gateway's clients */
	{ALL, CALL(recvfrom)},
	{ALL, CALL(recvmsg)},
	{ALL, CALL(sendto)},
	{ALL, CALL(sendmsg)},
	{G, CALL(accept4)},
	/* the spare descriptor */
	{G, CALL2(fcntl, IS(0, STDIN_FILENO), IS(1, F_DUPFD_CLOEXEC))},
	{G | V, CALL(epoll_ctl)},
	{G | V, CALL(epoll_wait)},
	{G | V, CALL(epoll_pwait)},
	{G, CALL(getsockname)},
	{G, CALL(getpeername)},
	{G, CALL(getsockopt)},
	{G, CALL2(setsockopt, IS(1, IPPROTO_TCP), IS(2, TCP_NODELAY))},
	{G, CALL2(setsockopt, IS(1, SOL_SOCKET), IS(2, SO_LINGER))},
	{G | F, CALL1(ioctl, IS(1, FIONREAD))},
	/* files; sandbox_files.c limits which ones */
	{V | N | L | F, CALL(openat)},
	{V | N | L | F, CALL(fsync)},
	{V | N | L | F, CALL(fdatasync)},
	{V | N | L | F, CALL(ftruncate)},
	{V | N | L | F, CALL(unlink)},
	{V | N | L | F, CALL(unlinkat)},
	{V | N | L | F, CALL(rename)},
	{V | N | L | F, CALL(renameat)},
	{V | N | L | F, CALL(renameat2)},
	{L, CALL(fchmod)},
	{V | N | F, CALL(open)},
	{V | N | F, CALL(newfstatat)},
	{L, CALL(fstatfs)}, /* the free space of the ledger's disk */
	{V | N | F, CALL(stat)},
	{V | N | F, CALL(lstat)},
	{V | N | F, CALL(access)},
	{V | N | F, CALL(faccessat)},
	{V | N | F, CALL(faccessat2)},
	{V | N | F, CALL(mkdir)},
	{V | N | F, CALL(mkdirat)},
	{V | N | L | F, CALL(pread64)},
	{V | N | L, CALL(pwrite64)},
	{V | N | F, CALL(getdents64)},
	{V | N, CALL(rmdir)},
	{V | N, CALL1(fcntl, IS(1, F_GETLK))},
	{V | N, CALL1(fcntl, IS(1, F_SETLK))},
	{V | N, CALL1(fcntl, IS(1, F_SETLKW))},
	{V | N, CALL(flock)}, /* of the PIN file: one login at a time */
	/* syslog() opens its socket for each line while syslogd does not run.  SoftHSM's messages
	 * are lost then; our log has the CKR_ code of the call. */
	{V, FAIL3(socket, IS(0, AF_UNIX), IS(1, SOCK_DGRAM | SOCK_CLOEXEC), IS(2, 0), EACCES)},
	/* the network: issuers, or a network HSM */
	{F | N, CALL2(socket, IS(0, AF_INET), BITS(1, TYPE_MASK, SOCK_STREAM))},
	{F | N, CALL2(socket, IS(0, AF_INET), BITS(1, TYPE_MASK, SOCK_DGRAM))},
	{F | N, CALL2(socket, IS(0, AF_INET6), BITS(1, TYPE_MASK, SOCK_STREAM))},
	{F | N, CALL2(socket, IS(0, AF_INET6), BITS(1, TYPE_MASK, SOCK_DGRAM))},
	/* nscd, systemd-resolved: without them glibc asks DNS itself */
	{F, FAIL1(socket, IS(0, AF_UNIX), EAFNOSUPPORT)},
	/* our own addresses: without them glibc asks for IPv4 and IPv6 */
	{F | N, FAIL1(socket, IS(0, AF_NETLINK), EAFNOSUPPORT)},
	{F | N, CALL1(socketpair, IS(0, AF_UNIX))},
	{F | N, CALL(connect)},
	{F | N, CALL(getsockname)},
	{F | N, CALL(getpeername)},
	{F | N, CALL(getsockopt)},
	{F | N, CALL(setsockopt)},
	{F | N, CALL(shutdown)},
	{F | N, CALL(sendmmsg)},
	{F | N, CALL(uname)},
	/* libcurl resolves names in a thread */
	{F | N, CALL1(clone, IS(0, THREAD))},
	/* its flags are in memory, which a filter cannot read: glibc falls back to clone() */
	{F | N, FAIL(clone3, ENOSYS)},
	{F | N, CALL(set_robust_list)},
	{F | N, CALL(rseq)},
	{F | N, CALL(sched_getaffinity)},
	/* more that client libraries of network HSMs and drivers of built-in ones are known to
	 * call */
	{N, CALL1(socket, IS(0, AF_UNIX))},
	{N, CALL(bind)},
	{N, CALL(recvmmsg)},
	{N, CALL(ioctl)},
	{N, CALL(select)},
	{N, CALL(pselect6)},
	{N, CALL(epoll_create1)},
	{N, CALL(epoll_ctl)},
	{N, CALL(epoll_wait)},
	{N, CALL(epoll_pwait)},
	{N, CALL(eventfd2)},
	{N, CALL(pipe2)},
	{N, CALL(dup)},
	{N, CALL(fcntl)},
	{N, CALL(readlink)},
	{N, CALL(readlinkat)},
	{N, CALL(statx)},
	{N, CALL(getcwd)},
	{N, CALL(mlock)},
	{N, CALL(mlock2)},
	{N, CALL(munlock)},
	{N, CALL(chmod)},
	{N, CALL(fchmod)},
	{N, CALL(umask)},
	{N, CALL(sched_setscheduler)},
	{N, CALL(sched_getscheduler)},
	{N, CALL(sched_getparam)},
};

static int add(scmp_filter_ctx filter, const struct rule *r)
{
	return seccomp_rule_add_array(
		filter, r->error == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO((uint16_t)r->error),
		r->call, r->n, r->when);
}

/* abort() and raise() must end the process by their own signal. */
static int add_own_signals(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp self = IS(0, getpid());
	int r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &self);

	return r != 0 ? r
		      : seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(kill), 1, &self);
}

/* shutdown() acts on the socket for all processes that have it, like the vaults' requests or the
 * listener of the next gateway.  So only on the process's own descriptors. */
static int add_own_sockets(scmp_filter_ctx filter, int own_fd)
{
	const struct scmp_arg_cmp own = {0, SCMP_CMP_GE, (scmp_datum_t)own_fd, 0};

	return own_fd == 0 ? 0
			   : seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(shutdown), 1,
						    &own);
}

static enum kb_err load(scmp_filter_ctx filter)
{
	/* System calls of the machine's other instruction sets have other numbers and would pass
	 * the filter. */
	int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree */
	if (r == 0)
		r = seccomp_load(filter);
	if (r != 0)
		log_event(LOG_ERROR, "sandbox.syscalls", "why", "the kernel refuses the filter",
			  "errno", log_i64(-r), NULL);
	return r == 0 ? KB_OK : KB_E_SYS;
}

enum kb_err sandbox_limit_calls(enum process_kind process, const struct sandbox_needs *needs)
{
	unsigned bit = process == PROCESS_VAULT && needs->has_network ? N : 1u << process;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r = filter == NULL ? -ENOMEM : add_own_signals(filter);

	if (r == 0)
		r = add_own_sockets(filter, needs->own_fd);
	for (size_t i = 0; r == 0 && i < sizeof rules / sizeof rules[0]; i++)
		if ((rules[i].processes & bit) != 0)
			r = add(filter, &rules[i]);
	if (r != 0)
		log_event(LOG_ERROR, "sandbox.syscalls", "why", "the filter cannot be made",
			  "errno", log_i64(-r), NULL);
	enum kb_err err = r == 0 ? load(filter) : KB_E_SYS;
	seccomp_release(filter);
	return err;
}

/* The supervisor starts processes, binds sockets and reads files of any path, so it has a list of
 * what it never does.  Its processes inherit it. */
enum kb_err sandbox_enter_supervisor(void)
{
	static const int never[] = {
		SCMP_SYS(ptrace),
		SCMP_SYS(process_vm_readv),
		SCMP_SYS(process_vm_writev),
		SCMP_SYS(kcmp),
		SCMP_SYS(pidfd_getfd),
		SCMP_SYS(mount),
		SCMP_SYS(umount2),
		SCMP_SYS(pivot_root),
		SCMP_SYS(chroot),
		SCMP_SYS(fsopen),
		SCMP_SYS(fsconfig),
		SCMP_SYS(fsmount),
		SCMP_SYS(fspick),
		SCMP_SYS(move_mount),
		SCMP_SYS(open_tree),
		SCMP_SYS(mount_setattr),
		SCMP_SYS(unshare),
		SCMP_SYS(setns),
		SCMP_SYS(open_by_handle_at),
		SCMP_SYS(name_to_handle_at),
		SCMP_SYS(init_module),
		SCMP_SYS(finit_module),
		SCMP_SYS(delete_module),
		SCMP_SYS(kexec_load),
		SCMP_SYS(kexec_file_load),
		SCMP_SYS(bpf),
		SCMP_SYS(perf_event_open),
		SCMP_SYS(userfaultfd),
		SCMP_SYS(io_uring_setup),
		SCMP_SYS(io_uring_enter),
		SCMP_SYS(io_uring_register),
		SCMP_SYS(add_key),
		SCMP_SYS(request_key),
		SCMP_SYS(keyctl),
		SCMP_SYS(swapon),
		SCMP_SYS(swapoff),
		SCMP_SYS(reboot),
		SCMP_SYS(acct),
		SCMP_SYS(quotactl),
		SCMP_SYS(syslog),
		SCMP_SYS(settimeofday),
		SCMP_SYS(clock_settime),
		SCMP_SYS(clock_adjtime),
		SCMP_SYS(adjtimex),
		SCMP_SYS(sethostname),
		SCMP_SYS(setdomainname),
		SCMP_SYS(iopl),
		SCMP_SYS(ioperm),
		SCMP_SYS(modify_ldt),
		SCMP_SYS(mknod),
		SCMP_SYS(mknodat),
		SCMP_SYS(fanotify_init),
		SCMP_SYS(lookup_dcookie),
		SCMP_SYS(vhangup),
		SCMP_SYS(personality),
		SCMP_SYS(uselib),
		SCMP_SYS(ustat),
		SCMP_SYS(sysfs),
		SCMP_SYS(nfsservctl),
		SCMP_SYS(move_pages),
		SCMP_SYS(migrate_pages),
	};
	if (!sandbox_is_complete())
		return KB_OK;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter == NULL ? -ENOMEM : 0;

	for (size_t i = 0; r == 0 && i < sizeof never / sizeof never[0]; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, never[i], 0);
	enum kb_err err = r == 0 ? load(filter) : KB_E_SYS;
	seccomp_release(filter);
	return err;
}
