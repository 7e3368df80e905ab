"""An address of an object store, as fsspec opens it: objects by name, each read and written whole.

Nothing here assumes a rename, a lock or a folder. An object is visible when all of it was written. Names are relative
to the address. What is kept of it on this machine: behind.py.

Keys come from the environment (``AWS_ACCESS_KEY_ID`` ...) or from the machine's role. The driver reads them; GRIP does
not, so that it cannot log them.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grip_assets import extras
from grip_assets.errors import Unfinished

EXTRA = "object-store"


class NotThere(FileNotFoundError):
    """An object that does not exist."""


@dataclass(frozen=True)
class Place:
    """``address``: such as ``s3://bucket/folder``, without a slash at its end."""

    address: str

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"

    def opened(self) -> tuple[Any, str]:
        """(fsspec's file system, the address without the scheme). fsspec keeps one for each thread and process."""
        import fsspec  # only object stores need it, and its drivers are an extra

        try:
            fs, path = fsspec.core.url_to_fs(self.address, use_listings_cache=False)
        except ImportError as error:
            raise extras.missing(EXTRA, f"GRIP_DATA={self.address}", error) from None
        except ValueError as error:
            raise Unfinished(f"GRIP_DATA is '{self.address}', which cannot be opened: {error}.") from None
        return fs, path.rstrip("/")

    def read(self, name: str) -> bytes:
        """The bytes of an object. NotThere if there is none."""
        fs, path = self.opened()
        with self._errors(name):
            return bytes(fs.cat_file(f"{path}/{name}"))

    def write(self, name: str, content: bytes) -> None:
        """Write an object. One of this name is replaced."""
        fs, path = self.opened()
        with self._errors(name, writing=True):
            fs.pipe_file(f"{path}/{name}", content)

    def write_new(self, name: str, content: bytes) -> bool:
        """Write an object unless there is one of this name. Returns whether it was written.

        The store decides (``If-None-Match`` of S3), so of several writers one wins. If a driver cannot ask that, the
        last writer wins.
        """
        fs, path = self.opened()
        with self._errors(name, writing=True):
            try:
                fs.pipe_file(f"{path}/{name}", content, mode="create")
            except FileExistsError:
                return False
            except (TypeError, NotImplementedError):
                fs.pipe_file(f"{path}/{name}", content)
        return True

    def upload(self, files: Mapping[str, Path]) -> None:
        """Write files as objects, several at a time. ``files``: by the name of the object."""
        fs, path = self.opened()
        if files:
            with self._errors(next(iter(files)), writing=True):
                fs.put([str(file) for file in files.values()], [f"{path}/{name}" for name in files])

    def download(self, files: Mapping[str, Path]) -> None:
        """Read objects into files, several at a time. NotThere if there is none of a name."""
        fs, path = self.opened()
        for file in files.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        if files:
            with self._errors(next(iter(files))):
                fs.get([f"{path}/{name}" for name in files], [str(file) for file in files.values()])

    def sizes(self, name: str) -> dict[str, int]:
        """Bytes of each object whose name begins with ``name`` and a slash, by the rest of its name."""
        fs, path = self.opened()
        above = f"{path}/{name}" if name else path
        with self._errors(name):
            try:
                found = fs.find(above, detail=True)
            except FileNotFoundError:
                return {}
        inside = f"{above}/"
        return {key.removeprefix(inside): int(info["size"]) for key, info in found.items() if key.startswith(inside)}

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects. Those that are gone already are no error."""
        fs, path = self.opened()
        for name in names:
            with self._errors(name):
                try:
                    fs.rm_file(f"{path}/{name}")
                except FileNotFoundError:
                    continue

    @contextmanager
    def _errors(self, name: str, writing: bool = False) -> Iterator[None]:
        """Turn errors of the driver into ours. They name the object, and never a key."""
        try:
            yield
        except FileNotFoundError:
            if writing:
                raise Unfinished(
                    f"{self.url(name)} cannot be written: its bucket is not there. Make the bucket, or name another"
                    " GRIP_DATA."
                ) from None
            raise NotThere(self.url(name)) from None
        except PermissionError as error:
            raise Unfinished(
                f"{self.address} does not let this user read or write {name}: {error}. The keys come from the"
                " environment, or from the role of the machine (docs/cluster.md)."
            ) from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in DRIVERS:
                raise
            said = str(error).rstrip(".")
            raise Unfinished(
                f"{self.address} does not answer, or refuses: {said}. The keys come from the environment, or from the"
                " role of the machine (docs/cluster.md)."
            ) from None


DRIVERS = ("aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "azure", "adlfs", "s3fs")
