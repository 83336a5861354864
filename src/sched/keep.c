/*
 * What a run read and wrote, kept where its deployment says so: in memory until its row is closed,
 * then in the database, in the same group and behind all rows of it. What is larger than the limit is
 * not kept at all, since half of it helps nobody; a row without it says that it was too large.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

void keep_begin(struct mer_run *run, const struct deployment *deployment)
{
	const struct mer_sched *sched = run->sched;
	if (!run->recorded || deployment == NULL || !deployment->keep_io) {
		keep_release(run);
		return;
	}
	if (run->kept != NULL)
		return; /* another one was to answer, and has not */
	run->kept = calloc(1, sizeof *run->kept);
	if (run->kept == NULL)
		return; /* it is as if nobody had asked; the run matters more */
	mer_buf_init(&run->kept->output, (size_t)sched->keep_io_max);
	mer_buf_init(&run->kept->metas, (size_t)sched->keep_io_max);
}

/* What is too large is not kept in part. */
static void drop_excess(struct mer_buf *buf)
{
	if (buf->status == MER_OK || buf->ptr == NULL)
		return;
	free(buf->ptr);
	buf->ptr = NULL;
	buf->len = buf->cap = 0;
}

void keep_output(struct mer_run *run, const char *bytes, size_t n)
{
	mer_buf_add(&run->kept->output, bytes, n);
	drop_excess(&run->kept->output);
}

void keep_meta(struct mer_run *run, const char *meta)
{
	struct mer_buf *metas = &run->kept->metas;
	mer_buf_byte(metas, metas->len > 0 ? ',' : '[');
	mer_buf_text(metas, meta);
	drop_excess(metas);
}

void keep_end(struct mer_run *run)
{
	struct kept_io *kept = run->kept;
	size_t len = run->input_len;
	if (len <= (size_t)run->sched->keep_io_max)
		kept->input = malloc(len + 1);
	if (kept->input != NULL && run->input_meta != NULL &&
	    (kept->meta = strdup(run->input_meta)) == NULL) {
		free(kept->input); /* without it the bytes say nothing */
		kept->input = NULL;
	}
	if (kept->input != NULL && len > 0)
		memcpy(kept->input, run->input, len);
	if (kept->metas.len > 0)
		mer_buf_byte(&kept->metas, ']');
	drop_excess(&kept->metas);
	kept->bytes = (kept->input != NULL ? len : 0) + kept->output.len + kept->metas.len;
	run->sched->kept_bytes += kept->bytes;
}

void keep_release(struct mer_run *run)
{
	struct kept_io *kept = run->kept;
	if (kept == NULL)
		return;
	run->sched->kept_bytes -= kept->bytes;
	free(kept->input);
	free(kept->meta);
	mer_buf_release(&kept->output);
	mer_buf_release(&kept->metas);
	free(kept);
	run->kept = NULL;
}

enum mer_status keep_write(struct mer_dal *dal, const struct mer_run *run, struct mer_error *err)
{
	const struct kept_io *kept = run->kept;
	const struct mer_buf *output = &kept->output;
	const struct mer_value none = { .type = MER_VALUE_NULL };
	return mer_dal_exec(
		dal, MER_Q_IO_INSERT,
		MER_ARGS(mer_text(run->uid.text),
	             kept->input != NULL ? mer_blob(kept->input, run->input_len) : none,
	             output->status == MER_OK ? mer_blob(output->ptr, output->len) : none,
	             mer_text_or_null(kept->meta),
	             output->status == MER_OK ? mer_text_or_null(kept->metas.ptr) : none),
		NULL, err);
}
