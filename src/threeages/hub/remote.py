"""The hub by its own client, whose failures are put into words (hub.refusals)."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threeages.errors import ConfigError, DataError, MissingDependencyError, ThreeAgesError
from threeages.files.checksums import digest_file
from threeages.hub.refusals import Request, translate_refusal
from threeages.inference.named import HUB, HUB_VARIABLE

MAIN = "main"


@dataclass(frozen=True)
class RemoteFile:
    """What the hub says of a file: its size, and its SHA-256 or, of a small one, its name in git."""

    name: str
    size: int
    sha256: str | None = None
    blob: str | None = None

    def matches(self, path: Path) -> bool:
        """Whether a file is as the hub says."""
        if path.stat().st_size != self.size:
            return False
        if self.sha256:
            return digest_file(path) == self.sha256
        return self.blob is None or _name_blob(path.read_bytes()) == self.blob


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit."""

    commit: str
    files: Mapping[str, RemoteFile]


class Hub:
    """The hub at HF_ENDPOINT, by default the Hugging Face hub; a token is found where its client looks.

    Methods raise ServiceError where the hub cannot be reached or refuses, and ConfigError for a name that no
    repository can have. Raises MissingDependencyError where the client is not installed.
    """

    def __init__(self) -> None:
        try:
            from huggingface_hub import HfApi
        except ModuleNotFoundError as error:
            raise MissingDependencyError("huggingface_hub", "hub") from error
        self.address = (os.environ.get(HUB_VARIABLE) or HUB).rstrip("/")
        self._api: Any = HfApi(
            endpoint=self.address, library_name="threeages", library_version=version("threeages")
        )

    def check_name(self, repo: str) -> None:
        """Raise ConfigError where no repository can have that name; nothing is asked of the hub."""
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, not listed

        with self._explain(repo, MAIN, "write"):
            validate_repo_id(repo)

    def upload(
        self, repo: str, files: Mapping[str, Path | bytes], *, private: bool, revision: str = MAIN
    ) -> str:
        """Add files to a repository in one commit, which is made where it is missing; the commit's address.

        Raises ConfigError where the repository is to be private and is public.
        """
        from huggingface_hub import CommitOperationAdd

        with self._explain(repo, revision, "write"):
            self._api.create_repo(repo, private=private or None, exist_ok=True)
            if private and not self._api.model_info(repo).private:
                raise ConfigError(
                    f"{repo} exists at {self.address} and is public.",
                    hint="Make it private there, give another name, or leave --private out.",
                )
            if revision != MAIN:
                self._api.create_branch(repo, branch=revision, exist_ok=True)
            added = [CommitOperationAdd(name, content) for name, content in files.items()]
            done = self._api.create_commit(
                repo, added, commit_message="Upload a model with threeages", revision=revision
            )
            return str(done.commit_url)

    def list_files(self, repo: str, revision: str = MAIN) -> Snapshot:
        """The files of a repository at a branch, tag or commit."""
        with self._explain(repo, revision, "read"):
            info = self._api.model_info(repo, revision=revision, files_metadata=True)
        files = [
            RemoteFile(item.rfilename, item.size or 0, item.lfs and item.lfs["sha256"], item.blob_id)
            for item in info.siblings or ()
        ]
        return Snapshot(info.sha, {file.name: file for file in files})

    def download(self, repo: str, file: RemoteFile, commit: str, folder: Path) -> Path:
        """Write a file of a repository into a folder; raises DataError where it comes damaged."""
        with self._explain(repo, commit, "read", folder):
            path = Path(self._api.hf_hub_download(repo, file.name, revision=commit, local_dir=folder))
        if not file.matches(path):
            raise DataError(
                f"{file.name} of {repo} came damaged: it is not as {self.address} says.",
                hint="Start the same command again. Nothing was written.",
            )
        return path

    @contextmanager
    def _explain(self, repo: str, revision: str, verb: str, folder: Path | None = None) -> Iterator[None]:
        try:
            yield
        except ThreeAgesError:
            raise
        except Exception as error:  # the client raises what its own libraries raise
            asked = Request(repo, self.address, revision, verb, folder)
            raise translate_refusal(error, asked) from error


def _name_blob(content: bytes) -> str:
    """The name of a file's content in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
