"""A network that can be cut: worker hosts in namespaces of their own, or a proxy that stops to forward.

Either way a cut is silent: no connection is closed, nothing arrives. Namespaces need root and ``ip``; elsewhere a TCP
proxy in front of every server does the same to the worker behind it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

CHUNK = 1 << 16


class Proxy:
    """Forwards connections to a port of loopback until ``cut``; what comes meanwhile waits for ``heal``."""

    def __init__(self, host: str, target: int) -> None:
        self._target = target
        self._flows = threading.Event()
        self._flows.set()
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> None:
        """Forward nothing more."""
        self._flows.clear()

    def heal(self) -> None:
        """Forward again, and what has waited first."""
        self._flows.set()

    def close(self) -> None:
        """Accept no more."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._flows.wait()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._flows.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Host:
    """A worker host: how to run a command on it, under which address it reaches our servers, and its cable."""

    def __init__(self, name: str, address: str, namespace: str | None) -> None:
        self.name, self.address, self.namespace = name, address, namespace
        self.prefix = () if namespace is None else ("ip", "netns", "exec", namespace)
        self._proxies: list[Proxy] = []

    def port_for(self, target: int) -> int:
        """The port under which this host reaches a server of ours."""
        self._proxies.append(Proxy(self.address, target))
        return self._proxies[-1].port

    def cut(self) -> None:
        """Pull the cable."""
        if self.namespace is not None:
            _ip("link", "set", f"v{self.namespace}", "down")
        for proxy in self._proxies:
            proxy.cut()

    def heal(self) -> None:
        """Plug it in again."""
        if self.namespace is not None:
            _ip("link", "set", f"v{self.namespace}", "up")
        for proxy in self._proxies:
            proxy.heal()

    def close(self) -> None:
        """End its proxies."""
        for proxy in self._proxies:
            proxy.close()


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts: namespaces where that can be had, else processes behind proxies."""
    with ExitStack() as stack:
        hosts = []
        for number in (1, 2):
            name = f"sb{os.getpid() % 100000}{number}"
            host = _namespace(stack, name, number) if _may_have_namespaces() else Host(name, "127.0.0.1", None)
            stack.callback(host.close)
            hosts.append(host)
        yield hosts[0], hosts[1]


def _may_have_namespaces() -> bool:
    return os.geteuid() == 0 and shutil.which("ip") is not None


def _namespace(stack: ExitStack, name: str, number: int) -> Host:
    """A namespace with one cable to us: 10.251.n.1 here, 10.251.n.2 there."""
    ours, theirs = f"10.251.{number}.1", f"10.251.{number}.2"
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "delete", name)
    _ip("link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("address", "add", f"{ours}/30", "dev", f"v{name}")
    _ip("link", "set", f"v{name}", "up")
    for words in (("address", "add", f"{theirs}/30", "dev", "eth0"), ("link", "set", "eth0", "up")):
        _ip("-n", name, *words)
    _ip("-n", name, "link", "set", "lo", "up")
    return Host(name, ours, name)


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True, capture_output=True, text=True)
