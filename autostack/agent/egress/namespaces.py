"""Network namespaces for sandboxes, and our sockets in them: a socket stays in the namespace that it was made in.

They are made by a process that is there for nothing else (`make`), and handed on to the two that need them.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
# Ports that no user code can take for itself.
PROXY_PORT, DNS_PORT = 800, 53
BACKLOG = 512
ETH_P_ALL = 3
# Addresses that stand for names in a sandbox: of a network that is nowhere in use (RFC 2544).
OWN_ADDRESS = "198.18.0.1"
# rtnetlink(7)
RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 20, 24
REQUEST, ACKNOWLEDGE, CREATE = 0x1, 0x4, 0x400
IFF_UP, IFA_LOCAL, RTA_OIF = 1, 2, 4
TABLE_LOCAL, PROTOCOL_BOOT, SCOPE_HOST, TYPE_LOCAL = 255, 3, 254, 2

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Listeners:
    """Our sockets in a namespace: what takes connections, the proxy's, the name server's, and what sees packets."""

    proxy: socket.socket
    names: socket.socket
    packets: socket.socket
    web: tuple[socket.socket, ...]

    @classmethod
    def of(cls, descriptors: Sequence[int]) -> Listeners:
        """Take over sockets that another process made."""
        proxy, names, packets, *web = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        return cls(proxy, names, packets, tuple(web))

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return (self.proxy, self.names, self.packets, *self.web)

    def close(self) -> None:
        for each in self.sockets:
            each.close()


def enter_own_user_namespace() -> int:
    """Enter one, without which an ordinary user can make no other; return a descriptor of it. Raises OSError."""
    uid, gid = os.geteuid(), os.getegid()
    _unshare(CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return os.open("/proc/self/ns/user", os.O_RDONLY)


def enter_own_network(ports: Collection[int]) -> tuple[int, Listeners]:
    """Enter a network of this process's own; return a descriptor of it, and listeners on `ports` of each address.

    Raises OSError.
    """
    _unshare(CLONE_NEWNET)
    _set_up_loopback()
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", DNS_PORT))
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    proxy = socket.create_server(("127.0.0.1", PROXY_PORT), backlog=BACKLOG)
    web = tuple(_listen_everywhere(port) for port in sorted(ports))
    return os.open("/proc/self/ns/net", os.O_RDONLY), Listeners(proxy, names, packets, web)


def _listen_everywhere(port: int) -> socket.socket:
    try:
        return socket.create_server(("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    except OSError:
        # This machine has no IPv6.
        return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104 - of a namespace of its own


def _set_up_loopback() -> None:
    """Have the loopback device up, with an address beside 127.0.0.1 (without one, programs think themselves offline

    and look up no name), and every address lead to it.
    """
    loopback = socket.if_nametoindex("lo")
    _netlink(RTM_NEWLINK, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, loopback, IFF_UP, IFF_UP))
    address = struct.pack("=BBBBI", socket.AF_INET, 32, 0, SCOPE_HOST, loopback)
    _netlink(RTM_NEWADDR, address + struct.pack("=HH4s", 8, IFA_LOCAL, socket.inet_aton(OWN_ADDRESS)))
    for family in (socket.AF_INET, socket.AF_INET6):
        route = struct.pack("=8BI", family, 0, 0, 0, TABLE_LOCAL, PROTOCOL_BOOT, SCOPE_HOST, TYPE_LOCAL, 0)
        try:
            _netlink(RTM_NEWROUTE, route + struct.pack("=HHI", 8, RTA_OIF, loopback))
        except OSError:
            if family == socket.AF_INET:
                raise


def _netlink(kind: int, body: bytes) -> None:
    """Ask the kernel for a change of the network. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        flags = REQUEST | ACKNOWLEDGE | CREATE
        kernel.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        (error,) = struct.unpack_from("=i", kernel.recv(4096), 16)
    if error:
        raise OSError(-error, os.strerror(-error))


def _unshare(flags: int) -> None:
    if _libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
