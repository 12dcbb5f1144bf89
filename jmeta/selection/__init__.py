"""Meta-clustering: which strategy for which problem."""

from .choice import Cases, Choice, Settings, adapt_choice, choice_scores, learn_choice
from .consensus import consensus
from .criterion import Criterion, adapt_criterion, candidate_inputs, criterion_scores, learn_criterion
from .features import feature_names, meta_features
from .image_features import image_features
from .portfolio import Candidate, candidate, portfolio
from .selector import (
    Selector,
    Strategy,
    adapt_selector,
    answer,
    learn_selector,
    problem_inputs,
    selector_inputs,
)
from .table import Case, Outcome, Table, performance_table

__all__ = [
    "Candidate",
    "Case",
    "Cases",
    "Choice",
    "Criterion",
    "Outcome",
    "Selector",
    "Settings",
    "Strategy",
    "Table",
    "adapt_choice",
    "adapt_criterion",
    "adapt_selector",
    "answer",
    "candidate",
    "candidate_inputs",
    "choice_scores",
    "consensus",
    "criterion_scores",
    "feature_names",
    "image_features",
    "learn_choice",
    "learn_criterion",
    "learn_selector",
    "meta_features",
    "performance_table",
    "portfolio",
    "problem_inputs",
    "selector_inputs",
]
