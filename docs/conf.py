"""How Sphinx builds the documentation: offline, with every warning an error (`make docs`)."""

from importlib.metadata import version as installed_version

project = "threeages"
author = "the threeages contributors"
version = release = installed_version("threeages")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
root_doc = "index"

html_theme = "furo"
html_title = f"threeages {release}"
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {
        "font-stack": "system-ui, sans-serif",
        "font-stack--monospace": "ui-monospace, monospace",
    },
}
html_static_path = ["_static"]
html_css_files = ["wide.css"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
smartquotes = False  # options begin with two hyphens

default_role = "code"  # docstrings say `name`
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_use_ivar = True  # attributes are described once
autodoc_member_order = "bysource"
nitpicky = True
nitpick_ignore_regex = [
    # types of a signature: other packages' have no page offline, and of this package's only public names do
    (r"py:.*", r".*"),
]
