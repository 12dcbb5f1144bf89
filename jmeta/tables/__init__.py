"""Tables as people keep them: reading files, recognising columns, and encoding them as numbers."""

from ..errors import InputError

try:
    import pandas as pandas
except ImportError:
    raise InputError(
        "tables with words, gaps or dates need the package pandas; install it with "
        "pip install 'jmeta[tables]'."
    ) from None
