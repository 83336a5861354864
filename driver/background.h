/*
 * Runs in the background of a prompt: `run ... &`. They belong to their mer: what they answer is kept
 * here, in a bounded place, until somebody waits for them, and none outlives it.
 */
#ifndef BACKGROUND_H
#define BACKGROUND_H

#include "run.h"

#include <sys/queue.h>

struct flight;

/* One of them; its flight is not moved. */
struct background_run;

/** detach.c: Whether the last word of a command is a bare &. Pure.
 * @param command  as it was written; words are those that it was split into */
bool background_asked(const char *command, const char *const words[], size_t n);

/** Says in batch that there is no background. MER_EINPUT. */
enum mer_status background_refuse(struct session *s, struct place at);

/** Begins a run and prints its uid. choice, input and meta are copied, but no tensor_out.
 * @return MER_ENOTFOUND no such model; MER_EBUSY too many are there */
MER_MUST enum mer_status background_run(struct session *s, const struct run_choice *choice,
                                        struct mer_str input, const char *meta,
                                        struct mer_error *err);

/** How many have not ended. */
size_t background_open(const struct session *s);

/** Says which have ended since it was last asked. */
void background_tell(struct session *s);

/** Frees all; their scheduler is closed. */
void background_close(struct session *s);

/** The next one in the order of submission; NULL: the first, or none. */
struct background_run *background_next(const struct session *s, const struct background_run *last);
struct flight *background_flight(struct background_run *run);
const char *background_uid(const struct background_run *run);

/** The only one whose uid begins so. MER_ENOTFOUND; MER_EINPUT there are several. */
MER_MUST enum mer_status background_find(const struct session *s, const char *prefix,
                                         struct background_run **out, struct mer_error *err);

/** Forgets one that has ended. */
void background_forget(struct session *s, struct background_run *run);

#endif
