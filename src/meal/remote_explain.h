/*
 * Why a worker on another host did not come to be, or was lost, in words for whoever asked for it: from what ssh
 * printed, and from what the far supervisor said. Pure.
 */
#ifndef MEAL_REMOTE_EXPLAIN_H
#define MEAL_REMOTE_EXPLAIN_H

#include "internal.h"

#define REMOTE_PROBLEM sizeof(((struct meal_exit *)0)->problem)

/* Whose failure it is. Borrowed. */
struct remote_subject {
	const char *server, *host;     /* as the server's row has them */
	const char *program, *workdir; /* of the worker; NULL: it has none yet */
};

/* Whether ssh says that the server hung up before it said who it is, as one does that has too many logins under way
 * (MaxStartups), and nothing else: a jump host, too, may have said no. */
bool remote_was_dropped(struct mer_str noise, const struct meal_exit *ssh);

/* Why what was to carry it could not be started. */
void remote_explain_start(char problem[REMOTE_PROBLEM], const char *why);

/* Why no supervisor has spoken before ssh ended. noise: the end of what came instead of it. */
void remote_explain_silence(char problem[REMOTE_PROBLEM], const struct remote_subject *subject,
                            const char *noise, const struct meal_exit *ssh);

/* None has within so many seconds. */
void remote_explain_late(char problem[REMOTE_PROBLEM], const struct remote_subject *subject,
                         const char *noise, int64_t seconds);

/* Why there is no worker, as the supervisor says behind "fail". */
void remote_explain_failure(char problem[REMOTE_PROBLEM], const struct remote_subject *subject,
                            const char *why);

void remote_explain_lost(char problem[REMOTE_PROBLEM], const struct remote_subject *subject);

#endif
