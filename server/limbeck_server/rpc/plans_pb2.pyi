from google.protobuf import duration_pb2 as _duration_pb2
from limbeck_server.rpc import specs_pb2 as _specs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PlanJobRequest(_message.Message):
    __slots__ = ("distill",)
    DISTILL_FIELD_NUMBER: _ClassVar[int]
    distill: _specs_pb2.DistillSpec
    def __init__(self, distill: _Optional[_Union[_specs_pb2.DistillSpec, _Mapping]] = ...) -> None: ...

class PlanJobResponse(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: Plan
    def __init__(self, plan: _Optional[_Union[Plan, _Mapping]] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("peak_nbytes", "parts", "stages", "engine_time", "bucket", "codec_bucket", "tile", "groups", "wave", "budget_nbytes", "disk_nbytes")
    class PartsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class StagesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    PEAK_NBYTES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    ENGINE_TIME_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    CODEC_BUCKET_FIELD_NUMBER: _ClassVar[int]
    TILE_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    WAVE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_NBYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_NBYTES_FIELD_NUMBER: _ClassVar[int]
    peak_nbytes: int
    parts: _containers.ScalarMap[str, int]
    stages: _containers.ScalarMap[str, int]
    engine_time: _duration_pb2.Duration
    bucket: int
    codec_bucket: int
    tile: int
    groups: _containers.RepeatedCompositeFieldContainer[EngineGroup]
    wave: int
    budget_nbytes: int
    disk_nbytes: int
    def __init__(self, peak_nbytes: _Optional[int] = ..., parts: _Optional[_Mapping[str, int]] = ..., stages: _Optional[_Mapping[str, int]] = ..., engine_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., bucket: _Optional[int] = ..., codec_bucket: _Optional[int] = ..., tile: _Optional[int] = ..., groups: _Optional[_Iterable[_Union[EngineGroup, _Mapping]]] = ..., wave: _Optional[int] = ..., budget_nbytes: _Optional[int] = ..., disk_nbytes: _Optional[int] = ...) -> None: ...

class EngineGroup(_message.Message):
    __slots__ = ("roles",)
    ROLES_FIELD_NUMBER: _ClassVar[int]
    roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, roles: _Optional[_Iterable[str]] = ...) -> None: ...
