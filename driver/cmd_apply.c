/* apply and export: what mer knows of models as a document, read and written. */
#include "apply.h"
#include "commands.h"
#include "find.h"
#include "run.h"
#include "stored.h"

#include <errno.h>
#include <limits.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/module.h>
#include <mer/text.h>
#include <string.h>

/* --- what has changed --------------------------------------------------------------------- */

enum { CHANGE_COLUMNS = 6, SHOWN_BYTES = 60 };
static const struct out_column change_columns[CHANGE_COLUMNS] = {
	{ "change", 0 },
	{ "kind", 0 },
	{ "name", 0 },
	{ "key", OUT_NULL },
	{ "old", OUT_ANY | OUT_NULL },
	{ "new", OUT_ANY | OUT_NULL },
};

/* On a line: a plain word as it is, all else as JSON; what is long is cut. */
static void add_value(struct mer_buf *out, const json_t *value)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/:@%+,{}-";
	const char *text = json_string_value(value);
	struct mer_buf shown;
	mer_buf_init(&shown, SIZE_MAX);
	if (json_is_null(value))
		mer_buf_text(&shown, "default");
	else if (text != NULL && text[0] != '\0' && text[strspn(text, plain)] == '\0')
		mer_buf_text(&shown, text);
	else
		document_write_value(value, &shown);
	if (shown.len > SHOWN_BYTES) {
		size_t cut;
		mer_buf_add(out, shown.ptr, mer_utf8_span_cut(shown.ptr, SHOWN_BYTES, &cut));
		mer_buf_text(out, "...");
	} else if (shown.ptr != NULL) {
		mer_buf_add(out, shown.ptr, shown.len);
	}
	mer_buf_release(&shown);
}

static void print_lines(struct session *s, const struct apply *apply)
{
	struct mer_buf *out = &s->out.sink.buf;
	for (size_t i = 0; i < apply->n_changes; i++) {
		const struct apply_change *change = &apply->changes[i];
		mer_buf_printf(out, "%c %s %s", change->added ? '+' : '~', change->kind, change->name);
		if (!change->added) {
			mer_buf_printf(out, ": %s ", change->key);
			add_value(out, change->old);
			mer_buf_text(out, " -> ");
			add_value(out, change->new);
		}
		mer_buf_byte(out, '\n');
	}
	if (apply->n_changes == 0)
		mer_buf_text(out, apply->dry ? "nothing would change\n" : "nothing changed\n");
	sink_added(&s->out.sink);
}

static enum mer_status print_row(struct session *s, const struct apply_change *change,
                                 struct mer_error *err)
{
	struct mer_buf old, new;
	mer_buf_init(&old, SIZE_MAX);
	mer_buf_init(&new, SIZE_MAX);
	if (!change->added) {
		document_write_value(change->old, &old);
		document_write_value(change->new, &new);
	}
	const struct mer_cell cells[CHANGE_COLUMNS] = {
		mer_cell_text(change->added ? "add" : "change"),
		mer_cell_text(change->kind),
		mer_cell_text(change->name),
		mer_cell_text(change->key),
		mer_cell_json(old.ptr),
		mer_cell_json(new.ptr),
	};
	enum mer_status st = mer_buf_check(&new, err);
	if (st == MER_OK)
		st = mer_buf_check(&old, err);
	if (st == MER_OK)
		st = out_row(s, cells, err);
	mer_buf_release(&old);
	mer_buf_release(&new);
	return st;
}

static enum mer_status print_changes(struct session *s, const struct apply *apply,
                                     struct mer_error *err)
{
	if (out_by_member(s)) {
		print_lines(s, apply);
		return MER_OK;
	}
	enum mer_status st = MER_OK;
	out_begin(s, change_columns, CHANGE_COLUMNS);
	for (size_t i = 0; i < apply->n_changes && st == MER_OK; i++)
		st = print_row(s, &apply->changes[i], err);
	return st == MER_OK ? out_end(s, err) : st;
}

/* --- files -------------------------------------------------------------------------------- */

/* What paths in a file are relative to. */
static enum mer_status folder_of(const char *path, char **out, struct mer_error *err)
{
	const char *slash = strrchr(path, '/');
	MER_AUTO(mer_text_done)
	char *folder = slash == NULL   ? strdup(".")
	               : slash == path ? strdup("/")
	                               : strndup(path, (size_t)(slash - path));
	if (folder == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	*out = realpath(folder, NULL);
	if (*out == NULL)
		return mer_fail(err, MER_EINPUT, "cannot find the folder of '%s': %s", path,
		                strerror(errno));
	return MER_OK;
}

static enum mer_status read_stdin(struct session *s, char **bytes, size_t *len,
                                  struct mer_error *err)
{
	if (s->stdin_taken || s->prompt)
		return mer_fail(err, MER_EINPUT, "FILE -: stdin is where the commands come from");
	return run_read_stdin(s, YAML_BYTES_MAX, bytes, len, err);
}

static enum mer_status read_one(struct session *s, const char *path, struct document *document,
                                struct mer_error *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	MER_AUTO(mer_text_done) char *bytes = NULL;
	MER_AUTO(mer_text_done) char *folder = NULL;
	size_t len = 0;
	enum mer_status st = is_stdin ? read_stdin(s, &bytes, &len, err)
	                              : mer_read_file(path, YAML_BYTES_MAX, &bytes, &len, err);
	if (st == MER_EIO || st == MER_ELIMIT)
		return mer_wrap(err, MER_EINPUT, "FILE");
	if (st == MER_OK)
		st = folder_of(is_stdin ? "" : path, &folder, err);
	if (st != MER_OK)
		return st;
	return document_read(document, is_stdin ? "stdin" : path, folder, bytes, len, err);
}

static enum mer_status load_module(const struct yaml_ops **out, struct mer_error *err)
{
	const void *table;
	enum mer_status st = mer_module_load(YAML_MODULE, &table, err);
	if (st == MER_ENOTFOUND) {
		(void)mer_wrap(err, MER_EINPUT, "this mer reads no documents");
		return MER_EINPUT;
	}
	if (st == MER_OK)
		*out = table;
	return st;
}

/* --- apply -------------------------------------------------------------------------------- */

enum { FILES, DRY_RUN, ATTEMPTS = 5 };
static const struct cmd_arg apply_args[] = {
	[FILES] = CMD_WORD("FILE", ARG_TEXT, "a document, in YAML or JSON; - is stdin",
	                   .is = VALUE_FILE, .required = true, .repeat = true),
	[DRY_RUN] = CMD_FLAG("dry-run", "say what would change, and change nothing"),
};

static enum mer_status run_in_transaction(struct apply *apply, struct mer_error *err)
{
	enum mer_status st = mer_dal_begin(apply->dal, err);
	if (st != MER_OK)
		return st;
	if (!apply->dry)
		st = mer_dal_exec(apply->dal, MER_Q_LOCK_MODELS, NULL, 0, NULL, err);
	if (st == MER_OK)
		st = apply_run(apply, err);
	return find_end(apply->dal, st, err);
}

/* What a lost connection or another's transaction ended may be done again: it looks at what is there
 * first. */
static enum mer_status run(struct apply *apply, struct mer_error *err)
{
	enum mer_status st = run_in_transaction(apply, err);
	for (int i = 1; i < ATTEMPTS && st != MER_OK && mer_dal_repeatable(apply->dal); i++)
		st = run_in_transaction(apply, err);
	return st;
}

static enum mer_status open_to_read(struct session *s, struct mer_dal **out, struct mer_error *err)
{
	const char *url = NULL;
	enum mer_status st = settings_database(&s->settings, &url, err);
	return st == MER_OK ? session_open_dal(url, MER_DAL_READ, out, err) : st;
}

static enum mer_status apply_document(struct session *s, const struct document *document, bool dry,
                                      struct mer_error *err)
{
	struct apply apply = { .document = document, .dry = dry };
	enum mer_status st = apply_sum_all(s, &apply, err);
	if (st == MER_OK)
		st = dry ? open_to_read(s, &apply.dal, err) : session_dal(s, &apply.dal, err);
	if (st == MER_OK)
		st = run(&apply, err);
	if (st == MER_OK)
		st = print_changes(s, &apply, err);
	if (dry)
		mer_dal_close(apply.dal);
	apply_release(&apply);
	return st;
}

static enum mer_status apply(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	MER_AUTO(document_release) struct document document = { 0 };
	const struct yaml_ops *yaml = NULL;
	enum mer_status st = load_module(&yaml, err);
	if (st == MER_OK)
		st = document_init(&document, yaml, err);
	for (size_t i = 0; i < argv[FILES].count && st == MER_OK; i++)
		st = read_one(s, argv[FILES].words[i], &document, err);
	return st == MER_OK ? apply_document(s, &document, argv[DRY_RUN].given, err) : st;
}

const struct cmd cmd_apply = {
	.name = "apply",
	.summary = "make models, deployments, servers and weights what documents say",
	.notes =
		"What a document names becomes what it says, with defaults for what it leaves out; all else\n"
		"stays. All files are one transaction: all of it is done or nothing. What changed is printed\n"
		"a line a key. Who has applied it changes nothing by applying it again. --dry-run only reads,\n"
		"so it needs no --allow-changes. docs/apply.md tells the keys.\n",
	CMD_EXAMPLES("apply shop.yaml", "apply --dry-run --json shop.yaml"),
	CMD_ARGS(apply_args),
	.needs = CMD_NEEDS_CHANGES | CMD_DRY_READS,
	.formats = CMD_FORMATS_JSON,
	CMD_ROWS(change_columns, CHANGE_COLUMNS),
	.run = apply,
};

/* --- export ------------------------------------------------------------------------------- */

static enum mer_status read_all(struct mer_dal *dal, json_t **out, struct mer_error *err)
{
	enum mer_status st = mer_dal_begin(dal, err);
	return st == MER_OK ? find_end(dal, stored_document(dal, out, err), err) : st;
}

static const struct out_column document_columns[] = {
	{ "version", OUT_NUMBER },
	{ "servers", OUT_OBJECT | OUT_NULL },
	{ "models", OUT_OBJECT | OUT_NULL },
};
enum { DOCUMENT_COLUMNS = sizeof document_columns / sizeof *document_columns };

static enum mer_status export_all(struct session *s, const struct cmd_value *argv,
                                  struct mer_error *err)
{
	MER_AUTO(mer_json_done) json_t *document = NULL;
	struct mer_dal *dal = NULL;
	(void)argv;
	enum mer_status st = open_to_read(s, &dal, err);
	if (st == MER_OK)
		st = read_all(dal, &document, err);
	mer_dal_close(dal);
	if (st != MER_OK)
		return st;
	document_write(document, s->out.format == MER_FORMAT_JSONL, &s->out.sink.buf);
	sink_added(&s->out.sink);
	return MER_OK;
}

const struct cmd cmd_export = {
	.name = "export",
	.summary = "all models, deployments, servers and weights as a document for 'apply'",
	.notes = "It is JSON, with what is no default. 'mer apply' of it makes the same of an empty\n"
			 "database, of whatever kind. With --jsonl it is one line.\n",
	CMD_EXAMPLES("export", "export --jsonl"),
	.formats = CMD_FORMATS_JSON,
	CMD_OBJECT(document_columns, DOCUMENT_COLUMNS),
	.run = export_all,
};
