"""What training needs on accelerators that are not there."""

from .devices import compile_only
from .estimate import Plan, of_file, plan, rows_of

__all__ = ["Plan", "compile_only", "of_file", "plan", "rows_of"]
