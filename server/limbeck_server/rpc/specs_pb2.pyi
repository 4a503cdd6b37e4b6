from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DistillSpec(_message.Message):
    __slots__ = ("method", "preset", "settings", "ipc", "seed", "pack", "dataset", "budget_nbytes", "bucket", "backend", "backend_settings", "role_backends", "step_cache", "skip_unreadable", "reading")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    IPC_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    BUDGET_NBYTES_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    BACKEND_SETTINGS_FIELD_NUMBER: _ClassVar[int]
    ROLE_BACKENDS_FIELD_NUMBER: _ClassVar[int]
    STEP_CACHE_FIELD_NUMBER: _ClassVar[int]
    SKIP_UNREADABLE_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    method: str
    preset: str
    settings: _struct_pb2.Struct
    ipc: int
    seed: int
    pack: str
    dataset: str
    budget_nbytes: int
    bucket: int
    backend: str
    backend_settings: _struct_pb2.Struct
    role_backends: _containers.RepeatedCompositeFieldContainer[RoleBackend]
    step_cache: str
    skip_unreadable: bool
    reading: Reading
    def __init__(self, method: _Optional[str] = ..., preset: _Optional[str] = ..., settings: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., ipc: _Optional[int] = ..., seed: _Optional[int] = ..., pack: _Optional[str] = ..., dataset: _Optional[str] = ..., budget_nbytes: _Optional[int] = ..., bucket: _Optional[int] = ..., backend: _Optional[str] = ..., backend_settings: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., role_backends: _Optional[_Iterable[_Union[RoleBackend, _Mapping]]] = ..., step_cache: _Optional[str] = ..., skip_unreadable: bool = ..., reading: _Optional[_Union[Reading, _Mapping]] = ...) -> None: ...

class RoleBackend(_message.Message):
    __slots__ = ("role", "backend", "settings")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    role: str
    backend: str
    settings: _struct_pb2.Struct
    def __init__(self, role: _Optional[str] = ..., backend: _Optional[str] = ..., settings: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Reading(_message.Message):
    __slots__ = ("image_column", "label_column", "normalization", "class_names", "split")
    IMAGE_COLUMN_FIELD_NUMBER: _ClassVar[int]
    LABEL_COLUMN_FIELD_NUMBER: _ClassVar[int]
    NORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    image_column: str
    label_column: str
    normalization: str
    class_names: _containers.RepeatedScalarFieldContainer[str]
    split: str
    def __init__(self, image_column: _Optional[str] = ..., label_column: _Optional[str] = ..., normalization: _Optional[str] = ..., class_names: _Optional[_Iterable[str]] = ..., split: _Optional[str] = ...) -> None: ...

class EvaluateSpec(_message.Message):
    __slots__ = ("distilled_sets", "train_dataset", "test_dataset", "protocol", "student", "seeds", "scale", "epochs", "checks", "image_size", "norm", "width", "teacher", "baselines", "pack", "backend", "backend_settings", "precision", "device", "heir_pack", "train_reading", "test_reading")
    DISTILLED_SETS_FIELD_NUMBER: _ClassVar[int]
    TRAIN_DATASET_FIELD_NUMBER: _ClassVar[int]
    TEST_DATASET_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STUDENT_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    TEACHER_FIELD_NUMBER: _ClassVar[int]
    BASELINES_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    BACKEND_SETTINGS_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    HEIR_PACK_FIELD_NUMBER: _ClassVar[int]
    TRAIN_READING_FIELD_NUMBER: _ClassVar[int]
    TEST_READING_FIELD_NUMBER: _ClassVar[int]
    distilled_sets: _containers.RepeatedScalarFieldContainer[str]
    train_dataset: str
    test_dataset: str
    protocol: str
    student: str
    seeds: int
    scale: float
    epochs: int
    checks: int
    image_size: int
    norm: str
    width: int
    teacher: str
    baselines: _containers.RepeatedScalarFieldContainer[str]
    pack: str
    backend: str
    backend_settings: _struct_pb2.Struct
    precision: str
    device: str
    heir_pack: str
    train_reading: Reading
    test_reading: Reading
    def __init__(self, distilled_sets: _Optional[_Iterable[str]] = ..., train_dataset: _Optional[str] = ..., test_dataset: _Optional[str] = ..., protocol: _Optional[str] = ..., student: _Optional[str] = ..., seeds: _Optional[int] = ..., scale: _Optional[float] = ..., epochs: _Optional[int] = ..., checks: _Optional[int] = ..., image_size: _Optional[int] = ..., norm: _Optional[str] = ..., width: _Optional[int] = ..., teacher: _Optional[str] = ..., baselines: _Optional[_Iterable[str]] = ..., pack: _Optional[str] = ..., backend: _Optional[str] = ..., backend_settings: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., precision: _Optional[str] = ..., device: _Optional[str] = ..., heir_pack: _Optional[str] = ..., train_reading: _Optional[_Union[Reading, _Mapping]] = ..., test_reading: _Optional[_Union[Reading, _Mapping]] = ...) -> None: ...
