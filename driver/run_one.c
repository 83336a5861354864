/* One run: its output goes to stdout as it comes, or is kept for an object. */
#include "flight.h"

enum { KEPT_IN_MEMORY = 1 << 20 };

enum mer_status run_one_kept(struct session *s, const struct run_choice *choice,
                             struct mer_str input, const char *meta, struct spool *output,
                             struct run_kept **result, struct mer_error *err)
{
	struct flight flight = { .as_it_is = true };
	enum mer_status st = flight_begin(&flight, s, choice, input, meta, output->store, err);
	if (st == MER_OK)
		flight_watch(&flight);
	if (st == MER_OK && flight.result == NULL)
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	*output = flight.output;
	*result = flight.result;
	spool_init(&flight.output, output->store);
	flight.result = NULL;
	flight_release(&flight);
	return st;
}

enum mer_status run_one(struct session *s, const struct run_choice *choice, struct mer_str input,
                        const char *meta, struct mer_error *err)
{
	struct store store;
	struct flight flight = { .as_it_is = false };
	store_init(&store, KEPT_IN_MEMORY);
	enum mer_status st = flight_begin(&flight, s, choice, input, meta, &store, err);
	if (st == MER_OK) {
		flight_watch(&flight);
		st = flight_tell(&flight, err);
	}
	flight_release(&flight);
	store_release(&store);
	return st;
}
