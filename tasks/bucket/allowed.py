"""Judges the words of an input's source: schemes, hosts as they are written, buckets. It asks nobody, and no request is
made; fetch.py judges what a host's name leads to.
"""

import ipaddress
import socket
import unicodedata
from urllib.parse import SplitResult, urlsplit

from tasks.errors import InvalidInput
from tasks.inputs import check_source
from tasks.settings import Settings

IDEOGRAPHIC_STOP = "\u3002"  # a dot to the resolver
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LOCALHOST: list[Address] = [ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1")]


def check_allowed(source: str, tenant: str, settings: Settings) -> None:
    """Checks that a tenant may name this source, without a request to it. Errors: InvalidInput."""
    try:
        parts = urlsplit(check_source(source))
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    if parts.scheme in ("http", "https"):
        check_host(parts, settings)
    elif parts.scheme == "s3":
        _check_s3(source, tenant, settings)


def check_host(parts: SplitResult, settings: Settings) -> None:
    """A host as it is written: plain http and private addresses are for those in fetch_allow alone."""
    host = parts.hostname or ""
    addresses = literal(host)
    if addresses and not any(may_reach(host, address, settings) for address in addresses):
        raise InvalidInput(private(host))
    if parts.scheme == "http" and not _listed(host, addresses, settings):
        raise InvalidInput(
            f"http://{host} is not accepted, only https; the operator may allow a host in BACKLOT_FETCH_ALLOW"
        )


def _check_s3(source: str, tenant: str, settings: Settings) -> None:
    path = source.removeprefix("s3://")
    if path.partition("/")[0] == settings.s3_bucket:
        raise InvalidInput("an s3 source may not lie in this service's own bucket; send the file to /v1/uploads")
    if {".", ".."} & set(path.split("/")):
        raise InvalidInput("an s3 key with the parts . or .. is not accepted")
    if not any(path.startswith(prefix) for prefix in settings.s3_sources.get(tenant, ())):
        raise InvalidInput(
            f"{source} is not among the s3 sources that this tenant may read; the operator names them "
            "in BACKLOT_S3_SOURCES"
        )


def check_output(url: str, tenant: str, settings: Settings) -> None:
    """Checks that a tenant's outputs may be copied to `s3://bucket/prefix/`. Errors: InvalidInput."""
    path = url.removeprefix("s3://")
    if path.partition("/")[0] == settings.s3_bucket:
        raise InvalidInput("outputs are not copied into this service's own bucket; it has them already")
    if not any(path.startswith(prefix) for prefix in settings.s3_outputs.get(tenant, ())):
        raise InvalidInput(
            f"{url} is not among the folders that this tenant's outputs may be copied to; the operator names them in "
            "BACKLOT_S3_OUTPUTS"
        )


def private(host: str) -> str:
    """The refusal of a private host, in words."""
    return (
        f"{host} is a private address, or a name of one; the operator may allow it in BACKLOT_FETCH_ALLOW "
        "(hosts or networks)"
    )


def literal(host: str) -> list[Address]:
    """The addresses that the host's spelling means, without asking anybody; decimal, hex and octal ones as well."""
    plain = unicodedata.normalize("NFKC", host).replace(IDEOGRAPHIC_STOP, ".").rstrip(".").partition("%")[0]
    if plain == "localhost" or plain.endswith(".localhost"):
        return LOCALHOST
    try:
        return [ipaddress.ip_address(plain)]
    except ValueError:
        pass
    try:
        return [ipaddress.IPv4Address(socket.inet_aton(plain))]
    except (OSError, ValueError):
        return []


def may_reach(host: str, address: Address, settings: Settings) -> bool:
    """True where the address is public, or the operator has listed it or its host."""
    return _public(address) or _listed(host, [address], settings)


def _public(address: Address) -> bool:
    """IPv6 has two ways to write an IPv4 address within; the one within is judged."""
    if address.version == 6 and address.ipv4_mapped:
        return _public(address.ipv4_mapped)
    if address.version == 6 and (address.is_site_local or (address.sixtofour and not _public(address.sixtofour))):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _listed(host: str, addresses: list[Address], settings: Settings) -> bool:
    """True where fetch_allow has the host's name, or a network with one of its addresses."""
    plain = [getattr(address, "ipv4_mapped", None) or address for address in addresses]
    for entry in settings.fetch_allow:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            if entry.lower() == host.lower():
                return True
        else:
            if any(address in network for address in plain):
                return True
    return False
