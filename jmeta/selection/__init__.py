"""Algorithm selection: models that rank candidates before they run, and score partitions afterwards."""

from .advisor import Advisor, learn_advisor, rank_candidates
from .descriptions import Description, describe_partitions, describe_table
from .examples import Examples, Settings
from .quality import Prediction, QualityModel, predict_quality
from .scoring import ScoringModel, adapt_scoring_model, fit_scoring_model, mean_scores
from .selector import Selector, Strategy, adapt_selector, choose_strategy, learn_selector, selector_inputs
from .set_quality import (
    SetQuality,
    adapt_set_quality,
    candidate_inputs,
    learn_set_quality,
    set_quality_scores,
)
from .single_quality import SingleQuality, learn_single_quality, table_single_inputs

__all__ = [
    "Advisor",
    "Description",
    "Examples",
    "Prediction",
    "QualityModel",
    "ScoringModel",
    "Selector",
    "SetQuality",
    "Settings",
    "SingleQuality",
    "Strategy",
    "adapt_scoring_model",
    "adapt_selector",
    "adapt_set_quality",
    "candidate_inputs",
    "choose_strategy",
    "describe_partitions",
    "describe_table",
    "fit_scoring_model",
    "learn_advisor",
    "learn_selector",
    "learn_set_quality",
    "learn_single_quality",
    "mean_scores",
    "predict_quality",
    "rank_candidates",
    "selector_inputs",
    "set_quality_scores",
    "table_single_inputs",
]
