from __future__ import annotations

import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.backends.onnxruntime_cuda import CudaSettings
from limbeck.backends.openvino import OpenVino
from limbeck.backends.reference import Reference
from limbeck.backends.settings import configured
from limbeck.backends.tensorrt import TensorRt, TensorRtRtx
from limbeck.errors import ConfigError


def test_a_setting_reaches_the_constructor():
    assert configured(OpenVino, {"precision": "bfloat16"}).precision == "bfloat16"


def test_without_settings_the_defaults_stand():
    assert vars(configured(Reference, {})) == vars(Reference())


def test_text_becomes_what_the_argument_is():
    assert configured(OnnxRuntime, {"threads": "2", "spinning": "false"}).fingerprint() == (
        OnnxRuntime(threads=2, spinning=False).fingerprint()
    )


def test_a_sequence_may_be_given_with_commas():
    assert configured(TensorRtRtx, {"targets": "SM86,SM89"}).targets == ("SM86", "SM89")


def test_profiles_are_given_as_json_has_them():
    backend = configured(TensorRtRtx, {"profiles": [{"batch": [1, 4, 8]}, {"batch": 16}]})
    assert backend.profiles == ({"batch": (1, 4, 8)}, {"batch": 16})


def test_a_mapping_stands_for_a_dataclass():
    assert configured(OnnxRuntime, {"cuda": {"graphs": True}}).cuda == CudaSettings(graphs=True)


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        (
            OpenVino,
            "precison",
            r"openvino backend has no setting 'precison'; did you mean 'precision'\? it has precision",
        ),
        (Reference, "threads", "reference backend has no setting 'threads'; it has dtype, attention, linear, device"),
        (TensorRt, "targets", "tensorrt backend has no setting 'targets'; it has profiles, workspace_nbytes"),
        (
            TensorRtRtx,
            "arena",
            "tensorrt-rtx backend has no setting 'arena'; it has targets, profiles, workspace_nbytes",
        ),
    ],
)
def test_an_unknown_setting_is_refused_with_those_there_are(kind, setting, message):
    with pytest.raises(ConfigError, match=message):
        configured(kind, {setting: "2"})


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (OpenVino, {"precision": "int8"}, "'precision' of the openvino backend: .*'float32' or 'bfloat16', got 'int8'"),
        (OnnxRuntime, {"threads": "many"}, "'threads' of the onnxruntime backend: .*integer.*, got 'many'"),
        (OnnxRuntime, {"cuda": {"graph": True}}, "'cuda' of the onnxruntime backend: .*, got {'graph': True}"),
        (TensorRt, {"profiles": "16"}, r"'profiles' of the tensorrt backend: .*valid dictionary, got \['16'\]"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        configured(kind, settings)


def test_what_the_backend_refuses_itself_it_refuses_here_too():
    with pytest.raises(ConfigError, match="attention='xformers' on device='cuda' only"):
        configured(Reference, {"attention": "xformers"})
