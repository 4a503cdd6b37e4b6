import numpy as np
import pytest

from limbeck.errors import ConfigError
from limbeck.methods.base import Unit
from limbeck.methods.shared.generation import Start
from limbeck.methods.shared.prompting import AwayFrom, condition_of, prompting
from limbeck.testing.models import closed_form_models
from support.text_models import NamedConditioning

NAMED = NamedConditioning(("class 0", "class 1"))


def start(class_name, prompt):
    return Start(Unit(0, (0,)), class_name, 0, np.zeros((3, 4, 4), np.float32), prompt)


def test_a_sample_has_its_prompt_or_else_its_class():
    batch = [start("class 0", None), start("class 0", "a red one"), start("class 1", None)]
    assert condition_of(batch, NAMED).prompts == ("class 0", "a red one", "class 1")


def test_a_negative_prompt_stands_for_no_condition_and_nothing_else_changes():
    away = AwayFrom(NAMED, "cartoon")
    assert away.null(2).prompts == ("cartoon", "cartoon")
    assert away.of_prompts(["a"]).prompts == ("a",)
    assert away.of_classes(["class 1"]).prompts == ("class 1",)
    with pytest.raises(ConfigError, match="zebra"):
        away.of_classes(["zebra"])


def test_classes_alone_cannot_be_prompted():
    with pytest.raises(ConfigError, match="knows classes alone"):
        prompting(closed_form_models().conditioning)
