"""Errors written for the user: what was given, what is allowed, what to do next."""

import re
from collections.abc import Iterator, Sized

ERRNO = re.compile(r"^\[Errno -?\d+\] ")  # as an error of the system that lost its parts begins
LONGEST_CAUSE = 300  # characters of another library's text that a message of ours quotes
_WITHOUT_TEXT: dict[type[BaseException], str] = {  # raised without a word by the libraries in use
    MemoryError: "there is not enough memory",
    EOFError: "it ends early",
    TimeoutError: "it took too long",
    ConnectionError: "the connection was lost",
    RecursionError: "it is nested too deeply",
}


class ThreeAgesError(Exception):
    """Base of every error this package raises on purpose; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class ConfigError(ThreeAgesError):
    """A setting is outside what is allowed."""


class DataError(ThreeAgesError):
    """A data set, manifest or folder cannot be used as given."""


class ModelError(ThreeAgesError):
    """A model file cannot be used as given."""


class MissingDependencyError(ThreeAgesError):
    """An optional part is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package '{package}', which is not installed.",
            hint=f"Run: pip install 'threeages[{extra}]'",
        )


class ImageError(ThreeAgesError):
    """One image cannot be read; `status` is the word that its record carries."""

    def __init__(self, status: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class ServiceError(ThreeAgesError):
    """A service cannot be reached or refused; `status` is its HTTP status, None where there was none."""

    def __init__(self, message: str, *, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


def describe_cause(cause: BaseException | str) -> str:
    """What another library says went wrong, as the end of a sentence of ours: one line without its period.

    Of an error of the system it is the system's own word, such as 'No space left on device'; an error
    without a text is named in words. The sentence around it adds the period.
    """
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.strip().rstrip(".")
    if isinstance(cause, KeyError) and cause.args:  # whose text is the key alone
        return f"{cause.args[0]!r} is missing"
    text = ERRNO.sub("", " ".join(str(cause).split()))
    text = (text if len(text) <= LONGEST_CAUSE else f"{text[:LONGEST_CAUSE]} ...").rstrip(" .:;,!")
    if text or isinstance(cause, str):
        return _lower_title(text) or "no reason was given"
    known = (words for kind, words in _WITHOUT_TEXT.items() if isinstance(cause, kind))
    return next(known, f"no reason was given ({type(cause).__name__})")


def list_causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on to what it began with."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def format_count(things: int | Sized, one: str, several: str = "") -> str:
    """A number with its noun: '1 image', '1,200 images'; `several` is the plural where it is irregular."""
    number = things if isinstance(things, int) else len(things)
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def _lower_title(text: str) -> str:
    """A text of Capitalized Words in lower case, as Pillow writes 'Truncated File Read'."""
    words = text.split()
    is_title = len(words) > 1 and all(word.isalpha() and word == word.capitalize() for word in words)
    return text.lower() if is_title else text
