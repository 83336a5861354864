/* Where a training leaves new weights. */
#include "train_place.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mer/file.h>
#include <mer/lend.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { NUMBERS_TRIED = 10000 };

/* The lock dies with us, its file may stay behind. Whether we have it, in the file that is there. */
static bool take_lock(struct train_place *place)
{
	struct stat ours, there;
	place->lock = mer_open_own(place->lock_path, O_RDWR);
	if (place->lock < 0)
		return false;
	if (flock(place->lock, LOCK_EX | LOCK_NB) == 0 && fstat(place->lock, &ours) == 0 &&
	    stat(place->lock_path, &there) == 0 && ours.st_ino == there.st_ino &&
	    ours.st_dev == there.st_dev)
		return true;
	(void)close(place->lock);
	place->lock = -1;
	errno = EWOULDBLOCK;
	return false;
}

void train_place_release(struct train_place *place)
{
	if (place->lock >= 0) {
		(void)unlink(place->lock_path);
		(void)close(place->lock);
	}
	free(place->path);
	free(place->lock_path);
	place->path = place->lock_path = NULL;
	place->lock = -1;
}

bool train_place_filled(const struct train_place *place)
{
	struct stat info;
	return lstat(place->path, &info) == 0;
}

/* MER_EBUSY: another one trains it. */
static enum mer_status take(struct train_place *place, const char *folder, const char *version,
                            struct mer_error *err)
{
	(void)snprintf(place->version, sizeof place->version, "%s", version);
	place->path = mer_text_new("%s/%s", folder, version);
	place->lock_path = mer_text_new("%s/.%s.lock", folder, version);
	if (place->path == NULL || place->lock_path == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (!take_lock(place) && errno == EWOULDBLOCK)
		return mer_fail(err, MER_EBUSY, "version '%s' is being trained", version);
	if (place->lock < 0)
		return mer_fail(err, MER_EIO, "cannot write in '%s': %s", folder, strerror(errno));
	enum mer_status st = mer_fetch_clear(place->path, err);
	if (st != MER_OK)
		return st;
	if (train_place_filled(place))
		return mer_fail(err, MER_EBUSY, "there is a '%s' already", place->path);
	return MER_OK;
}

static enum mer_status take_number(struct train_place *place, const char *folder, int64_t number,
                                   struct mer_error *err)
{
	enum mer_status st = MER_EBUSY;
	for (int i = 0; i < NUMBERS_TRIED && st == MER_EBUSY; i++) {
		char version[24];
		(void)snprintf(version, sizeof version, "%lld", (long long)number + i);
		train_place_release(place);
		st = take(place, folder, version, err);
	}
	return st;
}

enum mer_status train_place_take(struct train_place *place, const char *folder, const char *model,
                                 const struct weights_list *list, const char *version,
                                 struct mer_error *err)
{
	*place = (struct train_place){ .lock = -1 };
	if (version != NULL && weights_of(list, version) != NULL)
		return mer_fail(err, MER_ECONFLICT, "model '%s' has weights '%s' already", model, version);
	enum mer_status st = mer_make_folders(folder, err);
	if (st == MER_OK)
		st = version != NULL ? take(place, folder, version, err)
		                     : take_number(place, folder, weights_next(list), err);
	if (st == MER_EBUSY)
		return mer_wrap(err, MER_ECONFLICT, "weights of model '%s'", model);
	return st;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)info, (void)kind, (void)at;
	(void)remove(path);
	return 0;
}

void train_place_clear(const struct train_place *place)
{
	enum { DESCRIPTORS = 16 };
	if (place->path != NULL && place->lock >= 0)
		(void)nftw(place->path, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}
