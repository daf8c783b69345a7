"""The secrets of one connection, and how to take them out of what its endpoint says, in whatever form."""

from __future__ import annotations

import base64
import json
import re
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Shorter ones are no secrets: local servers want a key and take "none", "EMPTY" or "test".
SHORTEST = 6
HIDDEN = "***"
#: Characters of one text in which escaped characters are undone: no more of any text is ever shown.
MOST_ESCAPED = 10_000
#: The same for a whole answer: the event loop of the triggerer has other things to do.
MOST_ESCAPED_IN_ALL = 200_000
_ESCAPES = ("%", "\\u", "&#")
_NO_SECRETS = """
accept accept-encoding accept-language api-version cache-control connection content-type openai-beta openai-organization
openai-project organization project user-agent version x-client-version
"""
#: Headers and query parameters that say what is spoken, not who speaks.
NO_SECRETS = frozenset(_NO_SECRETS.split())


class Secrets:
    """The secrets of one connection. It belongs to the connection's client, and to nobody else in the process.

    :param values: keys, passwords, tokens; those shorter than :data:`SHORTEST` are left out.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.values = frozenset(value for value in values if len(value) >= SHORTEST)
        forms = {form for value in self.values for form in _forms(value)}
        #: The longest first: a base64 form with padding before the one without.
        self._forms = sorted(forms, key=len, reverse=True)
        self._folded = [value.casefold() for value in self.values]
        mixed = "|".join(map(_mixed, sorted(self.values, key=len, reverse=True)))
        self._mixed = re.compile(mixed, re.IGNORECASE) if mixed else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.values)})"

    def hidden_in(self, text: str) -> str:
        """Return a text without the secrets: plain, in base64, in hex, percent-encoded or escaped, wholly or in part.

        Of a text that is escaped in part, the first :data:`MOST_ESCAPED` characters are looked through.
        """
        return self._hidden(text, [MOST_ESCAPED])

    def _hidden(self, text: str, budget: list[int]) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        most = min(MOST_ESCAPED, budget[0])
        if most > 0 and self._mixed is not None and self._is_odd(text):
            budget[0] -= len(text)
            text = self._mixed.sub(HIDDEN, text[:most]) + text[most:]
        return text

    def _is_odd(self, text: str) -> bool:
        """Return whether a text may hold a secret with characters escaped, or in other letters."""
        if any(sign in text for sign in _ESCAPES):
            return True
        folded = text.casefold()
        return any(value in folded for value in self._folded)

    def may_be_in(self, text: str) -> bool:
        """Return whether it is worth looking into a long text, JSON or not; quick, and never wrongly False."""
        return any(form in text for form in self._forms) or "\\" in text or self._is_odd(text)

    def hidden_in_json(self, value: Any) -> Any:
        """Return decoded JSON without the secrets, keys of objects included."""
        return self._hidden_in_json(value, [MOST_ESCAPED_IN_ALL])

    def _hidden_in_json(self, value: Any, budget: list[int]) -> Any:
        if isinstance(value, str):
            return self._hidden(value, budget)
        if isinstance(value, dict):
            return {self._hidden(name, budget): self._hidden_in_json(part, budget) for name, part in value.items()}
        return [self._hidden_in_json(part, budget) for part in value] if isinstance(value, list) else value


def secrets_in(pairs: Mapping[str, Any]) -> set[str]:
    """Return what may be secret in headers or query parameters: values, and what follows ``Bearer`` or ``Basic``."""
    found: set[str] = set()
    for name, value in pairs.items():
        if not isinstance(value, str) or str(name).lower() in NO_SECRETS:
            continue
        scheme, _, credentials = value.strip().partition(" ")
        found |= {value.strip(), credentials.strip() if credentials else scheme}
        if scheme.lower() == "basic":
            found |= _of_basic(credentials.strip())
    return found


def secrets_of_url(user: str, password: str) -> set[str]:
    """Return what is secret in the user part of a URL, as written there and as meant.

    A user without a password may be a token.
    """
    secret = password or user
    return {secret, unquote(secret)}


def _of_basic(credentials: str) -> set[str]:
    try:
        user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:  # not base64, or no text
        return set()
    return {password or user}


def _forms(value: str) -> Iterable[str]:
    raw = value.encode(errors="surrogatepass")
    yield from (value, quote(value, safe="", errors="replace"), quote_plus(value, errors="replace"))
    yield from (
        escape(value),
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        value.replace("/", "\\/"),
        raw.hex(),
        raw.hex().upper(),
    )
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode()
        # As a part of something longer: 0, 1 or 2 bytes before it, and the letters that depend on neighbours left out.
        for before in range(3):
            whole = encode(b"\0" * before + raw).decode().rstrip("=")
            inner = whole[(0, 2, 3)[before] : (len(raw) + before) * 8 // 6]
            if len(inner) >= 8:
                yield inner


def _mixed(value: str) -> str:
    """Return a pattern for the value with any of its characters escaped: ``s%6B-``, ``\\u0073k-``, ``&#115;k-``."""
    return "".join(_any_form(character) for character in value)


def _any_form(character: str) -> str:
    percent = "".join(f"%{byte:02x}" for byte in character.encode(errors="surrogatepass"))
    code = ord(character)
    forms = [re.escape(character), percent, rf"\\u{code:04x}", f"&#0*{code};", f"&#x0*{code:x};"]
    return f"(?:{'|'.join(forms)})"
