/* run: gives a model one input, or each line of one, and prints what it answers. */
#include "background.h"
#include "commands.h"
#include "run.h"
#include "tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/file.h>
#include <poll.h>
#include <string.h>

enum {
	MODEL,
	INPUT,
	LINES,
	JOBS,
	RESUME,
	TIMEOUT,
	WEIGHTS,
	SERVER,
	DEPLOYMENT,
	SESSION,
	RAW,
	NO_RECORD,
	KEEP_GOING,
	TENSOR,
	TENSOR_OUT
};
/* clang-format off */
static const struct cmd_arg run_args[] = {
	[MODEL] = CMD_WORD("MODEL", ARG_TEXT, "a model that 'model list' shows",
		.is = VALUE_MODEL, .required = true),
	[INPUT] = CMD_WORD("INPUT", ARG_TEXT,
		"words, joined by a space; alone @FILE is a file, - is stdin, @@x is @x",
		.is = VALUE_AT_FILE, .repeat = true),
	[LINES] = CMD_FLAG("lines", "each line of the input is a run; answers in the same order"),
	[JOBS] = CMD_OPTION("jobs", ARG_I64, "N", "with --lines: so many at a time; default: 1", .least = 1),
	[RESUME] = CMD_OPTION("resume", ARG_TEXT, "FILE",
		"with --lines: pass over lines that FILE says were answered, and write there which are",
		.is = VALUE_FILE),
	[TIMEOUT] = CMD_OPTION("timeout", ARG_MS, NULL,
		"how long it may take: queue, start and answer; default: mer's own --timeout, else the deployment's", .least = 1),
	[WEIGHTS] = CMD_OPTION("weights", ARG_TEXT, "V", "with this version instead of the active one",
		.is = VALUE_WEIGHTS),
	[SERVER] = CMD_OPTION("server", ARG_TEXT, "S", "run it there", .is = VALUE_SERVER),
	[DEPLOYMENT] = CMD_OPTION("deployment", ARG_TEXT, "D", "this one of the model's deployments",
		.is = VALUE_DEPLOYMENT),
	[SESSION] = CMD_OPTION("session", ARG_TEXT, "NAME",
		"of a stateful model: the worker that had this session's runs before, in their order",
		.is = VALUE_SESSION),
	[RAW] = CMD_FLAG("raw", "on a terminal too print the output as it is"),
	[NO_RECORD] = CMD_FLAG("no-record", "leave no row in the log"),
	[KEEP_GOING] = CMD_FLAG("keep-going",
		"with --lines: a line that fails is answered by an empty one"),
	[TENSOR] = CMD_OPTION("tensor", ARG_TEXT, "NAME=VALUE",
		"instead of INPUT: @FILE.npy or JSON; NAME:FP32 says the datatype", .is = VALUE_TENSOR,
		.repeat = true),
	[TENSOR_OUT] = CMD_OPTION("tensor-out", ARG_TEXT, "NAME=@FILE",
		"write that tensor of the answer as .npy; a folder: each, as NAME.npy", .letter = 'o',
		.is = VALUE_TENSOR, .repeat = true),
};
/* clang-format on */

/* --- input -------------------------------------------------------------------------------- */

/* Whether stdin may be a model's. word: how it was asked for, NULL: not at all. */
static enum mer_status check_stdin(const struct session *s, const char *word, struct mer_error *err)
{
	if (s->stdin_taken || s->prompt) {
		(void)mer_fail(err, MER_EINPUT, "%s: stdin is where the commands come from",
		               word != NULL ? "INPUT -" : "no INPUT");
		mer_hint(err, "give words, or @FILE");
		return MER_EINPUT;
	}
	if (word == NULL && isatty(STDIN_FILENO)) {
		(void)mer_fail(err, MER_EINPUT, "no INPUT");
		mer_hint(err, "give words, @FILE, or - to type it");
		return MER_EINPUT;
	}
	return MER_OK;
}

static void buf_done(struct mer_buf *buf)
{
	mer_buf_release(buf);
}

/* Reads once; 0 at the end. */
static enum mer_status read_some(struct session *s, char *to, size_t room, size_t *got,
                                 struct mer_error *err)
{
	for (;;) {
		enum mer_status st = session_wait_readable(s, STDIN_FILENO, err);
		if (st != MER_OK)
			return st;
		ssize_t n = read(STDIN_FILENO, to, room);
		if (n >= 0) {
			*got = (size_t)n;
			return MER_OK;
		}
		if (errno != EINTR && errno != EAGAIN)
			return mer_fail(err, MER_EINPUT, "cannot read stdin: %s", strerror(errno));
		struct pollfd ready = { .fd = STDIN_FILENO, .events = POLLIN };
		(void)poll(&ready, 1, -1);
	}
}

enum mer_status run_read_stdin(struct session *s, size_t limit, char **out, size_t *len,
                               struct mer_error *err)
{
	enum { CHUNK = 65536 };
	MER_AUTO(buf_done) struct mer_buf buf;
	mer_buf_init(&buf, limit);
	for (char *to; (to = mer_buf_room(&buf, CHUNK)) != NULL;) {
		size_t got = 0;
		enum mer_status st = read_some(s, to, CHUNK, &got, err);
		if (st != MER_OK)
			return st;
		if (got == 0)
			break;
		mer_buf_grow(&buf, got);
	}
	return mer_buf_take(&buf, out, len, err);
}

static enum mer_status join(const struct cmd_value *words, char **out, size_t *len,
                            struct mer_error *err)
{
	struct mer_buf buf;
	mer_buf_init(&buf, RUN_INPUT_BYTES);
	for (size_t i = 0; i < words->count; i++) {
		if (i > 0)
			mer_buf_byte(&buf, ' ');
		mer_buf_text(&buf, words->words[i]);
	}
	return mer_buf_take(&buf, out, len, err);
}

/* The whole input of one run; the caller frees it. */
static enum mer_status read_input(struct session *s, const struct cmd_value *words, char **out,
                                  size_t *len, struct mer_error *err)
{
	const char *only = words->count == 1 ? words->words[0] : NULL;
	bool is_stdin = words->count == 0 || (only != NULL && strcmp(only, "-") == 0);
	enum mer_status st = is_stdin ? check_stdin(s, only, err) : MER_OK;
	if (st != MER_OK)
		return st;
	if (is_stdin)
		st = run_read_stdin(s, RUN_INPUT_BYTES, out, len, err);
	else if (only == NULL || only[0] != '@')
		return join(words, out, len, err);
	else if (only[1] == '@')
		return join(&(struct cmd_value){ .words = &(const char *){ only + 1 }, .count = 1 }, out,
		            len, err);
	else
		st = mer_read_file(only + 1, RUN_INPUT_BYTES, out, len, err);
	if (st == MER_EIO || st == MER_ELIMIT)
		return mer_wrap(err, MER_EINPUT, "INPUT");
	return st;
}

/* The input of --lines as a descriptor. */
static enum mer_status open_input(struct session *s, const struct cmd_value *words, int *fd,
                                  const char **name, struct mer_error *err)
{
	const char *only = words->count == 1 ? words->words[0] : NULL;
	if (words->count == 0 || (only != NULL && strcmp(only, "-") == 0)) {
		*fd = STDIN_FILENO;
		*name = "stdin";
		return check_stdin(s, only != NULL ? only : "-", err);
	}
	if (only == NULL || only[0] != '@' || only[1] == '@' || only[1] == '\0')
		return mer_fail(err, MER_EINPUT, "INPUT: --lines takes @FILE or -, not '%s'",
		                words->words[0]);
	*name = only + 1;
	*fd = open(*name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (*fd < 0)
		return mer_fail(err, MER_EINPUT, "INPUT: cannot open '%s': %s", *name, strerror(errno));
	return MER_OK;
}

/* --- run ---------------------------------------------------------------------------------- */

static enum mer_status lines(struct session *s, const struct run_choice *choice,
                             const struct cmd_value *words, struct mer_error *err)
{
	int fd = -1;
	const char *name = NULL;
	enum mer_status st = open_input(s, words, &fd, &name, err);
	if (st != MER_OK)
		return st;
	st = run_lines(s, choice, fd, name, err);
	if (fd != STDIN_FILENO)
		(void)close(fd);
	return st;
}

/* What cannot be asked for together. */
static enum mer_status check_options(const struct session *s, const struct cmd_value *argv,
                                     struct mer_error *err)
{
	bool is_lines = argv[LINES].given;
	if (argv[JOBS].given && !is_lines)
		return mer_fail(err, MER_EINPUT, "--jobs: it is for --lines");
	if (argv[RESUME].given && !is_lines)
		return mer_fail(err, MER_EINPUT, "--resume: it is for --lines");
	if (argv[RESUME].given && s->out.format == MER_FORMAT_JSON) {
		(void)mer_fail(err, MER_EINPUT, "--resume: an array cannot be continued");
		mer_hint(err, "--jsonl prints an object a line");
		return MER_EINPUT;
	}
	if (is_lines && (argv[TENSOR].given || argv[TENSOR_OUT].given)) {
		(void)mer_fail(err, MER_EINPUT, "--tensor and --tensor-out are for a single run");
		mer_hint(err, "with --lines a line may be a request in JSON");
		return MER_EINPUT;
	}
	if (s->detach && (is_lines || argv[TENSOR_OUT].given))
		return mer_fail(err, MER_EINPUT, "--%s: such a run cannot go to the background",
		                is_lines ? "lines" : "tensor-out");
	if (argv[TENSOR].given && argv[INPUT].given)
		return mer_fail(err, MER_EINPUT, "both INPUT and --tensor: one of them is the input");
	return argv[TENSOR_OUT].given ? answer_check(&argv[TENSOR_OUT], err) : MER_OK;
}

static enum mer_status run_input(struct session *s, const struct run_choice *choice,
                                 struct mer_str input, const char *meta, struct mer_error *err)
{
	return s->detach ? background_run(s, choice, input, meta, err)
	                 : run_one(s, choice, input, meta, err);
}

static enum mer_status run_tensors(struct session *s, const struct run_choice *choice,
                                   const struct cmd_value *words, struct mer_error *err)
{
	MER_AUTO(tensors_release) struct tensors tensors;
	enum mer_status st = tensors_read(words, RUN_INPUT_BYTES, &tensors, err);
	const struct mer_str bytes = { tensors.bytes.len > 0 ? tensors.bytes.ptr : "",
		                           tensors.bytes.len };
	return st == MER_OK ? run_input(s, choice, bytes, tensors.request, err) : st;
}

static enum mer_status run(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	const struct run_choice choice = {
		.model = argv[MODEL].text,
		.server = argv[SERVER].text,
		.weights = argv[WEIGHTS].text,
		.deployment = argv[DEPLOYMENT].text,
		.session = argv[SESSION].text,
		.timeout_ms = run_timeout_ms(s, argv[TIMEOUT].number),
		.jobs = argv[JOBS].number,
		.resume = argv[RESUME].text,
		.no_record = argv[NO_RECORD].given,
		.raw = argv[RAW].given,
		.keep_going = argv[KEEP_GOING].given || setting_on(&s->settings, SET_KEEP_GOING),
		.tensor_out = argv[TENSOR_OUT].given ? &argv[TENSOR_OUT] : NULL,
	};
	enum mer_status st = check_options(s, argv, err);
	if (st != MER_OK)
		return st;
	if (argv[LINES].given)
		return lines(s, &choice, &argv[INPUT], err);
	if (argv[TENSOR].given)
		return run_tensors(s, &choice, &argv[TENSOR], err);
	MER_AUTO(mer_text_done) char *input = NULL;
	size_t len = 0;
	st = read_input(s, &argv[INPUT], &input, &len, err);
	return st == MER_OK ? run_input(s, &choice, (struct mer_str){ input, len }, NULL, err) : st;
}

const struct cmd cmd_run = {
	.name = "run",
	.older = (const char *const[]){ "model-execute", "execute-model", "execute", NULL },
	.summary = "give a model an input and print its answer",
	.notes =
		"stdout gets what the model answers and nothing else. Without INPUT, and where stdin is\n"
		"no terminal, stdin is the input.\n"
		"\n"
		"A model that takes tensors is given them by --tensor, or INPUT is a request of the Open\n"
		"Inference Protocol v2 in JSON. What it answers is printed as such a response, but for what\n"
		"--tensor-out (or -o) writes to files. docs/tensors.md says more.\n"
		"\n"
		"At the prompt a lone & as the last word puts the run into the background: its uid is\n"
		"printed, 'runs' lists it, 'wait' shows its output. docs/prompt.md says more.\n",
	CMD_EXAMPLES("run iris 5.1,3.5,1.4,0.2", "run --lines --jobs 4 --keep-going iris @flowers.csv"),
	CMD_ARGS(run_args),
	.needs = CMD_MAY_DETACH,
	CMD_OBJECT(run_columns, RUN_COLUMNS),
	.formats = CMD_FORMATS_JSON,
	.run = run,
};
