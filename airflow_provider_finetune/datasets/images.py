"""Images of a dataset: which every endpoint refuses, which are too large, of which the type cannot be told.

Sources: https://platform.openai.com/docs/guides/vision-fine-tuning (JPEG, PNG or WEBP, as an HTTP or data URL, at most
10 MB), https://learn.microsoft.com/azure/foundry/openai/how-to/fine-tuning-vision (the same).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_provider_finetune.datasets.problem import ErrorKind, Fault, WarningKind
from airflow_provider_finetune.datasets.vendors import MOST_IMAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES = ("jpeg", "jpg", "png", "webp")
_EXPECTED = "JPEG, PNG or WEBP"
_PLACE = "an https: URL, or a data: URL with base64"
_OTHER_TYPES = frozenset(
    ["application/octet-stream", "application/pdf", "text/plain"]
    + [f"image/{name}" for name in ("avif", "bmp", "gif", "heic", "heif", "svg+xml", "tiff", "x-icon")]
)
_SCHEMES = frozenset(
    ["abfs", "abfss", "blob", "data", "file", "ftp", "ftps", "gs", "http", "https", "s3", "s3a", "sftp"]
)
_DATA = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
# "GIF8" in base64: what the first bytes are counts, whatever the URL says.
_GIF = "R0lGOD"
_OTHER_ENDINGS = re.compile(r"\.(gif|bmp|tiff?|svg|heic|heif|avif|ico|pdf|mp4|mov)(?:[?#]|\Z)", re.IGNORECASE)


def image_fault(url: str) -> Fault | None:
    """Return why every endpoint refuses an image, with a path below the URL's; None if it may be taken.

    :param url: as it stands in ``image_url.url``.
    """
    if re.match(r"https?://[^\s/]", url, re.IGNORECASE):
        return None
    match = _DATA.match(url)
    if match is None:
        return Fault(ErrorKind.BAD_IMAGE, None, _kind_of(url), _PLACE)
    media, parameters = match[1].strip().lower(), match[2].lower()
    if media.removeprefix("image/") not in _TYPES or not media.startswith("image/"):
        found = f"a data: URL of {_type_of(media)}" if media else "a data: URL without a type"
        return Fault(ErrorKind.BAD_IMAGE, None, found, _EXPECTED)
    if ";base64" not in parameters:
        return Fault(ErrorKind.BAD_IMAGE, None, "a data: URL without ;base64", _PLACE)
    if url.startswith(_GIF, match.end()):
        return Fault(ErrorKind.BAD_IMAGE, None, f"a GIF that is called {media}", _EXPECTED)
    # Some writers break base64 into lines.
    digits = "".join(url[match.end() :].split())
    if not _BASE64.fullmatch(digits) or len(digits.rstrip("=")) % 4 == 1:
        return Fault(ErrorKind.BAD_IMAGE, None, "a data: URL whose base64 cannot be read", _PLACE)
    return None


def image_remarks(url: str, path: str) -> Iterator[Fault]:
    """Yield what is worth saying of an image that may be taken.

    :param path: of the URL.
    """
    if url[:5].lower() == "data:":
        size = _size(url, url.find(",") + 1)
        if size > MOST_IMAGE_BYTES:
            yield Fault(ErrorKind.IMAGE_TOO_LARGE, path, f"an image of {size:,} bytes", "at most 10 MB an image")
    elif ending := _OTHER_ENDINGS.search(url):
        found = f"the URL of what may be a {ending[1].upper()} file"
        yield Fault(WarningKind.IMAGE_TYPE_UNCERTAIN, path, found, _EXPECTED)


def _size(url: str, start: int) -> int:
    """Return the bytes of an image, within a few: base64 writes three bytes in four characters."""
    return (len(url) - start) * 3 // 4


def _kind_of(url: str) -> str:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", url)
    if scheme is None:
        return "no URL, but maybe a local path or bare base64"
    name = scheme[1].lower()
    return f"a URL that starts with {name}:" if name in _SCHEMES else "a URL of another scheme"


def _type_of(media: str) -> str:
    return f"type {media}" if media in _OTHER_TYPES else "another type"
