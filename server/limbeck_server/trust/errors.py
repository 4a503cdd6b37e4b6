"""What the server refuses for safety's sake."""

from __future__ import annotations

from limbeck.errors import ConfigError, DataError


class ExposureError(ConfigError):
    """An address that strangers reach, without what keeps them out."""


class TokenFileError(ConfigError):
    """A token file that cannot be read or says something impossible."""


class CertificateError(ConfigError):
    """A certificate, a key or an authority that cannot be used."""


class PathRefusedError(DataError):
    """A path on the server that is not below an allowed folder."""


class ArchiveError(DataError):
    """An archive that would write outside its folder, or more than is allowed, or is damaged."""
