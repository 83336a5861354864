/* What `help` and `--help` print, and the pages that are generated from the same tables. */
#ifndef HELP_H
#define HELP_H

#include "cmd.h"

struct mer_buf;

/** All commands and the program's options. */
void help_all(struct session *s);

/** The commands that begin with a noun, as "model". Whether it is one, and not a command itself. */
bool help_noun(struct session *s, const char *noun, bool changes);

/** One command. */
MER_MUST enum mer_status help_command(struct session *s, const struct cmd *cmd,
                                      struct mer_error *err);

/** "model list", or "run MODEL [INPUT...] [--timeout D]"; broken before width columns and indented
 * where it is not 0. */
void help_usage(struct mer_buf *out, const struct cmd *cmd, size_t width, size_t indent);

/** The arguments of a command in the order to show them: positional ones, options, what stands behind
 * `--`. @param last NULL: the first @return NULL: there is no further one */
const struct cmd_arg *help_next(const struct cmd *cmd, const struct cmd_arg *last);

/** An option as it is written: "--timeout D"; a positional argument: "MODEL". */
void help_arg(struct mer_buf *out, const struct cmd_arg *arg);

/** The examples of a command, each as a shell takes it, or where prompt as the prompt does, behind
 * indent on a line of its own. */
void help_examples(struct mer_buf *out, const struct cmd *cmd, bool prompt, const char *indent);

/* docs.c: docs/commands.md and .env.example. */
void docs_commands(struct mer_buf *out);
void docs_env(struct mer_buf *out);

/* contract.c: all of the tables as JSON, and schemas of what is printed as JSON. */
void contract_print(struct mer_buf *out);

/* man.c: mer(1). */
void man_page(struct mer_buf *out);

#endif
