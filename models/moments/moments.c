/* Mean and standard deviation of the numbers it is sent: a worker of the token protocol with framed
 * answers, which stays and answers "n=5 mean=3 sd=1.58114 min=1 max=5" to "1 2 3 4 5". */
#include "numbers.h"

#define READY "@!#READY#!@"
#define START "@!#START#!@"
#define STOP "@!#STOP#!@"
#define EXIT "@!#EXIT#!@"

static void answer(const struct request *req)
{
	char text[MOMENTS_SIZE];
	if (say_moments(req, text))
		printf(START "\n%s\n" STOP "\n", text);
	else
		(void)fprintf(stderr, "bad input: %s\n", text);
}

int main(void)
{
	struct request req = { .open = false };
	char *line = NULL;
	size_t cap = 0;
	ssize_t len = 0;

	puts(READY);
	while (fflush(stdout) == 0 && (len = getline(&line, &cap, stdin)) > 0) {
		if (strcmp(line, START "\n") == 0) {
			req = (struct request){ .open = true };
		} else if (strcmp(line, EXIT "\n") == 0) {
			break;
		} else if (strcmp(line, STOP "\n") == 0 && req.open) {
			req.open = false;
			answer(&req);
		} else if (req.open && req.refused[0] == '\0') {
			read_numbers(&req, line, (size_t)len);
		}
	}
	free(line);
	return ferror(stdout) || (len < 0 && !feof(stdin)) ? 1 : 0;
}
