/*
 * Owners: which mer process a run belongs to, and what becomes of its open runs when it has died.
 *
 * An owner holds the lock of its uid's key from before its row can be seen until it is gone, and
 * uids are never used twice. So a row that was seen and whose lock nobody holds belongs to a dead
 * owner, and stays so: nothing between the look and the writing can bring it back.
 *
 * But for one thing: the lock of a connection to a server goes with the connection, though its owner
 * lives. Then the owner takes it again as soon as it notices: at its next call, and within seconds
 * where it calls mer_dal_keep(). Until a while after its start, a server has nobody of before taken
 * for dead (postgres_text.c), so that its restart costs no live run its state. Who is swept all the
 * same, its backend having been killed alone, shows as lost until it closes its runs itself, which
 * says what became of them; and its row is written again with its next transaction, so that it is
 * found should it die later.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

struct owners {
	struct mer_uid *list;
	size_t n, cap;
};

static void owners_done(struct owners *owners)
{
	free(owners->list);
}

static enum mer_status on_owner(void *ctx, const void *row, struct mer_error *err)
{
	struct owners *owners = ctx;
	const struct mer_owner_row *owner = row;
	/* Of a uid that is none nobody can hold the lock: no mer wrote that row. */
	if (!mer_uid_valid(owner->uid))
		return MER_OK;
	if (owners->n == owners->cap) {
		size_t cap = owners->cap == 0 ? 16 : 2 * owners->cap;
		struct mer_uid *list = realloc(owners->list, cap * sizeof *list);
		if (list == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory for %zu owners", cap);
		owners->list = list;
		owners->cap = cap;
	}
	memcpy(owners->list[owners->n++].text, owner->uid, sizeof owners->list->text);
	return MER_OK;
}

/* Nobody meets a lock of its own, so the connection's own owner is known by name. */
static enum mer_status is_alive(struct mer_dal *dal, const char *uid, bool *alive,
                                struct mer_error *err)
{
	*alive = strcmp(uid, dal->owner.text) == 0;
	return *alive ? MER_OK : mer_dal_lock(dal, mer_uid_key(uid), MER_LOCK_TEST, alive, err);
}

/* Keeps the dead ones. */
static enum mer_status keep_dead(struct mer_dal *dal, struct owners *owners, struct mer_error *err)
{
	size_t n_dead = 0;
	for (size_t i = 0; i < owners->n; i++) {
		const struct mer_uid *owner = &owners->list[i];
		bool alive;
		enum mer_status st = is_alive(dal, owner->text, &alive, err);
		if (st != MER_OK)
			return st;
		if (alive)
			continue;
		owners->list[n_dead++] = *owner;
	}
	owners->n = n_dead;
	return MER_OK;
}

static enum mer_status bury(struct mer_dal *dal, const struct owners *dead, int64_t *lost,
                            struct mer_error *err)
{
	for (size_t i = 0; i < dead->n; i++) {
		const char *uid = dead->list[i].text;
		int64_t changed;
		enum mer_status st =
			mer_dal_exec(dal, MER_Q_RUNS_LOST, MER_ARGS(mer_text(uid)), &changed, err);
		if (st == MER_OK)
			st = mer_dal_exec(dal, MER_Q_OWNER_DELETE, MER_ARGS(mer_text(uid)), NULL, err);
		if (st != MER_OK)
			return st;
		*lost += changed;
	}
	return MER_OK;
}

static enum mer_status bury_alone(struct mer_dal *dal, const struct owners *dead, int64_t *lost,
                                  struct mer_error *err)
{
	enum mer_status st = mer_dal_begin(dal, err);
	if (st != MER_OK)
		return st;
	st = bury(dal, dead, lost, err);
	if (st == MER_OK)
		return mer_dal_end(dal, true, err);
	mer_dal_rollback(dal);
	return st;
}

/* The database knows who holds which lock, so that one statement does it. */
static enum mer_status sweep_at_once(struct mer_dal *dal, int64_t *lost, struct mer_error *err)
{
	int64_t closed = 0;
	enum mer_status st = MER_OK;
	/* Whoever came and died since is the next start's affair, unless the caller wants to know. */
	const bool skip = dal->read_only || (dal->nobody_there && lost == NULL);
	dal->nobody_there = false;
	if (!skip)
		st = mer_dal_exec(dal, MER_Q_OWNERS_SWEEP, NULL, 0, lost != NULL ? &closed : NULL, err);
	if (st != MER_OK && !(dal->read_only && !dal->in_transaction))
		return st;
	if (lost != NULL)
		*lost = st == MER_OK ? closed : 0;
	return MER_OK;
}

enum mer_status mer_owners_sweep(struct mer_dal *dal, bool in_transaction, int64_t *lost,
                                 struct mer_error *err)
{
	MER_ASSERT(in_transaction == dal->in_transaction);
	if (dal->remote)
		return sweep_at_once(dal, lost, err);
	int64_t closed = 0;
	__attribute__((cleanup(owners_done))) struct owners owners = { 0 };
	enum mer_status st = MER_OK;
	if (!dal->read_only)
		st = mer_dal_query(dal, MER_Q_OWNERS, NULL, 0, on_owner, &owners, err);
	if (st == MER_OK)
		st = keep_dead(dal, &owners, err);
	if (st == MER_OK && in_transaction)
		st = bury(dal, &owners, &closed, err);
	else if (st == MER_OK && owners.n > 0)
		st = bury_alone(dal, &owners, &closed, err);
	if (st != MER_OK && !(dal->read_only && !in_transaction))
		return st;
	if (lost != NULL)
		*lost = st == MER_OK ? closed : 0;
	return MER_OK;
}

/* Remembers what the row says, for when it must be written again. */
static enum mer_status keep_row(struct mer_dal *dal, const char *host, int64_t pid,
                                const char *program, struct mer_error *err)
{
	if (dal->owner_row.host != NULL)
		return MER_OK;
	char *own_host = strdup(host), *own_program = strdup(program);
	if (own_host == NULL || own_program == NULL) {
		free(own_host);
		free(own_program);
		return mer_fail(err, MER_ENOMEM, "out of memory for an owner");
	}
	dal->owner_row.host = own_host;
	dal->owner_row.program = own_program;
	dal->owner_row.pid = pid;
	return MER_OK;
}

static enum mer_status write_row(struct mer_dal *dal, struct mer_error *err)
{
	enum mer_status st =
		mer_dal_exec(dal, MER_Q_OWNER_INSERT,
	                 MER_ARGS(mer_text(dal->owner.text), mer_text(dal->owner_row.host),
	                          mer_i64(dal->owner_row.pid), mer_text(dal->owner_row.program)),
	                 NULL, err);
	dal->owner_written = st == MER_OK;
	return st;
}

enum mer_status dal_owner_renew(struct mer_dal *dal, struct mer_error *err)
{
	if (!dal->remote || dal->owner_row.host == NULL || dal->owner_left ||
	    dal->owner_row.session == dal->session)
		return MER_OK;
	return write_row(dal, err);
}

enum mer_status mer_owner_register(struct mer_dal *dal, const char *uid, const char *host,
                                   int64_t pid, const char *program, struct mer_error *err)
{
	MER_ASSERT(dal->in_transaction);
	MER_ASSERT(mer_uid_valid(uid));
	MER_ASSERT(dal->owner.text[0] == '\0' || strcmp(dal->owner.text, uid) == 0);
	enum mer_status st = mer_dal_lock(dal, mer_uid_key(uid), MER_LOCK_TAKE, NULL, err);
	if (st == MER_ECONFLICT)
		return mer_fail(err, MER_ECONFLICT, "the owner '%s' is another process", uid);
	if (st == MER_OK)
		st = keep_row(dal, host, pid, program, err);
	if (st != MER_OK)
		return st;
	memcpy(dal->owner.text, uid, sizeof dal->owner.text);
	dal->owner_left = false;
	/* Should it fail, the lock stays until the connection is closed: nobody else wants it. */
	return write_row(dal, err);
}
