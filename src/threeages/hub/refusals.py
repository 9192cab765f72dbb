"""What the hub's client raises, in words for the user."""

from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path

from threeages.errors import (
    ConfigError,
    DataError,
    ServiceError,
    ThreeAgesError,
    describe_cause,
    list_causes,
)
from threeages.files.disk import FULL, write_error
from threeages.inference.named import HUB_VARIABLE

REACH = f"Check the network, the proxy (HTTPS_PROXY) and {HUB_VARIABLE}; then start the same command again."


@dataclass(frozen=True)
class Request:
    """What was asked of the hub: to 'read' or 'write' a repository, into a folder where it is a download."""

    repo: str
    address: str
    revision: str
    verb: str
    folder: Path | None = None

    @property
    def where(self) -> str:
        """The repository and its hub."""
        return f"{self.repo} at {self.address}"

    @property
    def login(self) -> str:
        """How to get a token."""
        return f"Log in with 'hf auth login', or set HF_TOKEN to a token that may {self.verb} there."


def translate_refusal(error: Exception, asked: Request) -> ThreeAgesError:
    """What the user is told of an error of the client."""
    return (
        _translate_disk(error, asked)
        or _translate_kind(error, asked)
        or _translate_status(find_status(error), asked)
        or _translate_content(error, asked)
        or ServiceError(f"{asked.where}: {describe_cause(list(list_causes(error))[-1])}.", hint=REACH)
    )


def _translate_disk(error: Exception, asked: Request) -> ThreeAgesError | None:
    if asked.folder is None:
        return None
    full = (e for e in list_causes(error) if isinstance(e, OSError) and e.errno in FULL)
    return next((write_error(asked.folder, each) for each in full), None)


def _translate_kind(error: Exception, asked: Request) -> ThreeAgesError | None:
    """Of those errors whose class says more than their status."""
    from huggingface_hub import errors

    if isinstance(error, errors.HFValidationError):
        return ConfigError(f"'{asked.repo}' is no name of a repository.", hint="Give OWNER/NAME.")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ServiceError("HF_HUB_OFFLINE is set: no hub is asked.", hint="Unset it.")
    if isinstance(error, errors.GatedRepoError):
        return ServiceError(f"{asked.where} asks for consent first.", hint="Give it on its page.")
    if isinstance(error, errors.RevisionNotFoundError):
        return ServiceError(f"{asked.where} has no revision {asked.revision}.", hint="Check --revision.")
    return None


def _translate_status(status: int | None, asked: Request) -> ThreeAgesError | None:
    if status is None or status == 400:  # 400 is about what was sent
        return None
    if status in (401, 403):
        text, hint = f"{asked.where}: the hub refused (HTTP {status}).", asked.login
    elif status == 404:
        text, hint = f"There is no {asked.where}.", f"Check the name. If it is private: {asked.login}"
    else:
        text, hint = f"{asked.where}: the hub answered with HTTP {status}.", REACH
    return ServiceError(text, hint=hint, status=status)


def _translate_content(error: Exception, asked: Request) -> ThreeAgesError | None:
    if isinstance(error, JSONDecodeError):
        return ServiceError(f"What is at {asked.address} answers as no hub does.", hint=REACH)
    # the hub's word on the card's metadata; a client without a connection raises a ValueError too
    if isinstance(error, ValueError) and (find_status(error) or not isinstance(error, OSError)):
        return DataError(f"The hub refuses: {describe_cause(error)}.", hint="Change what it names.")
    return None


def find_status(error: BaseException) -> int | None:
    """The HTTP status in an error or in one of its causes."""
    for each in list_causes(error):
        status = getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None
