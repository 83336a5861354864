#!/usr/bin/python3
"""Models behind chat completions, and behind services with a JSON of their own, as users see them.
MER_PREFIX names the installation. Prints TAP when run as a program."""
import json
import os
import signal
import unittest

import pexpect

import record_case
from http_server import Authority, Chat, Gate, Server, busy, raw, redirect, reply, reply_json, silent, silent_body
from on_terminal import on_terminal

CHAT = "/v1/chat/completions"
SSE = {"Content-Type": "text/event-stream"}
CUT = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
HAS_HTTP = (record_case.PREFIX / "lib" / "mer" / "http.so").exists()


@unittest.skipIf(not HAS_HTTP, "this build has no HTTP module")
class Case(record_case.Record, unittest.TestCase):
    api = "openai"

    def setUp(self):
        self.set_up(None)
        self.env = {name: value for name, value in self.env.items() if "proxy" not in name.lower()}
        self.env["MER_ALLOW_CHANGES"] = "1"
        self.server = Server()
        self.addCleanup(self.server.stop)

    def add(self, name="m", *params, server=None, options=(), url=None):
        """A server of that name and a model on it, which is called big there."""
        words = [word for param in params for word in ("--param", param)]
        url = url or (server or self.server).url + "/v1"
        self.call(0, "server", "add", name + "-server", "--kind", "http", "--url", url, "--param", "api=" + self.api, *words)
        self.call(0, "model", "add", name, "--server", name + "-server", "--remote-model", "big", *options)

    def fails(self, code, message, *words, **options):
        out, err = self.call(code, *words, **options)
        self.assertIn(message, err)
        return out

    def own(self):
        """The model's own parameters."""
        return json.loads(self.out("model", "show", "--json", "m"))["deployments"][0]["param"]

    def asked(self, n=-1):
        return json.loads(self.server.requests[n]["body"])


class OpenAI(Case):
    # --- what a run is

    def test_answers(self):
        self.server.on(CHAT, Chat(["Hel", "lo\n", "\u00e4"]))
        self.add()
        self.assertEqual("Hello\n\u00e4".encode(), self.out("run", "m", "say hello"))
        self.assertEqual({"model": "big", "stream_options": {"include_usage": True}, "stream": True,
                          "messages": [{"role": "user", "content": "say hello"}]}, self.asked())
        row = self.shown()
        self.assertEqual(("ok", None, 9, 8), (row["status"], row["exit_code"], row["bytes_in"], row["bytes_out"]))
        self.assertIn("usage: prompt_tokens=1 completion_tokens=3", row["stderr_tail"])

    def test_streams(self):
        """The first piece is there before the second is sent."""
        gate = Gate()
        self.server.on(CHAT, Chat(["first ", "second"], gate=gate))
        self.add()
        child = self.start("run", "m", "x")
        gate.step()
        self.assertEqual(b"first ", os.read(child.stdout.fileno(), 100))
        gate.step()
        self.assertEqual((b"second", b""), child.communicate(timeout=record_case.DEADLINE_S))
        self.assertEqual(0, child.returncode)

    def test_streams_however_they_are_cut(self):
        self.add()
        for eol in (b"\n", b"\r\n", b"\r"):
            for split in (0, 1, 7):
                with self.subTest(eol=eol, split=split):
                    self.server.on(CHAT, Chat(["a", "b\u00e4\U0001f600"], eol=eol, split=split, noise=True, bom=True))
                    self.assertEqual("ab\u00e4\U0001f600".encode(), self.out("run", "m", "x"))
        self.assertEqual(9, self.server.connections)

    def test_not_a_stream(self):
        """Asked for, or given although a stream was asked for."""
        self.server.on(CHAT, Chat(["a", "b"]))
        self.add("m", "stream=false")
        self.assertEqual(b"ab", self.out("run", "m", "x"))
        self.assertEqual({"model": "big", "stream": False, "messages": [{"role": "user", "content": "x"}]}, self.asked())
        self.server.on(CHAT, reply_json({"choices": [{"message": {"content": "whole"}}]}))
        self.add("n")
        self.assertEqual(b"whole", self.out("run", "n", "x"))

    def test_json(self):
        self.server.on(CHAT, Chat(["Hel", "lo"], finish="length"))
        self.add()
        run = json.loads(self.out("run", "--json", "m", "x"))
        self.assertEqual(("Hello", "m", "m-server", 1), tuple(run[key] for key in ("output", "model", "server", "attempts")))
        self.assertIn("finish_reason: length", run["stderr_tail"])

    def test_lines(self):
        self.server.on(CHAT, Chat())
        self.add(options=("--max-workers", "2"))
        lines = [f"line {i}" for i in range(40)]
        out = self.out("run", "--lines", "--jobs", "2", "m", "@" + str(self.file("lines", "\n".join(lines) + "\n")))
        self.assertEqual(lines, out.decode().splitlines())
        self.assertLessEqual(self.server.connections, 2)

    # --- what is asked

    def test_parameters(self):
        self.server.on(CHAT, Chat())
        self.add("m", "system=Be brief.", 'options={"temperature":0.5,"max_tokens":7,"stream_options":null}')
        self.out("run", "m", "x")
        self.assertEqual({"model": "big", "temperature": 0.5, "max_tokens": 7, "stream": True, "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "x"}]}, self.asked())

    def test_bad_parameters(self):
        for param, message in (("options=[]", "it is no JSON object"), ('options={"model":"x"}', "mer sets 'model' itself"),
                               ("options={", "not JSON"), ("stream=maybe", "none of true, false"),
                               ("body={}", "a server of api 'openai' has none")):
            with self.subTest(param=param):
                self.fails(2, message, "server", "add", "s", "--kind", "http", "--url", self.server.url, "--param",
                           "api=openai", "--param", param)

    def test_parameters_of_a_model(self):
        """They stand in the place of the server's, and are changed like other keys."""
        self.server.on(CHAT, Chat())
        self.add("m", "system=server's", 'options={"seed":1}', options=("--param", "system=mine\nalone"))
        self.out("run", "m", "x")
        self.assertEqual(("mine\nalone", 1), (self.asked()["messages"][0]["content"], self.asked()["seed"]))
        self.assertEqual({"system": "mine\nalone"}, self.own())
        self.call(0, "model", "set", "m", "param=system", 'param=options={"seed":2}')
        self.out("run", "m", "x")
        self.assertEqual(("server's", 2), (self.asked()["messages"][0]["content"], self.asked()["seed"]))
        self.call(0, "model", "set", "m", "param=options")
        self.assertEqual({}, self.own())
        document = self.file("all.yaml", self.out("export"))
        self.call(0, "apply", document)
        for param, message in (("api_key=env:X", "its server has"), ("nothing=x", "a model has no parameter"),
                               ("body={}", "a server of api 'openai' has none"), ("options=[]", "it is no JSON object")):
            self.fails(2, message, "model", "set", "m", "param=" + param)
        self.fails(2, "--param is for servers of kind 'http'", "model", "add", "n", "--param", "system=x", "--", "cat")

    def test_messages(self):
        """JSON that is messages, or a request, goes as it is; any other JSON is text."""
        self.server.on(CHAT, Chat(lambda asked: [str(len(asked["messages"]))]))
        self.add("m", "system=s")
        messages = [{"role": "system", "content": "t"}, {"role": "user", "content": [{"type": "text", "text": "x"}]}]
        self.assertEqual(b"2", self.out("run", "m", json.dumps(messages)))
        self.assertEqual(messages, self.asked()["messages"])
        self.out("run", "m", json.dumps({"messages": messages, "seed": 1, "model": "other", "stream": False}))
        self.assertEqual({"model": "big", "seed": 1, "stream": False, "messages": messages}, self.asked())
        self.out("run", "m", '{"a": 1}')
        self.assertEqual({"role": "user", "content": '{"a": 1}'}, self.asked()["messages"][-1])

    def test_input_that_json_cannot_hold(self):
        self.add()
        self.fails(2, "byte 2 of the input is not UTF-8", "run", "m", "@" + str(self.file("in", b"a\xff")))
        self.assertEqual([], self.server.requests)

    def test_key(self):
        """It goes to the server and nowhere else."""
        self.server.on(CHAT, Chat(["hi"], key="s3cret"))
        self.file("key", "s3cret\n")
        self.add("m", f"api_key=file:{self.folder}/key")
        self.assertEqual(b"hi", self.out("run", "m", "x"))
        out, said = self.call(0, "--log", "debug", "run", "m", "x")
        self.assertEqual(b"hi", out)
        self.assertNotIn("s3cret", said)
        for path in self.folder.glob("mer.db*"):
            self.assertNotIn(b"s3cret", path.read_bytes())
        self.fails(2, "api_key", "server", "add", "bad", "--kind", "http", "--url", self.server.url, "--param",
                   "api_key=s3cret")
        self.add("n")
        self.fails(6, "Incorrect API key provided", "run", "n", "x")

    def test_tls(self):
        authority = Authority(self.folder / "ca")
        with Server(tls=authority.context()) as server:
            server.on(CHAT, Chat(["safe"]))
            self.add("m", f"ca_file={authority.file}", server=server)
            self.assertEqual(b"safe", self.out("run", "m", "x"))
            self.add("n", server=server)
            self.fails(6, "certificate", "run", "n", "x")
            self.assertEqual(1, len(server.requests))

    # --- sessions

    def test_session(self):
        """What was said before is said again; another session knows nothing of it."""
        self.server.on(CHAT, Chat(lambda asked: ["+".join(message["content"] for message in asked["messages"]), ";"]))
        self.add(options=("--stateful", "--max-workers", "4"))
        self.assertEqual(b"zero;zero;", self.out("-c", "run m zero", "-c", "run m zero"))
        lines = ["run --session a m one", "run --session b m two", "run --session a m three"]
        out = self.out(*(word for line in lines for word in ("-c", line)))
        self.assertEqual(b"one;two;one+one;+three;", out)
        self.assertEqual([{"role": "user", "content": "one"}, {"role": "assistant", "content": "one;"},
                          {"role": "user", "content": "three"}], self.asked()["messages"])

    def test_session_forgets_what_failed(self):
        self.server.on(CHAT, Chat(["a"]), Chat(["x"], error={"message": "no"}), Chat(["b"]))
        self.add(options=("--stateful",))
        out, _ = self.call(1, "--keep-going", *(word for text in ("one", "lost", "two") for word in
                                                ("-c", f"run --session s m {text}")))
        self.assertEqual(b"axb", out)
        self.assertEqual(["one", "a", "two"], [message["content"] for message in self.asked()["messages"]])

    def test_not_stateful(self):
        self.server.on(CHAT, Chat(["a"]))
        self.add()
        self.assertEqual(b"aa", self.out("-c", "run m one", "-c", "run m two"))
        self.assertEqual(1, len(self.asked()["messages"]))
        self.fails(2, "has no sessions", "run", "--session", "s", "m", "x")

    # --- how runs end

    def test_errors(self):
        error = {"message": "no \x1b[31mGPU\nleft", "type": "server_error"}
        for answer, code, said in ((Chat(["some"], error=error), 1, "no ?[31mGPU?left"),
                                   (Chat(["some"], finish=None, done=False), 1, "the stream ended before the answer was whole"),
                                   (reply("<html>", headers={"Content-Type": "text/html"}), 1, "no chat completion"),
                                   (reply("data: {\n\n", headers=SSE), 1, "not JSON"),
                                   (reply("{", headers={"Content-Type": "application/json"}), 1, "not JSON"),
                                   (reply_json({"error": {"message": "context too long"}}, 400), 2, "context too long"),
                                   (reply_json({"error": {"message": "no model 'big'"}}, 404), 6, "no model 'big'"),
                                   (reply_json({"error": {"message": "CUDA"}}, 500), 1, "CUDA"),
                                   (busy(), 8, "no capacity"), (busy(status=429), 8, "no capacity"),
                                   (redirect("https://elsewhere/"), 6, "https://elsewhere/"),
                                   (raw(CUT), 1, "was lost"), (raw(CUT, then_reset=True), 1, "was lost")):
            with self.subTest(said=said, code=code):
                self.server.on(CHAT, answer)
                name = f"m{len(self.server.requests)}"
                self.add(name)
                self.fails(code, said, "run", name, "x")

    def test_retry(self):
        """A server that had no room is asked again, and is told the same."""
        self.server.on(CHAT, busy("0", 429), Chat(["ok"]))
        self.add(options=("--retries", "1"))
        self.assertEqual(b"ok", self.out("run", "m", "x"))
        self.assertEqual(2, len(self.server.requests))
        self.assertEqual(self.asked(0), self.asked(1))

    def test_what_came_before_a_failure(self):
        self.server.on(CHAT, Chat(["some"], error={"message": "no"}))
        self.add()
        self.assertEqual(b"some", self.fails(1, "no", "run", "m", "x"))
        run = json.loads(self.call(1, "run", "--json", "m", "x")[0])
        self.assertEqual("some", run["output"])
        self.assertIn("no", run["error"])
        self.assertEqual("failed", self.shown()["status"])

    def test_cancel(self):
        """Ctrl-C closes the connection in the middle of the answer."""
        self.server.on(CHAT, silent_body(b'data: {"choices":[{"delta":{"content":"some"}}]}\n\n', SSE))
        self.add()
        child = self.start("run", "m", "x")
        self.assertEqual(b"some", os.read(child.stdout.fileno(), 100))
        child.send_signal(signal.SIGINT)
        self.server.wait_gone()
        child.communicate(timeout=record_case.DEADLINE_S)
        self.assertEqual(130, child.returncode)
        self.assertEqual("cancelled", self.shown()["status"])

    def test_deadline(self):
        for answer in (silent, silent_body(b"data: {}\n\n", SSE)):
            self.server.on(CHAT, answer)
            name = f"m{len(self.server.requests)}"
            self.add(name)
            self.call(7, "run", "--timeout", "300ms", name, "x")
            self.assertEqual("timeout", self.shown()["status"])
        self.server.wait_gone(2)

    def test_output_limit(self):
        self.server.on(CHAT, Chat(["x" * 600] * 3))
        self.add(options=("--max-output", "1KiB"))
        self.assertEqual(b"x" * 1024, self.fails(1, "1024 bytes", "run", "m", "x"))

    def test_hostile_stream(self):
        """It has an end, and says which bound it was."""
        self.server.on(CHAT, reply(b"data: " + b"x" * (8 << 20), headers=SSE))
        self.add()
        self.fails(1, "an event of the stream is over 4194304 bytes", "run", "m", "x")
        self.server.on(CHAT, reply(b"data: " + b"[" * 100000 + b"\n\n", headers=SSE))
        self.add("n")
        self.fails(1, "not JSON", "run", "n", "x")

    def test_terminal(self):
        """What a server sends does not drive it: not as an answer, not as an error."""
        evil = "\x1b[2J\x1b]0;owned\x07"
        self.server.on(CHAT, Chat(["a" + evil], error={"message": "b" + evil}))
        self.add()
        code, text = on_terminal([str(record_case.MER), "run", "m", "x"], self.env | {"TERM": "xterm"}, self.folder)
        self.assertEqual(1, code)
        self.assertIn("a^[[2J^[]0;owned^G", text)
        self.assertIn("b?[2J?]0;owned?", text)
        self.assertNotIn("\x1b]0;", text)
        self.assertNotIn("\x1b[2J", text)
        self.assertNotIn("\x07", text)

    # --- whether it is there

    def test_ping(self):
        self.server.on("/v1/models", reply_json({"data": [{"id": "small"}, {"id": "big"}]}))
        self.add()
        self.out("server", "ping", "m-server")
        self.out("model", "ping", "m")
        self.server.on("/v1/models", reply_json({"data": [{"id": "small"}]}))
        self.out("server", "ping", "m-server")
        self.fails(6, "it has no model 'big' on its list of 1", "model", "ping", "m")
        self.server.on("/v1/models", reply_json({"detail": "Not Found"}, 404))
        self.fails(6, "404", "server", "ping", "m-server")


class AtThePrompt(Case):
    def test_chat(self):
        """The conversation is sent along; Ctrl-C leaves out the answer that it cut, and the rest goes on."""
        gate = Gate()
        words = Chat(lambda asked: [f"{len(asked['messages'])} messages\n"])
        self.server.on(CHAT, words, Chat(["never "] * 2, gate=gate), words)
        self.add(options=("--stateful",))
        child = pexpect.spawn("/usr/bin/env", [str(record_case.MER)], env=self.env | {"TERM": "dumb"}, cwd=str(self.folder), encoding="utf-8",
                              timeout=record_case.DEADLINE_S)
        self.addCleanup(child.close, force=True)
        child.expect_exact("mer> ")
        child.sendline("chat m")
        child.expect_exact("m> ")
        child.sendline("one")
        child.expect_exact("1 messages")
        child.expect_exact("m> ")
        child.sendline("two")
        gate.step()
        child.expect_exact("never")
        child.sendintr()
        child.expect_exact("was cancelled")
        child.expect_exact("m> ")
        gate.open()  # into a connection that nobody reads
        self.server.wait_gone()
        child.sendline("three")
        child.expect_exact("3 messages")
        child.expect_exact("m> ")
        child.sendeof()
        child.expect_exact("mer> ")
        child.sendline("exit")
        child.expect(pexpect.EOF)
        self.assertEqual(["one", "1 messages\n", "three"], [message["content"] for message in self.asked()["messages"]])


class Templates(Case):
    api = "plain"

    def test_template(self):
        self.server.on("/generate", lambda exchange: reply_json([{"text": exchange.json()["inputs"].upper()}])(exchange))
        self.add("m", 'body={"inputs":{input},"model":{model},"n":1}', "result=/0/text", url=self.server.url + "/generate")
        self.assertEqual('SAY "HI"\n\\\u00c4'.encode(), self.out("run", "m", 'say "hi"\n\\\u00e4'))
        self.assertEqual({"inputs": 'say "hi"\n\\\u00e4', "model": "big", "n": 1}, self.asked())
        request = self.server.requests[-1]
        self.assertEqual(("POST", "application/json"), (request["method"], request["headers"]["content-type"]))

    def test_json_input(self):
        self.server.on("/p", lambda exchange: reply_json({"y": exchange.json()["x"]})(exchange))
        self.add("m", 'body={"x":{json}}', "result=/y", url=self.server.url + "/p")
        self.assertEqual(b'[1,2.5,{"a":null}]', self.out("run", "m", '[1, 2.5, {"a": null}]'))
        self.fails(2, "the input is not JSON", "run", "m", "[1")

    def test_method_and_type(self):
        self.server.on("/p", reply("ok"))
        self.add("m", "method=PUT", "content_type=text/csv", url=self.server.url + "/p")
        self.assertEqual(b"ok", self.out("run", "m", "a,b"))
        request = self.server.requests[-1]
        self.assertEqual(("PUT", "text/csv", "a,b"), (request["method"], request["headers"]["content-type"], request["body"]))

    def test_answers(self):
        self.add("m", "result=/a~1b/0", url=self.server.url + "/p")
        for value, out in (("text", b"text"), ("", b""), (1.5, b"1.5"), (None, b"null"), (True, b"true"),
                           ({"x": ["\u00e4"]}, '{"x":["\u00e4"]}'.encode())):
            self.server.on("/p", reply_json({"a/b": [value]}))
            self.assertEqual(out, self.out("run", "m", "x"))
        self.server.on("/p", reply_json({"a/b": []}))
        self.fails(1, "its answer has nothing at '/a~1b/0'", "run", "m", "x")
        self.server.on("/p", reply("<html>"))
        self.fails(1, "its answer is not JSON", "run", "m", "x")
        self.server.on("/p", reply("[" + "0," * 1000001 + "0]"))
        self.fails(1, "more than 1000000 values", "run", "m", "x")

    def test_bad_parameters(self):
        for param, message in (('body={"a":"{input}"}', "is not JSON"), ("result=a", "does not begin with a slash"),
                               ("result=/~2", "a ~ without 0 or 1"), ("method=get", "none of POST, PUT"),
                               ("system=x", "a server of api 'plain' has none")):
            with self.subTest(param=param):
                self.fails(2, message, "server", "add", "s", "--kind", "http", "--url", self.server.url, "--param",
                           "api=plain", "--param", param)


if __name__ == "__main__":
    record_case.main(__name__)
