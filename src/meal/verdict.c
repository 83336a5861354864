/* Verdicts on ends; verdict.h. */
#include "verdict.h"

#include <assert.h>
#include <mer/text.h>
#include <stdio.h>
#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void last_line_add(struct last_line *line, const char *bytes, size_t n)
{
	size_t end = n;
	while (end > 0 && is_blank(bytes[end - 1]))
		end--;
	if (end == 0 && (line->whole || line->len == 0))
		return;
	const char *newline = end == 0 ? NULL : memrchr(bytes, '\n', end);
	size_t start = newline == NULL ? 0 : (size_t)(newline - bytes) + 1;
	if (line->whole || start > 0) {
		line->len = 0;
		line->whole = false;
	}
	newline = memchr(bytes + end, '\n', n - end);
	line->whole = newline != NULL;
	end = newline != NULL ? (size_t)(newline - bytes) : n;
	size_t room = sizeof line->text - line->len, len = end - start < room ? end - start : room;
	memcpy(line->text + line->len, bytes + start, len);
	line->len += len;
}

static struct mer_str last_line_of(const struct last_line *line)
{
	size_t len = line->len;
	while (len > 0 && is_blank(line->text[len - 1]))
		len--;
	return (struct mer_str){ line->text, len };
}

void verdict_set(struct mer_outcome *outcome, const struct mer_error *why)
{
	static_assert(sizeof why->message == sizeof outcome->message,
	              "what fits the one fits the other");
	outcome->status = why->status;
	outcome->quotes = false;
	memcpy(outcome->message, why->message, sizeof why->message);
}

static void describe(char text[64], const struct meal_exit *how)
{
	char name[MER_SIGNAL_SIZE];
	if (how->signal != 0)
		(void)snprintf(text, 64, "was killed by %s", mer_signal_name(how->signal, name));
	else
		(void)snprintf(text, 64, "ended with exit code %d", how->exit_code);
}

/* A problem is the model's, unless it did not start or what it left undone says more. */
static enum mer_status status_of_problem(const struct meal_exit *how, enum mer_status undone)
{
	if (!how->started)
		return MER_EUNREACHABLE;
	return undone != MER_OK ? undone : MER_EMODEL;
}

void verdict_reach(const struct verdict_case *about, const struct meal_exit *how,
                   struct mer_outcome *out)
{
	const char *when = "";
	char end[64];
	bool quotes = false;
	const struct mer_str said = last_line_of(about->said);
	struct mer_error err = { .status = MER_OK };
	describe(end, how);
	enum mer_status status = about->protocol->ops->ended(about->protocol, about->call, how, &when);
	if (how->problem[0] != '\0')
		(void)mer_fail(&err, status_of_problem(how, status), "%s", how->problem);
	else if (!how->started)
		(void)mer_fail(&err, MER_ECANCELED, "canceled before the model was started");
	else if (about->asked && about->call == NULL && about->ready)
		err.status = MER_OK; /* it left as it was told */
	else if (about->overdue && about->call != NULL && !about->call->cancelling)
		(void)mer_fail(&err, MER_EMODEL,
		               "the model was ended, since it did not give up another run");
	else if (about->canceled || ((about->asked || about->overdue) && about->call == NULL))
		(void)mer_fail(&err, MER_ECANCELED, "canceled: the model %s", end);
	else if (status == MER_OK && how->no_output[0] != '\0')
		(void)mer_fail(&err, MER_EMODEL, "%s", how->no_output);
	else if (status != MER_OK && said.len == 0)
		(void)mer_fail(&err, status, "the model %s%s", end, when);
	else if (status != MER_OK) {
		(void)mer_fail(&err, status, "the model %s%s: %.*s", end, when, (int)said.len, said.ptr);
		quotes = true;
	}
	verdict_set(out, &err);
	out->quotes = quotes;
}
