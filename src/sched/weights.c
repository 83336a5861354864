/* Whether the weights of a route are still the bytes that were added. Looked at before each group of
 * runs by what the file system says of them (mer/sum.h), and read where that is not enough: so before
 * any worker starts with them. All of it in the database thread. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* One of the deployments whose workers are told of the weights, of which all have the same. */
static const struct deployment *user_of_weights(const struct places *places, bool *any_old)
{
	const struct deployment *found = NULL;
	for (size_t i = 0; i < places->n; i++) {
		const struct deployment *made = places->of[i].made;
		*any_old |= made == NULL;
		if (made != NULL && made->uses_weights)
			found = made;
	}
	return found;
}

enum mer_status weights_seen(struct route *route, const struct places *places,
                             struct mer_error *err)
{
	bool any_old = false;
	const struct deployment *user = user_of_weights(places, &any_old);
	if (user == NULL && any_old)
		return MER_OK; /* as before: with other weights none is as it was */
	free(route->seen_path);
	free(route->seen_sha256);
	route->seen_path = route->seen_sha256 = NULL;
	route->read_stamp[0] = '\0';
	if (user == NULL || user->weights_here == NULL) /* or they are looked at there */
		return MER_OK;
	route->seen_path = strdup(user->weights_here);
	route->seen_sha256 = strdup(user->weights_sha256);
	if (route->seen_path == NULL || route->seen_sha256 == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	return MER_OK;
}

/* Weights that cannot be read keep the model from starting, as a missing program does. */
static enum mer_status unreadable(const struct route *route, enum mer_status st,
                                  struct mer_error *err)
{
	return mer_wrap(err, st == MER_EIO ? MER_EUNREACHABLE : st, "weights '%s' of model '%s'",
	                route->seen_weights, route->model);
}

static enum mer_status compare(const struct route *route, struct mer_error *err)
{
	if (strcmp(route->read_sum.sha256, route->seen_sha256) == 0)
		return MER_OK;
	(void)mer_fail(err, MER_ECONFLICT,
	               "weights '%s' of model '%s' are not what was added: sha256 is %s, not %s: '%s'",
	               route->seen_weights, route->model, route->read_sum.sha256, route->seen_sha256,
	               route->seen_path);
	mer_hint(err,
	         "'weights add' makes a version of what is there now, 'weights list %.100s "
	         "--check' looks at all",
	         route->model);
	return MER_ECONFLICT;
}

enum mer_status weights_look(struct route *route, bool *unread, struct mer_error *err)
{
	struct mer_stamp stamp;
	if (route->seen_sha256 == NULL)
		return MER_OK;
	enum mer_status st = mer_sum_look(route->seen_path, &stamp, err);
	if (st != MER_OK)
		return unreadable(route, st, err);
	if (strcmp(stamp.text, route->read_stamp) != 0) {
		if (!mer_sum_known(route->seen_path, &stamp, &route->read_sum)) {
			*unread = true;
			return MER_OK;
		}
		memcpy(route->read_stamp, stamp.text, sizeof stamp.text);
	}
	return compare(route, err);
}

enum mer_status weights_read(struct route *route, struct mer_error *err)
{
	struct mer_stamp stamp;
	enum mer_status st =
		mer_sum_read(route->seen_path, &route->sched->stop_reading, &route->read_sum, &stamp, err);
	if (st != MER_OK)
		return unreadable(route, st, err);
	memcpy(route->read_stamp, stamp.text, sizeof stamp.text);
	return compare(route, err);
}
