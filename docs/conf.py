"""The documentation's settings: MyST pages whose code cells are executed, and the API by autodoc."""

import os

import jmeta
from jmeta.compilation_cache import use_compilation_cache
from jmeta.compiler import flags

# Code cells compile more than they run, and pages compile the same programs.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags()}"
if folder := use_compilation_cache():
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

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
