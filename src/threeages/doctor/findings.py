"""A finding of the doctor: what was looked at, the verdict, what was found and what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

Verdict = Literal["ok", "warning", "fault"]
VERDICTS: tuple[Verdict, ...] = ("ok", "warning", "fault")  # the worst is last


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table; `details` holds the same as plain values for machines."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**raw)


def worst_verdict(findings: Iterable[Finding]) -> Verdict:
    """The worst verdict of the findings; `ok` where there are none."""
    return max((finding.verdict for finding in findings), key=VERDICTS.index, default="ok")


def select_verdict(findings: Iterable[Finding], verdict: Verdict) -> Sequence[Finding]:
    """The findings with that verdict."""
    return [finding for finding in findings if finding.verdict == verdict]


def hide_home(text: str, home: Path | None = None) -> str:
    """A text in which '~' stands for the user's home, so that it can be shown to others."""
    try:
        folder = str(home or Path.home())
    except RuntimeError:  # a user without a home, as in some containers
        return text
    return text.replace(folder, "~") if len(folder) > 1 else text
