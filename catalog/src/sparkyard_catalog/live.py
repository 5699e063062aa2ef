"""The catalog's file while it is in use: a change is picked up, a broken change is refused and the last good one stays.

Looking costs one stat. The file may be edited in place, replaced by a rename, or be a symbolic link to what is swapped
behind it, as Kubernetes does with a ConfigMap: the stat follows links, so all three are seen.
"""

import hashlib
import os
import threading
import time
from pathlib import Path

from sparkyard_catalog.catalog import Catalog
from sparkyard_catalog.errors import CatalogError
from sparkyard_catalog.loading import parse, read_bytes

# A file system's clock ticks in steps: a file that was changed this shortly before it was read may have been changed
# again without its stat showing it, so it is read once more at the next look.
_CLOCK_STEP_NS = 2_000_000_000

_Stat = tuple[int, int, int, int, int]


class CatalogFile:
    """A catalog file in use. Safe to use from several threads."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the file; raises CatalogError, for there is no last good one yet."""
        self.path = Path(path)
        self._lock = threading.Lock()
        self._stat: _Stat | None = self._look()
        self._settled = self._is_settled(self._stat)
        content = read_bytes(self.path)
        self._digest: bytes | None = hashlib.sha256(content).digest()
        self._catalog = parse(content, self.path)
        self._problem: CatalogError | None = None
        self._loaded_at = time.time()

    @property
    def catalog(self) -> Catalog:
        """The last good catalog."""
        return self._catalog

    @property
    def problem(self) -> CatalogError | None:
        """Why the file as it is now is refused; None where it is in force."""
        return self._problem

    @property
    def loaded_at(self) -> float:
        """When the catalog in force was read, in seconds since 1970."""
        return self._loaded_at

    def refresh(self) -> bool:
        """Read the file if it changed; True where another catalog is in force now. Never raises CatalogError."""
        with self._lock:
            stat = self._look()
            if stat == self._stat and self._settled:
                return False
            self._settled = self._is_settled(stat)
            self._stat = stat
            try:
                content = read_bytes(self.path)
            except CatalogError as error:
                self._digest, self._problem = None, error
                return False
            digest = hashlib.sha256(content).digest()
            if digest == self._digest:
                return False
            self._digest = digest
            try:
                catalog = parse(content, self.path)
            except CatalogError as error:
                self._problem = error
                return False
            self._problem = None
            self._loaded_at = time.time()
            if catalog == self._catalog:
                return False
            self._catalog = catalog
            return True

    def current(self) -> Catalog:
        """The catalog in force after a look at the file."""
        self.refresh()
        return self._catalog

    def _look(self) -> _Stat | None:
        try:
            found = os.stat(self.path)  # noqa: PTH116
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    @staticmethod
    def _is_settled(stat: _Stat | None) -> bool:
        return stat is None or time.time_ns() - stat[4] > _CLOCK_STEP_NS
