/* The line at the end. */
#include "summary.h"

#include "session.h"
#include "statusline.h"

#include <mer/file.h>
#include <mer/text.h>
#include <stdio.h>

void summary_begin(struct session *s)
{
	s->summary = (struct summary){ .on = true, .begun_ms = mer_clock_ms() };
	(void)!session_loop(s, NULL, NULL); /* which takes signals */
}

void summary_run(struct session *s, bool ok)
{
	s->summary.runs++;
	s->summary.runs_failed += !ok;
}

static bool is_json(const struct session *s)
{
	return s->out.format == MER_FORMAT_JSON || s->out.format == MER_FORMAT_JSONL;
}

void summary_print(const struct session *s)
{
	const struct summary *sum = &s->summary;
	const double seconds = (double)(mer_clock_ms() - sum->begun_ms) / 1000;
	char text[512];
	int n;
	if (!sum->on)
		return;
	if (is_json(s))
		n = snprintf(text, sizeof text,
		             "{\"commands\":%lld,\"commands_failed\":%lld,\"runs\":%lld,\"runs_ok\":%lld,"
		             "\"runs_failed\":%lld,\"seconds\":%.3f,\"code\":%d}\n",
		             (long long)sum->commands, (long long)sum->commands_failed,
		             (long long)sum->runs, (long long)(sum->runs - sum->runs_failed),
		             (long long)sum->runs_failed, seconds, s->code);
	else
		n = snprintf(text, sizeof text,
		             "mer: %lld command%s, %lld failed; %lld run%s, %lld failed; %.3f s; exit %d\n",
		             (long long)sum->commands, sum->commands == 1 ? "" : "s",
		             (long long)sum->commands_failed, (long long)sum->runs,
		             sum->runs == 1 ? "" : "s", (long long)sum->runs_failed, seconds, s->code);
	statusline_erase();
	(void)!mer_write_all(STDERR_FILENO, "stderr", text, (size_t)n, NULL);
}
