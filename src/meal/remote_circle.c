/* Ways of ssh that lead back to themselves. Each ssh that a ProxyJump starts reads the same files, so that nothing
 * ends a circle of them: there is one more every few milliseconds. */
#include <limits.h>
#include <mer/clean.h>
#include <mer/remote.h>
#include <stdio.h>

#define DEEP 32 /* of which a shell may be every second one */

/* The first child of a process; 0: none, or nobody tells. */
static int64_t child_of(int64_t pid)
{
	char path[80];
	long long child = 0;
	(void)snprintf(path, sizeof path, "/proc/%lld/task/%lld/children", (long long)pid,
	               (long long)pid);
	MER_AUTO(mer_file_done) FILE *file = fopen(path, "re");
	if (file == NULL || fscanf(file, "%lld", &child) != 1)
		return 0;
	return child;
}

enum mer_status mer_remote_circle(const char *server, int64_t pid, struct mer_error *err)
{
	int depth = 0;
	while (pid > 0 && depth <= DEEP) {
		pid = child_of(pid);
		depth++;
	}
	if (depth <= DEEP)
		return MER_OK;
	(void)mer_fail(err, MER_EUNREACHABLE,
	               "server '%s': its ProxyJump or ProxyCommand leads back to itself: ssh has "
	               "started %d of itself, one through the other",
	               server, DEEP);
	mer_hint(err, "mend ssh's configuration");
	return MER_EUNREACHABLE;
}
