"""The packs that a server offers, as the front knows them: by name, with their calls, and without a runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from limbeck.pack import PackManifest
from limbeck_server.engines.signature import Signature, signatures
from limbeck_server.store.errors import NotFoundError


class Catalog:
    """What can be called.

    Args:
        manifests: By the packs' names.
    """

    def __init__(self, manifests: Mapping[str, PackManifest]) -> None:
        """Derive every pack's calls."""
        self.manifests = dict(manifests)
        self._calls = {name: signatures(manifest) for name, manifest in self.manifests.items()}

    def signature(self, pack: str, call: str) -> Signature:
        """What a call takes and gives.

        Raises:
            NotFoundError: No pack has that name, or the pack does not answer that call.
        """
        if pack not in self._calls:
            raise NotFoundError(f"there is no pack '{pack}'; there are: {', '.join(sorted(self._calls)) or 'none'}")
        if call not in self._calls[pack]:
            raise NotFoundError(f"pack '{pack}' does not answer '{call}'; it answers: {', '.join(self._calls[pack])}")
        return self._calls[pack][call]

    def __iter__(self) -> Iterator[tuple[str, str, Signature]]:
        """Every pack's name with each of its calls, in the order of names."""
        for pack in sorted(self._calls):
            for call, signature in self._calls[pack].items():
                yield pack, call, signature
