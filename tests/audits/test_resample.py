"""The quick form of a statistic over cluster counts is the slow one over rows."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audits import resample


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), rows=st.integers(4, 40), clusters=st.integers(2, 9))
def test_auroc_from_the_table_of_clusters_is_that_from_the_rows(seed, rows, clusters):
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 5, rows) / 4  # with ties
    label = np.array([0.0, 1.0, *(rng.random(rows - 2) < 0.4)])
    cluster = rng.integers(0, clusters, rows)
    counts = rng.integers(0, 4, (clusters, 7)).astype(float)
    quick = resample.auroc(score, label, cluster, clusters)(counts)
    slow = resample.by_cluster(resample._auroc_of_rows(score, label), cluster)(counts)
    np.testing.assert_allclose(quick, slow, rtol=1e-12, equal_nan=True)


def test_auroc_by_hand():
    # 0.9 beats 0.5 and 0.1; 0.5 ties 0.5 and beats 0.1: (1 + 1 + 1/2 + 1) / 4
    score, label = np.array([0.9, 0.5, 0.5, 0.1]), np.array([1.0, 1.0, 0.0, 0.0])
    alone = resample.auroc(score, label, np.arange(4), 4)
    assert alone(np.ones((4, 1))).tolist() == [0.875]
    # the first and the third row twice: pairs count 4, 2, 2, 1 with 4, 2, 1, 1 won
    twice = np.array([[2.0], [1.0], [2.0], [1.0]])
    assert alone(twice).tolist() == [8 / 9]
