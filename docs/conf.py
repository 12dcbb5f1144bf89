"""The documentation's settings: MyST pages whose code cells are executed, and the API by autodoc."""

import os

import jmeta
from jmeta.compiler import flags

# Code cells compile more than they run.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags()}"

project = "jmeta"
author = "The jmeta authors"
release = jmeta.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"jmeta {release}"
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 2
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
