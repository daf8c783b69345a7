"""How the documentation site is made; `make docs` runs it without the network, and a warning is an error."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

project = "airflow-provider-finetune"
author = "the airflow-provider-finetune authors"
version = release = version_of(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["examples"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = project
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"show-inheritance": False}
python_use_unqualified_type_names = True

#: Pages that stand at the top of the repository, and the page of the site that shows each.
PAGES = {
    "README.md": "index.md",
    "README.ko.md": "ko.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "SECURITY.md": "security.md",
}


def read(app: Any, _: str, source: list[str]) -> None:
    """Show a page of the repository in place of the link to it, with links as they are on the site."""
    link = re.fullmatch(r"\[.*\]\(\.\./(.*)\)", source[0].strip())
    if link is not None:
        text = (Path(app.confdir).parent / link[1]).read_text(encoding="utf-8")
        text = text.replace("](docs/", "](")
        for page, shown in PAGES.items():
            text = text.replace(f"]({page}", f"]({shown}")
        source[0] = text


def setup(app: Any) -> None:
    """Register what is above."""
    app.connect("source-read", read)
