"""Which network interface of this machine leads to another one."""

import socket
import struct
import sys
from contextlib import suppress

SIOCGIFADDR = 0x8915  # of Linux: the IPv4 address of an interface


def find_interface(address: str) -> str | None:
    """Name of the interface from which an address is reached, such as eth0; None where it is not known."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # sends nothing
        own = probe.getsockname()[0]
        return next((name for _, name in socket.if_nameindex() if _find_address(probe, name) == own), None)
    return None


def _find_address(probe: socket.socket, name: str) -> str | None:
    if sys.platform != "linux":
        return None
    import fcntl

    with suppress(OSError):  # an interface without an address
        found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        return socket.inet_ntoa(found[20:24])
    return None
