#!/usr/bin/python3
"""The command-line contract, row by row: command lines with what they print and leave with. Each is
done as arguments, by -c, from a file and from stdin, each time in a fresh state, with the same
result; only the place in front of a message differs. MER_PREFIX names the installation. Prints TAP
when run as a program."""
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import NamedTuple

PREFIX = Path(os.environ["MER_PREFIX"]).resolve()
MER = str(PREFIX / "bin" / "mer")
MIGRATE = str(PREFIX / "bin" / "mer-migrate")
DEADLINE_S = 120
BASE_ENV = {name: value for name, value in os.environ.items()
            if not name.startswith(("MER_", "XDG_", "PG"))} | {
                "LC_ALL": "C.UTF-8", "PATH": f"{PREFIX}/bin:/usr/bin:/bin"}
UID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
RUN = "01a1fef6-849a-7865-90cb-e3129d94fc6e"  # of the model echo: input "kept", output "kept"
KEY = f"table-{os.getpid()}"
NO_RUN = "01a1fef6-0000-7000-8000-000000000000"

# name: options and ARGV of `model add`
MODELS = {
    "echo": ["--keep-io", "--", "cat"],
    "fail": ["--", "sh", "-c", "echo out; echo last words >&2; exit 3"],
    "killed": ["--", "sh", "-c", "kill -SEGV $$"],
    "missing": ["--", "/no/such/program"],
    "dies": ["--protocol", "token", "--", "sh", "-c", "echo broken >&2; exit 1"],
    "late": ["--timeout", "200ms", "--", "sleep", "60"],
    "mute": ["--protocol", "token", "--start-timeout", "200ms", "--", "sleep", "60"],
    "big": ["--max-output", "10", "--", "seq", "100"],
    "args": ["--", "sh", "-c", 'printf "<%s>" "$@"', "sh", "{input}"],
    "lines": ["--protocol", "token", "--answer", "line", "--error-line", "bad*", "--", "sh", "-c",
              "echo '@!#READY#!@'; while read t; do [ \"$t\" = '@!#START#!@' ] || exit 0; read x; read t; "
              "case $x in bad*) echo \"$x\" >&2;; *) echo \"<$x>\";; esac; done"],
    "trained": ["--train", "cp {dataset} {new_weights}", "--",
                "cat", "{weights}"],
}
TEMPLATE = None


class Row(NamedTuple):
    line: str
    code: int = 0
    out: object = ""        # text, or a pattern of all of it
    err: object = ""        # the message without its place, or a pattern of it; "": nothing
    options: tuple = ()     # of the program
    before: tuple = ()      # lines that are done first, with changes allowed
    env: dict = {}
    ways: tuple = ("arguments", "-c", "-f", "stdin")


def changes(line, *rest, **more):
    """A row of a command that changes the metadata."""
    options = more.pop("options", ())
    return Row(line, *rest, options=("--allow-changes", *options), **more)


def has(*parts):
    """A pattern of a text that contains these, in their order."""
    return re.compile(".*" + ".*".join(re.escape(part) for part in parts) + ".*", re.S)


class json_of:
    """A pattern of lines of JSON, of which the first is an object that has these members."""

    def __init__(self, **members):
        self.members = members

    def fullmatch(self, text):
        got = json.loads(text.split("\n")[0])
        return True if text.endswith("\n") and got | self.members == got else None

    def __repr__(self):
        return f"json_of({self.members})"


class lists(json_of):
    """The same of a list that is one JSON array."""

    def fullmatch(self, text):
        return super().fullmatch(json.dumps(json.loads(text)[0]) + "\n")


NOT_ALLOWED = "not allowed; start with --allow-changes"
NO_MODEL = "there is no model 'nosuch'"
READY = re.compile(r"\w+ on local: ready in [0-9]+ ms\n")

# What each row of the tables of the contract says, under its name there.
TABLE = {
    # --- mer -----------------------------------------------------------------------------------
    "--database URL": [
        Row("run echo x", 0, "x", options=("--database", "sqlite:{state}/mer/mer.db")),
        Row("run echo x", 0, "x", options=("--database=sqlite:{state}/mer/mer.db",)),
        Row("run echo x", 0, "x", env={"MER_DATABASE_URL": "sqlite:{state}/mer/mer.db",
                                       "XDG_STATE_HOME": "/nonexistent"}),
        Row("run echo x", 5, "", has("/nonexistent/x.db"), options=("--database", "sqlite:/nonexistent/x.db")),
        Row("version", 0, "mer 0.1.0\n", options=("--database", "sqlite:/nonexistent/x.db")),
        Row("ls", 2, "", has("oracle"), options=("--database", "oracle:x")),
    ],
    "--allow-changes": [
        Row("model remove echo", 4, "", NOT_ALLOWED),
        changes("model remove echo"),
        Row("model remove echo", env={"MER_ALLOW_CHANGES": "1"}),
        Row("model remove echo", 4, "", NOT_ALLOWED, env={"MER_ALLOW_CHANGES": "0"}),
        Row("help model add", 4, "", NOT_ALLOWED),
    ],
    "--json --jsonl --csv --plain": [
        Row("server list", 0, lists(name="local"), options=("--json",)),
        Row("server list", 0, has('{"uid":"', '"name":"local"'), options=("--jsonl",)),
        Row("server list", 0, re.compile(r"uid,name,kind.*\r\n.*,local,local,.*\r\n"), options=("--csv",)),
        Row("server list", 0, re.compile(UID + r"\tlocal\tlocal\t.*\n"), options=("--plain",)),
        Row("server list", 0, re.compile(UID + r"\tlocal\tlocal\t.*\n")),
        Row("server list --jsonl", 0, has('{"uid":"', '"name":"local"'), options=("--csv",)),
        Row("server list", 0, has('[{"uid":"'), env={"MER_FORMAT": "json"}),
        Row("server list --plain", 0, re.compile(r"\S+\tlocal\tlocal\t.*\n"), env={"MER_FORMAT": "json"}),
        Row("server list", 2, "", has("MER_FORMAT: 'jsn' is none of table, json"),
            env={"MER_FORMAT": "jsn"}, ways=("arguments",)),
    ],
    "MER_DATABASE_PASSWORD": [
        Row("version", 2, "", has("MER_DATABASE_PASSWORD"), env={"MER_DATABASE_PASSWORD": "plain"},
            ways=("arguments",)),
        Row("version", 0, "mer 0.1.0\n", env={"MER_DATABASE_PASSWORD": "file:/nonexistent"}),
    ],
    "--keep-going --quiet --no-color": [
        Row("run nosuch x\nversion", 3, "mer 0.1.0\n", NO_MODEL, options=("--keep-going",), ways=("-f", "stdin", "-c")),
        Row("run nosuch x\nversion", 3, "", NO_MODEL, ways=("-f", "stdin", "-c")),
        Row("run fail x\nrun nosuch x\nversion", 1, "out\nmer 0.1.0\n",
            re.compile(r"model 'fail' failed: .*last words\nmer: .*there is no model 'nosuch'"),
            options=("--keep-going", "--quiet"), ways=("-f", "stdin", "-c")),
        Row("server list --plain", 0, re.compile(r"\S+\tlocal\tlocal\t.*\n"), options=("--quiet", "--no-color")),
    ],
    "--env-file FILE": [
        Row("model remove echo", options=("--env-file", "changes.env")),
        Row("model remove echo", env={"MER_ENV_FILE": "changes.env"}),
        Row("model remove echo", 4, "", NOT_ALLOWED, options=("--env-file", "changes.env"),
            env={"MER_ALLOW_CHANGES": "0"}),
        Row("version", 2, "", has("nothing.env"), options=("--env-file", "nothing.env"), ways=("arguments",)),
    ],
    "--log SPEC": [
        Row("version", 0, "mer 0.1.0\n", options=("--log", "warn,meal=debug")),
        Row("version", 2, "", has("chatty"), options=("--log", "chatty"), ways=("arguments",)),
    ],
    "--version --help": [
        Row("version", 0, "mer 0.1.0\n", options=("--version",)),
        Row("version", 0, has("usage: mer", "commands:", "options:"), options=("--help",)),
        Row("run --help", 0, has("usage: run MODEL", "examples:"), env={"XDG_STATE_HOME": "/nonexistent"}),
    ],
    "-c, -f, commands on stdin": [
        Row("run echo a; b", 0, "a; b"),
        Row("run echo '$HOME' `x` *", 0, "$HOME `x` *"),
        Row("run echo \"a\\\"b\" 'c\\d' e\\ f", 0, "a\"b c\\d e f"),
        Row("run echo 'open", 2, "", has("quote"), ways=("-c", "-f", "stdin")),
        Row("run echo one\\\ntwo", 0, "onetwo", ways=("-c", "-f", "stdin")),
        Row("run echo 'one\ntwo'", 0, "one\ntwo"),
        Row("# nothing\n\n   \nversion # a comment", 0, "mer 0.1.0\n", ways=("-c", "-f", "stdin")),
        Row("exit\nversion", ways=("-c", "-f", "stdin")),
    ],

    # --- commands ------------------------------------------------------------------------------
    "model add": [
        changes("model add a -- cat"),
        changes("run a x", 0, "x", before=("model add a --summary 'says it again' -- cat",)),
        changes("model show a --json", 0, json_of(name="a", summary="says it again"),
                before=("model add a --summary 'says it again' -- cat",)),
        changes("deployment show a --json", 0, json_of(
            server="local", protocol="once", timeout="1h", start_timeout="2m", idle="5m", max_queue=64,
            max_output="256MiB", retries=0, max_workers=len(os.sched_getaffinity(0))),
            before=("model add a -- cat",)),
        changes("run a hello", 0, "<hello>\n", before=(
            "model add a --server local --protocol token --answer line --ready-token R --start-token S --stop-token E "
            "--exit-token X --error-line 'bad*' --error-line 'worse*' --start-timeout 1m --idle 1m --max-workers 1 "
            "--max-queue 3 --retries 1 -- "
            "sh -c 'echo R; while read t; do [ $t = S ] || exit 0; read x; read t; echo \"<$x>\"; done'",)),
        changes("run a hello", 0, "hello\n", before=(
            "model add a --protocol token --answer framed -- sh -c 'echo \"@!#READY#!@\"; while read t; do "
            "[ \"$t\" = \"@!#START#!@\" ] || exit 0; read x; read e; echo \"$t\"; echo \"$x\"; echo \"$e\"; done'",)),
        changes("run a x", 0, "/\n", before=("model add a --workdir / -- pwd",)),
        changes("run a x", 0, "1 2\n", before=("model add a --env A=1 --env B=text:2 -- sh -c 'echo $A $B'",)),
        changes("run a x", 0, "set", before=("model add a --env A=env:SECRET -- sh -c 'printf $A'",),
                env={"SECRET": "set"}),
        changes("run a x", 0, "\n", before=("model add a --clean-env -- sh -c 'echo $VISIBLE'",),
                env={"VISIBLE": "x"}),
        changes("run a x", 0, "x\n", before=("model add a -- sh -c 'echo $VISIBLE'",), env={"VISIBLE": "x"}),
        changes("run a hello", 0, "HELLO", before=("model add a --shell -- 'tr a-z A-Z'",)),
        changes("run a x", 7, "", has("200ms"), before=("model add a --timeout 200ms -- sleep 60",)),
        changes("run a x", 1, re.compile(r"1\n.*", re.S), has("10"), before=(
            "model add a --max-output 10 -- seq 100",)),
        changes("run --session s a x", 0, "x\n", before=(
            "model add a --stateful --protocol token --answer line -- sh -c 'echo \"@!#READY#!@\"; "
            "while read t; do [ \"$t\" = \"@!#START#!@\" ] || exit 0; read x; read e; echo $x; done'",)),
        changes("run a x", 0, "x", before=("model add a --keep-io -- cat",)),
        changes("weights list a", before=("model add a --weights-dir w --train 'cp {dataset} {new_weights}' -- cat",)),
        changes("model add a --remote-model b -- cat", 2, "", has("--remote-model is for servers")),
        changes("model add a --param system=b -- cat", 2, "", has("--param is for servers")),
        changes("model add echo -- cat", 4, "", "there is a model 'echo' already"),
        changes("model add a", 2, "", "'model add' needs ARGV"),
        changes("model add -- cat", 2, "", "'model add' needs NAME"),
        changes("model add .a -- cat", 2, "", has("bad model name '.a'")),
        changes("model add a --timeout soon -- cat", 2, "", "--timeout: not a duration: 'soon'"),
        changes("model add a --server nosuch -- cat", 3, "", "there is no server 'nosuch'"),
    ],
    "model list": [Row("model list --jsonl", 0, has('"name":"echo"')), Row("model list", 0, has("\techo\t"))],
    "model show NAME": [
        Row("model show echo --json", 0, json_of(name="echo")),
        Row("model show nosuch", 3, "", NO_MODEL),
        Row("model show", 2, "", "'model show' needs NAME"),
    ],
    "model set NAME KEY=VALUE...": [
        changes("model set echo timeout=1s max-workers=5 summary='a b' keep-io=off"),
        changes("deployment show echo --json", 0, json_of(max_workers=5, keep_io=True),
                before=("model set echo timeout=1s max-workers=5 'summary=a b'",)),
        changes("model set nosuch timeout=1s", 3, "", NO_MODEL),
        changes("model set echo timeuot=1s", 2, "", has("'timeuot'")),
        Row("model set echo timeout=1s", 4, "", NOT_ALLOWED),
    ],
    "model remove NAME": [
        changes("model remove echo"),
        changes("log --jsonl", 0, has(RUN), before=("model remove echo",)),
        changes("model remove nosuch", 3, "", NO_MODEL),
    ],
    "model ping NAME": [
        Row("model ping echo", 0, READY), Row("model ping iris", 0, READY),
        Row("model ping echo --json", 0, json_of(model="echo", server="local")),
        Row("model ping iris --test", 3, "", "model 'iris' has no example"),
        Row("model ping missing", 6, "", has("'/no/such/program'")),
        Row("model ping mute", 7, "", has("mute")),
        Row("model ping nosuch", 3, "", NO_MODEL),
    ],
    "deployment add, list, show, set, remove": [
        changes("deployment add echo --priority 5 --name spare -- cat"),
        changes("run echo --deployment spare x", 0, "X", before=(
            "deployment add echo --priority 5 --name spare --shell -- 'tr a-z A-Z'",)),
        changes("run missing x", 0, "x", options=("--log", "error"), before=("deployment add missing --priority 5 -- cat",)),
        Row("deployment list echo --jsonl", 0, json_of(model="echo", server="local")),
        Row("deployment list", 0, has("\techo\t")),
        Row("deployment list nosuch", 3, "", NO_MODEL),
        Row("deployment show echo --json", 0, json_of(model="echo", protocol="once", argv=["cat"])),
        changes("deployment set echo priority=3"),
        changes("run echo x", 0, "x", before=("deployment add echo --name spare -- false",
                                              "deployment set echo spare enabled=off")),
        changes("deployment remove echo spare", before=("deployment add echo --name spare -- cat",)),
        changes("deployment remove echo", 4, "", has("only one")),
        changes("deployment remove echo nosuch", 3, "", has("'nosuch'")),
    ],
    "server add, list, show, set, remove, ping": [
        changes("server add second --kind local"),
        changes("server add second --kind ssh --host h --port 22 --user u --param IdentityFile=x"),
        changes("server add second --kind http", 2, "", has("http")),
        changes("server add second --kind http --url http://h"),
        changes("server add second", 2, "", "'server add' needs --kind"),
        changes("server add second --kind lokal", 2, "", "--kind: 'lokal' is none of local, ssh, http"),
        Row("server list --jsonl", 0, json_of(name="local", kind="local")),
        Row("server show local --json", 0, json_of(name="local", kind="local")),
        Row("server show nosuch", 3, "", "there is no server 'nosuch'"),
        changes("server set second host=g port=2222 param=ConnectTimeout=5 param=IdentityFile",
                before=("server add second --kind ssh --host h --param IdentityFile=x",)),
        changes("server set nosuch host=h", 3, "", "there is no server 'nosuch'"),
        changes("server remove second", before=("server add second --kind local",)),
        changes("server remove local", 4, "", has("local")),
        Row("server ping local", 0, re.compile(r"local: ready in [0-9]+ ms\n")),
        Row("server ping --all", 0, re.compile(r"local\tlocal\tok\t[0-9]+.*\n")),
        Row("server ping local --start", 0, re.compile(r"local: ready in [0-9]+ ms\n")),
        Row("server ping", 2, "", "'server ping' wants a server or --all"),
        Row("server ping nosuch", 3, "", "there is no server 'nosuch'"),
    ],
    "weights add, list, use, remove": [
        changes("weights add trained a.bin", 0, has("version\t1\n")),
        changes("weights add trained a.bin --version one", 0, has("version\tone\n")),
        changes("weights list trained --jsonl", 0, json_of(version="one", state="candidate", bytes=2),
                before=("weights add trained a.bin --version one",)),
        changes("weights list trained --check", 4, has("one", "changed\n"), has("'one' changed"), before=(
            "weights add trained a.bin --version one", "run echo x"), env={"SPOIL": "a.bin"}),
        changes("weights use trained one", before=("weights add trained a.bin --version one",)),
        changes("run trained x", 0, "A\n", before=("weights add trained a.bin --version one",
                                                   "weights use trained one")),
        Row("run trained x", 3, "", has("weights")),
        changes("weights remove trained one", before=("weights add trained a.bin --version one",)),
        changes("weights use trained nosuch", 3, "", has("'nosuch'")),
        changes("weights add trained nothing.bin", 2, "", has("nothing.bin")),
        Row("weights list nosuch", 3, "", NO_MODEL),
    ],
    "run MODEL [INPUT... | @FILE | -]": [
        Row("run echo hello", 0, "hello"),
        Row("run echo hello   world", 0, "hello world"),
        Row("run echo 'hello   world'", 0, "hello   world"),
        Row("run echo ''", 0, ""),
        Row("run echo @input.txt", 0, "from a file\n"),
        Row("run echo @nothing.txt", 2, "", "INPUT: cannot open 'nothing.txt': No such file or directory"),
        Row("run echo @@x", 0, "@x"),
        Row("run echo a @input.txt", 0, "a @input.txt"),
        Row("run echo a -", 0, "a -"),
        Row("run echo -0.5,1.2", 0, "-0.5,1.2"),
        Row("run echo -.5", 0, "-.5"),
        Row("run echo -- --raw -", 0, "--raw -"),
        Row("run echo -x", 2, "", "no such option of 'run': '-x'"),
        Row("run --raw echo x", 0, "x"), Row("run echo --raw x", 0, "x"), Row("run echo x --raw", 0, "x"),
        Row("run echo -", 2, "", "INPUT -: stdin is where the commands come from", ways=("stdin",)),
        Row("run echo", 2, "", "no INPUT: stdin is where the commands come from", ways=("stdin",)),
        Row("run echo -", 0, "", ways=("arguments", "-c", "-f")),
        Row("run args x", 0, re.compile(r"</.*>")),
        Row("run", 2, "", "'run' needs MODEL"),
        Row("run nosuch x", 3, "", NO_MODEL),
    ],
    "run --lines MODEL [@FILE|-]": [
        Row("run --lines echo @lines.txt", 0, "one\n\nthree\r\n"),
        Row("run --lines --jobs 3 echo @lines.txt", 0, "one\n\nthree\r\n"),
        Row("run --lines lines @bad.txt", 1, "<one>\n", has("line 2", "bad")),
        Row("run --lines --keep-going lines @bad.txt", 1, "<one>\n\n<three>\n", has("line 2", "bad")),
        Row("run --lines lines @bad.txt", 1, "<one>\n\n<three>\n", has("line 2", "bad"), options=("--keep-going",)),
        Row("run --lines echo words", 2, "", "INPUT: --lines takes @FILE or -, not 'words'"),
        Row("run --lines echo", 2, "", has("stdin is where the commands come from"), ways=("stdin",)),
    ],
    "run's options": [
        Row("run late x --timeout 30ms", 7, "", has("30ms")),
        Row("run echo x --weights 1", 3, "", "model 'echo' has no weights '1'"),
        Row("run iris 5.1,3.5,1.4,0.2 --weights 1", 0, "setosa\n"),
        Row("run echo x --server local", 0, "x"),
        Row("run echo x --server nosuch", 3, "", has("'nosuch'")),
        Row("run echo x --deployment local", 0, "x"),
        Row("run echo x --deployment nosuch", 3, "", has("'nosuch'")),
        Row("run echo x --session s", 2, "", "model 'echo' has no sessions"),
        Row("run echo x --jobs 2", 2, "", "--jobs: it is for --lines"),
        Row("run echo x --json", 0, json_of(model="echo", status="ok", exit_code=0, output="x")),
        Row("run echo x --jsonl", 0, json_of(model="echo", status="ok", exit_code=0, output="x")),
        Row("run --lines --jsonl echo @input.txt", 0, json_of(line=1, model="echo", output="from a file")),
        Row("run fail x --json", 1, json_of(status="failed", exit_code=3, output="out\n"), has("last words")),
        Row("run killed x --json", 1, json_of(status="failed", signal="SIGSEGV"), has("SIGSEGV")),
        Row("run nosuch x --json", 3, json_of(error=NO_MODEL, code=3), NO_MODEL),
        Row("run echo x --no-record", 0, "x"),
        Row("run echo x --csv", 2, "", "no such option of 'run': '--csv'"),
        Row("run echo --tensor a=1", 2, "", re.compile(".+")),
        Row("run echo x --tensor-out a=@b", 2, "", re.compile(".+")),
        Row("run echo x --tensor a=1", 2, "", "both INPUT and --tensor: one of them is the input"),
    ],
    "train MODEL --dataset PATH": [
        changes("train trained --dataset a.bin", 0, has("version\t1\n")),
        changes("train trained --dataset a.bin --new first --timeout 1m", 0, has("version\tfirst\n")),
        changes("run trained x", 0, "A\n", before=("train trained --dataset a.bin --activate",)),
        changes("train trained --dataset a.bin --weights 1", 0, has("version\t2\n"), before=("weights add trained a.bin",)),
        changes("train trained", 2, "", "'train' needs --dataset"),
        changes("train nosuch --dataset a.bin", 3, "", NO_MODEL),
        Row("train trained --dataset a.bin", 4, "", NOT_ALLOWED),
    ],
    "feedback set, add, export": [
        changes("feedback set echo on"), changes("feedback set echo off --threshold 2 --train-after 5"),
        changes("feedback echo on"),
        Row("feedback set echo on", 4, "", NOT_ALLOWED),
        Row("feedback echo on", 4, "", NOT_ALLOWED),
        changes("feedback set echo maybe", 2, "", has("'maybe'")),
        Row(f"feedback add {RUN} 5 --expected x --note y"),
        Row(f"feedback {RUN} 1 --expected @input.txt --note y"),
        Row(f"feedback add {RUN} 6", 2, "", has("'6'")),
        Row(f"feedback add {NO_RUN} 5", 3, "", has(NO_RUN)),
        Row("feedback export echo", 0, json_of(input="kept", output="kept", rating=4, expected="x"),
            before=(f"feedback add {RUN} 4 --expected x",)),
        Row("feedback export nosuch", 3, "", NO_MODEL),
    ],
    "log, log show UID, log prune": [
        Row("log --jsonl", 0, json_of(request_uid=RUN, model="echo", status="ok", door="batch")),
        Row("log --model echo --status ok --since 2020-01-01T00:00:00Z --limit 1", 0, re.compile(RUN + r"\techo\t.*\n")),
        Row("log --model iris"), Row("log --status failed"), Row("log --since 2099-01-01T00:00:00Z"),
        Row("log --trace 0af7651916cd43dd8448eb211c80319c"),
        Row("log --trace xyz", 2, "", "--trace: 'xyz' is no trace id"),
        Row("log --limit 0", 2, "", "--limit: '0' is too small"),
        Row("log --since noon", 2, "", "--since: not a time: 'noon'"),
        Row("log --status good", 2, "", has("--status: 'good' is none of queued")),
        Row(f"log show {RUN} --json", 0, json_of(request_uid=RUN, model="echo", status="ok")),
        Row(f"log show {NO_RUN}", 3, "", has(NO_RUN)),
        changes("log prune --before 2020-01-01T00:00:00Z"),
        changes("log", before=("log prune --before 2099-01-01T00:00:00Z",)),
        Row("log prune --before 2020-01-01T00:00:00Z", 4, "", NOT_ALLOWED),
        changes("log prune", 2, "", "'log prune' needs --before"),
    ],
    "log --follow, log export": [
        Row("stats --prometheus", 0, has("# TYPE mer_runs_total counter", 'mer_runs_total{model="echo",status="ok"} 1')),
        Row("stats --prometheus -o mer.prom"), Row("stats --prometheus --output mer.prom"),
        Row("stats -o mer.prom", 2, "", "--output goes with --prometheus"),
        Row("stats --prometheus -o no/folder/mer.prom", 2, "", has("no/folder/mer.prom")),
        Row("log --follow --json", 2, json_of(code=2), re.compile("--json is one array, .*\nhint: --jsonl .*")),
        Row("log --follow --sort model", 2, "", has("--sort needs an end")),
        Row("log export", 0, json_of(request_uid=RUN, model="echo", status="ok")),
        Row("log export --format csv --model echo --since 2020-01-01 --until 2099-01-01", 0,
            re.compile(f"request_uid,model,.*\r\n{RUN},echo,.*\r\n")),
        Row("log export --model iris"),
        Row("log export --format xml", 2, "", has("'xml' is none of jsonl, csv")),
    ],
    "apply FILE... [--dry-run], export": [
        changes("apply shop.yaml", 0, "+ model shop\n+ deployment shop/local\n"),
        changes("apply shop.yaml", 0, "nothing changed\n", before=("apply shop.yaml",)),
        changes("run shop x", 0, "x", before=("apply shop.yaml",)),
        Row("apply --dry-run shop.yaml", 0, "+ model shop\n+ deployment shop/local\n"),
        Row("apply --dry-run shop.yaml --json", 0, lists(change="add", kind="model", name="shop", key=None)),
        Row("apply shop.yaml", 4, "", NOT_ALLOWED),
        changes("apply bad.yaml", 2, "", has("bad.yaml:2:")),
        changes("apply nothing.yaml", 2, "", has("nothing.yaml")),
        changes("apply", 2, "", "'apply' needs FILE"),
        changes("apply -", 2, "", "FILE -: stdin is where the commands come from", ways=("stdin",)),
        Row("apply --dry-run shop.yaml --columns name", 2, "", has("no such option of 'apply': '--columns'")),
        Row("export --jsonl", 0, json_of(version=1)), Row("export", 0, has('"version"', '"echo"')),
    ],
    "stats [MODEL] [--since T]": [
        Row("stats --json", 0, lists(model="echo", runs=1, ok=1, failed=0)),
        Row("stats echo --jsonl", 0, json_of(model="echo", runs=1)),
        Row("stats echo --since 2099-01-01T00:00:00Z"),
        Row("stats nosuch", 3, "", NO_MODEL), Row("stats --since noon", 2, "", "--since: not a time: 'noon'"),
    ],
    "doctor; exit 9": [
        Row("doctor", 0, has("ok\tschema\t"), options=("--database", "sqlite:fresh.db")),
        Row("doctor --jsonl", 9, has('"severity":"fault"', "/no/such/program"), re.compile(".*")),
        Row("doctor", 9, has("empty.db"), re.compile(".*"), options=("--database", "sqlite:empty.db")),
    ],
    "--once-key K; exit 75": [
        changes("run again x", 0, "75\n", options=("--once-key", KEY), before=(
            f"model add again -- sh -c 'mer --once-key {KEY} version 2>/dev/null; echo $?'",)),
        changes("run again x", 0, "mer 0.1.0\n0\n", options=("--once-key", KEY), before=(
            f"model add again -- sh -c 'mer --once-key other-{KEY} version; echo $?'",)),
    ],
    "--timeout of the program, --summary": [
        Row("run late x", 7, "", has("30ms"), options=("--timeout", "30ms")),
        Row("run late x --timeout 40ms", 7, "", has("40ms"), options=("--timeout", "1h")),
        Row("run late x", 7, "", has("30ms"), env={"MER_TIMEOUT": "30ms"}),
        Row("run echo x", 0, "x", re.compile(r"1 command, 0 failed; 1 run, 0 failed; [0-9.]+ s; exit 0"),
            options=("--summary",)),
        Row("run echo x", 0, "x", re.compile(r"1 command, 0 failed; .*"), options=("--summary", "--quiet")),
    ],
    "run --lines --resume FILE": [
        Row("run --lines --resume j echo @lines.txt", 0, "one\n\nthree\r\n"),
        Row("run --lines --resume j echo @lines.txt", before=("run --lines --resume j echo @lines.txt",)),
        Row("run --resume j echo x", 2, "", has("--resume")),
    ],
    "replay UID": [
        Row(f"replay {RUN}", 0, "kept"),
        Row(f"replay {RUN} --server local --diff"),
        changes(f"replay {RUN} --diff", 1, has("other"), has("has changed"), before=(
            "deployment add echo --name other --priority -1 -- echo other",)),
        Row(f"replay {RUN} --weights 1", 3, "", has("weights '1'")),
        Row(f"replay {RUN} --diff --tolerance 0.1"),
        Row(f"replay {NO_RUN}", 3, "", has(NO_RUN)),
    ],
    "db copy --from URL --to URL": [
        Row("db copy --from sqlite:{state}/mer/mer.db --to sqlite:fresh.db", 0, has("models\t")),
        Row("db copy --from sqlite:nothing.db --to sqlite:fresh.db", 5, "", has("nothing.db")),
        Row("db copy --from sqlite:fresh.db", 2, "", "'db copy' needs --to"),
    ],
    "db backup FILE": [
        Row("db backup new.db", 0, re.compile(r"file\tnew.db\nbytes\t[0-9]+\nschema\t[0-9]+\nsha256\t[0-9a-f]{64}\n")),
        Row("db backup new.db", 4, "", "there is a file 'new.db' already", before=("db backup new.db",)),
        Row("db backup --force new.db", 0, has("new.db"), before=("db backup new.db",)),
        Row("db backup no/such/folder/new.db", 2, "", has("no/such/folder/new.db")),
        Row("db backup", 2, "", has("FILE")),
        Row("db backup new.db", 5, "", has("nothing.db"), options=("--database", "sqlite:nothing.db")),
        Row("db backup new.db", 2, "", has("postgres"), options=("--database", "postgres://127.0.0.1:1/x")),
    ],
    "db restore FILE": [
        changes("db restore new.db", 0, has("kept\t"), before=("db backup new.db",), ways=("arguments",)),
        Row("db restore new.db", 4, "", NOT_ALLOWED),
        changes("db restore nothing.db", 2, "", has("nothing.db")),
        changes("db restore lines.txt", 2, "", has("no SQLite database")),
    ],
    "db check": [
        Row("db check", 0, has("ok\tdatabase\t", "ok\tintegrity\t")),
        Row("db check", 9, has("no database at"), re.compile("db check found [0-9]+ faults? and 0 warnings"),
            options=("--database", "sqlite:nothing.db")),
    ],
    "worker-check -- ARGV...": [
        Row("worker-check --start-timeout 5s --timeout 5s -- /no/such/program", 6, "", has("/no/such/program")),
        Row("worker-check --list", 0, re.compile(r".+\t.+\n", re.S)),
    ],
    "help [COMMAND], version, exit, quit": [
        Row("help", 0, has("commands:", "run")), Row("help run", 0, has("usage: run MODEL")),
        Row("help model", 0, has("model list")), Row("help frobnicate", 2, "", "no such command: 'frobnicate'"),
        Row("version", 0, "mer 0.1.0\n"), Row("version --json", 0, '{"version":"0.1.0"}\n'),
        Row("exit"), Row("quit"),
    ],
    "The older names": [
        *(Row(f"{name} --jsonl", 0, has('"name":"echo"'))
          for name in ("model-list", "list-models", "model-ls", "ls-models", "ls")),
        Row("model-info echo --json", 0, json_of(name="echo")),
        *(Row(f"{name} echo", 0, READY) for name in ("model-ping", "ping-model", "ping")),
        *(Row(f"{name} echo x", 0, "x") for name in ("model-execute", "execute-model", "execute")),
        *(changes(f"{name} echo on") for name in ("model-continuous-feedback", "continuous-feedback", "feedback")),
        *(changes(f"{name} a -- cat") for name in ("model-create", "create")),
        *(changes(f"{name} echo timeout=1s") for name in ("model-modify", "modify")),
        *(changes(f"{name} echo") for name in ("model-delete", "delete")),
        *(Row(f"{name} x", 4, "", NOT_ALLOWED) for name in ("model-create", "model-modify", "model-delete")),
    ],
    "An unambiguous prefix of a command is an error that names it": [
        Row("vers", 2, "", re.compile(r"no such command: 'vers'\nhint: did you mean 'version'\?")),
        Row("model li", 2, "", re.compile(r"no such command: 'model li'\nhint: did you mean 'model list'\?")),
        Row("model-lis", 2, "", re.compile(r"no such command: 'model-lis'\nhint: did you mean 'model-list'\?")),
        Row("model", 2, "", re.compile(r"'model' is not a whole command\nhint: it goes on with one of: list, .*")),
        Row("runn x", 2, "", re.compile(r"no such command: 'runn'\nhint: did you mean 'run'\?")),
        Row("run --tiemout 1s echo x", 2, "",
            re.compile(r"no such option of 'run': '--tiemout'\nhint: did you mean '--timeout'\?")),
        Row("log --status fialed", 2, "", re.compile(r"--status: 'fialed' is none .*\nhint: did you mean 'failed'\?")),
        Row("model show ehco", 3, "", re.compile(r"there is no model 'ehco'\nhint: did you mean 'echo'\?")),
    ],

    # --- exit codes ----------------------------------------------------------------------------
    "exit 1: the model ran and failed": [
        Row("run fail x", 1, "out\n", re.compile(r"model 'fail' failed: .*3.*: last words")),
        Row("run killed x", 1, "", has("SIGSEGV")), Row("run lines bad x", 1, "", has("bad x")),
        Row("run big x", 1, re.compile(r"1\n.*", re.S), has("10 bytes")),
    ],
    "exit 2: usage or bad input": [
        Row("run lines 'two\nlines'", 2, "", re.compile(".+")), Row("version now", 2, "", has("'now'")),
    ],
    "exit 3: no such model, server, weights, run": [
        Row("run nosuch x", 3, "", NO_MODEL), Row("server show nosuch", 3, "", has("'nosuch'")),
        Row("run echo x --weights nosuch", 3, "", has("'nosuch'")), Row("log show nosuch", 3, "", has("'nosuch'")),
    ],
    "exit 5: the database": [
        Row("model list", 5, "", re.compile(r".+\nhint: .*mer-migrate up.*"), env={"XDG_STATE_HOME": "/nonexistent"}),
        Row("model list", 5, "", has("mer-migrate"), options=("--database", "sqlite:empty.db")),
        Row("model list", 5, "", has("text.db"), options=("--database", "sqlite:text.db")),
    ],
    "exit 6: the model would not start": [
        Row("run missing x", 6, "", has("'/no/such/program': No such file or directory")),
        Row("run dies x", 6, "", has("broken")),
    ],
    "exit 7: deadline passed": [Row("run late x", 7, "", has("200ms")), Row("run mute x", 7, "", has("mute"))],
    "--json, where no run came to be recorded": [
        Row("model show nosuch", 3, re.compile(r'\{"error":"there is no model .*","code":3,"hint":.*\}\n'), NO_MODEL,
            options=("--json",)),
        Row("model remove x", 4, json_of(error="not allowed; start with --allow-changes", code=4), NOT_ALLOWED,
            options=("--json",)),
    ],
}

# What rows here do not show: said where it is tested instead. Commands of the prompt alone are in neither.
ELSEWHERE = {"server trust": "tests of ssh"}
# Options beside the contract's, with tests of their own.
OPTIONS_ELSEWHERE = {"--test-input", "--test-output", "--test-tolerance", "--test-on-start", "--limit", "--summary",
                     "--help", "--json", "--jsonl", "--csv", "--plain"}


def shell(folder, line, env=None, **options):
    state = str(folder / "state")
    own = {"HOME": str(folder), "TMPDIR": str(folder), "XDG_STATE_HOME": state, "XDG_DATA_HOME": str(folder / "data")}
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(line, env=BASE_ENV | own | (env or {}), cwd=folder, capture_output=True,
                          timeout=DEADLINE_S, **options)


def setUpModule():
    global TEMPLATE
    TEMPLATE = tempfile.TemporaryDirectory(prefix="mer-batch-")
    folder = Path(TEMPLATE.name)
    for name, text in {"input.txt": "from a file\n", "lines.txt": "one\n\nthree\r", "bad.txt": "one\nbad\nthree\n",
                       "a.bin": "A\n", "changes.env": "MER_ALLOW_CHANGES=1\n",
                       "shop.yaml": "version: 1\nmodels: {shop: {deployments: {local: {argv: [cat]}}}}\n",
                       "bad.yaml": "version: 1\nmodel: {}\n", "text.db": "no database\n" * 99,
                       "empty.db": ""}.items():
        (folder / name).write_text(text)
    script = "".join(shlex.join(["model", "add", name, *options]) + "\n" for name, options in MODELS.items())
    for args, data in (([MIGRATE, "--quiet", "up"], ""), ([MIGRATE, "--quiet", "up", "--database", "sqlite:fresh.db"], ""),
                       ([MER, "--allow-changes"], script), ([MER, "run", "echo"], "kept")):
        done = shell(folder, args, stdin=None, input=data.encode())
        if (done.returncode, done.stderr) != (0, b""):
            raise RuntimeError(f"cannot make the template: {done}")
    database = sqlite3.connect(folder / "state" / "mer" / "mer.db")
    for table in ("model_access", "model_access_io"):
        database.execute(f"UPDATE {table} SET request_uid = ?", [RUN])
    database.commit()
    database.close()


def tearDownModule():
    TEMPLATE.cleanup()


class Case(unittest.TestCase):
    maxDiff = None

    def place(self):
        """A folder of its own, with all that the template has."""
        folder = tempfile.TemporaryDirectory(prefix="mer-batch-")
        self.addCleanup(folder.cleanup)
        place = Path(folder.name) / "place"
        shutil.copytree(TEMPLATE.name, place)
        return place


class Rows(Case):
    def same(self, got, want, context):
        if hasattr(want, "fullmatch"):
            self.assertIsNotNone(want.fullmatch(got), (context, got))
        else:
            self.assertEqual(got, want, context)

    def message(self, got, want, where, context):
        if want == "":
            self.assertEqual(got, "", context)
            return
        self.assertTrue(got.startswith(f"mer: {where}"), (context, got))
        self.assertTrue(got.endswith("\n"), (context, got))
        text = got[len(f"mer: {where}"):-1]
        if hasattr(want, "fullmatch"):
            self.assertIsNotNone(want.fullmatch(text), (context, got))
        else:
            self.assertEqual(text.split("\nhint: ")[0], want, context)

    def done(self, row, way):
        place = self.place()
        fill = lambda text: text.replace("{state}", str(place / "state"))
        for line in row.before:
            first = shell(place, [MER, "--allow-changes", *shlex.split(fill(line))], env=row.env)
            self.assertEqual((first.returncode, first.stderr), (0, b""), (line, first))
        if "SPOIL" in row.env:
            (place / row.env["SPOIL"]).write_text("B\n")
        words, line = [MER, *map(fill, row.options)], fill(row.line)
        env = {name: fill(value) for name, value in row.env.items()}
        if way == "arguments":
            return shell(place, [*words, *shlex.split(line)], env=env), ""
        # A message names the line on which the command that failed begins.
        if way == "-c":
            return shell(place, [*words, "-c", line], env=env), "-c:"
        if way == "-f":
            (place / "batch.mer").write_text(f"# a comment\n\n{line}\n")
            return shell(place, [*words, "-f", "batch.mer"], env=env), "batch.mer:"
        return shell(place, words, env=env, stdin=None, input=line.encode()), "stdin:"

    def check(self, name, row):
        for way in row.ways:
            with self.subTest(row=name, line=row.line, options=row.options, way=way):
                done, where = self.done(row, way)
                out, err = done.stdout.decode(), done.stderr.decode()
                if where != "" and err != "":
                    where = re.match(r"mer: (" + re.escape(where) + r"[0-9]+: )?", err)[1] or ""
                    first = 2 if way == "-f" else 0
                    self.assertTrue(where == "" or int(where.split(":")[1]) > first, err)
                self.assertEqual(done.returncode, row.code, (out, err))
                self.same(out, row.out, err)
                self.message(err, row.err, where, out)

    def test_table(self):
        for name, rows in TABLE.items():
            for row in rows:
                self.check(name, row)

    def test_table_has_all(self):
        """Each command, each of its names and each of its options is in a row."""
        contract = json.loads(shell(Path(TEMPLATE.name), [MER, "--print", "contract"]).stdout)
        lines = [shlex.split(part, comments=True) for rows in TABLE.values() for row in rows
                 for text in (row.line, *row.before) for part in [text] if part.count("'") % 2 == 0]
        for command in contract["commands"]:
            if command["name"] in ELSEWHERE or command["prompt"]:
                continue
            own = [line for line in lines for name in (command["name"], *command["names"])
                   if line[:len(name.split())] == name.split()]
            for name in (command["name"], *command["names"]):
                with self.subTest(name=name):
                    self.assertTrue(any(line[:len(name.split())] == name.split() for line in lines))
            words = {word for line in own for word in line}
            for arg in command["args"]:
                option = f"--{arg['name']}"
                # What deployments take they take as models do.
                if arg["option"] and option not in OPTIONS_ELSEWHERE and command["name"] != "deployment add":
                    with self.subTest(command=command["name"], option=option):
                        self.assertIn(option, words)


# --- stdin -----------------------------------------------------------------------------------------

# Where stdin is a model's input: the only lines that may read it.
READ_STDIN = ["run echo", "run echo -", "run --lines echo", "run --lines echo -"]
INPUT = "one\ntwo\nthree\n"


class Stdin(Case):
    def leaves(self, place, line, options=()):
        """Whether a command leaves a seekable stdin where it was."""
        with (place / "list").open("rb") as file:
            shell(place, [MER, "--allow-changes", *options, *shlex.split(line)], stdin=file)
            return os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0

    def test_no_command_swallows_it(self):
        for name, rows in TABLE.items():
            for row in rows:
                if "arguments" not in row.ways or row.line in READ_STDIN:
                    continue
                with self.subTest(row=name, line=row.line):
                    place = self.place()
                    (place / "list").write_text(INPUT)
                    self.assertTrue(self.leaves(place, row.line.replace("{state}", str(place / "state"))))

    def test_batch_swallows_none(self):
        place = self.place()
        (place / "list").write_text(INPUT)
        (place / "batch.mer").write_text("run echo x\nmodel list\n")
        for options in (["-c", "run echo x"], ["-f", "batch.mer"]):
            self.assertTrue(self.leaves(place, "", options))

    def test_it_is_read_where_it_is_the_input(self):
        place = self.place()
        (place / "list").write_text(INPUT)
        for line in READ_STDIN:
            for args in ([*shlex.split(line)], ["-c", line]):
                with self.subTest(args=args), (place / "list").open("rb") as file:
                    done = shell(place, [MER, *args], stdin=file)
                    self.assertEqual((done.returncode, done.stdout.decode(), done.stderr), (0, INPUT, b""))

    def test_while_read(self):
        """The loop of every script: each of its commands gets each line, and eats none."""
        for line, want in (('mer run echo "$x"', "onetwothree"), ('mer run lines "$x"', "<one>\n<two>\n<three>\n"),
                           ('mer -c "run echo $x"', "onetwothree"), ("mer version", "mer 0.1.0\n" * 3),
                           ("mer server ping local >/dev/null; echo $x", INPUT),
                           ("mer model ping iris >/dev/null; echo $x", INPUT),
                           ("mer --allow-changes train trained --dataset a.bin >/dev/null; echo $x", INPUT),
                           (f"mer replay {RUN} >/dev/null; echo $x", INPUT),
                           ("mer-migrate status >/dev/null; echo $x", INPUT)):
            for source in ("< list", None):
                with self.subTest(line=line, source=source):
                    place = self.place()
                    (place / "list").write_text(INPUT)
                    loop = f"while read x; do {line}; done"
                    loop = f"{loop} {source}" if source else f"cat list | {loop}"
                    done = shell(place, ["sh", "-c", loop])
                    self.assertEqual((done.returncode, done.stdout.decode(), done.stderr), (0, want, b""))


# --- readers that leave ----------------------------------------------------------------------------

class ReaderLeaves(Case):
    # Under SIGPIPE's default, as shells have it; the exit code of the first of the pipe.
    HEAD = 'set -o pipefail; "$@" | head -1; exit ${PIPESTATUS[0]}'

    def head(self, place, *args):
        return shell(place, ["bash", "-c", self.HEAD, "bash", MER, *args])

    def test_run_is_recorded(self):
        place = self.place()
        for options, line in (((), "run lot x"), ((), "run --lines echo @many.txt"), (("-c",), "run lot x")):
            with self.subTest(line=line, options=options):
                (place / "many.txt").write_text("some line\n" * 50_000)
                shell(place, [MER, "--allow-changes", "model", "add", "lot", "--", "seq", "3000000"])
                done = self.head(place, *options, *([line] if options else shlex.split(line)))
                self.assertEqual((done.returncode, done.stderr), (141, b""))
                self.assertEqual(done.stdout.count(b"\n"), 1)
                rows = json.loads(shell(place, [MER, "--json", "log", "--limit", "1000000"]).stdout)
                self.assertEqual(sum(row["status"] in ("queued", "running", "lost") for row in rows), 0)
                self.assertNotEqual(rows[0]["request_uid"], RUN)

    def test_lists(self):
        place = self.place()
        database = sqlite3.connect(place / "state" / "mer" / "mer.db")
        names = [row[1] for row in database.execute("PRAGMA table_info(model_access)")]
        rest = ", ".join(names[1:])
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
            f"INSERT INTO model_access (request_uid, {rest}) "
            f"SELECT printf('01a1fef6-849a-7865-90cb-%012x', n.i), {rest} FROM model_access, n")
        database.commit()
        database.close()
        for args in (["log", "--limit", "100000"], ["--json", "log", "--limit", "100000"],
                     ["--csv", "log", "--limit", "100000"]):
            with self.subTest(args=args):
                done = self.head(place, *args)
                self.assertEqual((done.returncode, done.stderr), (141, b""))


if __name__ == "__main__":
    from tap import TAPTestRunner
    runner = TAPTestRunner()
    runner.set_stream(True)
    result = runner.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__]))
    sys.exit(not result.wasSuccessful())
