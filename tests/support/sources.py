"""Sources and a codec that are true and tiny, as limbeck ships them for tests of methods."""

from limbeck.testing.sources import ArraySource as ArraySource
from limbeck.testing.sources import BlockCodec as BlockCodec
from limbeck.testing.sources import blobs as blobs
