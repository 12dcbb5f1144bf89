"""What makes each cluster different, in the columns, units and words of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

BINS = 8
"""The number of quantiles that numbers are sorted into."""
WORDS = 30
"""The number of most common words of a column that are distinguished."""
TERMS = 200
"""The same for the words in a text."""
SHORT_WORD = 4
"""Letters of the shortest word of a text that is counted."""
LEAST = 0.02
"""The least association of a column that is shown."""
MOST = 4
"""The largest number of columns that are shown for a cluster."""
NAMED_BY = 2
"""The number of columns in a suggested name."""
LOW, HIGH = 1 / 3, 2 / 3
"""Quantiles of all rows, below and above which the median of a cluster is low and high."""


class Difference(NamedTuple):
    """A column in which a cluster differs from the rest of the rows.

    Attributes:
        column: its name.
        association: the share of the uncertainty about who is in the cluster that the column removes.
        here: the typical value in the cluster, in words.
        overall: the same for all rows.
        words: both together, for a name.
    """

    column: str
    association: float
    here: str
    overall: str
    words: str


class Profile(NamedTuple):
    """One cluster.

    Attributes:
        label: its number; -1 for the rows that are in no cluster.
        rows: how many it has.
        share: the same as a share of all.
        differences: from the rest, the strongest first.
    """

    label: int
    rows: int
    share: float
    differences: tuple[Difference, ...]

    @property
    def title(self) -> str:
        """Its number, or that its rows are in no cluster."""
        return "unassigned" if self.label < 0 else f"cluster {self.label}"

    @property
    def name(self) -> str:
        """A suggested name, from the columns in which it differs most; empty where it differs in none."""
        return ", ".join(one.words for one in self.differences[:NAMED_BY])


def profiles(table: pd.DataFrame, labels: Int[np.ndarray, " N"], units: dict[str, str]) -> list[Profile]:
    """The profile of every cluster, those of unassigned rows last.

    Args:
        table: N rows of numbers, dates and words, with gaps.
        labels: [N] cluster of each row; -1 for none.
        units: name of a column -> unit of its numbers.

    >>> table = pd.DataFrame({"height": [1.0, 1.1, 1.2, 7.0, 7.1, 7.2] * 9})
    >>> low, high = profiles(table, np.array([0, 0, 0, 1, 1, 1] * 9), {"height": "m"})
    >>> low.name, [(one.here, one.overall) for one in high.differences]
    ('low height', [('7.1 m', '4.1 m')])
    """
    described = [_describer(table[name], units.get(name, "")) for name in table.columns]
    found = []
    for label in sorted(np.unique(labels).tolist(), key=lambda label: (label < 0, label)):
        member = labels == label
        differences = [] if member.all() else [one for describe in described for one in describe(member)]
        differences = [one for one in differences if one.association >= LEAST]
        differences.sort(key=lambda one: -one.association)
        rows = int(member.sum())
        found.append(Profile(label, rows, rows / len(labels), tuple(differences[:MOST])))
    return found


def overall(table: pd.DataFrame, labels: Int[np.ndarray, " N"]) -> list[tuple[str, float]]:
    """The association of every column with the clusters, the strongest first; texts are left out."""
    found = [
        (str(name), association(codes(table[name]), labels)) for name in table if not is_text(table[name])
    ]
    return sorted(found, key=lambda pair: -pair[1])


def association(values: Int[np.ndarray, " N"], labels: np.ndarray) -> float:
    """The share of the uncertainty about the labels that values remove, from 0 to 1.

    It is I(values; labels) / H(labels), less what values of the same number would remove by chance, which is
    (V - 1) (K - 1) / 2N nats (Miller 1955). It serves numbers, sorted into quantiles, and words alike.

    >>> association(np.array([0, 0, 1, 1] * 25), np.array([5, 5, 7, 7] * 25)) > 0.99
    True
    """
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2:
        return 0.0
    kinds = len(np.unique(values))
    chance = (kinds - 1) * (len(counts) - 1) / (2 * len(labels))
    information = float(mutual_info_score(labels, values)) - chance
    return float(np.clip(information / entropy(counts), 0, 1))


def is_text(column: pd.Series) -> bool:
    """Whether a column holds words, and most of them once."""
    return _is_words(column) and column.nunique() > max(WORDS, len(column) / 2)


def _is_words(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_datetime64_any_dtype(column)


def codes(column: pd.Series) -> Int[np.ndarray, " N"]:
    """The values of a column as few whole numbers: quantiles or places of common words; -1 for gaps."""
    if _is_words(column):
        common = column.value_counts().index[:WORDS]
        places = pd.Index(common).get_indexer(column)
        return np.where(column.notna() & (places < 0), len(common), places)
    if column.nunique() <= BINS:
        return pd.factorize(column, sort=True)[0]
    return pd.qcut(column.rank(), BINS, labels=False, duplicates="drop").fillna(-1).to_numpy(int)


Describe = Callable[[Bool[np.ndarray, " N"]], list[Difference]]


def _describer(column: pd.Series, unit: str) -> Describe:
    """A function from the rows of a cluster to its differences in a column."""
    name = str(column.name)
    if is_text(column):
        return _text_describer(column)
    values = codes(column)
    if _is_words(column):
        return lambda member: [_of_words(name, column, member, association(values, member))]
    return lambda member: [_of_numbers(name, column, member, association(values, member), unit)]


def _of_numbers(
    name: str, column: pd.Series, member: Bool[np.ndarray, " N"], strength: float, unit: str
) -> Difference:
    middle = column[member].median()
    if pd.isna(middle):
        return Difference(name, strength, "missing", _value(column.median(), unit), f"no {name}")
    below = float((column < middle).sum() + (column == middle).sum() / 2) / max(int(column.notna().sum()), 1)
    place = (below >= LOW) + (below > HIGH)
    if pd.api.types.is_datetime64_any_dtype(column):
        words = f"{name} {('early', 'in between', 'late')[place]}"
    else:
        words = f"{('low', 'medium', 'high')[place]} {name}"
    return Difference(name, strength, _value(middle, unit), _value(column.median(), unit), words)


def _value(value: Any, unit: str) -> str:
    """A number with its unit, or a date.

    >>> _value(1234567.0, ""), _value(0.012345, "kg"), _value(pd.Timestamp("2024-05-06"), "")
    ('1,234,567', '0.01235 kg', '2024-05-06')
    """
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}"
    shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{shown} {unit}".strip()


def percent(share: float) -> str:
    """A share in percent.

    >>> percent(0.256)
    '26 %'
    """
    return f"{100 * share:.0f} %"


def _of_words(name: str, column: pd.Series, member: Bool[np.ndarray, " N"], strength: float) -> Difference:
    words = column.fillna("missing")
    here, everywhere = (part.value_counts(normalize=True) for part in (words[member], words))
    word = (here - everywhere.reindex(here.index)).idxmax()
    share, in_all = (f"{word} {percent(part[word])}" for part in (here, everywhere))
    return Difference(name, strength, share, in_all, f"{name} {word}")


def _text_describer(column: pd.Series) -> Describe:
    """The same for a text: the word in it whose use is associated with the cluster most."""
    from sklearn.feature_extraction.text import CountVectorizer

    name = str(column.name)
    pattern = rf"(?u)\b[^\W\d_]{{{SHORT_WORD},}}\b"
    counter = CountVectorizer(max_features=TERMS, binary=True, token_pattern=pattern)
    try:
        uses = counter.fit_transform(column.fillna("")).toarray().astype(bool).T
    except ValueError:  # there is no word
        return lambda member: []
    terms = counter.get_feature_names_out()

    def describe(member: Bool[np.ndarray, " N"]) -> list[Difference]:
        strengths = np.array([association(use, member) for use in uses])
        more = np.array([use[member].mean() > use.mean() for use in uses])
        best = int(np.where(more, strengths, -1).argmax())
        share, in_all = (
            f"'{terms[best]}' in {percent(part.mean())}" for part in (uses[best][member], uses[best])
        )
        return [Difference(name, float(strengths[best]), share, in_all, f"{name} with '{terms[best]}'")]

    return describe
