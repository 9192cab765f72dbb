"""Errors written for the user: what was given, what is allowed, what to do next."""


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
