"""How the documentation site is made; `make docs` runs it without the network, and a warning is an error."""

from __future__ import annotations

from importlib.metadata import version as version_of

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
