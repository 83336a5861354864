/* The life of a protocol and of the runs that it has open. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum mer_status meal_protocol_new(const struct meal_protocol_ops *ops,
                                  const struct mer_worker_spec *spec, struct meal_protocol **out,
                                  struct mer_error *err)
{
	struct meal_protocol *protocol = calloc(1, ops->size);
	if (protocol == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	protocol->ops = ops;
	protocol->capacity = 1;
	TAILQ_INIT(&protocol->calls);
	enum mer_status st = ops->init(protocol, spec, err);
	if (st != MER_OK) {
		meal_protocol_free(protocol);
		return st;
	}
	*out = protocol;
	return MER_OK;
}

void meal_protocol_free(struct meal_protocol *protocol)
{
	if (protocol == NULL)
		return;
	while (protocol->n_open > 0)
		meal_end(protocol, TAILQ_FIRST(&protocol->calls));
	protocol->ops->release(protocol);
	free(protocol->spare);
	free(protocol);
}

static struct meal_call *new_call(struct meal_protocol *protocol)
{
	struct meal_call *call = protocol->spare;
	protocol->spare = NULL;
	if (call == NULL)
		return calloc(1, protocol->ops->call_size);
	memset(call, 0, protocol->ops->call_size);
	return call;
}

static void free_call(struct meal_protocol *protocol, struct meal_call *call)
{
	if (protocol->ops->end != NULL)
		protocol->ops->end(call);
	if (protocol->spare == NULL)
		protocol->spare = call;
	else
		free(call);
}

enum mer_status meal_begin(struct meal_protocol *protocol, const struct mer_input *input,
                           struct meal_call **out, struct mer_error *err)
{
	MER_ASSERT(protocol->n_open < protocol->capacity);
	struct meal_call *call = new_call(protocol);
	if (call == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	call->input = *input;
	call->result.exit_code = -1;
	enum mer_status st = protocol->ops->begin(protocol, call, err);
	if (st != MER_OK) {
		free_call(protocol, call);
		return st;
	}
	TAILQ_INSERT_TAIL(&protocol->calls, call, link);
	protocol->n_open++;
	*out = call;
	return MER_OK;
}

void meal_end(struct meal_protocol *protocol, struct meal_call *call)
{
	TAILQ_REMOVE(&protocol->calls, call, link);
	protocol->n_open--;
	protocol->syncing = false;
	free_call(protocol, call);
}

enum mer_status meal_check_plain(const struct mer_input *input, struct mer_error *err)
{
	if (input->meta == NULL && !input->tensors)
		return MER_OK;
	return mer_fail(err, MER_EINPUT, "only a model of the frame protocol takes or gives tensors");
}
