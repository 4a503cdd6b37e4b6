import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.text import write_tokenizer  # noqa: E402
from limbeck.text.tokenizer import Tokenizer  # noqa: E402
from support.pipelines import END, write_vocabulary  # noqa: E402

pytestmark = pytest.mark.torch

PROMPTS = (
    "",
    "cat",
    "The CAT and  the\tdog",
    "tench, Tinca tinca",
    "it's a 2001 photo; don't!",
    "Straße, naïve, 日本語, 🦆, e\u0301",
    f"{END} inside",
    "cat " * 200,
)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """Of transformers, and of the file that was made from it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_vocabulary(folder / "source")
    theirs = transformers.CLIPTokenizer.from_pretrained(folder / "source")
    write_tokenizer(theirs, folder / "out/tokenizer.json", tokens=77)
    return theirs, Tokenizer(folder / "out/tokenizer.json", tokens=77)


def expected_ids(tokenizer, prompts):
    return np.array(tokenizer(prompts, padding="max_length", max_length=77, truncation=True)["input_ids"])


def test_the_graph_is_the_text_tower_of_transformers(sd_source, sd_pack, run):
    tower = transformers.CLIPTextModel.from_pretrained(sd_source, subfolder="text_encoder").eval()
    ids = np.random.default_rng(0).integers(0, tower.config.vocab_size, (3, 77))
    with torch.no_grad():
        expected = tower(torch.tensor(ids)).last_hidden_state
    np.testing.assert_allclose(run(sd_pack, "text_encoder", token_ids=ids)["states"], expected, rtol=1e-4, atol=1e-5)


def test_a_token_changes_no_state_before_it(sd_pack, run):
    ids = np.random.default_rng(1).integers(0, 500, (1, 77))
    other = ids.copy()
    other[0, 40] = (ids[0, 40] + 1) % 500
    one, two = (run(sd_pack, "text_encoder", token_ids=each)["states"][0] for each in (ids, other))
    np.testing.assert_array_equal(one[:40], two[:40])
    assert (one[40:] != two[40:]).any(axis=1).all()


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_a_prompt_has_the_ids_that_transformers_gives_it(tokenizers, prompt):
    theirs, ours = tokenizers
    np.testing.assert_array_equal(ours([prompt]), expected_ids(theirs, [prompt]))


@given(st.lists(st.text(max_size=120), min_size=1, max_size=4))
def test_any_prompts_have_the_ids_that_transformers_gives_them(tokenizers, prompts):
    theirs, ours = tokenizers
    np.testing.assert_array_equal(ours(prompts), expected_ids(theirs, prompts))


def test_another_padding_token_is_kept(tmp_path):
    """As in SD 2, which pads with "!"."""
    write_vocabulary(tmp_path / "source")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tmp_path / "source", pad_token="!")
    write_tokenizer(tokenizer, tmp_path / "out/tokenizer.json", tokens=77)
    assert Tokenizer(tmp_path / "out/tokenizer.json", tokens=77)(["cat"])[0, -1] == tokenizer.pad_token_id


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path):
    write_vocabulary(tmp_path / "source")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tmp_path / "source")
    tokenizer.pad_token = None
    with pytest.raises(ExportError, match=r"has no padding token; its tokenizer_config\.json must name a pad_token"):
        write_tokenizer(tokenizer, tmp_path / "out/tokenizer.json", tokens=77)
