/* The once protocol: the input is all of stdin, the output all of stdout or a file, and exit status
 * 0 is success (CLI.md). */
#include "internal.h"

#include <string.h>

struct once {
	struct meal_protocol base;
	bool to_file; /* {output}: stdout is log */
};

static struct once *downcast(struct meal_protocol *protocol)
{
	MER_ASSERT(protocol->ops == &meal_once);
	return (struct once *)protocol;
}

static enum mer_status init(struct meal_protocol *protocol, const struct mer_worker_spec *spec,
                            struct mer_error *err)
{
	(void)err;
	struct once *once = downcast(protocol);
	for (const char *const *word = spec->argv; *word != NULL; word++)
		once->to_file |= mer_expand_uses(*word, "output");
	return MER_OK;
}

static void release(struct meal_protocol *protocol)
{
	(void)protocol;
}

static enum mer_status check(const struct mer_worker_spec *spec, const struct mer_input *input,
                             struct mer_error *err)
{
	(void)spec;
	return meal_check_plain(input, err);
}

static enum mer_status begin(struct meal_protocol *protocol, struct meal_call *call,
                             struct mer_error *err)
{
	(void)protocol;
	enum mer_status st = meal_check_plain(&call->input, err);
	if (st == MER_OK)
		call->pieces = (struct meal_pieces){
			.piece = { { call->input.bytes, call->input.len } },
			.count = 1,
			.last = true,
		};
	return st;
}

static void synced(struct meal_protocol *protocol, bool surely)
{
	(void)protocol, (void)surely;
	mer_defect(__FILE__, __LINE__, "a process a run is never out of step");
}

static size_t feed(struct meal_protocol *protocol, enum meal_stream stream, const char *bytes,
                   size_t n, struct meal_event *event)
{
	enum meal_stream output = downcast(protocol)->to_file ? MEAL_FILE : MEAL_STDOUT;
	event->kind = n == 0 ? MEAL_NOTHING : stream == output ? MEAL_OUTPUT : MEAL_LOG;
	event->bytes = (struct mer_str){ bytes, n };
	return n;
}

static void eof(struct meal_protocol *protocol, enum meal_stream stream, struct meal_event *event)
{
	(void)protocol, (void)stream;
	event->kind = MEAL_NOTHING;
}

static enum mer_status ended(const struct meal_protocol *protocol, const struct meal_call *call,
                             const struct meal_exit *how, const char **when)
{
	(void)protocol, (void)call;
	*when = "";
	return how->exit_code == 0 ? MER_OK : MER_EMODEL;
}

const struct meal_protocol_ops meal_once = {
	.name = "once",
	.size = sizeof(struct once),
	.call_size = sizeof(struct meal_call),
	.init = init,
	.release = release,
	.check = check,
	.begin = begin,
	.synced = synced,
	.feed = feed,
	.eof = eof,
	.ended = ended,
};
