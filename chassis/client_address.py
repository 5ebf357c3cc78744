"""The address a request came from, also when the dashboard passes on its browser's."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import IPv6Address, ip_address

from flask import request

ADDRESS, PROOF = "X-Client-Address", "X-Client-Address-Proof"


def forwarded_headers(address: str, secret: str) -> dict[str, str]:
    """Returns the headers by which the dashboard vouches for its browser's address."""
    return {ADDRESS: address, PROOF: proof(address, secret)}


def client_address(secret: str | None) -> str:
    """Returns the caller's address; a forwarded one counts only with the right proof."""
    address = request.headers.get(ADDRESS, "")
    if secret and address and hmac.compare_digest(claimed(), proof(address, secret)):
        return normal(address) or normal(request.remote_addr)
    return normal(request.remote_addr)


def throttle_key(address: str) -> str:
    """Returns what one subscriber can't change at will: IPv6 counts by /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64"
    return str(parsed)


def claimed() -> str:
    # compare_digest refuses text beyond ASCII; a header may hold Latin-1.
    given = request.headers.get(PROOF, "")
    return given if given.isascii() else ""


def proof(address: str, secret: str) -> str:
    return hmac.new(secret.encode(), address.encode(), hashlib.sha256).hexdigest()


def normal(address: str | None) -> str:
    """Returns the address in its short form, an IPv4-mapped one as IPv4; "" for none."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(parsed)
