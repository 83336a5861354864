/* What a worker's limits become; confine.h. docs/limits.md says the same to users. */
#define LOG_AREA "meal"
#include "confine.h"

#include "cgroup.h"

#include <linux/capability.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/log.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define CPU_PERIOD_US 100000 /* of cpu.max: its default */

static void add_word(struct confine *confine, char *word)
{
	MER_ASSERT(confine->n < CONFINE_WORDS);
	confine->words[confine->n] = word;
	confine->n += word != NULL;
	confine->incomplete |= word == NULL;
}

static MER_PRINTF(3, 4) void add(struct confine *confine, const char *option, const char *format,
                                 ...)
{
	va_list args;
	char *value;
	va_start(args, format);
	if (vasprintf(&value, format, args) < 0)
		value = NULL;
	va_end(args);
	add_word(confine, strdup(option));
	add_word(confine, value);
}

static void add_rlimit(struct confine *confine, int resource, int64_t value)
{
	if (value > 0)
		add(confine, "-r", "%d=%lld", resource, (long long)value);
}

/* Whether root here is root outside of all user namespaces (user_namespaces(7)). */
static bool is_true_root(void)
{
	char line[64] = "", *rest = line;
	MER_AUTO(mer_file_done) FILE *map = fopen("/proc/self/uid_map", "re");
	if (map == NULL || fgets(line, sizeof line, map) == NULL)
		return true;
	unsigned long inside = strtoul(line, &rest, 10), outside = strtoul(rest, &rest, 10);
	return inside == 0 && outside == 0;
}

/* Whether the kernel holds this user to RLIMIT_NPROC: not root, and not who keeps the capabilities. */
static bool is_counted(void)
{
	static const unsigned long freeing[] = { CAP_SYS_RESOURCE, CAP_SYS_ADMIN };
	for (size_t i = 0; i < sizeof freeing / sizeof *freeing; i++) {
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, freeing[i], 0, 0) == 1)
			return false;
	}
	return getuid() != 0 || !is_true_root();
}

static enum mer_status refuse(const char *name, const char *why, struct mer_error *err)
{
	(void)mer_fail(err, MER_EUNREACHABLE, "limit '%s' cannot be held here: %s", name, why);
	mer_hint(
		err,
		"start mer by 'systemd-run %s--scope -p Delegate=yes mer ...', or take the limit away: "
		"docs/limits.md",
		geteuid() == 0 ? "" : "--user ");
	return MER_EUNREACHABLE;
}

/* What a cgroup holds for all that the worker starts; the rest is held a process or refused. */
static enum mer_status confine_group(struct confine *confine, unsigned *held, struct mer_error *err)
{
	const struct mer_limits *limits = &confine->limits;
	unsigned wanted = (limits->memory_bytes > 0 ? CGROUP_MEMORY : 0) |
	                  (limits->processes > 0 ? CGROUP_PIDS : 0) |
	                  (limits->cpus_permille > 0 ? CGROUP_CPU : 0);
	if (wanted == 0)
		return MER_OK;
	enum mer_status st = cgroup_choose(wanted, &confine->cgroup, held, err);
	if (st != MER_OK)
		return st;
	MER_DEBUG("limits cgroup=%s wanted=%u held=%u",
	          confine->cgroup != NULL ? confine->cgroup : "none", wanted, *held);
	if ((wanted & ~*held & CGROUP_CPU) != 0)
		return refuse("cpus", "it takes a cgroup (v2) with the controller 'cpu'", err);
	if ((wanted & ~*held & CGROUP_PIDS) != 0 && !is_counted())
		return refuse("processes", "for root it takes a cgroup (v2) with the controller 'pids'",
		              err);
	return MER_OK;
}

static void add_group(struct confine *confine, unsigned held)
{
	const struct mer_limits *limits = &confine->limits;
	if ((held & CGROUP_MEMORY) != 0) {
		add(confine, "-w", "memory.max=%lld", (long long)limits->memory_bytes);
		add(confine, "-w", "?memory.swap.max=0");
		add(confine, "-w", "?memory.oom.group=1");
	}
	if ((held & CGROUP_PIDS) != 0)
		add(confine, "-w", "pids.max=%lld", (long long)limits->processes);
	if ((held & CGROUP_CPU) != 0)
		add(confine, "-w", "cpu.max=%lld %d",
		    (long long)(limits->cpus_permille * CPU_PERIOD_US / 1000), CPU_PERIOD_US);
}

static void add_processes(struct confine *confine, unsigned held)
{
	const struct mer_limits *limits = &confine->limits;
	if ((held & CGROUP_MEMORY) == 0)
		add_rlimit(confine, RLIMIT_DATA, limits->memory_bytes);
	if ((held & CGROUP_PIDS) == 0)
		add_rlimit(confine, RLIMIT_NPROC, limits->processes);
	add_rlimit(confine, RLIMIT_CPU, limits->cpu_ms / 1000 + (limits->cpu_ms % 1000 > 0));
	add_rlimit(confine, RLIMIT_NOFILE, limits->open_files);
	add_rlimit(confine, RLIMIT_FSIZE, limits->file_bytes);
	add_rlimit(confine, RLIMIT_CORE, limits->core_bytes);
	if (limits->nice != 0)
		add(confine, "-n", "%lld", (long long)limits->nice);
	if (limits->isolate != 0)
		add_word(confine, strdup("-i"));
}

enum mer_status confine_init(struct confine *confine, const struct mer_limits *limits,
                             struct mer_error *err)
{
	static const struct mer_limits none;
	unsigned held = 0;
	*confine = (struct confine){ .limits = *limits };
	if (memcmp(limits, &none, sizeof none) == 0)
		return MER_OK;
	enum mer_status st = confine_group(confine, &held, err);
	if (st != MER_OK)
		return st;
	confine->words = calloc(CONFINE_WORDS + 1, sizeof *confine->words);
	if (confine->words == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (confine->cgroup != NULL)
		add(confine, "-g", "%s", confine->cgroup);
	add_group(confine, held);
	add_processes(confine, held);
	return confine->incomplete ? mer_fail(err, MER_ENOMEM, "out of memory") : MER_OK;
}

void confine_release(struct confine *confine)
{
	mer_words_done(&confine->words);
	free(confine->cgroup);
}

void confine_explain(const struct confine *confine, const struct mer_guard_report *end, char *text,
                     size_t size)
{
	const struct mer_limits *limits = &confine->limits;
	char limit[MER_LIMIT_TEXT];
	if (end->limit == MER_GUARD_LIMIT_MEMORY) {
		mer_limit_bytes_text(limits->memory_bytes, limit);
		(void)snprintf(text, size, "the model was killed: out of memory, over its limit of %s",
		               limit);
	} else if (end->value == SIGXCPU && limits->cpu_ms > 0) {
		mer_limit_ms_text(limits->cpu_ms, limit);
		(void)snprintf(text, size, "the model was killed: over its limit of %s of processor time",
		               limit);
	} else if (end->value == SIGXFSZ && limits->file_bytes > 0) {
		mer_limit_bytes_text(limits->file_bytes, limit);
		(void)snprintf(text, size, "the model was killed: it wrote a file over its limit of %s",
		               limit);
	}
}
