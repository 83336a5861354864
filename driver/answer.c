/* What a model answers in tensors: .npy files, and JSON. */
#define LOG_AREA "run"
#include "answer.h"

#include <errno.h>
#include <fcntl.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/log.h>
#include <mer/npy.h>
#include <mer/text.h>
#include <string.h>
#include <sys/stat.h>

/* --- where tensors go --------------------------------------------------------------------- */

/* The two parts of NAME=@FILE. false: it is a folder. */
static bool split(const char *word, struct mer_str *name, const char **file)
{
	const char *sign = strstr(word, "=@");
	if (sign == NULL)
		return false;
	*name = (struct mer_str){ word, (size_t)(sign - word) };
	*file = sign + 2;
	return true;
}

static bool is_name(struct mer_str part, const char *name)
{
	return part.len == strlen(name) && memcmp(part.ptr, name, part.len) == 0;
}

/* Whether a file may be made or written over there. */
static enum mer_status check_file(const char *file, struct mer_error *err)
{
	const char *slash = strrchr(file, '/');
	struct stat info;
	MER_AUTO(mer_text_done)
	char *folder = slash == NULL ? strdup(".") : strndup(file, (size_t)(slash - file) + 1);
	if (folder == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (stat(file, &info) == 0 && S_ISDIR(info.st_mode))
		return mer_fail(err, MER_EINPUT, "--tensor-out: '%s' is a folder", file);
	if (access(file, F_OK) == 0 ? access(file, W_OK) != 0 : access(folder, W_OK | X_OK) != 0)
		return mer_fail(err, MER_EINPUT, "--tensor-out: cannot write '%s': %s", file,
		                strerror(errno));
	return MER_OK;
}

static enum mer_status check_folder(const char *folder, struct mer_error *err)
{
	struct stat info;
	if (stat(folder, &info) == 0 && S_ISDIR(info.st_mode) && access(folder, W_OK | X_OK) == 0)
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "--tensor-out: no folder to write to: '%s'", folder);
	mer_hint(err, "NAME=@FILE.npy names a file, and a folder has to be there");
	return MER_EINPUT;
}

enum mer_status answer_check(const struct cmd_value *where, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < where->count && st == MER_OK; i++) {
		struct mer_str name;
		const char *file;
		if (!split(where->words[i], &name, &file))
			st = check_folder(where->words[i], err);
		else if (name.len == 0 || file[0] == '\0')
			st = mer_fail(err, MER_EINPUT, "--tensor-out: not NAME=@FILE: '%s'", where->words[i]);
		else
			st = check_file(file, err);
	}
	return st;
}

/* Gives the path of an output's file; NULL: it goes to stdout. A model's name is no path. */
static enum mer_status find_path(const struct answer *answer, const char *name, char **path,
                                 struct mer_error *err)
{
	const struct cmd_value *where = answer->where;
	const char *folder = NULL, *file = NULL, *named = NULL;
	struct mer_str part;
	for (size_t i = 0; where != NULL && i < where->count; i++) {
		if (!split(where->words[i], &part, &file))
			folder = where->words[i];
		else if (is_name(part, name))
			named = file;
	}
	if (named == NULL && folder == NULL)
		return MER_OK;
	if (named == NULL && (name[0] == '.' || strchr(name, '/') != NULL)) {
		(void)mer_fail(err, MER_EMODEL, "the output '%s' cannot be the name of a file", name);
		mer_hint(err, "--tensor-out NAME=@FILE.npy names one");
		return MER_EMODEL;
	}
	*path = named != NULL ? strdup(named) : mer_text_new("%s/%s.npy", folder, name);
	return *path != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

/* --- life --------------------------------------------------------------------------------- */

void answer_init(struct answer *answer, const char *model, const struct cmd_value *where,
                 struct mer_str request)
{
	*answer = (struct answer){ .model = model, .where = where, .request = request };
	mer_buf_init(&answer->text, SIZE_MAX);
}

void answer_release(struct answer *answer)
{
	struct answer_file *file;
	while ((file = answer->files) != NULL) {
		answer->files = file->next;
		mer_buf_release(&file->bytes);
		free(file->name);
		free(file->path);
		free(file);
	}
	mer_buf_release(&answer->json.elements);
	mer_buf_release(&answer->text);
	json_decref(answer->outputs);
	free(answer->id);
	answer->outputs = NULL;
	answer->id = NULL;
}

/* --- tensors ------------------------------------------------------------------------------ */

static void fail(struct answer *answer, enum mer_status st, const struct mer_error *err)
{
	if (answer->err.status != MER_OK)
		return;
	answer->err = *err;
	answer->err.status = st;
}

/* Begins a tensor that becomes a file; takes path. */
static enum mer_status add_file(struct answer *answer, const json_t *output, char *path,
                                struct mer_error *err)
{
	const char *name = mer_json_get_text(output, "name", "");
	for (const struct answer_file *other = answer->files; other != NULL; other = other->next) {
		if (strcmp(other->name, name) == 0) {
			free(path);
			return mer_fail(err, MER_EMODEL,
			                "the model answers in parts, and more than one has an output '%s'",
			                name);
		}
	}
	struct answer_file *file = calloc(1, sizeof *file);
	char *copy = strdup(name);
	if (file == NULL || copy == NULL) {
		free(path);
		free(file);
		free(copy);
		return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	*file = (struct answer_file){ .next = answer->files, .name = copy, .path = path };
	answer->files = file;
	file->datatype = mer_datatype_by_name(mer_json_get_text(output, "datatype", ""));
	mer_buf_init(&file->bytes, SIZE_MAX);
	int dims = mer_oip_shape(output, file->shape);
	file->dims = dims > 0 ? (size_t)dims : 0;
	return dims >= 0 ? MER_OK
	                 : mer_fail(err, MER_EMODEL, "output '%s' has over %d dimensions", name,
	                            MER_OIP_DIMS);
}

/* The object of a part stands before the first of its tensors, and around none. */
static void begin_object(struct answer *answer)
{
	if (answer->begun)
		return;
	answer->begun = true;
	mer_buf_text(&answer->text, "{\"model_name\":");
	mer_json_quote(&answer->text, answer->model, strlen(answer->model));
	if (answer->id != NULL) {
		mer_buf_text(&answer->text, ",\"id\":");
		mer_json_quote(&answer->text, answer->id, strlen(answer->id));
	}
	mer_buf_text(&answer->text, ",\"outputs\":[");
}

static void begin_tensor(struct answer *answer)
{
	const json_t *output = json_array_get(answer->outputs, answer->at);
	const json_t *parameters = json_object_get(output, "parameters");
	char *path = NULL;
	struct mer_error err;
	answer->left = (uint64_t)mer_json_get_i64(parameters, "binary_data_size", 0);
	answer->to = ANSWER_DROPPED;
	if (answer->err.status != MER_OK)
		return;
	enum mer_status st = find_path(answer, mer_json_get_text(output, "name", ""), &path, &err);
	if (st == MER_OK && path != NULL)
		st = add_file(answer, output, path, &err);
	if (st != MER_OK) {
		fail(answer, st, &err);
		return;
	}
	answer->to = path != NULL ? ANSWER_FILE : ANSWER_JSON;
	if (answer->to == ANSWER_FILE)
		return;
	begin_object(answer);
	if (answer->any)
		mer_buf_byte(&answer->text, ',');
	answer->any = true;
	mer_oip_output_begin(&answer->json, output, &answer->text);
}

static void end_tensor(struct answer *answer)
{
	struct mer_error err;
	const json_t *output = json_array_get(answer->outputs, answer->at);
	const char *name = mer_json_get_text(output, "name", "");
	if (answer->to != ANSWER_JSON)
		return;
	enum mer_status st = mer_oip_output_end(&answer->json, &err);
	if (st != MER_OK) {
		(void)mer_wrap(&err, st, "output '%s'", name);
		fail(answer, st == MER_ECORRUPT ? MER_EMODEL : st, &err);
	}
	if (answer->json.odd)
		MER_LOG(MER_LOG_WARN, "output '%s' has values that JSON has no numbers for: they are null",
		        name);
}

/* Ends what has all its bytes, and begins what follows; at the last one the part. */
static void go_on(struct answer *answer)
{
	while (answer->left == 0) {
		end_tensor(answer);
		if (++answer->at == json_array_size(answer->outputs))
			break;
		begin_tensor(answer);
	}
	if (answer->at < json_array_size(answer->outputs))
		return;
	if (answer->begun)
		mer_buf_text(&answer->text, "]}\n");
}

/* The request was understood, or no part of an answer would come. */
static void find_id(struct answer *answer)
{
	static const char key[] = "\"id\"";
	MER_AUTO(mer_json_done) json_t *request = NULL;
	const struct mer_str text = answer->request;
	answer->request.len = 0;
	if (text.len == 0 || memmem(text.ptr, text.len, key, sizeof key - 1) == NULL ||
	    mer_json_parse("the request", text.ptr, text.len, &request, NULL) != MER_OK)
		return;
	const char *id = mer_json_get_text(request, "id", NULL);
	answer->id = id != NULL ? strdup(id) : NULL;
}

void answer_meta(struct answer *answer, const char *meta)
{
	json_t *json = NULL;
	struct mer_error err;
	answer->described = true;
	find_id(answer);
	enum mer_status st = mer_json_parse("the answer's meta", meta, strlen(meta), &json, &err);
	if (st != MER_OK)
		fail(answer, st, &err);
	json_decref(answer->outputs);
	answer->outputs = json_incref(json_object_get(json, "outputs"));
	json_decref(json);
	answer->at = 0;
	answer->begun = answer->any = false;
	if (json_array_size(answer->outputs) > 0) {
		begin_tensor(answer);
		go_on(answer);
	} else if (answer->outputs != NULL) {
		begin_object(answer);
		mer_buf_text(&answer->text, "]}\n");
	}
}

void answer_add(struct answer *answer, const char *bytes, size_t n)
{
	if (answer->outputs == NULL)
		mer_buf_add(&answer->text, bytes, n);
	while (answer->outputs != NULL && n > 0 && answer->at < json_array_size(answer->outputs)) {
		size_t len = n < answer->left ? n : (size_t)answer->left;
		if (answer->to == ANSWER_FILE)
			mer_buf_add(&answer->files->bytes, bytes, len);
		else if (answer->to == ANSWER_JSON)
			mer_oip_output_add(&answer->json, bytes, len);
		bytes += len;
		n -= len;
		answer->left -= len;
		go_on(answer);
	}
}

/* --- files -------------------------------------------------------------------------------- */

static enum mer_status write_file(const struct answer_file *file, struct mer_error *err)
{
	struct mer_buf npy;
	mer_buf_init(&npy, SIZE_MAX);
	const struct mer_str bytes = { file->bytes.ptr, file->bytes.len };
	enum mer_status st = mer_buf_check(&file->bytes, err);
	if (st == MER_OK)
		st = mer_npy_write(file->datatype, file->shape, file->dims, bytes, &npy, err);
	if (st != MER_OK) {
		mer_buf_release(&npy);
		return mer_wrap(err, st == MER_ENOMEM ? st : MER_EMODEL, "output '%s'", file->name);
	}
	MER_AUTO(mer_fd_done)
	int fd = open(file->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	if (fd < 0)
		st = mer_fail(err, MER_EIO, "cannot write '%s': %s", file->path, strerror(errno));
	else
		st = mer_write_all(fd, file->path, npy.ptr, npy.len, err);
	mer_buf_release(&npy);
	return st;
}

static enum mer_status check_all_came(const struct answer *answer, struct mer_error *err)
{
	const struct cmd_value *where = answer->where;
	for (size_t i = 0; where != NULL && i < where->count; i++) {
		struct mer_str name;
		const char *path;
		const struct answer_file *file = answer->files;
		if (!split(where->words[i], &name, &path))
			continue;
		while (file != NULL && !is_name(name, file->name))
			file = file->next;
		if (file == NULL)
			return mer_fail(err, MER_EINPUT, "--tensor-out: the answer has no tensor '%.*s'",
			                (int)name.len, name.ptr);
	}
	return MER_OK;
}

enum mer_status answer_end(struct answer *answer, struct mer_error *err)
{
	if (answer->err.status != MER_OK) {
		*err = answer->err;
		return err->status;
	}
	enum mer_status st = MER_OK;
	for (const struct answer_file *file = answer->files; file != NULL && st == MER_OK;
	     file = file->next)
		st = write_file(file, err);
	return st == MER_OK ? check_all_came(answer, err) : st;
}
