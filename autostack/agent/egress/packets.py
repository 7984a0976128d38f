"""What a sandbox tries to reach by other ways than those that lead out: seen on its loopback device, for the log.

The kernel itself has refused it by then: nothing but our sockets answers there.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Callable

from autostack.agent.egress.namespaces import OWN_ADDRESS
from autostack.agent.egress.policy import Policy, is_address
from autostack.public_addresses import is_public, with_port

SO_ATTACH_FILTER = 26
PACKET_OUTGOING = 4
SNAPSHOT_BYTES = 128
MAX_PACKETS_AT_ONCE = 256
TCP, UDP = 6, 17
ETHER_IPV4, ETHER_IPV6 = 0x0800, 0x86DD
IPV6_HEADER = 40
# linux/filter.h: what the kernel knows of a packet beside its bytes, and instructions of classic BPF.
AD_PROTOCOL, AD_KIND = 0xFFFFF000, 0xFFFFF004
LOAD_HALF, LOAD_BYTE, LOAD_BYTE_AT_X, LOAD_X_IPV4_HEADER = 0x28, 0x30, 0x50, 0xB1
AND, JUMP, JUMP_EQUAL, RETURN = 0x54, 0x05, 0x15, 0x06
# Of a TCP connection's packets only the first has SYN without ACK.
FLAGS, SYN_AND_ACK, SYN = 13, 0x12, 0x02
# Instructions that others jump to.
IPV6, FIRST, KEEP, DROP = 11, 15, 17, 18
PROGRAM = (
    (LOAD_BYTE, AD_KIND, None, None),
    (JUMP_EQUAL, PACKET_OUTGOING, 2, DROP),
    (LOAD_HALF, AD_PROTOCOL, None, None),
    (JUMP_EQUAL, ETHER_IPV6, IPV6, 4),
    (JUMP_EQUAL, ETHER_IPV4, 5, DROP),
    (LOAD_BYTE, 9, None, None),
    (JUMP_EQUAL, UDP, KEEP, 7),
    (JUMP_EQUAL, TCP, 8, DROP),
    (LOAD_X_IPV4_HEADER, 0, None, None),
    (LOAD_BYTE_AT_X, FLAGS, None, None),
    (JUMP, FIRST - IPV6, None, None),
    (LOAD_BYTE, 6, None, None),
    (JUMP_EQUAL, UDP, KEEP, 13),
    (JUMP_EQUAL, TCP, 14, DROP),
    (LOAD_BYTE, IPV6_HEADER + FLAGS, None, None),
    (AND, SYN_AND_ACK, None, None),
    (JUMP_EQUAL, SYN, KEEP, DROP),
    (RETURN, SNAPSHOT_BYTES, None, None),
    (RETURN, 0, None, None),
)


class Packets:
    """Tells `refuse` of each first packet of TCP, and each of UDP, to another machine at a port that leads nowhere."""

    def __init__(
        self,
        packets: socket.socket,
        policy: Policy,
        name_of: Callable[[str], str],
        refuse: Callable[[str], None],
    ) -> None:
        self._packets = packets
        self._policy = policy
        self._name_of = name_of
        self._refuse = refuse
        packets.setblocking(False)
        only_first_packets(packets)

    def read(self) -> None:
        """Take what has been seen since."""
        for _ in range(MAX_PACKETS_AT_ONCE):
            try:
                packet, (_, ether_type, *_) = self._packets.recvfrom(SNAPSHOT_BYTES)
            except OSError:
                return
            self._judge(packet, ether_type)

    def _judge(self, packet: bytes, ether_type: int) -> None:
        try:
            protocol, address, port = read_packet(packet, ether_type)
        except (ValueError, IndexError, struct.error):
            return
        # What a build says to a server of its own.
        if address == OWN_ADDRESS or ipaddress.ip_address(address).is_loopback:
            return
        host = self._name_of(address)
        if protocol == UDP:
            self._refuse(f"{with_port(host, port)} by UDP: only TCP leads out of a build")
        elif port not in self._policy.listened:
            why = self._policy.which_ports if _could_be(host) else ""
            self._refuse(f"{with_port(host, port)}, which builds may not{why}")


def _could_be(host: str) -> bool:
    """Tell whether a host is one that builds may reach at other ports: a name is known only of such."""
    return not is_address(host) or is_public(host)


def read_packet(packet: bytes, ether_type: int) -> tuple[int, str, int]:
    """Return protocol, address and port that a packet goes to. Raises ValueError, IndexError or struct.error."""
    if ether_type == ETHER_IPV6:
        protocol, address, start = packet[6], packet[24:40], IPV6_HEADER
    else:
        protocol, address, start = packet[9], packet[16:20], (packet[0] & 15) * 4
    (port,) = struct.unpack_from("!H", packet, start + 2)
    return protocol, str(ipaddress.ip_address(address)), port


def only_first_packets(packets: socket.socket) -> None:
    """Have the kernel give us nothing else: what is carried through must cost nothing here. Raises OSError."""
    instructions = ctypes.create_string_buffer(b"".join(_instructions()))
    program = struct.pack("HxxxxxxP", len(PROGRAM), ctypes.addressof(instructions))
    packets.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _instructions() -> list[bytes]:
    found = []
    for place, (code, value, then, otherwise) in enumerate(PROGRAM):
        skips = (0 if target is None else target - place - 1 for target in (then, otherwise))
        found.append(struct.pack("HBBI", code, *skips, value))
    return found
