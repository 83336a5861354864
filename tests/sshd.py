"""SSH servers of a test alone: OpenSSH's sshd or dropbear on a free port of 127.0.0.1, without a password, as
whoever runs the test, whose accounts and shells libnss_wrapper makes up."""
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import processes

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
DROPBEAR = shutil.which("dropbear", path="/usr/sbin:/usr/bin")
WRAPPER = next((str(path) for path in Path("/usr/lib").glob("*/libnss_wrapper.so")), None)


def missing():
    """Why there can be no server, or None."""
    for what, package in ((SSHD, "openssh-server"), (WRAPPER, "libnss-wrapper"), (shutil.which("ssh"), "openssh-client")):
        if not what:
            return f"{package} is not installed"
    return None


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


class Server:
    """Accounts: a name and a shell each; all are the caller, with a home of their own. password: a hash of one that
    dropbear takes from all of them, as sshd could only with PAM."""

    def __init__(self, folder, accounts, options="", dropbear=False, password=None):
        self.folder, self.port = Path(folder), free_port()
        self.folder.mkdir(mode=0o700)
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "host")
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "id")
        lines = ["sshd:x:999:65534::/run/sshd:/usr/sbin/nologin"]
        for name, shell in accounts.items():
            home = self.home(name)
            (home / ".ssh").mkdir(parents=True, mode=0o700)
            shutil.copy(self.folder / "id.pub", home / ".ssh" / "authorized_keys")
            lines.append(f"{name}:{password or 'x'}:{os.getuid()}:{os.getgid()}::{home}:{shell}")
        (self.folder / "passwd").write_text("\n".join(lines) + "\n")
        (self.folder / "group").write_text(f"users:x:{os.getgid()}:\n")
        self.env = os.environ | {"LD_PRELOAD": WRAPPER, "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
                                 "NSS_WRAPPER_GROUP": str(self.folder / "group")}
        self.log = open(self.folder / "log", "wb")
        self.start_dropbear(password) if dropbear else self.start_sshd(options)
        self.wait_until_up()

    def home(self, name):
        return self.folder / ("home-" + name)

    @staticmethod
    def run(*words, **options):
        return subprocess.run(list(map(str, words)), check=True, capture_output=True, timeout=60, **options).stdout

    def start_sshd(self, options):
        if os.getuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        config = self.folder / "config"
        startups = "" if "MaxStartups" in options else "MaxStartups 200\n" # of which the last counts
        config.write_text(f"{startups}{options}\nListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder}/host\nPidFile none\n"
                          "AuthorizedKeysFile .ssh/authorized_keys\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
                          "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
                          "UseDNS no\nPrintMotd no\nPrintLastLog no\nLogLevel VERBOSE\n")
        self.set_known(self.folder / "host.pub")
        self.child = subprocess.Popen([SSHD, "-D", "-e", "-f", config], env=self.env, stdin=subprocess.DEVNULL,
                                      stdout=self.log, stderr=self.log, start_new_session=True,
                                      preexec_fn=processes.die_with_parent)

    def start_dropbear(self, password):
        key = self.folder / "host-dropbear"
        text = self.run("dropbearkey", "-t", "ed25519", "-f", key).decode()
        public = self.folder / "host-dropbear.pub"
        public.write_text(next(line for line in text.splitlines() if line.startswith("ssh-ed25519")) + "\n")
        self.set_known(public)
        self.child = subprocess.Popen([DROPBEAR, "-F", "-E", "-r", key, "-p", f"127.0.0.1:{self.port}", "-P",
                                       self.folder / "pid", "-j", "-k", "-m", *([] if password else ["-s"])], env=self.env,
                                      stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                      start_new_session=True, preexec_fn=processes.die_with_parent)

    def set_known(self, public):
        self.host_key = " ".join(Path(public).read_text().split()[:2])
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {self.host_key}\n")

    def wait_until_up(self):
        deadline = time.monotonic() + 60
        while True: # the one thing to poll: a daemon tells nobody that it listens
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.child.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.02)

    def params(self):
        return ["--host", "127.0.0.1", "--port", str(self.port), "--param", f"IdentityFile={self.folder}/id", "--param",
                "IdentitiesOnly=yes", "--param", f"UserKnownHostsFile={self.folder}/known_hosts", "--param",
                "ConnectTimeout=30"]

    def sessions(self):
        """The processes that serve connections."""
        found = []
        for pid, stat in processes.told("stat"):
            fields = stat.rpartition(b")")[2].split()
            if self.child.pid in (int(fields[1]), int(fields[3])) and pid != self.child.pid:
                found.append(pid)
        return found

    def stop(self):
        processes.kill(self.sessions())
        self.child.kill()
        self.child.wait()
        self.log.close()
