/* What a program of ours does before anything else; mer/program.h. */
#include <mer/program.h>

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>

#define EXIT_DEFECT 70

/* The sanitizers' search for leaks traces the process, which has to be dumpable for that. */
#if defined(__SANITIZE_ADDRESS__)
#define CAN_HIDE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CAN_HIDE 0
#endif
#endif
#ifndef CAN_HIDE
#define CAN_HIDE 1
#endif

static void keep_standard_fds(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
			_exit(EXIT_DEFECT);
	}
}

enum mer_status mer_program_begin(struct mer_error *err)
{
	keep_standard_fds();
	if (CAN_HIDE)
		(void)prctl(PR_SET_DUMPABLE, 0);
	if (getauxval(AT_SECURE) == 0)
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "this program runs with rights that its user does not have");
	mer_hint(err, "take them off its file: chmod u-s,g-s, setcap -r");
	return MER_EINPUT;
}
