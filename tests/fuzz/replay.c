/* Runs a fuzz target over files and the files of folders, without a fuzzer: replay PATH... */
#include "fuzz.h"

#include <dirent.h>
#include <mer/clean.h>
#include <mer/file.h>
#include <mer/text.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

static size_t replayed;

static bool run_file(const char *path)
{
	MER_AUTO(mer_text_done) char *bytes = NULL;
	size_t len;
	struct mer_error err;
	if (mer_read_file(path, 1u << 24, &bytes, &len, &err) != MER_OK) {
		(void)fprintf(stderr, "%s\n", err.message);
		return false;
	}
	/* A copy of the right size, so that the address sanitizer sees what is read behind it. */
	MER_AUTO(mer_text_done) char *exact = malloc(len > 0 ? len : 1);
	if (exact == NULL)
		return false;
	memcpy(exact, bytes, len);
	(void)LLVMFuzzerTestOneInput((const uint8_t *)exact, len);
	replayed++;
	return true;
}

static bool run_folder(const char *path)
{
	bool good = true;
	DIR *folder = opendir(path);
	if (folder == NULL) {
		perror(path);
		return false;
	}
	for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
		MER_AUTO(mer_text_done) char *file = mer_text_new("%s/%s", path, entry->d_name);
		if (entry->d_name[0] != '.')
			good = file != NULL && run_file(file) && good;
	}
	(void)closedir(folder);
	return good;
}

int main(int argc, char **argv)
{
	bool good = true;
	for (int i = 1; i < argc; i++) {
		struct stat info;
		bool folder = stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode);
		good = (folder ? run_folder(argv[i]) : run_file(argv[i])) && good;
	}
	(void)printf("%zu inputs\n", replayed);
	return !good;
}
