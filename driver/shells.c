/* What shells are told of a line of theirs, and the functions by which they ask. */
#include "shells.h"

#include "complete.h"
#include "session.h"

#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

/* --- what a candidate means --------------------------------------------------------------- */

/* Of an option of the command that the words begin with. */
static const char *option_help(const char *const words[], size_t n, const char *option)
{
	const struct cmd *cmd;
	size_t used;
	if (n == 0 || cmd_find(words, n, true, &cmd, &used, NULL) != MER_OK)
		return "";
	for (const struct cmd_arg *arg = cmd_option_next(cmd, NULL); arg != NULL;
	     arg = cmd_option_next(cmd, arg)) {
		if (strcmp(arg->name, option) == 0)
			return arg->help;
	}
	return "";
}

/* Of a command whose name the word completes. */
static const char *command_help(const char *const words[], size_t n, const char *word)
{
	const char *both[] = { n == 1 ? words[0] : word, word };
	const struct cmd *cmd;
	size_t used;
	if (n > 1 || cmd_find(both, n + 1, true, &cmd, &used, NULL) != MER_OK || used != n + 1)
		return "";
	return cmd->summary;
}

static void print(struct mer_buf *out, const char *name, const char *help)
{
	if (strpbrk(name, "\t\n") != NULL) /* cannot be told to a shell in a line */
		return;
	mer_buf_printf(out, help[0] != '\0' ? "%s\t%s\n" : "%s\n", name, help);
}

/* --- the program's own options ------------------------------------------------------------ */

static void print_settings(struct mer_buf *out, const char *begin)
{
	for (size_t i = 0; i < SET_COUNT; i++) {
		const struct cmd_arg *arg = &setting_rows[i];
		char name[80];
		if (!arg->option || arg->name == NULL || arg->hidden)
			continue;
		(void)snprintf(name, sizeof name, "--%s", arg->name);
		if (strncmp(name, begin, strlen(begin)) == 0)
			print(out, name, arg->help);
	}
}

/* --- a line ------------------------------------------------------------------------------- */

/* The command behind the program's options, with what is there of its last word as it is written. */
static char *command_text(char *const words[], size_t n, const char *last)
{
	struct mer_buf text;
	char *out = NULL;
	mer_buf_init(&text, SIZE_MAX / 4);
	for (size_t i = 0; i < n; i++) {
		mer_buf_byte(&text, '\'');
		for (const char *at = words[i]; *at != '\0'; at++)
			mer_buf_printf(&text, *at == '\'' ? "'\\''" : "%c", *at);
		mer_buf_text(&text, "' ");
	}
	mer_buf_text(&text, last);
	return mer_buf_take(&text, &out, NULL, NULL) == MER_OK ? out : NULL;
}

/* A candidate as it is written in a line of mer's, without its quotes. */
static void print_written(struct mer_buf *out, const char *const words[], size_t n,
                          const char *written)
{
	MER_AUTO(mer_words_done) char **plain = NULL;
	char text[4096];
	size_t count;
	const char quote = written[0] == '\'' || written[0] == '"' ? written[0] : '\0';
	/* A folder's is left open, for more to follow. */
	const size_t len = strlen(written);
	const bool open = quote != '\0' && (len < 2 || written[len - 1] != quote);
	(void)snprintf(text, sizeof text, "%s%.*s", written, open ? 1 : 0, &quote);
	if (mer_split_words(text, &plain, &count, NULL, NULL) != MER_OK || count != 1)
		return;
	const char *name = plain[0];
	bool option = name[0] == '-' && name[1] == '-';
	print(out, name, option ? option_help(words, n, name + 2) : command_help(words, n, name));
}

static void complete_command(struct mer_buf *out, struct settings *settings, char *const words[],
                             size_t n, const char *last)
{
	MER_AUTO(mer_text_done) char *text = command_text(words, n, last);
	const char *url;
	if (settings_database(settings, &url, NULL) != MER_OK)
		url = NULL;
	const struct completing with = { .lookup = lookup_new(url),
		                             .changes = setting_on(settings, SET_CHANGES) };
	struct prompt_words found = { .n = 0 };
	if (text != NULL)
		complete(&with, text, 0, &found);
	for (size_t i = 0; i < found.n; i++)
		print_written(out, (const char *const *)words, n, found.inserts[i]);
	prompt_words_release(&found);
	lookup_free(with.lookup);
}

void shells_complete(struct session *s, const char *line)
{
	MER_AUTO(mer_words_done) char **words = NULL;
	struct mer_last_word last;
	struct settings settings;
	size_t n;
	if (mer_split_last(line, &words, &n, &last, NULL) != MER_OK)
		return;
	MER_AUTO(mer_text_done) char *word = last.text;
	if (word == NULL || n == 0)
		return;
	struct mer_buf *out = &s->out.sink.buf;
	const char *const *behind = (const char *const *)words + 1;
	/* An option of the program that waits for its value makes this fail: that is for the shell. */
	if (settings_load(&settings, behind, n - 1, NULL) == MER_OK) {
		size_t used = settings.call.used;
		if (used == n - 1 && word[0] == '-')
			print_settings(out, word);
		else
			complete_command(out, &settings, words + 1 + used, n - 1 - used, line + last.from);
	}
	settings_release(&settings);
	sink_added(&s->out.sink);
}

/* --- the shells' side --------------------------------------------------------------------- */

/* Bash completes the part of a word behind its last break (of COMP_WORDBREAKS: = : @), so what stands
 * before is taken off each candidate. Inside quotes, which may begin amid a word, bash adds what it needs itself.
 * Where mer knows nothing a file is offered. */
void shells_bash(struct mer_buf *out)
{
	mer_buf_text(
		out,
		"# Completion of mer in bash. Written by: mer --print completion-bash\n"
		"_mer()\n"
		"{\n"
		"\tlocal mer=${1/#\\~/$HOME} line=${COMP_LINE:0:COMP_POINT} typed before= quoted word\n"
		"\ttyped=${line##*[[:space:]]}\n"
		"\t[[ $typed == *\"$2\" ]] && before=${typed:0:${#typed}-${#2}}\n"
		"\tbefore=${before//[\\'\\\"]/} quoted=${typed//\\\\?/}\n"
		"\tCOMPREPLY=()\n"
		"\twhile IFS= read -r word; do\n"
		"\t\tword=${word%%$'\\t'*}\n"
		"\t\tword=${word#\"$before\"}\n"
		"\t\tcase $word in\n"
		"\t\t*[/=]) compopt -o nospace 2>/dev/null ;;\n"
		"\t\tesac\n"
		"\t\t[[ $quoted == *[\\'\\\"]* ]] || printf -v word %q \"$word\"\n"
		"\t\tCOMPREPLY+=(\"$word\")\n"
		"\tdone < <(\"$mer\" --complete \"$line\" 2>/dev/null </dev/null)\n"
		"}\n"
		"complete -o nosort -o bashdefault -o default -F _mer mer\n");
}

void shells_zsh(struct mer_buf *out)
{
	mer_buf_text(
		out,
		"#compdef mer\n"
		"# Completion of mer in zsh. Written by: mer --print completion-zsh\n"
		"_mer()\n"
		"{\n"
		"\tlocal mer=${~${(Q)words[1]}} line=\"${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX\"\n"
		"\tlocal entry name\n"
		"\tlocal -a names shown open\n"
		"\tfor entry in ${(f)\"$($mer --complete $line 2>/dev/null </dev/null)\"}; do\n"
		"\t\tname=${entry%%$'\\t'*}\n"
		"\t\tif [[ $name == *[/=] ]]; then\n"
		"\t\t\topen+=($name)\n"
		"\t\telse\n"
		"\t\t\tnames+=($name)\n"
		"\t\t\tshown+=(\"${entry/$'\\t'/  -- }\")\n"
		"\t\tfi\n"
		"\tdone\n"
		"\tif (( $#names + $#open == 0 )); then\n"
		"\t\t_files\n"
		"\t\treturn\n"
		"\tfi\n"
		"\t(( $#open )) && compadd -S '' -V open -a open\n"
		"\t(( $#names )) && compadd -l -d shown -V names -a names\n"
		"\treturn 0\n"
		"}\n"
		"_mer \"$@\"\n");
}

void shells_fish(struct mer_buf *out)
{
	mer_buf_text(
		out,
		"# Completion of mer in fish. Written by: mer --print completion-fish\n"
		"function __mer_complete\n"
		"\tset -l mer (string replace -r '^~' $HOME -- (commandline -opc)[1])\n"
		"\tset -l found ($mer --complete (commandline -cp | string collect) 2>/dev/null </dev/null)\n"
		"\tif set -q found[1]\n"
		"\t\tprintf '%s\\n' $found\n"
		"\telse\n"
		"\t\t__fish_complete_path (commandline -ct)\n"
		"\tend\n"
		"end\n"
		"complete -c mer -f -a '(__mer_complete)'\n");
}
