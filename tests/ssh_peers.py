"""SSH servers in Python, of asyncssh and of paramiko, that run what they are told as a shell would, each in a thread of the
test. They take the place of sshd.Server. What paramiko's does wrong is told by a word of its own."""
import asyncio
import os
import socket
import subprocess
import threading
import warnings
from pathlib import Path

import sshd

with warnings.catch_warnings(): # of ciphers that nobody uses here
    warnings.simplefilter("ignore")
    try:
        import asyncssh
    except ImportError:
        asyncssh = None
    try:
        import paramiko
    except ImportError:
        paramiko = None


class Peer:
    """A server without a process: its keys, and what servers are told of it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(mode=0o700)
        for name in ("host", "id"):
            sshd.Server.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name)
        self.env = os.environ | {"HOME": str(self.folder)}

    def know(self, port):
        self.port = port
        self.host_key = " ".join((self.folder / "host.pub").read_text().split()[:2])
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {self.host_key}\n")

    params = sshd.Server.params


class Asyncssh(Peer):
    """rekey: bytes after which keys are changed."""

    def __init__(self, folder, rekey=1 << 30):
        super().__init__(folder)
        self.loop, up = asyncio.new_event_loop(), threading.Event()
        self.thread = threading.Thread(target=self.run_loop, args=(rekey, up), daemon=True)
        self.thread.start()
        assert up.wait(60)

    def run_loop(self, rekey, up):
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda *_: None)
        server = self.loop.run_until_complete(asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[str(self.folder / "host")], authorized_client_keys=str(self.folder / "id.pub"),
            process_factory=self.serve, encoding=None, rekey_bytes=rekey))
        self.know(server.sockets[0].getsockname()[1])
        up.set()
        self.loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    async def serve(self, process):
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec("/bin/sh", "-c", process.command, stdin=pipe, stdout=pipe, stderr=pipe,
                                                     env=self.env, cwd=self.folder)

        async def pump(source, sink, end):
            try:
                while data := await source.read(1 << 16):
                    sink.write(data)
                    await sink.drain()
            except (OSError, asyncssh.Error):
                pass
            end()

        def nothing():
            pass

        async def hang_up():
            await process.channel.wait_closed()
            for end in (1, 2):
                child._transport.get_pipe_transport(end).close()

        up = [asyncio.ensure_future(pump(process.stdin, child.stdin, child.stdin.close)), asyncio.ensure_future(hang_up())]
        await asyncio.gather(pump(child.stdout, process.stdout, nothing), pump(child.stderr, process.stderr, nothing))
        process.exit(await child.wait())
        for task in up:
            task.cancel()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)


UNANSWERED = ("exec is closed", "exec is closed with a word")

if paramiko:
    class Session(paramiko.ServerInterface):
        def __init__(self, peer):
            self.peer, self.taken, self.execs = peer, False, 0

        def get_allowed_auths(self, username):
            return "publickey"

        def check_auth_publickey(self, username, key):
            good = key.get_base64() == (self.peer.folder / "id.pub").read_text().split()[1]
            return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

        def check_channel_request(self, kind, number):
            if self.peer.wrong == "open is not answered":
                self.peer.stopped.wait()
            if self.peer.wrong == "one channel is all" and self.taken:
                return paramiko.OPEN_FAILED_RESOURCE_SHORTAGE
            self.taken = True
            return paramiko.OPEN_SUCCEEDED

        def check_channel_exec_request(self, channel, command):
            self.execs += 1
            if self.peer.wrong == "exec is refused":
                return False
            if self.peer.wrong == "exec is closed with a word":
                channel.sendall_stderr(b"no commands today\n")
            if self.peer.wrong in UNANSWERED or self.execs == 1 and self.peer.wrong == "the first exec is closed":
                channel.close()
                return False
            if self.peer.wrong == "exec is hung up on":
                channel.transport.close()
                return False
            if self.peer.wrong == "close is not answered":
                channel._handle_close = lambda message: None
            threading.Thread(target=self.peer.serve, args=(channel, command), daemon=True).start()
            return True


    class Transport(paramiko.Transport):
        """Keeps answers to requests of channels to itself, or back."""
        held = None

        def _send_user_message(self, message):
            wrong = self.server_object.peer.wrong if self.server_object else None
            is_answer = message.asbytes()[0] in (99, 100) # SSH_MSG_CHANNEL_SUCCESS, SSH_MSG_CHANNEL_FAILURE
            if is_answer and wrong in UNANSWERED or wrong == "the first exec is closed" and message.asbytes()[0] == 100:
                return
            if is_answer and wrong == "execs are answered the other way round" and self.held is None:
                self.held = message
                return
            super()._send_user_message(message)
            if is_answer and self.held:
                super()._send_user_message(self.held)
                self.held = b""


class Paramiko(Peer):
    """wrong: what it does wrong."""

    def __init__(self, folder, wrong=None):
        super().__init__(folder)
        self.wrong, self.stopped, self.transports = wrong, threading.Event(), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.know(self.listener.getsockname()[1])
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        key = paramiko.Ed25519Key.from_private_key_file(str(self.folder / "host"))
        while True:
            try:
                peer, _ = self.listener.accept()
                transport = Transport(peer)
                transport.add_server_key(key)
                self.transports.append(transport)
                transport.start_server(server=Session(self), event=threading.Event())
            except (OSError, paramiko.SSHException):
                if self.stopped.is_set():
                    return

    def serve(self, channel, command):
        child = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env=self.env, cwd=self.folder, bufsize=0)
        if self.wrong == "it sends what is of no stream":
            self.send_extended(channel, 7, b"whatever this is")

        def pump(read, write, close):
            try:
                while data := read(1 << 16):
                    write(data)
            except OSError:
                pass
            close()

        threading.Thread(target=pump, args=(channel.recv, child.stdin.write, child.stdin.close), daemon=True).start()
        streams = [threading.Thread(target=pump, args=(source.read, sink, source.close), daemon=True) for source, sink in
                   ((child.stdout, channel.sendall), (child.stderr, channel.sendall_stderr))]
        for stream in streams:
            stream.start()
        code = child.wait()
        for stream in streams:
            stream.join()
        try:
            if self.wrong != "it tells no exit status":
                channel.send_exit_status(code)
            channel.close()
        except (OSError, EOFError):
            pass

    @staticmethod
    def send_extended(channel, code, data):
        message = paramiko.Message()
        message.add_byte(bytes([95])) # SSH_MSG_CHANNEL_EXTENDED_DATA
        message.add_int(channel.remote_chanid)
        message.add_int(code)
        message.add_string(data)
        channel.transport._send_user_message(message)

    def stop(self):
        self.stopped.set()
        self.listener.close()
        for transport in self.transports:
            transport.close()
