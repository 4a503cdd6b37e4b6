from limbeck_server.rpc import tensors_pb2 as _tensors_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DenoiseRequest(_message.Message):
    __slots__ = ("pack", "latents", "times", "classes", "texts")
    PACK_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    pack: str
    latents: _tensors_pb2.Tensor
    times: _containers.RepeatedScalarFieldContainer[int]
    classes: ClassCondition
    texts: TextCondition
    def __init__(self, pack: _Optional[str] = ..., latents: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ..., times: _Optional[_Iterable[int]] = ..., classes: _Optional[_Union[ClassCondition, _Mapping]] = ..., texts: _Optional[_Union[TextCondition, _Mapping]] = ...) -> None: ...

class ClassCondition(_message.Message):
    __slots__ = ("class_ids",)
    CLASS_IDS_FIELD_NUMBER: _ClassVar[int]
    class_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, class_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class TextCondition(_message.Message):
    __slots__ = ("texts",)
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, texts: _Optional[_Iterable[str]] = ...) -> None: ...

class DenoiseResponse(_message.Message):
    __slots__ = ("noise", "batch")
    NOISE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    noise: _tensors_pb2.Tensor
    batch: int
    def __init__(self, noise: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ..., batch: _Optional[int] = ...) -> None: ...

class EncodeRequest(_message.Message):
    __slots__ = ("pack", "images")
    PACK_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    pack: str
    images: _tensors_pb2.Tensor
    def __init__(self, pack: _Optional[str] = ..., images: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("latents", "batch")
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    latents: _tensors_pb2.Tensor
    batch: int
    def __init__(self, latents: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ..., batch: _Optional[int] = ...) -> None: ...

class DecodeRequest(_message.Message):
    __slots__ = ("pack", "latents")
    PACK_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    pack: str
    latents: _tensors_pb2.Tensor
    def __init__(self, pack: _Optional[str] = ..., latents: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ...) -> None: ...

class DecodeResponse(_message.Message):
    __slots__ = ("images", "batch")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    images: _tensors_pb2.Tensor
    batch: int
    def __init__(self, images: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ..., batch: _Optional[int] = ...) -> None: ...

class FeaturesRequest(_message.Message):
    __slots__ = ("pack", "images")
    PACK_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    pack: str
    images: _tensors_pb2.Tensor
    def __init__(self, pack: _Optional[str] = ..., images: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ...) -> None: ...

class FeaturesResponse(_message.Message):
    __slots__ = ("features", "batch")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    features: _tensors_pb2.Tensor
    batch: int
    def __init__(self, features: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ..., batch: _Optional[int] = ...) -> None: ...

class FeaturesGradientRequest(_message.Message):
    __slots__ = ("pack", "images", "cotangent")
    PACK_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    COTANGENT_FIELD_NUMBER: _ClassVar[int]
    pack: str
    images: _tensors_pb2.Tensor
    cotangent: _tensors_pb2.Tensor
    def __init__(self, pack: _Optional[str] = ..., images: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ..., cotangent: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ...) -> None: ...

class FeaturesGradientResponse(_message.Message):
    __slots__ = ("features", "gradient", "batch")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    features: _tensors_pb2.Tensor
    gradient: _tensors_pb2.Tensor
    batch: int
    def __init__(self, features: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ..., gradient: _Optional[_Union[_tensors_pb2.Tensor, _Mapping]] = ..., batch: _Optional[int] = ...) -> None: ...
