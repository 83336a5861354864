/* doctor: servers, deployments and weights, and secrets that stand there in plain text. */
#include "doctor.h"
#include "server.h"

#include <limits.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/hash.h>
#include <mer/http.h>
#include <mer/json.h>
#include <mer/meal.h>
#include <mer/ref.h>
#include <mer/sum.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { SMALL_BYTES = 16 << 20 };

struct looking {
	struct doctor *doctor;
	char *models; /* the folder of the example models */
};

static bool expand(const struct looking *looking, const char *word, char **out)
{
	const struct mer_pair pairs[] = { { "models", looking->models } };
	return mer_expand(word, pairs, looking->models != NULL, out, NULL) == MER_OK;
}

/* --- secrets ------------------------------------------------------------------------------ */

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), n = strlen(end);
	return len >= n && strcasecmp(name + len - n, end) == 0;
}

/* By its name; a guess, so that a finding is a warning. */
static bool sounds_secret(const char *name)
{
	static const char *const ends[] = {
		"password", "passwd",     "passphrase", "secret",      "token",       "api_key",
		"apikey",   "access_key", "secret_key", "private_key", "credentials", "authorization"
	};
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		if (ends_with(name, ends[i]))
			return true;
	}
	return false;
}

static void look_for_secrets(struct doctor *doctor, const char *subject, const char *json)
{
	MER_AUTO(mer_json_done) json_t *object = NULL;
	const char *name;
	json_t *value;
	if (mer_json_parse("it", json, strlen(json), &object, NULL) != MER_OK)
		return;
	json_object_foreach(object, name, value) {
		const char *text = json_string_value(value);
		if (text != NULL && text[0] != '\0' && sounds_secret(name) && !mer_ref_is(text))
			doctor_say(doctor, DOCTOR_WARNING, "secrets", subject,
			           "give a reference: env:NAME, file:PATH or cmd:COMMAND",
			           "%s is in the database in plain text", name);
	}
}

static void look_for_bare_secrets(struct doctor *doctor, const struct mer_server_row *row)
{
	MER_AUTO(mer_json_done) json_t *params = NULL;
	if (mer_json_parse("it", row->params, strlen(row->params), &params, NULL) != MER_OK)
		return;
	const char *name = mer_http_bare_secret(params);
	if (name != NULL)
		doctor_say(doctor, DOCTOR_WARNING, "secrets", row->name, SERVER_BARE_ADVICE,
		           "%s " SERVER_BARE_SECRET, name);
}

/* --- servers ------------------------------------------------------------------------------ */

static enum mer_status on_server(void *ctx, const void *data, struct mer_error *err)
{
	struct looking *looking = ctx;
	const struct mer_server_row *row = data;
	char subject[192];
	(void)err;
	(void)snprintf(subject, sizeof subject, "%s", row->name);
	if (strcmp(row->kind, "local") == 0)
		doctor_say(looking->doctor, DOCTOR_OK, "server", subject, NULL, "this machine");
	else
		doctor_say(looking->doctor, DOCTOR_NOTE, "server", subject,
		           "'mer server ping' tries to reach it",
		           "of kind %s; what is on other machines is not looked at", row->kind);
	look_for_secrets(looking->doctor, subject, row->params);
	if (strcmp(row->kind, "http") == 0)
		look_for_bare_secrets(looking->doctor, row);
	return MER_OK;
}

/* --- deployments -------------------------------------------------------------------------- */

static bool is_program(const char *path)
{
	struct stat info;
	return stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, X_OK) == 0;
}

/* As the supervisor searches, from the worker's folder on. */
static bool find_program(const char *word, const char *workdir, const char *path)
{
	char file[PATH_MAX];
	if (strchr(word, '/') != NULL) {
		(void)snprintf(file, sizeof file, "%s%s%s", word[0] == '/' ? "" : workdir,
		               word[0] == '/' ? "" : "/", word);
		return is_program(file);
	}
	for (const char *dir = path, *end;; dir = end + 1) {
		end = strchrnul(dir, ':');
		(void)snprintf(file, sizeof file, "%s%s%.*s/%s", *dir == '/' ? "" : workdir,
		               *dir == '/' ? "" : "/", (int)(end - dir), dir, word);
		if (is_program(file))
			return true;
		if (*end == '\0')
			return false;
	}
}

static void look_at_program(struct looking *looking, const char *subject,
                            const struct mer_deployment_row *row, const char *workdir)
{
	MER_AUTO(mer_json_done) json_t *argv = NULL;
	MER_AUTO(mer_json_done) json_t *env = NULL;
	MER_AUTO(mer_json_done) json_t *params = NULL;
	MER_AUTO(mer_text_done) char *word = NULL;
	if (mer_json_parse("argv", row->argv, strlen(row->argv), &argv, NULL) != MER_OK ||
	    mer_json_parse("env", row->env, strlen(row->env), &env, NULL) != MER_OK ||
	    mer_json_parse("params", row->params, strlen(row->params), &params, NULL) != MER_OK)
		return;
	const char *first = json_string_value(json_array_get(argv, 0));
	if (first == NULL || mer_json_get_bool(params, "shell", false) ||
	    !expand(looking, first, &word) || strchr(word, '{') != NULL)
		return;
	const char *path = mer_json_get_text(env, "PATH", getenv("PATH"));
	if (find_program(word, workdir, path != NULL ? path : "/bin:/usr/bin"))
		doctor_say(looking->doctor, DOCTOR_OK, "deployment", subject, NULL, "its program is there");
	else
		doctor_say(looking->doctor, DOCTOR_FAULT, "deployment", subject,
		           "put it there, or 'mer deployment set' or 'remove' it",
		           "its program '%s' is not there, or may not be run", word);
}

/* The digest of a file that is no larger than what is read in no time. Nothing is remembered of it. */
static bool read_small(const char *path, char digest[MER_SHA256_SIZE])
{
	MER_AUTO(mer_text_done) char *bytes = NULL;
	struct stat info;
	size_t len;
	if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > SMALL_BYTES ||
	    mer_read_file(path, SMALL_BYTES, &bytes, &len, NULL) != MER_OK)
		return false;
	mer_sha256(bytes, len, digest);
	return true;
}

/* Whether they are there, and have the digest of the version, where that is remembered or soon read. */
static void look_at_weights(struct looking *looking, const char *subject,
                            const struct mer_deployment_row *row)
{
	MER_AUTO(mer_text_done) char *path = NULL;
	struct mer_stamp stamp;
	struct mer_sum sum;
	struct mer_error err;
	if (row->weights_path[0] == '\0' || !expand(looking, row->weights_path, &path))
		return;
	if (mer_sum_look(path, &stamp, &err) != MER_OK) {
		mer_hint(&err, "bring them back, or 'mer weights use' another version");
		doctor_say_error(looking->doctor, DOCTOR_FAULT, "weights", subject, &err);
	} else if (!mer_sum_known(path, &stamp, &sum) && !read_small(path, sum.sha256)) {
		doctor_say(looking->doctor, DOCTOR_OK, "weights", subject,
		           "'mer weights list --check' reads them",
		           "version %s is there; nothing is remembered of its bytes", row->weights_version);
	} else if (strcmp(sum.sha256, row->weights_sha256) != 0) {
		doctor_say(
			looking->doctor, DOCTOR_FAULT, "weights", subject,
			"bring back the right ones, or 'mer weights add' these as a version of their own",
			"'%s' is not what version %s was", path, row->weights_version);
	} else {
		doctor_say(looking->doctor, DOCTOR_OK, "weights", subject, NULL, "version %s is as it was",
		           row->weights_version);
	}
}

static enum mer_status on_deployment(void *ctx, const void *data, struct mer_error *err)
{
	struct looking *looking = ctx;
	const struct mer_deployment_row *row = data;
	MER_AUTO(mer_text_done) char *workdir = NULL;
	char subject[272];
	struct stat info;
	(void)err;
	(void)snprintf(subject, sizeof subject, "%s/%s", row->model, row->name);
	look_for_secrets(looking->doctor, subject, row->env);
	if (row->enabled == 0 || strcmp(row->server_kind, "local") != 0 ||
	    !expand(looking, row->workdir, &workdir))
		return MER_OK;
	if (stat(workdir, &info) != 0 || !S_ISDIR(info.st_mode) || access(workdir, X_OK) != 0)
		doctor_say(looking->doctor, DOCTOR_FAULT, "deployment", subject,
		           "make it, or 'mer deployment set' its workdir", "no folder '%s' to run in",
		           workdir);
	look_at_program(looking, subject, row, workdir);
	look_at_weights(looking, subject, row);
	return MER_OK;
}

void doctor_models(struct doctor *doctor)
{
	struct looking looking = { .doctor = doctor };
	struct mer_error err;
	(void)!mer_place(MER_PLACE_MODELS, &looking.models, NULL);
	if (mer_dal_query(doctor->dal, MER_Q_SERVERS, NULL, 0, on_server, &looking, &err) != MER_OK)
		doctor_say_error(doctor, DOCTOR_FAULT, "server", NULL, &err);
	if (mer_dal_query(doctor->dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text("")), on_deployment,
	                  &looking, &err) != MER_OK)
		doctor_say_error(doctor, DOCTOR_FAULT, "deployment", NULL, &err);
	free(looking.models);
}
