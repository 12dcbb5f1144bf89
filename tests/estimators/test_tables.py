"""AutoCluster with DataFrames and sparse matrices, new rows, and clusters kept in a file."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

import jmeta as jm
from jmeta.estimators.inputs import prepared_rows
from jmeta.estimators.memberships import Neighbours
from jmeta.estimators.preparation import AXES, BESIDE_WORDS, prepare

N = 60
GROUP = np.arange(N) % 3
RANDOM = np.random.default_rng(0)
FEW = dict(n_candidates=2)
TABLE = pd.DataFrame(
    {
        "customer_id": RANDOM.permutation(N) + 1000,
        "age": 30 + 10 * GROUP + RANDOM.normal(size=N),
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(300 * GROUP + RANDOM.normal(0, 9, N), unit="D"),
        "region": np.array(["north", "south", "west"])[GROUP],
    }
)
TABLE.loc[4, "age"] = np.nan


@pytest.fixture(scope="module")
def fitted():
    return jm.AutoCluster(3, **FEW).fit(TABLE)


def test_words_gaps_and_dates_are_clustered_and_identifiers_are_not(fitted):
    assert adjusted_rand_score(GROUP, fitted.labels_) == 1
    assert fitted.encoder_.get_feature_names_out().tolist()[:2] == ["age", "since"]
    assert fitted.strategy_.scaling.startswith(BESIDE_WORDS)
    assert "3 classes of rows" in fitted.strategy_.scaling
    assert fitted.feature_names_in_.tolist() == TABLE.columns.tolist()
    assert fitted.table_["region"].tolist() == TABLE["region"].tolist()
    assert np.isnan(fitted.table_["age"][4])


def test_new_rows_are_encoded_as_in_training(fitted):
    np.testing.assert_array_equal(fitted.predict(TABLE), fitted.labels_)
    np.testing.assert_array_equal(fitted.predict(TABLE.iloc[7:9]), fitted.labels_[7:9])
    np.testing.assert_array_equal(fitted.predict(TABLE.drop(columns="customer_id")), fitted.labels_)
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(TABLE.rename(columns={"age": "years"}))
    with pytest.warns(jm.InputWarning, match="'east'"):
        fitted.predict(TABLE.assign(region="east"))
    with pytest.raises(jm.InputError, match="column 'age' holds no number"):
        fitted.predict(TABLE.assign(age="old"))
    assert 0.5 < fitted.score(TABLE) <= 1


def test_probabilities_agree_with_labels_and_are_columns_of_a_pipeline(fitted):
    probabilities = fitted.predict_proba(TABLE)
    assert probabilities.shape == (N, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(probabilities.argmax(1), fitted.labels_)
    frame = clone(fitted).set_output(transform="pandas").fit_transform(TABLE)
    assert frame.columns.tolist() == ["autocluster0", "autocluster1", "autocluster2"]


def test_noise_takes_its_share_of_the_probabilities():
    rows = Neighbours(np.array([[0.0], [1.0], [2.0]]), np.array([0, -1, 1]))
    np.testing.assert_allclose(rows.probabilities(np.array([[0.1]]), 2), [[4 / 7, 1 / 7]])
    assert rows.labels(np.array([[0.9]])).tolist() == [-1]


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_tables_of_other_libraries_are_converted(fitted, library):
    module = pytest.importorskip(library)
    other = module.from_pandas(TABLE) if library == "polars" else module.Table.from_pandas(TABLE)
    np.testing.assert_array_equal(jm.AutoCluster(3, **FEW).fit(other).labels_, fitted.labels_)


def words_of_groups(random, rows):
    """Each group prefers two words of the first column; the others, and the number, are noisy."""
    group = np.arange(rows) % 3
    product = np.where(
        random.random(rows) < 0.9, 2 * group + random.integers(2, size=rows), random.integers(6, size=rows)
    )
    size = np.where(random.random(rows) < 0.6, group, random.integers(3, size=rows))
    letters = np.array(list("abcdef"))
    columns = {
        "product": letters[product],
        "size": letters[size],
        "region": letters[random.integers(4, size=rows)],
    }
    return pd.DataFrame(columns).assign(visits=2.5 * group + random.normal(size=rows)), group


def test_combinations_of_words_are_no_clusters():
    table, group = words_of_groups(np.random.default_rng(0), 240)
    model = jm.AutoCluster().fit(table)
    assert model.n_clusters_ == 3
    assert adjusted_rand_score(group, model.labels_) > 0.75
    assert "'region' left out, as unrelated" in model.strategy_.scaling
    np.testing.assert_array_equal(model.predict(table), model.labels_)


def test_unrelated_words_are_left_out_unless_nothing_else_gives_the_clusters_asked_for():
    table, _ = words_of_groups(np.random.default_rng(0), 240)
    made, points, _ = prepared_rows(jm.AutoCluster(), table[["region", "visits"]], 0)
    assert points.shape == (240, 1)
    assert "words are left out" in made.description
    shuffled = table[["product", "region"]].assign(
        region=np.random.default_rng(1).permutation(table["region"])
    )
    with pytest.warns(jm.InputWarning, match="the columns are not related to each other: every row"):
        assert jm.AutoCluster().fit(shuffled).n_clusters_ == 1
    assert prepared_rows(jm.AutoCluster(4), shuffled, 0)[2] >= 4
    assert prepared_rows(jm.AutoCluster(scaling="none"), table, 0)[0].words is None
    assert prepared_rows(jm.AutoCluster(), table[["product"]], 0)[1].shape == (240, 6)


def test_options_of_the_encoder_are_kept():
    encoder = jm.TableEncoder(identifiers=["since", "age"])
    model = jm.AutoCluster(encoder=encoder)
    prepared_rows(model, TABLE, 0)
    assert model.encoder_.get_feature_names_out().tolist() == ["region=north", "region=south", "region=west"]
    assert not model.encoder_.numeric_.any()
    assert not hasattr(encoder, "columns_")


def test_sparse_matrices_give_the_clusters_of_dense_ones():
    columns = AXES + 20
    dense = RANDOM.poisson(0.1, (N, columns)) + 4.0 * (np.arange(columns) % 3 == GROUP[:, None])
    matrix = sparse.csr_matrix(dense)
    model = jm.AutoCluster(3, **FEW).fit(matrix)
    assert adjusted_rand_score(GROUP, model.labels_) == 1
    np.testing.assert_array_equal(model.predict(matrix), model.predict(dense))
    piped = make_pipeline(MaxAbsScaler(), clone(model)).fit_predict(matrix)
    assert adjusted_rand_score(GROUP, piped) == 1


def test_sparse_matrices_of_few_columns_are_made_dense():
    matrix = sparse.random(N, AXES - 10, 0.2, format="csr", random_state=0)
    made, points, _ = prepared_rows(jm.AutoCluster(scaling="none"), matrix, 0)
    np.testing.assert_allclose(points * made.scale + made.center, matrix.toarray(), atol=1e-12)


def test_principal_axes_of_a_sparse_matrix_are_those_of_the_dense_one():
    matrix = sparse.random(80, AXES + 5, 0.2, format="csr", random_state=0)
    first, second = (prepare(x, "standard") for x in (matrix, matrix.toarray()))
    np.testing.assert_allclose(first(matrix), first(matrix.toarray()), atol=1e-9)
    np.testing.assert_allclose(np.abs(first(matrix)), np.abs(second(matrix.toarray())), atol=1e-6)


def test_progress_is_printed_when_asked_for(capsys):
    jm.AutoCluster(3, verbose=True, **FEW).fit(TABLE)
    assert "[AutoCluster] 2 of 2 candidates" in capsys.readouterr().out


def test_clusters_are_kept_in_a_file(fitted, tmp_path):
    jm.save_clustering(tmp_path / "groups.npz", fitted)
    again = jm.load_clustering(tmp_path / "groups.npz")
    np.testing.assert_array_equal(again.predict(TABLE), fitted.labels_)
    np.testing.assert_array_equal(again.predict_proba(TABLE), fitted.predict_proba(TABLE))
    assert again.strategy_ == fitted.strategy_
    assert again.candidates_ == fitted.candidates_
    with pytest.raises(jm.InputError, match="cannot be explained: it was loaded from a file"):
        again.explain()
    with pytest.raises(jm.InputError, match=r"ends with \.npz"):
        jm.save_clustering(tmp_path / "groups.model", fitted)
    with pytest.raises(jm.InputError, match="there is no clustering"):
        jm.load_clustering(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes((tmp_path / "groups.npz").read_bytes()[:500])
    with pytest.raises(jm.InputError, match="damaged"):
        jm.load_clustering(tmp_path / "bad.npz")


def test_tables_of_one_row_are_refused():
    with pytest.raises(jm.InputError, match="fewer than two rows"):
        jm.AutoCluster().fit(TABLE.head(1))
