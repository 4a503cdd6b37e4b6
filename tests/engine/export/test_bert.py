import copy

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from limbeck.export.bert import BertTower, round_to_int8  # noqa: E402
from limbeck.export.options import ExportOptions  # noqa: E402
from limbeck.export.sources import load_networks  # noqa: E402
from limbeck.export.text import export_text, write_tokenizer  # noqa: E402
from limbeck.text.tokenizer import Tokenizer  # noqa: E402
from support.bert import TOKENS, write_bert_pipeline  # noqa: E402

pytestmark = pytest.mark.torch

PROMPTS = ("", "three", "A photo of the DIGIT 3", "hands, showing a hand-digit", "cats", "the " * 30)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_bert_pipeline(tmp_path_factory.mktemp("bert") / "pipeline")


@pytest.fixture(scope="module")
def network(source):
    """The network as it was trained, apart from limbeck."""
    return transformers.BertModel.from_pretrained(
        source, subfolder="text_encoder", add_pooling_layer=False, attn_implementation="eager"
    ).eval()


@pytest.fixture(scope="module")
def loaded(source):
    """The source as limbeck loads it, to be stored as int8."""
    return load_networks([str(source)], ExportOptions(text_int8=True)).denoiser


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory, loaded):
    path = tmp_path_factory.mktemp("bert-tokenizer") / "tokenizer/tokenizer.json"
    write_tokenizer(loaded.tokenizer, path, tokens=loaded.info.tokens)
    return Tokenizer(path, tokens=TOKENS)


@pytest.fixture(scope="module")
def stored(tmp_path_factory, loaded):
    """The graph that is stored as int8: its manifest entry and its file."""
    folder = tmp_path_factory.mktemp("bert-graph")
    entry = export_text(loaded.text_encoder, folder, ExportOptions(text_int8=True), tokens=TOKENS)["text_encoder"]
    return entry, folder / entry.file


def run(path, ids):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"token_ids": ids})[0]


@pytest.fixture(scope="module")
def rounded(network):
    """The network that int8 storage keeps."""
    changed = copy.deepcopy(network)
    round_to_int8(changed)
    return changed


def test_the_states_of_a_prompt_are_those_of_the_rounded_network_in_transformers(source, stored, tokenizer, rounded):
    theirs = transformers.BertTokenizerFast.from_pretrained(source, subfolder="tokenizer")
    for prompt, found in zip(PROMPTS, run(stored[1], tokenizer(PROMPTS)), strict=True):
        # alone and unpadded, so that no mask is needed
        alone = theirs(prompt, truncation=True, max_length=TOKENS, return_tensors="pt")
        with torch.no_grad():
            expected = rounded(alone["input_ids"]).last_hidden_state[0].numpy()
        np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-4, atol=1e-5)


def test_unrounded_the_graph_is_the_network_itself(network, tmp_path, rng):
    entry = export_text(network, tmp_path, ExportOptions(), tokens=TOKENS)["text_encoder"]
    ids = np.pad(rng.integers(1, network.config.vocab_size, (3, 7)), [(0, 0), (0, TOKENS - 7)])
    with torch.no_grad():
        expected = network(torch.from_numpy(ids[:, :7])).last_hidden_state
    np.testing.assert_allclose(run(tmp_path / entry.file, ids)[:, :7], expected, rtol=1e-4, atol=1e-5)


def test_the_states_of_padding_are_zero(stored, tokenizer):
    ids = tokenizer(PROMPTS)
    states = run(stored[1], ids)
    assert not states[ids == 0].any()
    assert states[ids != 0].any(axis=1).all()


def test_the_states_of_a_prompt_do_not_depend_on_how_far_it_is_padded(network):
    tower, short = BertTower(network), torch.tensor([[2, 6, 8, 3]])
    with torch.no_grad():
        torch.testing.assert_close(tower(torch.nn.functional.pad(short, (0, 9)))[:, :4], tower(short))


def test_a_prompt_is_as_long_as_the_tokenizer_says(loaded):
    assert loaded.info.tokens == TOKENS


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_a_prompt_has_the_ids_that_transformers_gives_it(source, tokenizer, prompt):
    theirs = transformers.BertTokenizerFast.from_pretrained(source, subfolder="tokenizer")
    expected = theirs([prompt], padding="max_length", max_length=TOKENS, truncation=True)["input_ids"]
    np.testing.assert_array_equal(tokenizer([prompt]), expected)


def test_a_rounded_matrix_has_at_most_255_levels_a_row_and_is_near_what_it_was(network, rounded):
    # the row of padding is zero
    before, after = (each.embeddings.word_embeddings.weight[1:] for each in (network, rounded))
    step = before.abs().amax(1, keepdim=True) / 127
    assert ((after - before).abs() <= 0.52 * step).all()
    assert all(len(row.unique()) <= 255 for row in after)


def test_a_rounded_network_stays_as_it_is_through_float16_and_a_second_rounding(rounded):
    twice = copy.deepcopy(rounded).half().float()
    round_to_int8(twice)
    for (name, first), second in zip(rounded.named_parameters(), twice.parameters(), strict=True):
        if first.ndim == 2:
            torch.testing.assert_close(second, first, rtol=0, atol=0, msg=name)


def test_large_matrices_are_stored_in_a_byte_a_weight(stored):
    graph = onnx.load(stored[1]).graph
    large = [weight for weight in graph.initializer if len(weight.dims) == 2 and np.prod(weight.dims) >= 1024]
    assert {weight.data_type for weight in large} == {onnx.TensorProto.INT8}


def test_the_manifest_says_how_the_text_encoder_is_stored(stored):
    assert stored[0].weights == "int8"
