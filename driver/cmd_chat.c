/* chat: a conversation with a model, line by line. */
#include "chat_line.h"
#include "commands.h"
#include "feedback.h"
#include "find.h"
#include "run.h"

#include <mer/clean.h>
#include <mer/json.h>
#include <mer/text.h>
#include <string.h>

enum { MODEL, TIMEOUT, WEIGHTS, SERVER, DEPLOYMENT, RAW, NO_RECORD };
/* clang-format off */
static const struct cmd_arg chat_args[] = {
	[MODEL] = CMD_WORD("MODEL", ARG_TEXT, "a model that 'model list' shows", .required = true,
		.is = VALUE_MODEL),
	[TIMEOUT] = CMD_OPTION("timeout", ARG_MS, NULL,
		"how long an answer may take; default: mer's own --timeout, else the deployment's", .least = 1),
	[WEIGHTS] = CMD_OPTION("weights", ARG_TEXT, "V", "with this version instead of the active one",
		.is = VALUE_WEIGHTS),
	[SERVER] = CMD_OPTION("server", ARG_TEXT, "S", "talk to it there", .is = VALUE_SERVER),
	[DEPLOYMENT] = CMD_OPTION("deployment", ARG_TEXT, "D", "this one of the model's deployments",
		.is = VALUE_DEPLOYMENT),
	[RAW] = CMD_FLAG("raw", "print the answers as they are"),
	[NO_RECORD] = CMD_FLAG("no-record", "leave no rows in the log"),
};
/* clang-format on */

struct chat {
	struct session *s;
	struct run_choice choice;
	char session[64];        /* "": the model keeps nothing */
	struct mer_uid stateful; /* the deployment that keeps it */
	struct mer_uid answered; /* the last answer; "": none, or it left no row */
};

/* --- where it takes place ----------------------------------------------------------------- */

/* The first place that keeps a conversation, among those that were asked for. */
static enum mer_status on_deployment(void *ctx, const void *data, struct mer_error *err)
{
	struct chat *chat = ctx;
	const struct run_choice *choice = &chat->choice;
	const struct mer_deployment_row *row = data;
	MER_AUTO(mer_json_done) json_t *params = NULL;
	bool other = (choice->server != NULL && strcmp(choice->server, row->server) != 0) ||
	             (choice->deployment != NULL && strcmp(choice->deployment, row->name) != 0 &&
	              strcmp(choice->deployment, row->uid) != 0);
	if (other || chat->stateful.text[0] != '\0')
		return MER_OK;
	enum mer_status st = mer_json_parse("params", row->params, strlen(row->params), &params, err);
	if (st == MER_OK && mer_json_get_bool(params, "stateful", false))
		(void)snprintf(chat->stateful.text, sizeof chat->stateful.text, "%s", row->uid);
	return st;
}

static enum mer_status open_chat(struct chat *chat, struct mer_error *err)
{
	struct session *s = chat->s;
	struct mer_uid uid;
	const char *model = chat->choice.model;
	enum mer_status st = find_model(s->dal, model, &uid, err);
	if (st == MER_OK)
		st = mer_dal_query(s->dal, MER_Q_RESOLVE, MER_ARGS(mer_text(model), mer_text("")),
		                   on_deployment, chat, err);
	if (st != MER_OK)
		return st;
	if (chat->stateful.text[0] == '\0') {
		session_note(s, "model '%s' is not stateful: it answers each line by itself", model);
		return MER_OK;
	}
	mer_uid_new(&uid);
	(void)snprintf(chat->session, sizeof chat->session, "chat-%s", uid.text);
	chat->choice.session = chat->session;
	chat->choice.deployment = chat->stateful.text;
	return MER_OK;
}

static void close_chat(struct chat *chat)
{
	struct session *s = chat->s;
	if (chat->session[0] != '\0' && s->sched != NULL)
		mer_sched_end_session(s->sched, chat->choice.model, chat->session);
	s->answered.model[0] = '\0'; /* rated here or not at all */
}

/* --- its lines ---------------------------------------------------------------------------- */

static enum mer_status answer(struct chat *chat, const char *text, struct mer_error *err)
{
	struct session *s = chat->s;
	s->answered.model[0] = '\0';
	s->out.format = MER_FORMAT_PLAIN;
	enum mer_status st =
		run_one(s, &chat->choice, (struct mer_str){ text, strlen(text) }, NULL, err);
	if (s->answered.model[0] != '\0')
		chat->answered = s->answered.uid;
	enum mer_status flushed = session_flush(s, st == MER_OK ? err : NULL);
	return st == MER_OK ? flushed : st;
}

static enum mer_status rate(struct chat *chat, const struct chat_line *line, struct mer_error *err)
{
	int64_t rating;
	const struct mer_str nothing = { NULL, 0 };
	if (chat->answered.text[0] == '\0')
		return mer_fail(err, MER_EINPUT, "nothing has been answered that could be rated");
	enum mer_status st = feedback_rating(line->text, &rating, err);
	if (st == MER_OK)
		st = feedback_add(chat->s->dal, chat->answered.text, rating, nothing, line->note, err);
	if (st == MER_OK)
		session_note(chat->s, "rated %lld", (long long)rating);
	return st;
}

static void help(struct session *s)
{
	out_text(s, "/feedback 1-5 [NOTE]  rate the last answer\n"
	            "/help                 this\n"
	            "/quit                 leave, as Ctrl-D does\n"
	            "//...                 a line for the model that begins with /\n"
	            "Ctrl-C cancels an answer, a second one within a second kills its worker.\n");
	(void)!session_flush(s, NULL);
}

/* Whether to go on. */
static bool do_line(struct chat *chat, char *text)
{
	struct session *s = chat->s;
	struct chat_line line;
	struct mer_error err;
	enum mer_status st = chat_line_read(text, &line, &err);
	if (!session_begin(s))
		return false;
	if (st == MER_OK && line.what == CHAT_QUIT)
		return false;
	if (st == MER_OK && line.what == CHAT_HELP)
		help(s);
	else if (st == MER_OK && line.what == CHAT_RATING)
		st = rate(chat, &line, &err);
	else if (st == MER_OK && line.what == CHAT_INPUT)
		st = answer(chat, line.text, &err);
	if (st != MER_OK)
		session_failed(s, s->at, st, &err);
	return s->signal == 0 && !s->leave;
}

static enum mer_status chat(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	struct chat chat = { .s = s,
		                 .choice = {
							 .model = argv[MODEL].text,
							 .server = argv[SERVER].text,
							 .weights = argv[WEIGHTS].text,
							 .deployment = argv[DEPLOYMENT].text,
							 .timeout_ms = argv[TIMEOUT].number,
							 .raw = argv[RAW].given,
							 .no_record = argv[NO_RECORD].given,
						 } };
	enum mer_status st = open_chat(&chat, err);
	if (st != MER_OK)
		return st;
	MER_AUTO(mer_text_done) char *prompt = mer_text_new("%s> ", argv[MODEL].text);
	if (prompt == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	for (bool on = true; on && s->signal == 0;) {
		MER_AUTO(mer_text_done) char *line = NULL;
		st = s->ask(s->ask_ctx, prompt, &line, err);
		if (st == MER_OK)
			on = line != NULL && do_line(&chat, line);
		else
			on = st == MER_ECANCELED; /* the line was given up */
	}
	close_chat(&chat);
	return st == MER_ECANCELED ? MER_OK : st;
}

const struct cmd cmd_chat = {
	.name = "chat",
	.summary = "talk to a model, line by line, until Ctrl-D",
	.notes =
		"A model that is --stateful gets all lines in one session of their own; another one\n"
		"answers each by itself, which is said. Each line is a run in the log, and in no history.\n"
		"/feedback 1-5 [NOTE] rates the last answer, /help lists what else there is.\n",
	CMD_EXAMPLES("chat iris", "chat iris --timeout 30s --no-record"),
	CMD_ARGS(chat_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_PROMPT,
	.run = chat,
};
