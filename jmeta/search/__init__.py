"""Search for a clustering: run candidates within a budget, predict their quality, and rank them."""

from .explanation import Explanation, explain
from .game import Attempts, clustering_search, tabulated
from .learned import LearnedSearch, SearchPolicy
from .live import LiveSet, View, live, live_set
from .ranked import ranked_search
from .result import SearchResult

__all__ = [
    "Attempts",
    "Explanation",
    "LearnedSearch",
    "LiveSet",
    "SearchPolicy",
    "SearchResult",
    "View",
    "clustering_search",
    "explain",
    "live",
    "live_set",
    "ranked_search",
    "tabulated",
]
