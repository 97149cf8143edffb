"""Sphinx configuration of the documentation site. Build it with `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "recaption"
copyright = "2026, the recaption authors"
html_title = "recaption"
html_theme = "furo"
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
extensions = ["myst_parser", "pages"]
exclude_patterns = ["_build"]
nitpicky = True
myst_heading_anchors = 3
