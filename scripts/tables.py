#!/usr/bin/python3
"""Prints docs/tables.md: the tables of a database that mer-migrate makes, with types, defaults and keys as they
are there, and the words of this file for what each means. Ends with 1 where a table or a column has no words, or
words have no column.

    tables.py [MER-MIGRATE] >docs/tables.md"""
import re
import sqlite3
import subprocess
import sys
import tempfile

HEAD = """# The tables of the metadata

Written by `scripts/tables.py` from a database that `mer-migrate up` made; to change a word, change it there.

One database holds all that mer knows: a file of SQLite, or a Postgres. Both have the same tables. Read them as you like.
Write them with mer alone: it checks what a constraint cannot, and a table may change with the next version. Tables
of your own may stand beside them ([migrate.md](migrate.md)). `db restore` and `db copy` write all of them.

| type here | SQLite | Postgres |
|---|---|---|
| text | TEXT | TEXT |
| integer | INTEGER | BIGINT |
| bytes | BLOB | BYTEA |

- A `uid` is a UUIDv7, so rows sort by the time at which they were made.
- A time is text: RFC 3339 in UTC with milliseconds, `2026-01-31T23:59:59.999Z`. `now` is such a time, of the database's clock.
- JSON is text that a constraint has checked to be an object or an array.
- No secret is stored anywhere, only references to secrets (`env:NAME`, `file:PATH`, `cmd:COMMAND`).
- "Must be given" means that the column has no default and cannot be NULL.
"""

UID = "key"
MADE, CHANGED = "when the row was made", "when mer changed the row last"
SHA256 = "SHA-256 in hexadecimal"

# In the order of the page: what a table holds, who writes it, its columns.
TABLES = {
    "models": ("What can be run.", "`model add`, `model set`, `model remove`, `feedback set`, `apply`", {
        "uid": UID, "name": "what it is called in commands", "summary": "what it does, in a line",
        "input_contract": "JSON: the inputs that its workers last announced (name, datatype, shape); `{}` where they "
                          "announced none. Written by `run` and `model ping`",
        "output_contract": "the same of its outputs",
        "feedback": "1: the prompt asks for a rating after each run",
        "feedback_threshold": "a rating below it is a bad one; 0: none is",
        "train_after": "so many bad ratings of the active weights, and the prompt offers a training; 0: never",
        "test_input": "input of the example that the model is tested by; NULL: there is no example",
        "test_output": "the output that it should give",
        "test_tolerance": "by how much numbers in it may differ; empty: every byte counts",
        "test_on_start": "1: a worker that stays is ready only once it has passed the example",
        "created_at": MADE, "updated_at": CHANGED}),
    "deployments": ("Where and how a model runs. A model has one or more.",
                    "`model add`, `model set`, `deployment add`, `deployment set`, `deployment remove`, `apply`", {
        "uid": UID, "name": "its name, of those of its model", "model_uid": "its model", "server_uid": "where it runs",
        "protocol": "how input and output are told", "workdir": "folder in which it is started",
        "argv": "JSON array: the words of its command line, with placeholders; empty behind a URL",
        "train_argv": "the same for `train`; NULL: no such words",
        "env": "JSON object: variables of its environment; a value may be a reference to a secret",
        "params": "JSON object: options that differ from their defaults (tokens, flags, the model's name on a server)",
        "limits": "JSON object: the limits of its runs and of its workers",
        "max_workers": "workers, or requests, at a time; 0: as many as there are processors",
        "idle_ms": "how long a worker stays without a run", "timeout_ms": "how long a run may take",
        "start_timeout_ms": "how long a worker may take until it is ready", "priority": "lower is tried first",
        "enabled": "0: no run goes there", "created_at": MADE, "updated_at": CHANGED}),
    "servers": ("The places that run models. `local` is always there.",
                "`server add`, `server set`, `server remove`, `apply`", {
        "uid": UID, "name": "what it is called in commands", "kind": "what it is; `slurm` is not used yet",
        "host": "name or address, of kind `ssh`", "port": "0: the usual one", "username": "who logs in; empty: as ssh has it",
        "params": "JSON object: `--url` and `--param`, for which see [ssh.md](ssh.md) and [http.md](http.md)",
        "created_at": MADE, "updated_at": CHANGED}),
    "model_weights": ("The versions of a model's weights. At most one of a model is active.",
                      "`weights add`, `weights use`, `weights remove`, `train`, `apply`", {
        "uid": UID, "model_uid": "its model", "version": "its name in commands: a number, unless one was given",
        "name": "not used", "path": "the file or folder; `SERVER:/PATH` on another host",
        "sha256": SHA256 + "; of a folder: of the sorted lines `sha256  relative/path`",
        "bytes": "size", "parent_uid": "the version with which the training began", "state": "`candidate` until it is used",
        "metrics": "JSON object: what the training said of it", "made_by": "`request_uid` of the training; empty: added by hand",
        "created_at": MADE}),
    "model_access": ("The log: a row a run or training, from before the model sees input until it has ended. It outlives its "
                     "model, and so names it, the server and the weights as they were called then.",
                     "each run; closed as `lost` by the next mer where its own has died; removed by `log prune`", {
        "request_uid": "key, and the run's uid in commands", "model": "name of its model",
        "deployment_uid": "where it ran; empty: nowhere yet", "server": "name of that server",
        "weights": "version of its weights; empty: none", "door": "how it was asked for: at the prompt (`repl`), or in any "
        "other way (`batch`); the others are not used yet",
        "who": "user who ran mer", "host": "host of mer", "pid": "process of mer",
        "status": "`queued` and `running` are open, all others have ended",
        "queued_at": "when it was asked for", "started_at": "when a worker was there for it",
        "stopped_at": "when it ended; NULL exactly while it is open",
        "exit_code": "status of its process, where that ended by itself with the run; else NULL",
        "signal": "name of the signal that ended it", "error": "why it failed, in a line",
        "stderr_tail": "the last that the model said on stderr", "attempts": "how often it was given to a worker",
        "queue_ms": "how long it waited for a worker", "start_ms": "how long for that worker's start",
        "infer_ms": "how long for the answer", "bytes_in": "size of the input", "bytes_out": "size of the output",
        "sha256_in": "of the input", "sha256_out": "of the output",
        "owner": "`owners.uid` of its mer; empty: nobody's", "kind": "what was asked for",
        "replays": "`request_uid` of the run that it repeats; empty: none",
        "provenance": "`provenance.digest` of what answered; empty: not known",
        "cpu_us": "processor time in microseconds ([record.md](record.md))", "max_rss_kib": "largest memory in KiB, of `once`",
        "traceparent": "the trace to which it belongs ([operations.md](operations.md)); empty: none"}),
    "model_access_io": ("What runs of models with `keep-io` read and wrote. Apart from the log, so that it stays small.",
                        "each such run, once, at its end; removed by `log prune`", {
        "request_uid": "key, and the run", "input": "its bytes; NULL: it was too large to keep",
        "output": "the same", "input_meta": "JSON: what the input's bytes are, of tensors; NULL: bytes",
        "output_meta": "JSON array: the same of the output, a meta a part"}),
    "feedback": ("What people thought of a run. Of several ratings of a run the last counts.",
                 "`feedback add`, the prompt; removed with its run", {
        "uid": UID, "request_uid": "the run", "rating": "1, bad, to 5, good",
        "expected": "what the output should have been; NULL: nobody said", "note": "a remark", "created_at": MADE}),
    "provenance": ("Which bytes answered: a row for all runs of the same program, files, weights and runtime on a host.",
                   "each run that is the first of its kind; removed by `log prune` with the last that names it", {
        "digest": "key: a digest of the host, of each file by its size and times, of weights and runtime", "host": "where", "program": "path of the program as it was found",
        "program_sha256": SHA256 + "; empty: it could not be read, or is too large",
        "files": "JSON array: further words of the command line that are files, with path, bytes, sha256",
        "weights_sha256": "as recorded with the version", "runtime": "interpreter and its version, where the worker said so",
        "sdk": "SDK and its version, likewise", "created_at": MADE}),
    "run_totals": ("What runs had counted that `log prune` has removed, so that the metrics of `stats --prometheus` never fall.",
                   "`log prune`", {
        "series": "key: model, a slash, figure. A figure is a status (`ok`), or of a time its count (`queue_count`), sum "
                  "(`queue_sum_ms`) or bucket (`queue_le_250`, in ms); likewise `start` and `infer`",
        "value": "the figure"}),
    "owners": ("The mer processes that record runs, for people to read. Whether one is alive, only its lock tells: of a file on "
               "SQLite, an advisory lock on Postgres.", "each mer with its first run; removed when it ends, or by the next one", {
        "uid": "key, and `owner` of its runs", "host": "where it runs", "pid": "its process", "program": "its name",
        "started_at": "when it began"}),
    "migrations": ("The ledger: the scripts that made these tables ([migrate.md](migrate.md)).", "`mer-migrate`", {
        "num": "key: the script's number", "name": "its name", "sha256": "of its bytes",
        "canonical_sha256": "of what it says without comments and white space", "applied_at": "when",
        "duration_ms": "how long it took", "applied_by": "user and host", "tool_version": "version of mer-migrate",
        "state": "`started`: a script without a transaction that has not ended"}),
}


class Mismatch(Exception):
    """Words and columns are not the same."""


def differ(what, has, described):
    lacking, stale = sorted(set(has) - set(described)), sorted(set(described) - set(has))
    if lacking or stale:
        raise Mismatch(f"{what}: without words: {', '.join(lacking) or 'none'}; words for nothing: "
                       f"{', '.join(stale) or 'none'}")


def default_cell(default, notnull, key):
    if default is None:
        return "must be given" if notnull or key else "NULL"
    return "`now`" if "strftime" in default else "empty" if default == "''" else f"`{default.strip(chr(39))}`"


def meaning(db, table, column, words):
    """The words, and what keys and constraints say."""
    (text,), = db.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,))
    check = re.search(rf"CONSTRAINT {table}_{column} CHECK \(((?:[^()]|\([^()]*\))*)\)", text)
    choices = re.findall(rf"\b{column} = '(\w+)'", check[1]) if check else []
    said = [words]
    if choices:
        said.append("one of " + " ".join(f"`{word}`" for word in choices))
    ends = {"CASCADE": "goes with it", "SET NULL": "NULL once that is gone", "RESTRICT": "which cannot be removed meanwhile"}
    for _, _, other, source, target, _, on_delete, _ in db.execute(f"PRAGMA foreign_key_list({table})"):
        if source == column:
            said.append(f"refers to `{other}.{target}`, {ends[on_delete]}")
    return "; ".join(said)


def uniques(db, table):
    """What is unique beside the key."""
    for _, name, unique, origin, partial in sorted(db.execute(f"PRAGMA index_list({table})"), key=lambda row: row[1]):
        if unique and origin != "pk":
            columns = " and ".join(f"`{row[2]}`" for row in db.execute(f"PRAGMA index_info({name})"))
            where = ""
            if partial:
                (text,), = db.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,))
                where = f" where `{text.split(' WHERE ')[1]}`"
            yield columns + where


def page(db):
    yield HEAD
    names = [name for name, in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    differ("tables", names, TABLES)
    for table, (holds, writers, words) in TABLES.items():
        columns = list(db.execute(f"PRAGMA table_info({table})"))
        differ(table, [row[1] for row in columns], words)
        yield f"## `{table}`\n\n{holds} Written by: {writers}.\n\n| column | type | default | means |\n|---|---|---|---|"
        for _, column, kind, notnull, default, key in columns:
            kind = {"TEXT": "text", "INTEGER": "integer", "BLOB": "bytes"}[kind]
            yield (f"| `{column}` | {kind} | {default_cell(default, notnull, key)} | "
                   f"{meaning(db, table, column, words[column])} |")
        unique = "; ".join(uniques(db, table))
        yield f"\nUnique: {unique}.\n" if unique else ""


def main(migrate="build/mer/bin/mer-migrate"):
    with tempfile.TemporaryDirectory(prefix="mer-tables-") as folder:
        subprocess.run([migrate, "--quiet", "--database", f"sqlite:{folder}/mer.db", "up"], check=True, timeout=60)
        db = sqlite3.connect(f"{folder}/mer.db")
        try:
            print("\n".join(page(db)).rstrip("\n"))
        except Mismatch as error:
            sys.exit(f"tables.py: {error}")
        finally:
            db.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
