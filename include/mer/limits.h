/*
 * What a worker may take of its machine. The table of limits is in limits.c: the names that users write
 * (`--limit memory=512MiB`), the members of a deployment's `limits` JSON, and what each may be.
 * docs/limits.md says how each is held.
 */
#ifndef MER_LIMITS_H
#define MER_LIMITS_H

#include <mer/error.h>
#include <mer/json.h>
#include <stdbool.h>
#include <stdint.h>

/* 0 of each: not limited, or as mer itself has it. A limit that mer is held to and that is lower
 * stays in force. */
struct mer_limits {
	int64_t memory_bytes; /* of the worker and all that it starts; without a cgroup: the data of
	                          each process (RLIMIT_DATA) */
	int64_t cpu_ms;       /* processor time of each process; whole seconds count */
	int64_t processes;    /* and threads, of the worker and all that it starts; without a cgroup: of
	                          the user (RLIMIT_NPROC) */
	int64_t open_files;   /* descriptors of each process */
	int64_t file_bytes;   /* of each file that is written */
	int64_t core_bytes;   /* of a core file; 0: none is written */
	int64_t nice;         /* -20 to 19, higher is meeker; never below mer's own unless negative */
	int64_t cpus_permille; /* processors, in thousandths, for the worker and all that it starts */
	int64_t isolate; /* 1: a pid namespace, which ends with its supervisor whatever ends that */
};

/**
 * Sets a limit in a deployment's `limits` JSON, or takes it away.
 * @param pair  NAME=VALUE as users write it; NAME alone takes it away
 * @return MER_EINPUT says what is wrong with which limit
 */
MER_API MER_MUST enum mer_status mer_limits_set(json_t *limits, const char *pair,
                                                struct mer_error *err);

/** Reads `limits` JSON; members that are no limits of this kind are left alone.
 * MER_EINPUT: one is no number, or not in its range. */
MER_API MER_MUST enum mer_status mer_limits_read(const json_t *limits, struct mer_limits *out,
                                                 struct mer_error *err);

/** The limits that are set as an object of names and values as users write them: gives a reference. */
MER_API MER_MUST enum mer_status mer_limits_show(const json_t *limits, json_t **out,
                                                 struct mer_error *err);

/** Bytes, or milliseconds, in the largest unit that keeps them exact: 64MiB, 90m. */
#define MER_LIMIT_TEXT 24
MER_API void mer_limit_bytes_text(int64_t bytes, char out[MER_LIMIT_TEXT]);
MER_API void mer_limit_ms_text(int64_t ms, char out[MER_LIMIT_TEXT]);

#endif
