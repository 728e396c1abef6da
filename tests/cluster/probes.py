"""Questions that show from this machine whether a program of the host answers; each returns within seconds."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from pathlib import Path

_TIMEOUT = 2.0


def answers_ok(url: str) -> bool:
    """Whether URL gives 200. The certificate is not checked: some programs make one up for themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    direct = urllib.request.ProxyHandler({})
    opener = urllib.request.build_opener(direct, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=_TIMEOUT) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def accepts(path: Path) -> bool:
    """Whether something listens on the Unix socket PATH."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_TIMEOUT)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def takes_from_queue(pid: int | None, number: int) -> bool:
    """Whether a program listens at the netfilter queue NUMBER in the network of the process PID."""
    try:
        queues = Path(f"/proc/{pid}/net/netfilter/nfnetlink_queue").read_text()
    except OSError:
        return False
    return any(line.split()[0] == str(number) for line in queues.splitlines())


def greets_as_ssh(address: str, port: int) -> bool:
    """Whether an SSH server sends its banner."""
    try:
        with socket.create_connection((address, port), timeout=_TIMEOUT) as client:
            return client.recv(4) == b"SSH-"
    except OSError:
        return False
