from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("server",)
    SERVER_FIELD_NUMBER: _ClassVar[int]
    server: ServerInfo
    def __init__(self, server: _Optional[_Union[ServerInfo, _Mapping]] = ...) -> None: ...

class ServerInfo(_message.Message):
    __slots__ = ("version", "limits", "methods", "packs", "devices")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    PACKS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    version: str
    limits: Limits
    methods: _containers.RepeatedCompositeFieldContainer[MethodInfo]
    packs: _containers.RepeatedScalarFieldContainer[str]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    def __init__(self, version: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., methods: _Optional[_Iterable[_Union[MethodInfo, _Mapping]]] = ..., packs: _Optional[_Iterable[str]] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("message_nbytes", "upload_nbytes", "chunk_nbytes", "image_pixels", "page_size")
    MESSAGE_NBYTES_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_NBYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNK_NBYTES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    message_nbytes: int
    upload_nbytes: int
    chunk_nbytes: int
    image_pixels: int
    page_size: int
    def __init__(self, message_nbytes: _Optional[int] = ..., upload_nbytes: _Optional[int] = ..., chunk_nbytes: _Optional[int] = ..., image_pixels: _Optional[int] = ..., page_size: _Optional[int] = ...) -> None: ...

class MethodInfo(_message.Message):
    __slots__ = ("name", "summary", "settings_schema")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    name: str
    summary: str
    settings_schema: str
    def __init__(self, name: _Optional[str] = ..., summary: _Optional[str] = ..., settings_schema: _Optional[str] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("name", "worker", "ready")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    name: str
    worker: str
    ready: bool
    def __init__(self, name: _Optional[str] = ..., worker: _Optional[str] = ..., ready: bool = ...) -> None: ...
