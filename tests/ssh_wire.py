"""The network between mer and a server of a test: a port that forwards to another one, and can be slow, far away, cut
or broken."""
import socket
import threading
import time


class Wire:
    """delay: seconds each way. room: bytes that are under way at most, so that who sends soon finds its socket full.
    gather: what comes during a delay comes at once."""

    def __init__(self, port, delay=0, room=None, gather=False):
        self.to, self.delay, self.room, self.gather = port, delay, room, gather
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.open, self.spoil = [threading.Event(), threading.Event()], False
        for way in self.open:
            way.set()
        self.moved = threading.Condition()
        self.bytes = [0, 0]  # to the server, from it
        self.met = 0
        self.sockets = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.server.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            self.met += 1
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.room:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.room)
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.room)
            self.sockets += [near, far]
            self.pump(near, far, 0)
            self.pump(far, near, 1)

    def pump(self, source, sink, way):
        queue, wake = [], threading.Condition()

        def read():
            while True:
                try:
                    data = source.recv(self.room or 65536)
                except OSError:
                    data = b""
                with wake:
                    queue.append((time.monotonic() + self.delay, data))
                    wake.notify()
                    wake.wait_for(lambda: len(queue) < 256)
                if not data:
                    return

        def write():
            while True:
                with wake:
                    wake.wait_for(lambda: queue)
                    due, data = queue.pop(0)
                    wake.notify()
                time.sleep(max(0, due - time.monotonic()))  # the delay is what this is for
                self.open[way].wait()
                with wake:
                    while self.gather and queue and queue[0][1] and data:
                        data += queue.pop(0)[1]
                    wake.notify()
                if self.spoil and data:
                    data = bytes(byte ^ 1 for byte in data)
                try:
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    sink.sendall(data)
                except OSError:
                    return
                with self.moved:
                    self.bytes[way] += len(data)
                    self.moved.notify_all()

        for run in (read, write):
            threading.Thread(target=run, daemon=True).start()

    def wait_for(self, way, n, seconds=60):
        """Until so many bytes have gone that way."""
        with self.moved:
            return self.moved.wait_for(lambda: self.bytes[way] >= n, seconds)

    def cut(self):
        """Nothing goes either way any more, and nobody is told."""
        for way in (0, 1):
            self.close_way(way)

    def close_way(self, way):
        self.open[way].clear()

    def stop(self):
        self.server.close()
        for way in self.open:
            way.set()
        for end in self.sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
