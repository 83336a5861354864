/* The outputs of the commands, from one table of columns. */
#include "report.h"

#include "stop.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <locale.h>
#include <mer/file.h>
#include <mer/json.h>
#include <mer/text.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	OUT_LIMIT = 1 << 30,
	FLUSH_AT = 1 << 16,
	CELL_ROOM = 800,      /* a message and its hint are shorter */
	WINDOW_COLUMNS = 100, /* of a script's line */
};

void report_init(struct report *report)
{
	*report = (struct report){ .format = MER_FORMAT_PLAIN };
	mer_buf_init(&report->out, OUT_LIMIT);
}

void report_release(struct report *report)
{
	if (report != NULL)
		mer_buf_release(&report->out);
}

/* Writes what is there. A failure is kept: what the command does goes on. */
static void flush(struct report *report)
{
	if (report->written == MER_OK)
		report->written = mer_buf_check(&report->out, &report->failure);
	if (report->written == MER_OK && report->out.len > 0) {
		report->written = mer_write_all(STDOUT_FILENO, "stdout", report->out.ptr, report->out.len,
		                                &report->failure);
		report->reader_left = report->written != MER_OK && errno == EPIPE;
	}
	mer_buf_clear(&report->out);
}

/* Whether lines for people are wanted. */
static bool talks(const struct report *report)
{
	return !report->quiet && report->format != MER_FORMAT_JSON;
}

/* --- cells -------------------------------------------------------------------------------- */

/* An entry with its words, which cells borrow from. */
struct shown {
	const struct entry *entry;
	struct mer_error words;
	char file[CELL_ROOM];
	int64_t duration_ms; /* of what was applied just now; or -1 */
	const char *deed;    /* what was done about it; NULL: what is to be done */
};

static struct mer_cell cell_num(const struct shown *shown)
{
	return mer_cell_i64(shown->entry->num);
}
static struct mer_cell cell_name(const struct shown *shown)
{
	const struct entry *entry = shown->entry;
	return mer_cell_text(entry->script != NULL ? entry->script->name : entry->row->name);
}
static struct mer_cell cell_file(const struct shown *shown)
{
	return mer_cell_text(shown->file);
}
static struct mer_cell cell_state(const struct shown *shown)
{
	return mer_cell_text(entry_state_name(shown->entry->state));
}
static struct mer_cell cell_action(const struct shown *shown)
{
	return mer_cell_word(shown->deed != NULL ? shown->deed
	                                         : entry_action_name(shown->entry->action));
}
static struct mer_cell cell_applied_at(const struct shown *shown)
{
	return mer_cell_word(shown->entry->row != NULL ? shown->entry->row->applied_at : NULL);
}
static struct mer_cell cell_applied_by(const struct shown *shown)
{
	return mer_cell_word(shown->entry->row != NULL ? shown->entry->row->applied_by : NULL);
}
static struct mer_cell cell_duration_ms(const struct shown *shown)
{
	if (shown->duration_ms >= 0)
		return mer_cell_i64(shown->duration_ms);
	return shown->entry->row != NULL ? mer_cell_i64(shown->entry->row->duration_ms)
	                                 : mer_cell_text(NULL);
}
static struct mer_cell cell_tool_version(const struct shown *shown)
{
	return mer_cell_word(shown->entry->row != NULL ? shown->entry->row->tool_version : NULL);
}
static struct mer_cell cell_note(const struct shown *shown)
{
	return mer_cell_word(shown->words.message);
}
static struct mer_cell cell_hint(const struct shown *shown)
{
	return mer_cell_word(shown->words.hint);
}

enum column {
	NUM,
	NAME,
	FILE_NAME,
	STATE,
	ACTION,
	APPLIED_AT,
	APPLIED_BY,
	DURATION_MS,
	TOOL_VERSION,
	NOTE,
	HINT,
	N_COLUMNS
};

static const struct {
	const char *name;
	struct mer_cell (*cell)(const struct shown *shown);
} columns[] = {
	[NUM] = { "num", cell_num },
	[NAME] = { "name", cell_name },
	[FILE_NAME] = { "file", cell_file },
	[STATE] = { "state", cell_state },
	[ACTION] = { "action", cell_action },
	[APPLIED_AT] = { "applied_at", cell_applied_at },
	[APPLIED_BY] = { "applied_by", cell_applied_by },
	[DURATION_MS] = { "duration_ms", cell_duration_ms },
	[TOOL_VERSION] = { "tool_version", cell_tool_version },
	[NOTE] = { "note", cell_note },
	[HINT] = { "hint", cell_hint },
};
static_assert(sizeof columns / sizeof *columns == N_COLUMNS, "a row for each column");

/* A list of columns, in order. */
struct list {
	enum column at[N_COLUMNS];
	size_t n;
};

static const struct {
	unsigned actions; /* of the entries that are shown, a bit each */
	struct list people, json;
} views[] = {
	[VIEW_STATUS] = {
		.actions = ~0u,
		.people = { { NUM, NAME, STATE, APPLIED_AT, APPLIED_BY, DURATION_MS, NOTE }, 7 },
		.json = { { NUM, NAME, FILE_NAME, STATE, APPLIED_AT, APPLIED_BY, DURATION_MS, TOOL_VERSION,
		            NOTE, HINT }, 10 },
	},
	[VIEW_PLAN] = {
		.actions = ~(1u << ACTION_NONE),
		.people = { { ACTION, FILE_NAME, STATE, NOTE }, 4 },
		.json = { { NUM, NAME, FILE_NAME, STATE, ACTION, NOTE, HINT }, 7 },
	},
	[VIEW_VERIFY] = {
		.actions = 1u << ACTION_NOTE | 1u << ACTION_REFUSE,
		.people = { { FILE_NAME, STATE, NOTE }, 3 },
		.json = { { NUM, NAME, FILE_NAME, STATE, NOTE, HINT }, 6 },
	},
};
static_assert(sizeof views / sizeof *views == VIEW_COUNT, "a row for each view");

static const struct {
	const char *name; /* of the list in JSON */
	struct list json;
} deed_lists[] = {
	[DEEDS_APPLIED] = { "applied", { { NUM, NAME, FILE_NAME, DURATION_MS }, 4 } },
	[DEEDS_RECORDED] = { "recorded", { { NUM, NAME, FILE_NAME }, 3 } },
	[DEEDS_REPAIRED] = { "repaired", { { NUM, NAME, FILE_NAME, STATE, ACTION }, 5 } },
	[DEEDS_WRITTEN] = { "written", { { NUM, NAME, FILE_NAME }, 3 } },
};
static_assert(sizeof deed_lists / sizeof *deed_lists == DEEDS_COUNT, "a row for each list");

static void begin_list(struct report *report, const struct list *list)
{
	static_assert(sizeof report->columns / sizeof *report->columns >= N_COLUMNS, "all fit");
	for (size_t i = 0; i < list->n; i++)
		report->columns[i] = columns[list->at[i]].name;
	mer_emit_begin(&report->emit, report->format, false, report->columns, list->n, &report->out);
}

static void fill_cells(const struct list *list, const struct shown *shown, struct mer_cell cells[])
{
	for (size_t i = 0; i < list->n; i++)
		cells[i] = columns[list->at[i]].cell(shown);
}

/* --- tables ------------------------------------------------------------------------------- */

static const char *cell_as_text(const struct mer_cell *cell, char room[CELL_ROOM])
{
	room[0] = '\0';
	if (cell->type == MER_CELL_I64)
		(void)snprintf(room, CELL_ROOM, "%" PRId64, cell->number);
	else if (cell->type == MER_CELL_TEXT)
		(void)snprintf(room, CELL_ROOM, "%.*s", (int)cell->text.len, cell->text.ptr);
	return room;
}

static void pad(struct mer_buf *out, size_t n)
{
	mer_buf_printf(out, "%*s", (int)n, "");
}

/* One row: numbers to the right, the last column as it is. */
static void table_row(struct report *report, const struct mer_cell cells[], size_t n,
                      const size_t widths[])
{
	char room[CELL_ROOM];
	struct mer_buf *out = &report->out;
	for (size_t i = 0; i < n; i++) {
		const char *text = cell_as_text(&cells[i], room);
		size_t gap = widths[i] - mer_text_width(text);
		if (cells[i].type == MER_CELL_I64)
			pad(out, gap);
		mer_buf_text(out, text);
		if (cells[i].type != MER_CELL_I64 && i + 1 < n)
			pad(out, gap);
		if (i + 1 < n)
			mer_buf_text(out, "  ");
	}
	while (out->len > 0 && out->ptr[out->len - 1] == ' ')
		out->len--;
	mer_buf_byte(out, '\n');
}

static void table_head(struct report *report, const struct list *list, const size_t widths[])
{
	char names[N_COLUMNS][16];
	struct mer_cell cells[N_COLUMNS] = { 0 };
	for (size_t i = 0; i < list->n; i++) {
		const char *name = columns[list->at[i]].name;
		size_t len = strlen(name);
		MER_ASSERT(len < sizeof names[i]);
		for (size_t j = 0; j <= len; j++)
			names[i][j] = name[j] >= 'a' && name[j] <= 'z' ? (char)(name[j] - 'a' + 'A') : name[j];
		cells[i] = mer_cell_text(names[i]);
	}
	table_row(report, cells, list->n, widths);
}

/* --- views -------------------------------------------------------------------------------- */

static void show(struct shown *shown, const struct entry *entry)
{
	shown->entry = entry;
	shown->duration_ms = -1;
	shown->deed = NULL;
	entry_explain(entry, &shown->words);
	const char *file = entry_file(entry, shown->file, sizeof shown->file);
	if (file != shown->file)
		(void)snprintf(shown->file, sizeof shown->file, "%s", file);
}

static bool is_shown(enum view view, const struct entry *entry)
{
	return (views[view].actions & 1u << entry->action) != 0;
}

static void measure(enum view view, const struct list *list, const struct plan *plan,
                    size_t widths[])
{
	struct shown shown;
	struct mer_cell cells[N_COLUMNS] = { 0 };
	char room[CELL_ROOM];
	for (size_t i = 0; i < list->n; i++)
		widths[i] = strlen(columns[list->at[i]].name);
	for (size_t i = 0; i < plan->n; i++) {
		if (!is_shown(view, &plan->entries[i]))
			continue;
		show(&shown, &plan->entries[i]);
		fill_cells(list, &shown, cells);
		for (size_t j = 0; j < list->n; j++) {
			size_t width = mer_text_width(cell_as_text(&cells[j], room));
			if (width > widths[j])
				widths[j] = width;
		}
	}
}

static size_t count_shown(enum view view, const struct plan *plan)
{
	size_t n = 0;
	for (size_t i = 0; i < plan->n; i++)
		n += is_shown(view, &plan->entries[i]);
	return n;
}

static void open_document(struct report *report, const char *name)
{
	if (report->format == MER_FORMAT_JSON && name != NULL)
		mer_buf_printf(&report->out, "{\"%s\":", name);
}

void report_view(struct report *report, enum view view, const struct plan *plan)
{
	bool json = report->format == MER_FORMAT_JSON, table = report->format == MER_FORMAT_TABLE;
	if (!json && (report->quiet || count_shown(view, plan) == 0))
		return;
	const struct list *list = json ? &views[view].json : &views[view].people;
	size_t widths[N_COLUMNS] = { 0 };
	open_document(report, view == VIEW_STATUS ? NULL : "scripts");
	if (table) {
		(void)setlocale(LC_CTYPE, ""); /* for the widths of characters */
		measure(view, list, plan, widths);
		table_head(report, list, widths);
	} else {
		begin_list(report, list);
	}
	for (size_t i = 0; i < plan->n; i++) {
		if (!is_shown(view, &plan->entries[i]))
			continue;
		struct shown shown;
		struct mer_cell cells[N_COLUMNS] = { 0 };
		show(&shown, &plan->entries[i]);
		fill_cells(list, &shown, cells);
		if (table)
			table_row(report, cells, list->n, widths);
		else
			mer_emit_row(&report->emit, cells);
		if (report->out.len >= FLUSH_AT)
			flush(report);
	}
	report->list = json;
	if (json && view == VIEW_STATUS) {
		mer_emit_end(&report->emit);
		report->document = true;
	}
}

void report_begin(struct report *report, enum deeds deeds)
{
	if (report->format != MER_FORMAT_JSON)
		return;
	report->deeds = deeds;
	open_document(report, deed_lists[deeds].name);
	begin_list(report, &deed_lists[deeds].json);
	report->list = true;
	flush(report);
}

/* A row of the list that was begun. */
static void add_deed(struct report *report, const struct shown *shown)
{
	struct mer_cell cells[N_COLUMNS] = { 0 };
	fill_cells(&deed_lists[report->deeds].json, shown, cells);
	mer_emit_row(&report->emit, cells);
	flush(report);
}

void report_applied(struct report *report, const struct script *script, int64_t duration_ms)
{
	if (report->format == MER_FORMAT_JSON) {
		struct entry entry = { .num = script->num, .script = script };
		struct shown shown;
		show(&shown, &entry);
		shown.duration_ms = duration_ms;
		add_deed(report, &shown);
		return;
	}
	report_line(report, "applied %s (%" PRId64 " ms)", script->file, duration_ms);
}

void report_changed(struct report *report, const struct change *change)
{
	struct shown shown;
	show(&shown, change->entry);
	shown.deed = change_name(change->kind);
	if (report->format == MER_FORMAT_JSON)
		add_deed(report, &shown);
	else if (change->kind == CHANGE_RECORD)
		report_line(report, "%s %s", change_done(change->kind), shown.file);
	else
		report_line(report, "%s %s (%s)", change_done(change->kind), shown.file,
		            entry_state_name(change->entry->state));
}

void report_written(struct report *report, int64_t num, const char *name, const char *path)
{
	if (report->format == MER_FORMAT_JSON) {
		const struct mer_cell cells[] = { mer_cell_i64(num), mer_cell_text(name),
			                              mer_cell_text(path) };
		mer_emit_row(&report->emit, cells);
		return;
	}
	report_line(report, "%s", path);
}

/* --- lines -------------------------------------------------------------------------------- */

void report_line(struct report *report, const char *fmt, ...)
{
	if (!talks(report))
		return;
	char line[PATH_MAX + 200];
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(line, sizeof line, fmt, args);
	va_end(args);
	if (n < 0)
		return;
	mer_buf_text(&report->out, line);
	mer_buf_byte(&report->out, '\n');
	flush(report);
}

/* To stderr in one write, so that lines of several processes do not mix; where that cannot be
 * written there is nobody to tell. */
static void to_stderr(const struct mer_buf *text)
{
	struct mer_error ignored;
	if (text->len > 0 &&
	    mer_write_all(STDERR_FILENO, "stderr", text->ptr, text->len, &ignored) != MER_OK)
		return;
}

void report_warning(const struct report *report, const struct mer_error *warning)
{
	if (report->quiet)
		return;
	struct mer_buf text;
	mer_buf_init(&text, FLUSH_AT);
	mer_buf_printf(&text, "mer-migrate: warning: %s\n", warning->message);
	to_stderr(&text);
	mer_buf_release(&text);
}

/* --- errors ------------------------------------------------------------------------------- */

/* Moves back to the beginning of a UTF-8 sequence. */
static const char *sequence_begin(const char *begin, const char *at)
{
	while (at > begin && (*at & 0xc0) == 0x80)
		at--;
	return at;
}

/* The part of the line that is shown: the whole where it is not too long, else around the place. */
static struct mer_str window(struct mer_str line, const char *at)
{
	const char *end = line.ptr + line.len, *begin = line.ptr;
	if (line.len <= WINDOW_COLUMNS)
		return line;
	if (at - begin > WINDOW_COLUMNS / 2)
		begin = sequence_begin(line.ptr, at - WINDOW_COLUMNS / 2);
	if (end - begin > WINDOW_COLUMNS)
		end = sequence_begin(begin, begin + WINDOW_COLUMNS);
	return (struct mer_str){ .ptr = begin, .len = (size_t)(end - begin) };
}

static bool is_control(char byte)
{
	return (unsigned char)byte < ' ' || byte == 0x7f;
}

/* The line as it may be shown on a terminal; tabs stay. */
static void add_source(struct mer_buf *out, struct mer_str shown)
{
	for (size_t i = 0; i < shown.len; i++) {
		char byte = shown.ptr[i];
		mer_buf_byte(out, is_control(byte) && byte != '\t' ? '?' : byte);
	}
}

/* As many columns as the text before the place, tabs being tabs. */
static void add_indent(struct mer_buf *out, const char *begin, const char *at)
{
	for (const char *next; begin < at; begin = next) {
		char one[8] = { 0 };
		next = begin + 1;
		while (next < at && (*next & 0xc0) == 0x80)
			next++;
		if (*begin == '\t') {
			mer_buf_byte(out, '\t');
			continue;
		}
		memcpy(one, begin, (size_t)(next - begin) < sizeof one ? (size_t)(next - begin) : 1);
		pad(out, is_control(*begin) ? 1 : mer_text_width(one));
	}
}

/* The line of the script with a caret below, as compilers do. */
static void add_place(struct mer_buf *out, const struct script *script, int64_t line,
                      int64_t column)
{
	if (script == NULL || script->text == NULL || line < 1 || column < 1)
		return;
	const char *begin = script->text, *end = begin + script->len;
	for (int64_t i = 1; begin != NULL && i < line; i++) {
		begin = memchr(begin, '\n', (size_t)(end - begin));
		begin += begin != NULL;
	}
	if (begin == NULL)
		return;
	(void)setlocale(LC_CTYPE, ""); /* for the widths of characters */
	const char *stop = memchr(begin, '\n', (size_t)(end - begin));
	struct mer_str text = { .ptr = begin, .len = (size_t)((stop != NULL ? stop : end) - begin) };
	if (text.len > 0 && text.ptr[text.len - 1] == '\r')
		text.len--;
	if ((size_t)column > text.len)
		return; /* its end: there is nothing to point at */
	const char *at = begin + column - 1;
	struct mer_str shown = window(text, at);
	char number[24];
	(void)snprintf(number, sizeof number, "%5" PRId64, line);
	mer_buf_printf(out, "%s | ", number);
	add_source(out, shown);
	mer_buf_printf(out, "\n%*s | ", (int)strlen(number), "");
	add_indent(out, shown.ptr, at);
	mer_buf_text(out, "^\n");
}

void report_error(const struct mer_error *err, const struct script *script, int64_t line,
                  int64_t column)
{
	struct mer_buf text;
	mer_buf_init(&text, FLUSH_AT);
	mer_buf_printf(&text, "mer-migrate: %s\n", err->message);
	add_place(&text, script, line, column);
	if (err->hint[0] != '\0')
		mer_buf_printf(&text, "hint: %s\n", err->hint);
	to_stderr(&text);
	mer_buf_release(&text);
}

static void quote(struct mer_buf *out, const char *text)
{
	if (text[0] == '\0')
		mer_buf_text(out, "null");
	else
		mer_json_quote(out, text, strlen(text));
}

/* What a document ends with. */
static void add_ending(struct mer_buf *out, bool list, int code, const struct mer_error *err)
{
	mer_buf_text(out, list ? "," : "{");
	if (err != NULL) {
		mer_buf_text(out, "\"error\":");
		quote(out, err->message);
		mer_buf_printf(out, ",\"code\":%d,\"hint\":", code);
		quote(out, err->hint);
	} else {
		mer_buf_printf(out, "\"code\":%d", code);
	}
	mer_buf_text(out, "}\n");
}

/* What completes the document of one that was interrupted. */
static void add_interrupted(const struct report *report, int code, const char *what,
                            struct mer_buf *out)
{
	struct mer_error err;
	(void)mer_fail(&err, MER_ECANCELED, "%s", what);
	mer_buf_text(out, report->list ? "]" : "");
	add_ending(out, report->list, code, &err);
}

/* With each script anew, so without what that need not cost. */
void report_allow_stop(struct report *report, const char *what, struct mer_dal *cancel)
{
	static const struct {
		const char *name;
		int code;
	} signals[] = { { "SIGINT", 130 }, { "SIGTERM", 143 } };
	static const char begin[] = "mer-migrate: ";
	struct mer_buf documents[2];
	struct stop_words words[2];
	char messages[2][1024];
	for (size_t i = 0; i < 2; i++) {
		int n = snprintf(messages[i], sizeof messages[i], "%sinterrupted by %s%s\n", begin,
		                 signals[i].name, what);
		MER_ASSERT(n > 0 && (size_t)n < sizeof messages[i]); /* names of files are short */
		mer_buf_init(&documents[i], FLUSH_AT);
		if (report->format == MER_FORMAT_JSON) {
			messages[i][n - 1] = '\0';
			add_interrupted(report, signals[i].code, messages[i] + strlen(begin), &documents[i]);
			messages[i][n - 1] = '\n';
		}
		words[i].message = messages[i];
		words[i].data = documents[i].ptr != NULL ? documents[i].ptr : "";
	}
	stop_allow(words, cancel);
	for (size_t i = 0; i < 2; i++)
		mer_buf_release(&documents[i]);
}

enum exit_code report_end(struct report *report, enum exit_code code, const struct mer_error *err)
{
	if (report->format == MER_FORMAT_JSON && !report->document) {
		if (report->list) {
			mer_emit_end(&report->emit);
			report->out.len -= report->out.len > 0; /* its newline: the object goes on */
		}
		add_ending(&report->out, report->list, (int)code, err);
		report->document = true;
	}
	flush(report);
	if (report->written == MER_OK || code != EXIT_DONE)
		return code;
	if (report->reader_left)
		return EXIT_READER_LEFT;
	report_error(&report->failure, NULL, 0, 0);
	return EXIT_DEFECT;
}
