"""Paths and URLs as they may be shown: without passwords, keys and signatures."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

#: Where what stands before the ``@`` is no user but a container: ``abfs://container@account/path``.
_CONTAINERS: Final = ("abfs", "abfss", "wasb", "wasbs", "az", "adl")
_SHORTEST_SIGNATURE: Final = 12


def shown(path: str) -> str:
    """Return a path, or a URL without its user part, query and fragment: any of them may hold a secret.

    :param path: of a local file, which stays as it is, or a URL.
    """
    scheme, separator, rest = path.partition("://")
    if not separator:
        return path
    rest = rest.partition("?")[0].partition("#")[0]
    user, at, behind = rest.partition("@")
    if at and "/" in user and ":" in user.partition("/")[0]:  # a secret key with a slash that is not escaped
        rest = behind
    authority, slash, place = rest.partition("/")
    user, _, host = authority.rpartition("@")
    container = f"{user}@" if user and ":" not in user and scheme.lower() in _CONTAINERS else ""
    return f"{scheme}://{container}{host}{slash}{place}"


def secrets_in(path: str) -> frozenset[str]:
    """Return what a URL holds that is not to be shown: passwords, keys and signatures, as written and as meant.

    A user without a password is the name of an Airflow connection, and no secret. Short values of a query, such as the
    name of a region, are words that logs have for other reasons.
    """
    _, separator, rest = path.partition("://")
    if not separator:
        return frozenset()
    rest, _, fragment = rest.partition("#")
    place, _, query = rest.partition("?")
    pairs = query.split("&")
    values = (pair.partition("=")[2] for pair in pairs)
    found = {fragment, *pairs, *(value for value in values if len(value) >= _SHORTEST_SIGNATURE)}
    user, at, _ = place.rpartition("@") if ":" in place.partition("/")[0] else ("", "", "")
    if at and ":" in user:
        found |= {user, user.partition(":")[2]}
    return frozenset(part for part in (*found, *map(unquote, found)) if part)
