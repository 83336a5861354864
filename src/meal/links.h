/*
 * What the workers of a loop share on other hosts (mer/remote.h): the sessions of the module `ssh`, and
 * supervisors that wait there for the next worker.
 */
#ifndef MEAL_LINKS_H
#define MEAL_LINKS_H

#include "remote.h"
#include "ssh_module.h"

/* The module, loaded the first time. MER_EUNREACHABLE: it cannot be had. */
MER_MUST enum mer_status links_ssh(struct mer_links *links, const struct meal_ssh **ssh,
                                   struct ssh_pool **pool, struct mer_error *err);

/* One that waits on that server, still links' own. NULL: none. */
struct remote_spare *links_spare(struct mer_links *links, const struct mer_remote *remote);

/* It gets a worker, or is to close. */
void links_take(struct remote_spare *spare);

/* A worker starts there: another one may soon. at_once: a supervisor was there for it; else there are too few. */
void links_used(struct mer_links *links, const struct mer_remote *remote, bool at_once);

/* A worker is gone: soon there are spares for the next. */
void links_free_again(struct mer_links *links, const struct mer_remote *remote);

/* So many workers will start there within a moment, or as many as there is room for. */
void links_ahead(struct mer_links *links, const struct mer_remote *remote, size_t n);

/* Until it is taken back as often, none is opened there but by links_ahead(): what is under way needs the room. */
void links_hold(struct mer_links *links, const struct mer_remote *remote, bool hold);

/* It is of no use: closes it. */
void links_drop(struct remote_spare *spare);

/* It is closed, or the worker that it became. */
void links_gone(struct remote_spare *spare);

#endif
