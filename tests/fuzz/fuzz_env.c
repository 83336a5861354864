/* Environment files: what is read, written in quotes and read again is the same. */
#include "fuzz.h"

#include <mer/buf.h>
#include <mer/clean.h>
#include <mer/env.h>
#include <stdbool.h>
#include <string.h>

struct copy {
	struct mer_buf seen; /* NAME=VALUE and a NUL for each */
	struct mer_buf file; /* the same as a file */
};

static void add_double(struct mer_buf *file, const char *value)
{
	mer_buf_byte(file, '"');
	for (; *value != '\0'; value++) {
		if (*value == '\n')
			mer_buf_text(file, "\\n");
		else if (*value == '"' || *value == '\\')
			mer_buf_printf(file, "\\%c", *value);
		else
			mer_buf_byte(file, *value);
	}
	mer_buf_byte(file, '"');
}

static enum mer_status on_setting(void *ctx, const char *name, const char *value,
                                  struct mer_error *err)
{
	struct copy *copy = ctx;
	(void)err;
	MER_ASSERT(name[0] != '\0' && strchr(name, '=') == NULL);
	mer_buf_printf(&copy->seen, "%s=%s", name, value);
	mer_buf_byte(&copy->seen, '\0');
	mer_buf_printf(&copy->file, " export %s\t= ", name);
	if (strpbrk(value, "'\n") == NULL)
		mer_buf_printf(&copy->file, "'%s'", value);
	else
		add_double(&copy->file, value);
	mer_buf_text(&copy->file, " # why\r\n");
	return MER_OK;
}

static void copy_done(struct copy *copy)
{
	mer_buf_release(&copy->seen);
	mer_buf_release(&copy->file);
}

static void copy_init(struct copy *copy)
{
	mer_buf_init(&copy->seen, SIZE_MAX);
	mer_buf_init(&copy->file, SIZE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	MER_AUTO(copy_done) struct copy first, second;
	struct mer_error err = { .message = "" };
	copy_init(&first);
	copy_init(&second);
	enum mer_status st = mer_env_parse("fuzz", (const char *)bytes, len, on_setting, &first, &err);
	MER_ASSERT(st == MER_OK || (st == MER_EINPUT && strncmp(err.message, "fuzz:", 5) == 0));
	st = mer_env_parse("again", first.file.ptr, first.file.len, on_setting, &second, &err);
	MER_ASSERT(st == MER_OK);
	MER_ASSERT(first.seen.len == second.seen.len);
	MER_ASSERT(first.seen.len == 0 || memcmp(first.seen.ptr, second.seen.ptr, first.seen.len) == 0);
	return 0;
}
