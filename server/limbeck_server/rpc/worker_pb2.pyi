from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_DONE: _ClassVar[Outcome]
    OUTCOME_STOPPED: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
    OUTCOME_RETRY: _ClassVar[Outcome]
    OUTCOME_DISK_FULL: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_DONE: Outcome
OUTCOME_STOPPED: Outcome
OUTCOME_FAILED: Outcome
OUTCOME_RETRY: Outcome
OUTCOME_DISK_FULL: Outcome

class WorkRequest(_message.Message):
    __slots__ = ("hello", "beat", "prepared", "unit_finished", "checkpoint_kept", "noted", "published", "lease_ended", "call_answered", "engines_loaded")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    UNIT_FINISHED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_KEPT_FIELD_NUMBER: _ClassVar[int]
    NOTED_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    LEASE_ENDED_FIELD_NUMBER: _ClassVar[int]
    CALL_ANSWERED_FIELD_NUMBER: _ClassVar[int]
    ENGINES_LOADED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    beat: Beat
    prepared: Prepared
    unit_finished: UnitFinished
    checkpoint_kept: CheckpointKept
    noted: Noted
    published: Published
    lease_ended: LeaseEnded
    call_answered: CallAnswered
    engines_loaded: EnginesLoaded
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., beat: _Optional[_Union[Beat, _Mapping]] = ..., prepared: _Optional[_Union[Prepared, _Mapping]] = ..., unit_finished: _Optional[_Union[UnitFinished, _Mapping]] = ..., checkpoint_kept: _Optional[_Union[CheckpointKept, _Mapping]] = ..., noted: _Optional[_Union[Noted, _Mapping]] = ..., published: _Optional[_Union[Published, _Mapping]] = ..., lease_ended: _Optional[_Union[LeaseEnded, _Mapping]] = ..., call_answered: _Optional[_Union[CallAnswered, _Mapping]] = ..., engines_loaded: _Optional[_Union[EnginesLoaded, _Mapping]] = ...) -> None: ...

class WorkResponse(_message.Message):
    __slots__ = ("assignment", "stop", "call", "engine_change", "exit", "call_cancelled", "welcome")
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    ENGINE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    CALL_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    assignment: Assignment
    stop: Stop
    call: Call
    engine_change: EngineChange
    exit: Exit
    call_cancelled: CallCancelled
    welcome: Welcome
    def __init__(self, assignment: _Optional[_Union[Assignment, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ..., call: _Optional[_Union[Call, _Mapping]] = ..., engine_change: _Optional[_Union[EngineChange, _Mapping]] = ..., exit: _Optional[_Union[Exit, _Mapping]] = ..., call_cancelled: _Optional[_Union[CallCancelled, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("worker", "pid", "device")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    worker: str
    pid: int
    device: str
    def __init__(self, worker: _Optional[str] = ..., pid: _Optional[int] = ..., device: _Optional[str] = ...) -> None: ...

class Beat(_message.Message):
    __slots__ = ("steps", "busy", "stage", "done", "total", "private_nbytes", "lease", "cache_hits", "cache_misses")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_NBYTES_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
    CACHE_MISSES_FIELD_NUMBER: _ClassVar[int]
    steps: int
    busy: bool
    stage: str
    done: int
    total: int
    private_nbytes: int
    lease: str
    cache_hits: int
    cache_misses: int
    def __init__(self, steps: _Optional[int] = ..., busy: bool = ..., stage: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., private_nbytes: _Optional[int] = ..., lease: _Optional[str] = ..., cache_hits: _Optional[int] = ..., cache_misses: _Optional[int] = ...) -> None: ...

class Prepared(_message.Message):
    __slots__ = ("lease", "prepared_json", "units", "num_images", "plan_json")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PREPARED_JSON_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    NUM_IMAGES_FIELD_NUMBER: _ClassVar[int]
    PLAN_JSON_FIELD_NUMBER: _ClassVar[int]
    lease: str
    prepared_json: str
    units: _containers.RepeatedCompositeFieldContainer[Unit]
    num_images: int
    plan_json: str
    def __init__(self, lease: _Optional[str] = ..., prepared_json: _Optional[str] = ..., units: _Optional[_Iterable[_Union[Unit, _Mapping]]] = ..., num_images: _Optional[int] = ..., plan_json: _Optional[str] = ...) -> None: ...

class Unit(_message.Message):
    __slots__ = ("index", "class_ids", "num_images", "checkpoint")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CLASS_IDS_FIELD_NUMBER: _ClassVar[int]
    NUM_IMAGES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    index: int
    class_ids: _containers.RepeatedScalarFieldContainer[int]
    num_images: int
    checkpoint: str
    def __init__(self, index: _Optional[int] = ..., class_ids: _Optional[_Iterable[int]] = ..., num_images: _Optional[int] = ..., checkpoint: _Optional[str] = ...) -> None: ...

class UnitFinished(_message.Message):
    __slots__ = ("lease", "index", "images", "arrays", "result_json")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    lease: str
    index: int
    images: _containers.RepeatedCompositeFieldContainer[Image]
    arrays: str
    result_json: str
    def __init__(self, lease: _Optional[str] = ..., index: _Optional[int] = ..., images: _Optional[_Iterable[_Union[Image, _Mapping]]] = ..., arrays: _Optional[str] = ..., result_json: _Optional[str] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("label", "position", "digest", "nbytes", "row_json")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    ROW_JSON_FIELD_NUMBER: _ClassVar[int]
    label: int
    position: int
    digest: str
    nbytes: int
    row_json: str
    def __init__(self, label: _Optional[int] = ..., position: _Optional[int] = ..., digest: _Optional[str] = ..., nbytes: _Optional[int] = ..., row_json: _Optional[str] = ...) -> None: ...

class CheckpointKept(_message.Message):
    __slots__ = ("lease", "index", "digest")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    lease: str
    index: int
    digest: str
    def __init__(self, lease: _Optional[str] = ..., index: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class Noted(_message.Message):
    __slots__ = ("lease", "kind", "detail_json")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DETAIL_JSON_FIELD_NUMBER: _ClassVar[int]
    lease: str
    kind: str
    detail_json: str
    def __init__(self, lease: _Optional[str] = ..., kind: _Optional[str] = ..., detail_json: _Optional[str] = ...) -> None: ...

class Published(_message.Message):
    __slots__ = ("lease", "distilled_set", "path", "files", "result_json")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    DISTILLED_SET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    lease: str
    distilled_set: str
    path: str
    files: _containers.RepeatedCompositeFieldContainer[SetFile]
    result_json: str
    def __init__(self, lease: _Optional[str] = ..., distilled_set: _Optional[str] = ..., path: _Optional[str] = ..., files: _Optional[_Iterable[_Union[SetFile, _Mapping]]] = ..., result_json: _Optional[str] = ...) -> None: ...

class SetFile(_message.Message):
    __slots__ = ("path", "digest", "nbytes")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    digest: str
    nbytes: int
    def __init__(self, path: _Optional[str] = ..., digest: _Optional[str] = ..., nbytes: _Optional[int] = ...) -> None: ...

class LeaseEnded(_message.Message):
    __slots__ = ("lease", "outcome", "reason", "message", "peak_nbytes")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PEAK_NBYTES_FIELD_NUMBER: _ClassVar[int]
    lease: str
    outcome: Outcome
    reason: str
    message: str
    peak_nbytes: int
    def __init__(self, lease: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., peak_nbytes: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("config_json",)
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    config_json: str
    def __init__(self, config_json: _Optional[str] = ...) -> None: ...

class CallCancelled(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("lease", "job", "kind", "spec_json", "prepared_json", "units", "finished", "resources_json")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    PREPARED_JSON_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_JSON_FIELD_NUMBER: _ClassVar[int]
    lease: str
    job: str
    kind: str
    spec_json: str
    prepared_json: str
    units: _containers.RepeatedCompositeFieldContainer[Unit]
    finished: _containers.RepeatedCompositeFieldContainer[UnitFinished]
    resources_json: str
    def __init__(self, lease: _Optional[str] = ..., job: _Optional[str] = ..., kind: _Optional[str] = ..., spec_json: _Optional[str] = ..., prepared_json: _Optional[str] = ..., units: _Optional[_Iterable[_Union[Unit, _Mapping]]] = ..., finished: _Optional[_Iterable[_Union[UnitFinished, _Mapping]]] = ..., resources_json: _Optional[str] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: str
    def __init__(self, lease: _Optional[str] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("id", "pack", "call", "inputs", "arguments_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    id: int
    pack: str
    call: str
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    arguments_json: str
    def __init__(self, id: _Optional[int] = ..., pack: _Optional[str] = ..., call: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., arguments_json: _Optional[str] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("name", "dtype", "shape", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class CallAnswered(_message.Message):
    __slots__ = ("id", "outputs", "reason", "message", "batch")
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    id: int
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    reason: str
    message: str
    batch: int
    def __init__(self, id: _Optional[int] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., batch: _Optional[int] = ...) -> None: ...

class EngineChange(_message.Message):
    __slots__ = ("id", "pack", "role", "load")
    ID_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    id: int
    pack: str
    role: str
    load: bool
    def __init__(self, id: _Optional[int] = ..., pack: _Optional[str] = ..., role: _Optional[str] = ..., load: bool = ...) -> None: ...

class EnginesLoaded(_message.Message):
    __slots__ = ("id", "engines", "reason", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: int
    engines: _containers.RepeatedCompositeFieldContainer[LoadedEngine]
    reason: str
    message: str
    def __init__(self, id: _Optional[int] = ..., engines: _Optional[_Iterable[_Union[LoadedEngine, _Mapping]]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class LoadedEngine(_message.Message):
    __slots__ = ("pack", "role", "engine")
    PACK_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    pack: str
    role: str
    engine: str
    def __init__(self, pack: _Optional[str] = ..., role: _Optional[str] = ..., engine: _Optional[str] = ...) -> None: ...

class Exit(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
