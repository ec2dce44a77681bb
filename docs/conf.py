"""The site, made by Sphinx from the repository's Markdown: ``python3 dev.py docs`` writes it to build/site.

The sources start at the repository's root, so that a link is the same here and where the repository is read.
"""

project = "onnxproof"
author = "the authors of onnxproof"
html_show_copyright = False

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/**.md",
    "examples/**.md",
    "benchmarks/**.md",
]
exclude_patterns = [".*", "build", "dist", "src", "tests", "**/__pycache__", "**/node_modules"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # pages that programs write go from a title to a third level

html_theme = "furo"
html_title = "onnxproof"
templates_path = ["_templates"]
html_additional_pages = {"index": "to_docs.html"}
html_copy_source = False
