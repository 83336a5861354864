/* The same as moments.c as a worker of the frame protocol: one request at a time, input and answer as
 * bytes. docs/wire.md is the protocol; this is all that it takes. */
#include "numbers.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdint.h>
#include <unistd.h>

enum { HELLO = 1, READY, INFER, RESULT, ERROR, CANCEL, PING, LOG, PROGRESS, TRAIN, DRAIN };
enum { SKIP = 2, ANSWER = 4 };

#define HEADER 32
#define META_MAX ((uint32_t)1 << 20)
#define BODY_MAX ((uint64_t)64 << 20)

struct frame {
	uint8_t kind;
	uint16_t flags;
	uint64_t id;
	uint32_t meta_len;
	uint64_t body_len;
	char *meta, *body; /* each with a NUL behind it */
};

static int from_mer = STDIN_FILENO, to_mer = STDOUT_FILENO;

/* Moves the connection to where no print can reach it. */
static void find_connection(void)
{
	const char *number = getenv("MER_FRAME_FD");
	if (number != NULL) {
		from_mer = to_mer = (int)strtol(number, NULL, 10);
		(void)fcntl(from_mer, F_SETFD, FD_CLOEXEC);
		(void)unsetenv("MER_FRAME_FD");
		return;
	}
	from_mer = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	to_mer = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	(void)dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
	(void)dup2(STDERR_FILENO, STDOUT_FILENO);
}

/* Where mer has left there is nothing to stay for. */
static void read_all(char *bytes, uint64_t n)
{
	while (n > 0) {
		ssize_t got = read(from_mer, bytes, n);
		if (got <= 0)
			exit(0);
		bytes += got;
		n -= (uint64_t)got;
	}
}

static void write_all(const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t put = write(to_mer, bytes, n);
		if (put <= 0)
			exit(0);
		bytes += put;
		n -= (size_t)put;
	}
}

static uint64_t get(const char *at, int n)
{
	uint64_t value = 0;
	while (n-- > 0)
		value = value << 8 | (unsigned char)at[n];
	return value;
}

static void put(char *at, uint64_t value, int n)
{
	for (int i = 0; i < n; i++)
		at[i] = (char)(value >> 8 * i);
}

static void send_frame(uint8_t kind, uint16_t flags, uint64_t id, const char *meta,
                       const char *body, size_t body_len)
{
	char small[4096] = "MERF\1";
	size_t meta_len = strlen(meta), len = HEADER + meta_len + body_len;
	char *bytes = len <= sizeof small ? small : malloc(len);
	if (bytes == NULL)
		exit(1);
	memcpy(bytes, small, HEADER);
	put(bytes + 5, kind, 1);
	put(bytes + 6, flags, 2);
	put(bytes + 8, id, 8);
	put(bytes + 16, meta_len, 4);
	put(bytes + 24, body_len, 8);
	memcpy(bytes + HEADER, meta, meta_len);
	if (body_len > 0)
		memcpy(bytes + HEADER + meta_len, body, body_len);
	write_all(bytes, len); /* in one write: a frame should not wake mer twice */
	if (bytes != small)
		free(bytes);
}

static void send_error(uint64_t id, const char *code, const char *message)
{
	json_t *meta = json_pack("{s:s,s:s}", "code", code, "message", message);
	char *text = json_dumps(meta, JSON_COMPACT);
	send_frame(ERROR, 0, id, text != NULL ? text : "{}", NULL, 0);
	free(text);
	json_decref(meta);
}

static _Noreturn void complain(const char *what)
{
	send_error(0, "protocol", what);
	exit(1);
}

static char *read_text(uint64_t n)
{
	char *text = malloc(n + 1);
	if (text == NULL)
		exit(1);
	read_all(text, n);
	text[n] = '\0';
	return text;
}

static void read_frame(struct frame *frame)
{
	char head[HEADER];
	read_all(head, HEADER);
	*frame = (struct frame){ .kind = (uint8_t)head[5],
		                     .flags = (uint16_t)get(head + 6, 2),
		                     .id = get(head + 8, 8),
		                     .meta_len = (uint32_t)get(head + 16, 4),
		                     .body_len = get(head + 24, 8) };
	if (memcmp(head, "MERF\1", 5) != 0)
		complain("wrong magic or version");
	if (get(head + 20, 4) != 0)
		complain("reserved bytes that are not 0");
	if (frame->meta_len > META_MAX || frame->body_len > BODY_MAX)
		complain("a length over its limit");
	frame->meta = read_text(frame->meta_len);
	frame->body = read_text(frame->body_len);
}

/* The meta as an object; a worker that is only asked for bytes could do without. */
static json_t *read_meta(const struct frame *frame)
{
	json_t *meta =
		frame->meta_len == 0 ? json_object() : json_loadb(frame->meta, frame->meta_len, 0, NULL);
	if (!json_is_object(meta))
		complain("a meta that is no JSON object");
	return meta;
}

/* Sizes that do not fit break the protocol, also those of an input that is then refused. */
static void check_sizes(const struct frame *frame, const json_t *inputs)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < json_array_size(inputs); i++)
		sum += (uint64_t)json_integer_value(json_object_get(
			json_object_get(json_array_get(inputs, i), "parameters"), "binary_data_size"));
	if (sum != frame->body_len)
		complain("tensors that do not fit their body");
}

static void infer(const struct frame *frame, const json_t *meta)
{
	struct request req = { .open = true };
	char text[MOMENTS_SIZE + 1];
	const json_t *inputs = json_object_get(meta, "inputs");
	if (!json_is_string(json_object_get(meta, "content"))) {
		if (inputs != NULL)
			check_sizes(frame, inputs);
		send_error(frame->id, "input", "the input is not bytes, but numbers as text are wanted");
		return;
	}
	for (char *line = frame->body; line != NULL && req.refused[0] == '\0';) {
		char *newline = strchr(line, '\n');
		size_t len = newline != NULL ? (size_t)(newline - line) : strlen(line);
		if (newline == NULL) /* to the end, which a NUL hides */
			len = (size_t)(frame->body + frame->body_len - line);
		else
			*newline = '\0';
		read_numbers(&req, line, len);
		line = newline != NULL ? newline + 1 : NULL;
	}
	if (!say_moments(&req, text)) {
		send_error(frame->id, "input", text);
		return;
	}
	size_t len = strlen(text);
	text[len++] = '\n';
	send_frame(RESULT, 0, frame->id, "{\"content\":\"bytes\"}", text, len);
}

static void get_ready(const struct frame *frame, const json_t *hello)
{
	const json_t *versions = json_object_get(hello, "versions");
	bool spoken = false;
	for (size_t i = 0; i < json_array_size(versions); i++)
		spoken |= json_integer_value(json_array_get(versions, i)) == 1;
	if (frame->kind != HELLO)
		complain("no hello");
	if (!spoken) {
		send_error(0, "version", "only version 1 is spoken here");
		exit(1);
	}
	send_frame(READY, 0, 0,
	           "{\"version\":1,\"name\":\"moments\",\"concurrency\":1,\"max_body\":67108864,"
	           "\"runtime\":\"C\"}",
	           NULL, 0);
}

/* Whether there is more to come. */
static bool answer(const struct frame *frame, const json_t *meta)
{
	switch (frame->kind) {
	case INFER: infer(frame, meta); break;
	case TRAIN: send_error(frame->id, "unsupported", "there is nothing to train"); break;
	case PING:
		if ((frame->flags & ANSWER) == 0)
			send_frame(PING, ANSWER, 0, frame->meta, frame->body, frame->body_len);
		break;
	case CANCEL: break; /* what it is for was answered before this was read */
	case DRAIN: return false;
	default: complain("a kind that is not for a worker");
	}
	return true;
}

int main(void)
{
	bool goes_on = true;
	find_connection();
	for (bool ready = false; goes_on; ready = true) {
		struct frame frame;
		read_frame(&frame);
		bool known = frame.kind >= HELLO && frame.kind <= DRAIN;
		if (known || (frame.flags & SKIP) == 0) {
			json_t *meta = read_meta(&frame);
			if (ready)
				goes_on = answer(&frame, meta);
			else
				get_ready(&frame, meta);
			json_decref(meta);
		}
		free(frame.meta);
		free(frame.body);
	}
}
