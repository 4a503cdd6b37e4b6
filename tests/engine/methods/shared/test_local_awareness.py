import numpy as np
import pytest

from limbeck.methods.shared.local_awareness import clusters_of, typical


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def features(rng):
    return rng.normal(size=(40, 3)).astype(np.float32)


def test_every_image_is_in_one_of_as_many_clusters_as_asked(features):
    clusters = clusters_of(features, 6, seed=1)
    assert len(clusters) == 6
    assert sorted(np.concatenate(clusters).tolist()) == list(range(40))


def test_the_clusters_are_scikit_learns(features):
    from sklearn.cluster import KMeans

    labels = KMeans(6, n_init=10, random_state=1).fit(features).labels_
    expected = [np.flatnonzero(labels == cluster).tolist() for cluster in range(6)]
    assert [sorted(members.tolist()) for members in clusters_of(features, 6, seed=1)] == expected


def test_members_come_nearest_to_the_mean_of_their_cluster_first(features):
    for members in clusters_of(features, 6, seed=1):
        distances = np.linalg.norm(features[members] - features[members].mean(axis=0), axis=1)
        assert (np.diff(distances) >= -1e-5).all()


def test_as_many_clusters_as_images_are_one_each(features):
    assert sorted(len(members) for members in clusters_of(features, 40, seed=1)) == [1] * 40


def test_equal_images_still_give_every_cluster_a_member():
    features = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)
    clusters = clusters_of(features, 4, seed=1)
    assert all(len(members) for members in clusters)


def test_the_lone_image_far_away_is_an_outlier(features):
    far = np.concatenate([features, [[50, 50, 50]]]).astype(np.float32)
    assert 40 not in typical(far, 0.05, neighbors=10, at_least=1)


def test_outliers_are_scikit_learns(features):
    from sklearn.neighbors import LocalOutlierFactor

    inside = LocalOutlierFactor(n_neighbors=10, contamination=0.1).fit_predict(features) == 1
    np.testing.assert_array_equal(typical(features, 0.1, neighbors=10, at_least=1), np.flatnonzero(inside))


def test_without_a_share_all_are_kept(features):
    np.testing.assert_array_equal(typical(features, 0, neighbors=10, at_least=1), np.arange(40))


def test_never_fewer_are_kept_than_needed(features):
    assert len(typical(features, 0.5, neighbors=10, at_least=35)) == 35


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_few_or_equal_images_are_digested(count):
    assert len(typical(np.ones((count, 4), np.float32), 0.5, neighbors=10, at_least=1)) >= 1
