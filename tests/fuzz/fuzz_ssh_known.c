/* Files of known hosts: each line that names the host says yes to its own key, unless another revokes it. */
#include "fuzz.h"

#include "ssh_known.h"

#include <string.h>

static void check_line(const struct ssh_known *known, const struct ssh_known_line *line)
{
	const struct mer_str blob = { (const char *)line->blob, line->len };
	const struct mer_str type = ssh_key_type(blob);
	const struct ssh_known_line *by = NULL;
	char fingerprint[SSH_FINGERPRINT_SIZE];
	MER_ASSERT(line->number > 0 && strlen(line->type) == type.len);
	MER_ASSERT(memcmp(line->type, type.ptr, type.len) == 0);
	const enum ssh_known_verdict verdict = ssh_known_check(known, blob, &by);
	MER_ASSERT(by != NULL || line->mark == SSH_KNOWN_AUTHORITY || line->bare);
	if (line->mark == SSH_KNOWN_REVOKED)
		MER_ASSERT(verdict == SSH_KNOWN_IS_REVOKED);
	if (line->mark == SSH_KNOWN_KEY && !line->bare)
		MER_ASSERT(verdict == SSH_KNOWN_YES || verdict == SSH_KNOWN_IS_REVOKED);
	ssh_fingerprint(blob, fingerprint);
	MER_ASSERT(strlen(fingerprint) == SSH_FINGERPRINT_SIZE - 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const char *const supported[] = { "ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa" };
	char hostname[] = "Host.Example";
	const struct ssh_config config = { .hostname = hostname, .port = 2222 };
	struct ssh_known known;
	struct mer_error err;
	char *order = NULL;
	bool lost = false;
	MER_ASSERT(ssh_known_init(&known, &config, &err) == MER_OK);
	enum mer_status st =
		ssh_known_read(&known, "fuzz", (struct mer_str){ (const char *)bytes, len }, &err);
	MER_ASSERT(st == MER_OK || st == MER_ELIMIT);
	for (size_t i = 0; i < known.n && i < 100; i++)
		check_line(&known, &known.lines[i]);
	st =
		ssh_known_order(&known, "ssh-ed25519,ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512,ssh-rsa",
	                    supported, 3, &order, &lost, &err);
	MER_ASSERT(st == MER_OK && strlen(order) == strlen("ssh-ed25519,ssh-rsa"));
	MER_ASSERT(!lost || known.n > 0);
	free(order);
	ssh_known_release(&known);
	return 0;
}
