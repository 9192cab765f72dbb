"""The hub by its own client, whose failures are put into words: nothing else here speaks to it."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threeages.errors import (
    ConfigError,
    DataError,
    MissingDependencyError,
    ServiceError,
    ThreeAgesError,
    describe_cause,
    list_causes,
)
from threeages.files.disk import FULL, write_error
from threeages.hub.contents import digest_file
from threeages.inference.named import HUB, HUB_VARIABLE

MAIN = "main"
LOGIN = "Log in with 'hf auth login', or set HF_TOKEN to a token that may {} there."
REACH = f"Check the network, the proxy (HTTPS_PROXY) and {HUB_VARIABLE}; then start the same command again."


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
            raise self._translate(error, repo, revision, verb, folder) from error

    def _translate(
        self, error: Exception, repo: str, revision: str, verb: str, folder: Path | None
    ) -> ThreeAgesError:
        from huggingface_hub import errors

        status = find_status(error)
        where = f"{repo} at {self.address}"
        full = find_cause(error, OSError)
        if folder and isinstance(full, OSError) and full.errno in FULL:
            return write_error(folder, full)
        if isinstance(error, errors.HFValidationError):
            return ConfigError(f"'{repo}' is no name of a repository.", hint="Give OWNER/NAME.")
        if isinstance(error, errors.OfflineModeIsEnabled):
            return ServiceError("HF_HUB_OFFLINE is set: no hub is asked.", hint="Unset it.")
        if isinstance(error, errors.GatedRepoError):
            return ServiceError(
                f"{where} asks for consent first.", hint="Give it on its page.", status=status
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return ServiceError(
                f"{where} has no revision {revision}.", hint="Check --revision.", status=status
            )
        if status in (401, 403):
            return ServiceError(
                f"{where}: the hub refused (HTTP {status}).", hint=LOGIN.format(verb), status=status
            )
        if status == 404:
            hint = f"Check the name. If it is private: {LOGIN.format(verb)}"
            return ServiceError(f"There is no {where}.", hint=hint, status=status)
        if status is None and isinstance(error, ValueError):  # the hub's word on the card's metadata
            return DataError(f"The hub refuses: {describe_cause(error)}.", hint="Mend what it names.")
        what = (
            f"the hub answered with HTTP {status}" if status else describe_cause(list(list_causes(error))[-1])
        )
        return ServiceError(f"{where}: {what}.", hint=REACH, status=status)


def find_status(error: BaseException) -> int | None:
    """The HTTP status in an error or in one of its causes."""
    for each in list_causes(error):
        status = getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def find_cause(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The first of an error and its causes that is of a kind and knows its number in the system."""
    return next((e for e in list_causes(error) if isinstance(e, kind) and getattr(e, "errno", None)), None)


def _name_blob(content: bytes) -> str:
    """The name of a file's content in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
