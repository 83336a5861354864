/* The wire between mer's local carrier and mer-guard, the small program that supervises exactly one
 * worker, so that nothing a worker starts outlives it or mer. guard.c is the program. */
#ifndef MER_MEAL_GUARD_H
#define MER_MEAL_GUARD_H

#include <assert.h>
#include <stdint.h>

/*
 * mer-guard [-C DIR] [-s SCRATCH] [-f FD] [LIMITS] -- ARGV...
 *
 *   -C DIR      the worker's working directory
 *   -s SCRATCH  absolute path of a private folder: made by the guard, mode 0700, before READY;
 *               emptied and removed by it as its last act
 *   -f FD       one more descriptor, above 3, that the worker inherits under the same number
 *
 * LIMITS (guard_limits.c), which the worker is put under before it is its program:
 *
 *   -r N=VALUE     resource limit of that number, as in <sys/resource.h>; once a resource. A lower one
 *                  that is in force stays. RLIMIT_CORE is 0 unless it is among them
 *   -n NICE        niceness; one above 0 never takes back what the guard has itself
 *   -g CGROUP      absolute path of a cgroup (v2): made by the guard before READY, and a lock is held
 *                  on it; the worker enters it; killed and removed before GONE
 *   -w NAME=VALUE  written to that file of the cgroup; '?' in front: where there is such a file
 *   -i             a pid namespace, where that takes one in a user namespace of its own. The guard is
 *                  its first process, so the kernel ends all in it with the guard; the process that mer
 *                  started stays outside and ends as the guard does, or it with it. Pids in reports are
 *                  those outside
 *
 * The guard's environment and descriptors 0, 1 and 2 are the worker's. Descriptor MER_GUARD_FD is
 * one end of a SOCK_SEQPACKET socketpair. Everything else that is open is closed. From the fork on
 * the guard holds none of the worker's descriptors, so that an end of file on them depends on the
 * worker and its descendants alone. A usage error is one line on stderr and exit status 2; apart
 * from that the guard writes to its socket only, and its exit status is 0.
 *
 *   guard  READY
 *   mer    'G'
 *   guard  STARTED
 *   mer    'I', 'T', 'K'          any number, or none
 *   guard  EXITED or SIGNALED     then it kills all that the worker left behind
 *   guard  GONE                   always the last report
 *   mer    closes its end
 *   guard  removes SCRATCH and exits, so whatever is in SCRATCH can be read until then
 *
 * No order has to wait for the report before it: 'G' may be sent at once. A guard that was not
 * started in a session of its own makes one, which the leader of a process group cannot (EPERM).
 *
 * FAILED stands in place of READY (stages SETUP, SCRATCH, ISOLATE, CGROUP) or of STARTED (the others,
 * and CGROUP where it cannot be entered), and GONE
 * follows it. A worker that 'K' or an end of file ends before its exec succeeded has no STARTED.
 *
 * End of file on the socket (mer closed it, ended or was killed) and SIGTERM, SIGINT or SIGHUP to
 * the guard mean the same at any time: kill all descendants, remove SCRATCH, exit.
 *
 * The worker has a process group of its own in the guard's session, which has no terminal; default
 * dispositions; an empty signal mask; and it dies by SIGKILL with its guard. Its program is
 * searched for as execvp does, in its own PATH and, where the name has a slash, relative to its
 * own working directory; but a file of unknown format is never handed to a shell.
 *
 * What this cannot hold: a guard that is killed with SIGKILL takes only the worker along, with -i all
 * descendants, and leaves the others, SCRATCH and CGROUP; the worker itself, where its program is setuid; and a
 * descendant that the guard may not signal (setuid again) is waited for instead of killed.
 */

#define MER_GUARD_FD 3

/* What mer may ask for: datagrams of one byte. Other bytes are ignored, as is what comes too late.
 * An empty datagram counts as end of file. */
enum mer_guard_order {
	MER_GUARD_GO = 'G',        /* start the worker; once */
	MER_GUARD_INTERRUPT = 'I', /* SIGINT to the worker's group */
	MER_GUARD_TERMINATE = 'T', /* SIGTERM to it, then SIGCONT so that a stopped worker sees it */
	MER_GUARD_KILL = 'K',      /* kill all descendants now; in place of 'G' nothing is ever run */
};
/* 'I' and 'T' between 'G' and STARTED are kept until the worker's program runs; before 'G' they are
 * ignored. */

enum mer_guard_kind {
	MER_GUARD_NONE,
	MER_GUARD_READY,    /* nothing of ARGV has run; waits for 'G' */
	MER_GUARD_STARTED,  /* value: the worker's pid; its exec has succeeded (or somebody else killed
	                       it on the way there, which SIGNALED then tells) */
	MER_GUARD_FAILED,   /* stage, and value: an errno; there is no worker */
	MER_GUARD_EXITED,   /* value: the exit status; cpu_us and max_rss_kib */
	MER_GUARD_SIGNALED, /* value: the signal's number; cpu_us and max_rss_kib */
	MER_GUARD_GONE,     /* no descendant is left */
};

enum mer_guard_stage {
	MER_GUARD_STAGE_NONE,
	MER_GUARD_STAGE_SETUP, /* the guard's own needs: a session, /dev/null, its namespace's /proc */
	MER_GUARD_STAGE_SCRATCH, /* EEXIST: whatever was there is left as it was */
	MER_GUARD_STAGE_FORK,
	MER_GUARD_STAGE_CHDIR,
	MER_GUARD_STAGE_EXEC,        /* EACCES: not executable, or a folder; ENOENT; ENOEXEC; ... */
	MER_GUARD_STAGE_INTERPRETER, /* ENOENT: the file is there, its #! or ELF interpreter is not */
	MER_GUARD_STAGE_ISOLATE,     /* EPERM: namespaces are not allowed here; ENOSPC; ... */
	MER_GUARD_STAGE_CGROUP,      /* it cannot be made, set or entered */
	MER_GUARD_STAGE_NICE,        /* EACCES: a niceness that takes privileges */
	MER_GUARD_STAGE_LIMIT,       /* a resource limit */
};

/* Which limit ended a worker that SIGKILL did. */
enum mer_guard_limit {
	MER_GUARD_LIMIT_NONE,   /* none that is known of */
	MER_GUARD_LIMIT_MEMORY, /* the kernel killed in CGROUP for want of memory */
};

/* One datagram, in host byte order. What a kind does not use is 0. */
struct mer_guard_report {
	uint32_t kind;  /* enum mer_guard_kind */
	uint32_t stage; /* enum mer_guard_stage */
	int32_t value;
	uint32_t limit;      /* enum mer_guard_limit; of SIGNALED */
	int64_t cpu_us;      /* user and system time of the worker and of the children it waited for */
	int64_t max_rss_kib; /* the largest resident set among these */
};
static_assert(sizeof(struct mer_guard_report) == 32, "a report has no holes");

#endif
