"""The line that the HTTP client logs for each request at INFO: it is for whoever debugs, not for every task's log."""

from __future__ import annotations

import logging
from typing import Any, cast
from weakref import WeakValueDictionary

#: The loggers of the HTTP clients that the SDK has used, up to 2 and from 3 on.
LOGGERS = ("httpx", "httpx2")
_urls: WeakValueDictionary[int, Any] = WeakValueDictionary()


def keep_out(request: Any) -> None:
    """Keep the line about this request out of the log, unless the HTTP client's logger is at DEBUG.

    Lines about other people's requests stay: a triggerer runs other people's triggers too.

    :param request: a request of httpx or httpx2.
    """
    _urls[id(request.url)] = request.url
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_is_wanted)  # once: a filter that is there is not added again


def _is_wanted(record: logging.LogRecord) -> bool:
    if record.levelno != logging.INFO or not isinstance(record.args, tuple):
        return True
    ours = [_urls.get(id(argument)) is argument for argument in record.args]
    if any(ours):
        # A URL may hold a password, and its query a token.
        record.args = tuple(
            cast("Any", argument).copy_with(userinfo=b"", query=None) if is_ours else argument
            for argument, is_ours in zip(record.args, ours, strict=True)
        )
    return not any(ours) or logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
