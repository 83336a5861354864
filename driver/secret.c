/* Secrets in what was typed. */
#include "secret.h"

#include <mer/clean.h>
#include <mer/ref.h>
#include <mer/url.h>
#include <string.h>
#include <strings.h>

/* Whether a name sounds like that of a secret. Rather too often than once too seldom. */
static bool sounds_secret(const char *name, size_t len)
{
	static const char *const sounds[] = {
		"pass", "secret", "token", "key", "auth", "cred", "cookie"
	};
	for (size_t i = 0; i < sizeof sounds / sizeof *sounds; i++) {
		const size_t n = strlen(sounds[i]);
		for (size_t at = 0; at + n <= len; at++) {
			if (strncasecmp(name + at, sounds[i], n) == 0)
				return true;
		}
	}
	return false;
}

static bool is_secret_pair(const char *text)
{
	const char *equals = strchr(text, '=');
	return equals != NULL && equals[1] != '\0' && !mer_ref_is(equals + 1) &&
	       sounds_secret(text, (size_t)(equals - text));
}

static bool is_secret_url(const char *text)
{
	MER_AUTO(mer_text_done) char *hidden = strdup(text);
	if (hidden == NULL)
		return true;
	mer_url_hide(hidden);
	return strcmp(hidden, text) != 0;
}

static bool is_secret(const struct cmd_arg *arg, const char *text)
{
	const size_t len = strcspn(text, "=");
	for (size_t i = 0; arg->is == VALUE_KEY && text[len] == '=' && i < arg->n_keys; i++) {
		const struct cmd_arg *key = &arg->keys[i];
		if (key->option && key->name != NULL && strlen(key->name) == len &&
		    memcmp(key->name, text, len) == 0)
			return is_secret(key, text + len + 1);
	}
	switch (arg->secret) {
	case SECRET_NONE: return false;
	case SECRET_ALL: return text[0] != '\0';
	case SECRET_URL: return is_secret_url(text);
	case SECRET_PAIR: return is_secret_pair(text);
	}
	return true;
}

/* --NAME=VALUE, NAME=VALUE or a URL. */
static bool looks_secret(const char *word)
{
	const char *equals = strchr(word, '=');
	if (strstr(word, "://") != NULL && is_secret_url(word))
		return true;
	if (is_secret_pair(word))
		return true;
	return equals != NULL && looks_secret(equals + 1);
}

/* The same for a word of a command that takes KEY=VALUE: one may stand where something else was left
 * out. */
static bool is_secret_of(const struct cmd *cmd, const struct cmd_token *token)
{
	bool found = is_secret(token->arg, token->text);
	for (size_t i = 0; i < cmd->n_args && !token->arg->option; i++)
		found |= cmd->args[i].is == VALUE_KEY && is_secret(&cmd->args[i], token->text);
	return found;
}

bool secret_within(const char *const words[], size_t n)
{
	const struct cmd *cmd;
	struct cmd_call call = { 0 };
	size_t used;
	bool known = cmd_find(words, n, true, &cmd, &used, NULL) == MER_OK;
	known = known && cmd_parse(cmd, false, words + used, n - used, &call, NULL) == MER_OK;
	bool found = false;
	for (size_t i = 0; known && i < call.n_tokens; i++)
		found |= is_secret_of(cmd, &call.tokens[i]);
	for (size_t i = 0; !known && i < n; i++)
		found |= looks_secret(words[i]);
	cmd_call_release(&call);
	return found;
}
