"""Data sets of the Hugging Face hub: ``hf://datasets/OWNER/NAME[@REVISION][/FOLDER]``, by the hub's own client.

A name of a revision (main, if none is given) is resolved to a commit once, and that commit is listed and read. Files
are downloaded when they are opened, into the client's local cache. The stamp of a file is the hash of its content, so a
commit that changes only the card makes nothing again. If the hub cannot be reached, the local cache is read.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from grip_assets.errors import GripError

ADDRESS = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<folder>.*))?")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFiles:
    """The files of a data set at one commit. It holds no connection, so it can be sent to another process."""

    repo: str
    commit: str

    def open(self, path: str, mode: str = "rb") -> IO[bytes]:
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(self.repo, path, repo_type="dataset", revision=self.commit)).open("rb")
        except Exception as error:
            raise GripError(f"{path} of {self.repo} cannot be downloaded ({_first_line(error)}).") from None


@dataclass(frozen=True)
class HubFile:
    """``content``: hash of the file, as the hub and the client's cache name it."""

    path: str
    size: int
    content: str


@dataclass(frozen=True)
class Found:
    """``said``: for the user. ``folder``: of the data set, "" for all of it."""

    files: HubFiles
    listed: list[HubFile]
    folder: str
    said: str


def is_hub(path: str) -> bool:
    return ADDRESS.fullmatch(path) is not None


def found(path: str) -> Found:
    """The files at an address of the hub. GripError if neither the hub nor the local cache has it."""
    match = ADDRESS.fullmatch(path)
    assert match is not None
    repo, revision, folder = match["repo"], match["revision"] or "main", (match["folder"] or "").strip("/")
    try:
        commit, listed, said = *_on_the_hub(repo, revision), ""
    except Exception as error:
        if _refused(error):
            raise GripError(f"settings/corpus.path '{path}': the hub refuses it ({_first_line(error)}).") from None
        commit, listed = _in_the_cache(repo, revision, path, error)
        said = f"; the hub cannot be reached, so the {len(listed):,} files of it in the local cache are read"
    inside = [file for file in listed if not folder or file.path == folder or file.path.startswith(f"{folder}/")]
    return Found(HubFiles(repo, commit), inside, folder, f"data set {repo} at revision {commit}{said}")


def _on_the_hub(repo: str, revision: str) -> tuple[str, list[HubFile]]:
    from huggingface_hub import HfApi

    api = HfApi()
    commit = revision if COMMIT.fullmatch(revision) else str(api.dataset_info(repo, revision=revision).sha)
    tree: Any = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type="dataset")
    files = [item for item in tree if hasattr(item, "blob_id")]
    return commit, [HubFile(f.path, f.size, f.lfs.sha256 if f.lfs else f.blob_id) for f in files]


def _in_the_cache(repo: str, revision: str, path: str, error: Exception) -> tuple[str, list[HubFile]]:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    root = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="dataset")
    ref = root / "refs" / revision
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision
    snapshot = root / "snapshots" / commit
    if not snapshot.is_dir():
        raise GripError(
            f"settings/corpus.path '{path}' can be reached neither on the hub ({_first_line(error)}) nor in its local"
            f" cache {root}. Check the address and the network, or download it first."
        )
    return commit, list(_files_below(snapshot))


def _files_below(snapshot: Path) -> Iterator[HubFile]:
    for folder, _, names in sorted(os.walk(snapshot)):
        for name in sorted(names):
            file = Path(folder) / name
            yield HubFile(str(file.relative_to(snapshot)), file.stat().st_size, file.resolve().name)


def _refused(error: Exception) -> bool:
    """Whether the hub has answered, so that its cache would be another answer."""
    return getattr(error, "response", None) is not None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0][:150]}"
