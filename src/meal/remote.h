/* The carrier for workers on other hosts. */
#ifndef MEAL_REMOTE_H
#define MEAL_REMOTE_H

#include "internal.h"

/* For a spec with a server; one that waits there already, where its links have one. NULL: out of memory. */
struct meal_carrier *meal_remote_new(const struct mer_worker_spec *spec);

/* A far supervisor without a worker, which waits for one; links.h keeps them. */
struct remote_spare {
	TAILQ_ENTRY(remote_spare) link;
	struct mer_links *links;         /* whose it is, or was; NULL: it is none */
	const struct mer_remote *remote; /* its server */
	int64_t since_ms;
	bool waits; /* it has no worker */
};

/* Begins one. MER_ENOTFOUND: that server's workers have an ssh each. */
MER_MUST enum mer_status remote_spare_new(struct uv_loop_s *loop, const struct mer_remote *remote,
                                          struct mer_links *links, struct remote_spare **out,
                                          struct mer_error *err);
/* Whether it still can get a worker, as far as is known. */
bool remote_spare_lives(struct remote_spare *spare);
/* links_gone() follows. */
void remote_spare_close(struct remote_spare *spare);

#endif
