"""What makes each cluster different, in the columns, units and words of the table."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Num
from scipy.special import entr, rel_entr

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
MOST_ROWS = 20_000
"""The largest number of rows that are described."""
SHORT_TIME = pd.Timedelta(days=3)
"""Dates that are not farther apart are shown with the time of day."""
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
    """The profile of every cluster, that of unassigned rows last.

    Of more than `MOST_ROWS` rows, a random part is described.

    Args:
        table: N rows of numbers, dates and words, with gaps.
        labels: [N] cluster of each row; -1 for none.
        units: name of a column -> unit of its numbers.

    >>> table = pd.DataFrame({"height": [1.0, 1.1, 1.2, 7.0, 7.1, 7.2] * 9})
    >>> low, high = profiles(table, np.array([0, 0, 0, 1, 1, 1] * 9), {"height": "m"})
    >>> low.name, [(one.here, one.overall) for one in high.differences]
    ('low height', [('7.1 m', '4.1 m')])
    """
    clusters = sorted(np.unique(labels).tolist(), key=lambda label: (label < 0, label))
    kept = np.sort(np.random.default_rng(0).permutation(len(labels))[:MOST_ROWS])
    owners = pd.Index(clusters).get_indexer(labels[kept])
    part = table.iloc[kept].reset_index(drop=True)
    of_columns = (
        [_differences(part[name], owners, len(clusters), units.get(str(name), "")) for name in part]
        if len(clusters) > 1
        else []
    )
    found = []
    for place, label in enumerate(clusters):
        own = [of_column[place] for of_column in of_columns if place in of_column]
        shown = sorted((one for one in own if one.association >= LEAST), key=lambda one: -one.association)
        rows = int((labels == label).sum())
        found.append(Profile(label, rows, rows / len(labels), tuple(shown[:MOST])))
    return found


def overall(table: pd.DataFrame, labels: Int[np.ndarray, " N"]) -> list[tuple[str, float]]:
    """The association of every column with the clusters, the strongest first; texts are left out."""
    kept = np.sort(np.random.default_rng(0).permutation(len(labels))[:MOST_ROWS])
    owners = np.unique(labels[kept], return_inverse=True)[1]
    part = table.iloc[kept]
    found = [
        (str(name), float(association(contingency(codes(part[name]), owners))))
        for name in part
        if not is_text(part[name])
    ]
    return sorted(found, key=lambda pair: -pair[1])


def contingency(
    values: Int[np.ndarray, " N"], owners: Int[np.ndarray, " N"], clusters: int | None = None
) -> Int[np.ndarray, "V K"]:
    """How often every value occurs in every cluster; values from -1, clusters from 0."""
    count = int(owners.max()) + 1 if clusters is None else clusters
    size = int(values.max()) + 2
    return np.bincount((values + 1) * count + owners, minlength=size * count).reshape(size, count)


def association(counts: Num[np.ndarray, "... V K"]) -> Float[np.ndarray, "..."]:
    """The share of the uncertainty about clusters that values remove, from 0 to 1.

    It is I(values; clusters) / H(clusters), less what values of the same number would remove by chance, which
    is (V - 1) (K - 1) / 2N nats (Miller 1955). It serves numbers, sorted into quantiles, and words alike.

    Args:
        counts: [..., V, K] how often every value occurs in every cluster.

    >>> association(np.array([[[50, 0], [0, 50]], [[5, 5], [5, 5]]])).round(2)
    array([0.99, 0.  ])
    """
    total = np.maximum(counts.sum((-1, -2), keepdims=True), 1)
    shares = counts / total
    rows, columns = shares.sum(-1, keepdims=True), shares.sum(-2, keepdims=True)
    information = rel_entr(shares, rows * columns).sum((-1, -2))
    freedom = ((rows > 0).sum((-1, -2)) - 1) * ((columns > 0).sum((-1, -2)) - 1)
    uncertainty = entr(columns).sum((-1, -2))
    removed = information - np.maximum(freedom, 0) / (2 * total[..., 0, 0])
    return np.clip(removed / np.where(uncertainty > 0, uncertainty, np.inf), 0, 1)


def against_rest(counts: Int[np.ndarray, "V K"]) -> Float[np.ndarray, " K"]:
    """The association with being in each cluster."""
    own = counts.T[:, :, None]
    return association(np.concatenate([own, counts.sum(1)[:, None] - own], -1))


def is_text(column: pd.Series) -> bool:
    """Whether a column holds words, and most of them once."""
    return is_words(column) and column.nunique() > max(WORDS, len(column) / 2)


def is_words(column: pd.Series) -> bool:
    """Whether a column holds neither numbers nor dates."""
    return not pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_datetime64_any_dtype(column)


def codes(column: pd.Series) -> Int[np.ndarray, " N"]:
    """The values of a column as few whole numbers: quantiles or places of common words; -1 for gaps."""
    if is_words(column):
        common = column.value_counts().index[:WORDS]
        places = pd.Index(common).get_indexer(column)
        return np.where(column.notna() & (places < 0), len(common), places)
    if column.nunique() <= BINS:
        return pd.factorize(column, sort=True)[0]
    return pd.qcut(column.rank(), BINS, labels=False, duplicates="drop").fillna(-1).to_numpy(int)


def _differences(
    column: pd.Series, owners: Int[np.ndarray, " M"], clusters: int, unit: str
) -> dict[int, Difference]:
    """The difference of every cluster that has rows, by place."""
    if is_text(column):
        return _of_text(column, owners, clusters)
    counts = contingency(codes(column), owners, clusters)
    strengths = against_rest(counts)
    describe = _of_words if is_words(column) else partial(_of_numbers, unit=unit)
    return describe(column, owners, strengths)


def _of_numbers(
    column: pd.Series, owners: Int[np.ndarray, " M"], strengths: Float[np.ndarray, " K"], unit: str
) -> dict[int, Difference]:
    """Medians, and whether they are low or high among all rows."""
    name, is_date = str(column.name), pd.api.types.is_datetime64_any_dtype(column)
    show = partial(show_date, format=date_format(column)) if is_date else partial(_show_number, unit=unit)
    degrees = ("early", "in between", "late") if is_date else ("low", "medium", "high")
    known, middle = np.sort(column.dropna().to_numpy()), column.median()
    found = {}
    for place, median in column.groupby(owners).median().items():
        if pd.isna(median):
            found[place] = Difference(name, strengths[place], "missing", show(middle), f"no {name}")
            continue
        at = median.to_datetime64() if is_date else median
        below = sum(np.searchsorted(known, at, side) for side in ("left", "right")) / (2 * len(known))
        degree = degrees[int(below >= LOW) + int(below > HIGH)]
        words = f"{name} {degree}" if is_date else f"{degree} {name}"
        found[place] = Difference(name, float(strengths[place]), show(median), show(middle), words)
    return found


def _of_words(
    column: pd.Series, owners: Int[np.ndarray, " M"], strengths: Float[np.ndarray, " K"]
) -> dict[int, Difference]:
    """The word whose share exceeds that in all rows most."""
    name, words = str(column.name), column.fillna("missing")
    everywhere = words.value_counts(normalize=True)
    here = pd.crosstab(words, owners, normalize="columns")
    found = {}
    for place in here:
        word = (here[place] - everywhere).idxmax()
        share, in_all = (f"{word} {percent(part[word])}" for part in (here[place], everywhere))
        found[place] = Difference(name, float(strengths[place]), share, in_all, f"{name} {word}")
    return found


def _of_text(column: pd.Series, owners: Int[np.ndarray, " M"], clusters: int) -> dict[int, Difference]:
    """The word of a text whose use is associated with the cluster most."""
    from sklearn.feature_extraction.text import CountVectorizer

    name = str(column.name)
    pattern = rf"(?u)\b[^\W\d_]{{{SHORT_WORD},}}\b"
    counter = CountVectorizer(max_features=TERMS, binary=True, token_pattern=pattern)
    try:
        uses = counter.fit_transform(column.fillna("").astype(str))
    except ValueError:  # there is no word
        return {}
    terms, sizes = counter.get_feature_names_out(), np.bincount(owners, minlength=clusters)
    used = np.asarray(uses.T @ np.eye(clusters, dtype=int)[owners])
    strengths = np.stack([against_rest(np.stack([one, sizes - one])) for one in used])
    shares, in_all = used / np.maximum(sizes, 1), used.sum(1) / len(owners)
    best = np.where(shares > in_all[:, None], strengths, -1).argmax(0)
    return {
        place: Difference(
            name,
            float(strengths[term, place]),
            f"'{terms[term]}' in {percent(shares[term, place])}",
            f"'{terms[term]}' in {percent(in_all[term])}",
            f"{name} with '{terms[term]}'",
        )
        for place, term in enumerate(best)
        if sizes[place]
    }


def _show_number(value: float, unit: str) -> str:
    """A number with its unit.

    >>> _show_number(1234567.0, ""), _show_number(0.012345, "kg")
    ('1,234,567', '0.01235 kg')
    """
    shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{shown} {unit}".strip()


def date_format(column: pd.Series) -> str:
    """How the dates of a column are shown: with the time of day if they are of a few days."""
    first, last = column.min(), column.max()
    if pd.isna(first) or last - first > SHORT_TIME:
        return "%Y-%m-%d"
    return "%H:%M" if first.date() == last.date() == date(1900, 1, 1) else "%Y-%m-%d %H:%M"


def show_date(value: pd.Timestamp, format: str) -> str:
    """A date in a format; empty for a gap."""
    return "" if pd.isna(value) else value.strftime(format)


def percent(share: float) -> str:
    """A share in percent.

    >>> percent(0.256)
    '26 %'
    """
    return f"{100 * share:.0f} %"
