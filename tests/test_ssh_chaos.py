#!/usr/bin/python3
"""Runs on four servers while mer, processes of the servers and models are killed with -9 at random: nothing of a run
is left there, and each has one end. CHAOS_SECONDS (4 unless told) says for how long, CHAOS_SEED what happens. MER_PREFIX
names the installation. Prints TAP when run as a program."""
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import processes
import ssh_case
import sshd

SECONDS = float(os.environ.get("CHAOS_SECONDS", "4"))
SEED = int(os.environ.get("CHAOS_SEED", str(random.randrange(1 << 30))))
# How long what a run has left may live: 5 s, where somebody looks at it; a busy machine has longer.
SURVIVE_S = 5 if "CHAOS_SECONDS" in os.environ else 30
ENDS = {"ok", "failed", "timeout", "cancelled", "lost", "rejected"}
# It ends by itself if it is told so, and leaves a child that has left its group and does not heed SIGTERM.
MODEL = "setsid sh -c 'trap \"\" TERM; while :; do sleep 3600; done' & read -r x; [ \"$x\" = short ] || sleep 3600; echo done"


class Chaos(ssh_case.Ssh):
    def setUp(self):
        super().setUp()
        place = self.place()
        self.servers = {"one": sshd.Server(place / "one", {"user": "/bin/sh"}),
                        "two": sshd.Server(place / "two", {"user": "/bin/bash"}),
                        "few": sshd.Server(place / "few", {"user": "/bin/sh"}, "MaxSessions 2")}
        if sshd.DROPBEAR:
            self.servers["bear"] = sshd.Server(place / "bear", {"user": "/bin/sh"}, dropbear=True)
        for name, server in self.servers.items():
            self.addCleanup(server.stop)
            self.add_server(name, server)
            self.add(name, "sh", "-c", MODEL, options=("--env", "MARK=" + self.mark(name)), server=name)
        self.runs, self.ended, self.longest, self.problems = 0, {}, 0.0, []
        self.kills = {"mer": 0, "session": 0, "model": 0, "nobody": 0}

    @staticmethod
    def mark(name):
        return f"chaos-{name}-{os.getpid()}-"

    def harm(self, dice, name, child):
        """Kills somebody at some time, and tells who it was."""
        who = dice.choice(list(self.kills))
        self.kills[who] += 1
        threading.Event().wait(dice.random() * 0.8)
        if who == "mer":
            child.kill()
        elif who == "session":
            processes.kill(self.servers[name].sessions())
        elif who == "model":
            processes.kill(dice.sample(pids := ssh_case.alive(self.mark(name)), min(1, len(pids))))
        return who

    def one(self, dice, name):
        child = self.start("run", "--json", name, dice.choice(["short", "long"]))
        self.runs += 1
        who = self.harm(dice, name, child)
        if who == "nobody" or child.poll() is None and dice.random() < 0.5:
            child.send_signal(signal.SIGINT)
        elif who != "mer":
            self.stop_if_it_lives(child)
        out, _ = child.communicate(timeout=120)
        begun = time.monotonic()
        if not ssh_case.wait_for(lambda: not ssh_case.alive(self.mark(name)), SURVIVE_S):
            self.problems.append(f"{name}: after {who} was killed {ssh_case.alive(self.mark(name))} live on")
        self.longest = max(self.longest, time.monotonic() - begun)
        if child.returncode >= 0 and out:
            said = json.loads(out)
            if "request_uid" in said:
                self.ended[said["request_uid"]] = said["status"]

    def stop_if_it_lives(self, child):
        """What was killed may not have been there yet, and nothing else ends a long run."""
        try:
            child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            child.kill()

    def rage(self, name):
        dice = random.Random(f"{SEED}-{name}")
        try:
            while time.monotonic() < self.until:
                self.one(dice, name)
        except Exception as error:
            self.problems.append(f"{name}: {error!r}")

    def test_chaos(self):
        self.until = time.monotonic() + SECONDS
        threads = [threading.Thread(target=self.rage, args=(name,)) for name in self.servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"# {self.transport}, seed {SEED}: {self.runs} runs, killed {self.kills}, the longest that was left lived {self.longest:.2f} s")
        self.assertEqual([], self.problems)
        for name in self.servers: # each has its life again, and what the dead have left open is closed
            self.assertEqual(b"done\n", self.call(0, "run", name, "short")[0])
        rows = {row["request_uid"]: row["status"] for row in self.log("--limit", "100000")}
        self.assertEqual(set(), {status for status in rows.values()} - ENDS)
        for uid, status in self.ended.items():
            self.assertEqual(status, rows[uid], "what mer said stays")
        self.assertLessEqual(len(rows), self.runs + len(self.servers))


ssh_case.each_transport(Chaos, globals())

if __name__ == "__main__":
    ssh_case.run_tap(sys.modules[__name__])
