/* A worker's folder and its limits on another host; far_room.h. What is called there is in far.sh (far_rooms). */
#include "far_room.h"

#include "far.h"

#include <errno.h>
#include <mer/clean.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define TEXT_MAX ((size_t)1 << 20)
#define MARK (sizeof MER_FAR_FOLDER - 1)
#define DIGITS (FAR_ROOM_END - 1)

enum mer_status far_room_name(char name[FAR_ROOM_END], struct mer_error *err)
{
	unsigned char random[DIGITS / 2];
	if (getrandom(random, sizeof random, 0) != sizeof random)
		return mer_fail(err, MER_EIO, "no random bytes: %s", strerror(errno));
	for (size_t i = 0; i < sizeof random; i++)
		(void)snprintf(name + 2 * i, 3, "%02x", random[i]);
	return MER_OK;
}

void far_room_fill(char *text, const char *name)
{
	while ((text = strstr(text, MER_FAR_FOLDER)) != NULL) {
		memcpy(text + MARK - DIGITS, name, DIGITS);
		text += MARK;
	}
}

const char *mer_lent_name(const struct mer_lent *lent)
{
	const char *slash = strrchr(lent->path, '/');
	return slash != NULL && slash[1] != '\0' ? slash + 1 : "it";
}

enum mer_status mer_far_folder(char out[sizeof MER_FAR_FOLDER], struct mer_error *err)
{
	char name[FAR_ROOM_END];
	enum mer_status st = far_room_name(name, err);
	memcpy(out, MER_FAR_FOLDER, sizeof MER_FAR_FOLDER);
	if (st == MER_OK)
		far_room_fill(out, name);
	return st;
}

/* --- limits ----------------------------------------------------------------------------------- */

/* What is tried there before, under the name that users know it by, and then done. */
static void add_limit(struct mer_buf *room, struct mer_buf *line, const char *name,
                      const char *command)
{
	mer_buf_printf(room, "limit %s ", name);
	far_quote(room, command);
	mer_buf_byte(room, '\n');
	mer_buf_printf(line, "%s\n", command);
}

static int64_t divided(int64_t n, int64_t by)
{
	return n / by + (n % by != 0);
}

static void add_ulimits(struct mer_buf *room, struct mer_buf *line, const struct mer_limits *limits)
{
	char command[160];
	const struct {
		const char *name, *option;
		int64_t value;
	} plain[] = {
		{ "memory", "-d", divided(limits->memory_bytes, 1024) },
		{ "open-files", "-n", limits->open_files },
		{ "file-size", "-f", divided(limits->file_bytes, 512) },
		{ "core-size", "-c", divided(limits->core_bytes, 512) },
	};
	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
		if (plain[i].value == 0)
			continue;
		(void)snprintf(command, sizeof command, "ulimit %s %lld", plain[i].option,
		               (long long)plain[i].value);
		add_limit(room, line, plain[i].name, command);
	}
	long long n = (long long)limits->processes, seconds = (long long)divided(limits->cpu_ms, 1000);
	if (n > 0) { /* shells call it one or the other */
		(void)snprintf(command, sizeof command, "ulimit -u %lld 2>/dev/null || ulimit -p %lld", n,
		               n);
		add_limit(room, line, "processes", command);
	}
	if (seconds > 0) {
		(void)snprintf(command, sizeof command, "ulimit -S -t %lld && ulimit -H -t %lld", seconds,
		               seconds + 1);
		add_limit(room, line, "cpu-time", command);
	}
}

/* Which processors: as many as it may have, from another one on for each worker. */
#define PICK \
	"pick() { n=$1; list=$(taskset -cp $$); list=${list##* }; all=; IFS=,; for r in $list; do " \
	"a=${r%%-*}; while [ \"$a\" -le \"${r#*-}\" ]; do all=\"$all $a\"; a=$((a + 1)); done; done; " \
	"unset IFS; set -- $all; i=$(($$ %% $#)); while [ \"$i\" -gt 0 ]; do a=$1; shift; " \
	"set -- \"$@\" \"$a\"; i=$((i - 1)); done; list=; while [ \"$n\" -gt 0 ] && [ $# -gt 0 ]; do " \
	"list=$list,$1; shift; n=$((n - 1)); done; echo \"${list#,}\"; }\n"

static void add_before(struct mer_buf *room, struct mer_buf *line, const struct mer_limits *limits)
{
	char command[80];
	long long cpus = (long long)limits->cpus_permille / 1000, nice = (long long)limits->nice;
	mer_buf_text(line, "before=\n");
	if (nice != 0) {
		(void)snprintf(command, sizeof command, "[ \"$(nice -n %lld nice)\" %s \"$(nice)\" ]", nice,
		               nice < 0 ? "-lt" : "-ge");
		mer_buf_text(room, "limit nice ");
		far_quote(room, command);
		mer_buf_byte(room, '\n');
		mer_buf_printf(line, "before=\"nice -n %lld\"\n", nice);
	}
	if (cpus != 0) {
		mer_buf_text(room, "limit cpus 'taskset -cp $$'\n");
		mer_buf_printf(line, PICK "before=\"taskset -c $(pick %lld) $before\"\n", cpus);
	}
}

static enum mer_status check_limits(const struct mer_worker_spec *spec, struct mer_error *err)
{
	const struct mer_limits *limits = &spec->limits;
	const char *what = limits->isolate != 0                ? "isolate"
	                   : limits->cpus_permille % 1000 != 0 ? "cpus"
	                                                       : NULL;
	if (what == NULL)
		return MER_OK;
	(void)mer_fail(err, MER_EUNREACHABLE, "the limit '%s' cannot be held on server '%s'%s", what,
	               spec->remote->server, what[0] == 'c' ? ": only whole processors can" : "");
	return MER_EUNREACHABLE;
}

/* --- the folder --------------------------------------------------------------------------- */

static void add_lent(struct mer_buf *room, const struct mer_worker_spec *spec)
{
	for (size_t i = 0; i < spec->n_lent; i++) {
		const struct mer_lent *lent = &spec->lent[i];
		mer_buf_printf(room, "%s %s ", lent->is_there ? "there" : "lent", lent->sha256);
		if (lent->is_there)
			far_quote(room, lent->path);
		mer_buf_byte(room, '\n');
	}
	mer_buf_printf(room, "room %s\n", spec->folder);
	for (size_t i = 0; i < spec->n_lent; i++) {
		const struct mer_lent *lent = &spec->lent[i];
		if (lent->is_there)
			continue;
		mer_buf_printf(room, "link %zu ", i);
		far_quote(room, mer_lent_name(lent));
		mer_buf_printf(room, " %s\n", lent->sha256);
	}
	if (spec->makes)
		mer_buf_text(room, "makes\n");
}

/* Whether its program is there, which the supervisor sees only of the shell in front of it. */
static void add_program(struct mer_buf *room, const struct mer_worker_spec *spec, const char *word)
{
	const char *path = NULL;
	for (const char *const *variable = spec->env; *variable != NULL; variable++)
		if (strncmp(*variable, "PATH=", 5) == 0)
			path = *variable + 5;
	if (path != NULL) {
		mer_buf_text(room, "PATH=");
		far_quote(room, path);
		mer_buf_byte(room, '\n');
	}
	mer_buf_text(room, "program ");
	far_quote(room, word);
	mer_buf_byte(room, ' ');
	far_quote(room, spec->workdir != NULL ? spec->workdir : "");
	mer_buf_byte(room, '\n');
}

/* --- the command line ----------------------------------------------------------------------- */

/* What stands before it, where something is to be done there before or after it. */
static const char around[] =
	"eval \"$1\"\n"
	"own=$2 how=$3\n"
	"shift 3\n"
	"[ -n \"$how\" ] || exec $before \"$@\"\n"
	"trap : TERM\n"
	"if [ \"$how\" = output ]; then $before \"$@\" >&2; else $before \"$@\"; fi\n"
	"code=$?\n"
	"if [ \"$how\" = output ] && [ -f \"$own/output\" ]; then cat \"$own/output\"\n"
	"elif [ \"$how\" = output ] && [ \"$code\" -eq 0 ]; then\n"
	"echo \"the model left no output in '$own/output'\" >&2\n"
	"code=1\n"
	"elif [ \"$how\" = makes ] && [ \"$code\" -eq 0 ]; then\n"
	"new=$(readlink \"$own/new\")\n"
	"touch \"$new\" && "
	"mv \"$new\" \"${new%/new/*}/made/\" || code=1\n"
	"fi\n"
	"trap - TERM\n"
	"[ \"$code\" -le 128 ] || kill \"-$((code - 128))\" $$\n"
	"exit \"$code\"\n";

static bool uses(const struct mer_worker_spec *spec, const char *name)
{
	for (const char *const *word = spec->argv; *word != NULL; word++)
		if (mer_expand_uses(*word, name))
			return true;
	return false;
}

static enum mer_status fill_argv(struct far_room *room, const struct mer_worker_spec *spec,
                                 const char *line, const char *how, struct mer_error *err)
{
	enum { AROUND = 7 };
	const char *own = spec->folder != NULL ? spec->folder : "";
	MER_AUTO(mer_text_done) char *input = mer_text_new("%s/input", own);
	MER_AUTO(mer_text_done) char *output = mer_text_new("%s/output", own);
	const struct mer_pair files[] = { { "input", input }, { "output", output } };
	const char *const front[AROUND] = { "/bin/sh", "-c", around, "mer-run", line, own, how };
	size_t n = 0, n_files = spec->protocol == MER_PROTOCOL_ONCE ? 2 : 0;
	size_t n_front = line != NULL ? AROUND : 0;
	while (spec->argv[n] != NULL)
		n++;
	room->argv = calloc(n_front + n + 1, sizeof *room->argv);
	if (room->argv == NULL || input == NULL || output == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	for (size_t i = 0; i < n_front; i++)
		if ((room->argv[i] = strdup(front[i])) == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < n && st == MER_OK; i++)
		st = mer_expand(spec->argv[i], files, n_files, &room->argv[n_front + i], err);
	return st;
}

static enum mer_status fill(struct far_room *room, const struct mer_worker_spec *spec,
                            struct mer_buf *text, struct mer_buf *line, struct mer_error *err)
{
	static const struct mer_limits none;
	bool once = spec->protocol == MER_PROTOCOL_ONCE, input = once && uses(spec, "input");
	input = input && !spec->remote->probe; /* which has none */
	bool limits = memcmp(&spec->limits, &none, sizeof none) != 0;
	room->output = once && uses(spec, "output");
	bool folder = spec->n_lent > 0 || spec->makes || input || room->output;
	bool is_around = limits || spec->makes || room->output;
	enum mer_status st = check_limits(spec, err);
	if (st == MER_OK && input)
		st = far_room_name(room->end, err);
	if (st != MER_OK)
		return st;
	if (folder)
		add_lent(text, spec);
	add_ulimits(text, line, &spec->limits);
	add_before(text, line, &spec->limits);
	st = mer_buf_check(line, err);
	if (st == MER_OK)
		st = fill_argv(room, spec, is_around ? line->ptr : NULL,
		               room->output  ? "output"
		               : spec->makes ? "makes"
		                             : "",
		               err);
	if (st == MER_OK && is_around)
		add_program(text, spec, spec->argv[0]);
	if (input) /* the last, since it takes all that comes */
		mer_buf_printf(text, "input %s\n", room->end);
	return st;
}

enum mer_status far_room_init(struct far_room *room, const struct mer_worker_spec *spec,
                              struct mer_error *err)
{
	struct mer_buf text, line;
	*room = (struct far_room){ .text = NULL };
	mer_buf_init(&text, TEXT_MAX);
	mer_buf_init(&line, TEXT_MAX);
	enum mer_status st = fill(room, spec, &text, &line, err);
	if (st == MER_OK)
		st = mer_buf_take(&text, &room->text, NULL, err);
	mer_buf_release(&text);
	mer_buf_release(&line);
	if (st != MER_OK)
		far_room_release(room);
	return st;
}

void far_room_release(struct far_room *room)
{
	free(room->text);
	mer_words_done(&room->argv);
	room->text = NULL;
}
