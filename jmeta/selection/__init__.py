"""Meta-clustering: which strategy for which problem."""

from .portfolio import Candidate, candidate, portfolio
from .table import Case, Outcome, Table, performance_table

__all__ = ["Candidate", "Case", "Outcome", "Table", "candidate", "performance_table", "portfolio"]
