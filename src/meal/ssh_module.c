/* The private module `ssh`: libssh2, and all that knows of it. */
#include "ssh_module.h"

#include "ssh_carrier.h"

#include <stdio.h>

static enum mer_status open_pool(struct uv_loop_s *loop, struct ssh_pool **out,
                                 struct mer_error *err)
{
	static bool is_open; /* as long as the program: modules are never unloaded */
	if (!is_open && libssh2_init(0) != 0)
		return mer_fail(err, MER_EIO, "libssh2 cannot be used");
	is_open = true;
	return ssh_pool_open(loop, out, err);
}

static bool refuses(const struct ssh_pool *pool, const struct mer_remote *remote,
                    char reason[MER_REASON_SIZE])
{
	const struct ssh_host *host = ssh_pool_find(pool, remote);
	if (host == NULL || !host->refused)
		return false;
	(void)snprintf(reason, MER_REASON_SIZE, "%s", host->reason);
	return true;
}

MER_API extern const struct meal_ssh mer_ssh;
const struct meal_ssh mer_ssh = {
	.version = MER_VERSION,
	.open = open_pool,
	.close = ssh_pool_close,
	.refuses = refuses,
	.channel = ssh_carrier_new,
	.beside = ssh_carrier_beside,
	.whole = ssh_carrier_whole,
	.lives = ssh_carrier_lives,
	.lose = ssh_carrier_lose,
	.reach = ssh_carrier_reach,
};
