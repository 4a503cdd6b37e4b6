"""The linear head against scikit-learn's own classifier."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from limbeck.linear_head import fit_head

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((60, 5), dtype=np.float32)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_head_decides_as_the_classifier_that_it_was_taken_from(classes):
    """Two classes too, of which scikit-learn gives one row."""
    labels = (FEATURES @ RNG.standard_normal((5, classes))).argmax(axis=1)
    head, expected = fit_head(FEATURES, labels), LogisticRegression(max_iter=5000).fit(FEATURES, labels)
    assert head.weight.shape == (classes, 5)
    logits = head.logits(FEATURES)
    np.testing.assert_array_equal(logits.argmax(axis=1), expected.predict(FEATURES))
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(raised / raised.sum(axis=1, keepdims=True), expected.predict_proba(FEATURES), atol=1e-4)
