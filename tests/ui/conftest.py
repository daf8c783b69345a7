"""A real Chromium, and a page in it that shows one task; skipped where there is no Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from demo.chromium import running
from tests.ui.answers import Answers, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium; one for all tests."""
    pytest.importorskip("playwright.sync_api")
    try:
        with running() as browser:
            yield browser
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def answers() -> Iterator[Answers]:
    """What Airflow answers; a test says what that is."""
    with serving(Answers()) as answers:
        yield answers


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a URL in a context of its own; at the end there must be no error on its console."""
    errors: list[str] = []
    contexts: list[Any] = []

    def open_page(url: str, *, storage: dict[str, str] | None = None, token: str | None = None, **options: Any) -> Page:
        context = browser.new_context(**{"locale": "en-US", **options})
        contexts.append(context)
        if token is not None:
            context.add_cookies([{"name": "_token", "value": token, "domain": "127.0.0.1", "path": "/"}])
        for name, value in (storage or {}).items():
            context.add_init_script(f"localStorage.setItem({name!r}, {value!r})")
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    refusals = [error for error in errors if "Failed to load resource" in error]
    assert errors == refusals
