import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.attention import attention_as_one_node  # noqa: E402

pytestmark = pytest.mark.torch


def test_torchs_attention_is_restored_after_an_error():
    original = F.scaled_dot_product_attention
    with pytest.raises(RuntimeError, match="inside"), attention_as_one_node():
        raise RuntimeError("inside")
    assert F.scaled_dot_product_attention is original


@pytest.mark.parametrize(
    "unsupported",
    [{"is_causal": True}, {"dropout_p": 0.1}, {"enable_gqa": True}, {"attn_mask": torch.zeros(3, 3)}],
    ids=lambda setting: next(iter(setting)),
)
def test_attention_that_one_node_cannot_express_is_refused(unsupported):
    query = torch.zeros(1, 2, 3, 4)
    with attention_as_one_node(), pytest.raises(ExportError, match="mask, dropout, a causal order or grouped"):
        F.scaled_dot_product_attention(query, query, query, **unsupported)
