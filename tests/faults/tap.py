"""What stands between Fettle and its broker, its object store or a browser in these tests: a wire that can be cut, left dangling, or let go deaf."""

import socket
import threading
from contextlib import suppress
from pathlib import Path

from tests.installation import free_port


class Tap:
    """A TCP port that leads to a unix socket, or to another port of this machine. `cut` refuses connections, `hole` accepts them and never answers, `freeze` silences those there are, `sleep` these and new ones until `wake`."""

    def __init__(self, to: Path | int) -> None:
        self.to, self.port = to, free_port()
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._answers = True
        self._frozen: set[socket.socket] = set()
        self._listen()

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def mend(self) -> None:
        """Everything works again; connections from before do not."""
        self._answers = True
        self._drop()
        self._listen()

    def cut(self) -> None:
        self._close()
        self._drop()

    def hole(self) -> None:
        self._answers = False
        self._drop()
        self._listen()

    def freeze(self) -> None:
        """Connections of now carry nothing any more and do not break; new ones work."""
        self._frozen |= set(self._open)

    def sleep(self) -> None:
        """Nothing is carried any more and nothing breaks, as where a laptop sleeps or a network drops what is sent."""
        self.freeze()
        self._answers = False

    def wake(self) -> None:
        """New connections work again; those from before stay silent."""
        self.freeze()
        self._answers = True

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=100)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _close(self) -> None:
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _drop(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open = []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._open.append(client)
            if not self._answers:
                continue
            server = socket.socket(socket.AF_UNIX if isinstance(self.to, Path) else socket.AF_INET)
            try:
                server.connect(str(self.to) if isinstance(self.to, Path) else ("127.0.0.1", self.to))
            except OSError:
                client.close()
                server.close()
                continue
            self._open.append(server)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if source not in self._frozen:
                    target.sendall(data)
        if source not in self._frozen:
            for one in (source, target):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
