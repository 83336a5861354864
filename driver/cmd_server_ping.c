/* server ping: whether servers can run models. */
#include "commands.h"
#include "server_probe.h"

#include <mer/clean.h>
#include <stdio.h>
#include <string.h>

enum { SERVER, ALL, START, N_ARGS };
static const struct cmd_arg args[N_ARGS] = {
	[SERVER] = CMD_WORD("NAME", ARG_TEXT, "a server that 'server list' shows", .is = VALUE_SERVER),
	[ALL] = CMD_FLAG("all", "all servers; one that fails does not stop the others"),
	[START] = CMD_FLAG("start", "not only log in: start there what runs models, too"),
};

enum { COLUMNS = 10 };
static const struct out_column columns[COLUMNS] = {
	{ "server", 0 },
	{ "kind", 0 },
	{ "status", 0 },
	{ "ready_ms", OUT_NUMBER | OUT_NULL },
	{ "error", OUT_NULL | OUT_SHORTEN },
	{ "transport", OUT_NULL },
	{ "connect_ms", OUT_NUMBER | OUT_NULL },
	{ "auth_ms", OUT_NUMBER | OUT_NULL },
	{ "start_ms", OUT_NUMBER | OUT_NULL },
	{ "how", OUT_NULL | OUT_SHORTEN },
};

/* What was not measured is nothing. */
static struct mer_cell ms_cell(int64_t us)
{
	enum { US_A_MS = 1000 };
	const struct mer_cell none = { .type = MER_CELL_NULL };
	return us >= 0 ? mer_cell_i64((us + US_A_MS / 2) / US_A_MS) : none;
}

/* What carried it, or why it was not libssh2. */
static const char *how_of(const struct mer_reach *reach)
{
	return reach->how[0] != '\0' ? reach->how : reach->why;
}

static void fill_cells(const struct probe *probe, struct mer_cell cells[COLUMNS])
{
	const struct mer_cell none = { .type = MER_CELL_NULL };
	bool ok = probe->st == MER_OK;
	const struct mer_reach *reach = &probe->reach;
	const char *transport = mer_transport_name(reach->transport);
	const struct mer_cell all[COLUMNS] = {
		mer_cell_text(probe->name),
		mer_cell_text(probe->kind),
		mer_cell_text(ok ? "ok" : "failed"),
		ok ? mer_cell_i64(probe->ms) : none,
		ok ? none : mer_cell_text(probe->message),
		transport != NULL ? mer_cell_text(transport) : none,
		ok && transport != NULL ? ms_cell(reach->connect_us) : none,
		ok && transport != NULL ? ms_cell(reach->auth_us) : none,
		ok && transport != NULL ? ms_cell(reach->start_us) : none,
		how_of(reach)[0] != '\0' ? mer_cell_text(how_of(reach)) : none,
	};
	memcpy(cells, all, sizeof all);
}

static enum mer_status print_one(struct session *s, const struct probe *probe,
                                 struct mer_error *err)
{
	struct mer_cell cells[COLUMNS];
	char text[256];
	if (!out_by_member(s)) {
		fill_cells(probe, cells);
		return out_object(s, columns, cells, COLUMNS, err);
	}
	const char *transport = mer_transport_name(probe->reach.transport);
	(void)snprintf(text, sizeof text, "%s: ready in %lld ms%s%s\n", probe->name,
	               (long long)probe->ms, transport != NULL ? " over " : "",
	               transport != NULL ? transport : "");
	out_text(s, text);
	return MER_OK;
}

static enum mer_status print_all(struct session *s, const struct probes *probes,
                                 struct mer_error *err)
{
	out_begin(s, columns, COLUMNS);
	for (size_t i = 0; i < probes->n; i++) {
		struct mer_cell cells[COLUMNS];
		fill_cells(&probes->probe[i], cells);
		enum mer_status st = out_row(s, cells, err);
		if (st != MER_OK)
			return st;
	}
	return out_end(s, err);
}

/* The first failure is that of the command. */
static enum mer_status judge(struct session *s, const struct probes *probes, struct mer_error *err)
{
	const struct probe *first = NULL;
	size_t n_failed = 0;
	for (size_t i = 0; i < probes->n; i++) {
		const struct probe *probe = &probes->probe[i];
		n_failed += probe->st != MER_OK;
		first = first == NULL && probe->st != MER_OK ? probe : first;
	}
	if (first == NULL)
		return MER_OK;
	s->out.told = true; /* by its row */
	if (n_failed == 1)
		return mer_fail(err, first->st, "%s", first->message);
	return mer_fail(err, first->st, "%zu of %zu servers failed, the first: %s", n_failed, probes->n,
	                first->message);
}

static enum mer_status ping(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	MER_AUTO(probes_release) struct probes probes = { 0 };
	const char *name = argv[SERVER].text;
	if ((name != NULL) == argv[ALL].given) {
		(void)mer_fail(err, MER_EINPUT, "'server ping' wants a server or --all");
		mer_hint(err, "'server list' shows them");
		return MER_EINPUT;
	}
	enum mer_status st = probes_read(s, name, &probes, err);
	if (st == MER_OK)
		st = probes_ask(&probes, argv[START].given, err);
	if (st != MER_OK)
		return st;
	if (name == NULL) {
		st = print_all(s, &probes, err);
		return st == MER_OK ? judge(s, &probes, err) : st;
	}
	if (probes.probe[0].st != MER_OK)
		return mer_fail(err, probes.probe[0].st, "%s", probes.probe[0].message);
	return print_one(s, &probes.probe[0], err);
}

const struct cmd cmd_server_ping = {
	.name = "server ping",
	.summary = "whether servers can be reached, and how long it took to tell",
	.notes =
		"Of a server of kind ssh it logs in, and leaves at once; one of kind http is asked whether it is\n"
		"ready. Exit code 6: it cannot be reached, or is not ready; 8: it is there, and busy.\n",
	CMD_EXAMPLES("server ping local", "server ping --json local", "server ping --all"),
	CMD_ARGS(args),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	CMD_OBJECT(columns, COLUMNS),
	.or_rows = true,
	.run = ping,
};
