/* What `ssh -G` prints: whatever it is, a configuration is whole or there is none. */
#include "fuzz.h"

#include "ssh_config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const char *const env[] = { "SSH_AUTH_SOCK=/agent", "NAME=value", NULL };
	struct ssh_config *config = NULL;
	struct mer_error err = { .message = "" };
	char reason[200];
	const struct mer_str text = { (const char *)bytes, len };
	enum mer_status st = ssh_config_parse(text, env, &config, &err);
	MER_ASSERT(st == MER_OK || (st == MER_EINPUT && err.message[0] != '\0'));
	if (st != MER_OK)
		return 0;
	MER_ASSERT(config->host != NULL && config->hostname != NULL && config->user != NULL);
	MER_ASSERT(config->port > 0 && config->port < 65536);
	MER_ASSERT(config->connect_timeout_s >= 0 && config->alive_s >= 0 && config->alive_count >= 0);
	for (char **path = config->identities; *path != NULL; path++)
		MER_ASSERT((*path)[0] != '~');
	const enum ssh_choice choice = ssh_config_choose(config, reason);
	MER_ASSERT((choice == SSH_LIBSSH2) == (reason[0] == '\0'));
	MER_ASSERT(config->odd[0] == '\0' || choice == SSH_OPENSSH);
	ssh_config_free(config);
	return 0;
}
