"""Where predictions come from: the split and the seed of their run, read from its config.json."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RANDOM_SPLIT = (
    "Random split: the identities evaluated are in training too, and the epoch was chosen on the rows "
    "evaluated. Expect lower metrics on new identities; measure them with --split identity."
)


@dataclass(frozen=True)
class Provenance:
    """The split mode ('random', 'identity', 'none', or '' where unknown), its leakage and the seed.

    `leaked_duplicates` counts the rows whose pixels are identical to those of a training row.
    """

    split: str = ""
    seed: int | None = None
    leaked_duplicates: int | None = None

    def notes(self) -> tuple[str, ...]:
        """Warnings to show beside every metric of these predictions; none for held-out identities."""
        if self.split != "random":
            return ()
        if not self.leaked_duplicates:
            return (RANDOM_SPLIT,)
        return (RANDOM_SPLIT, f"{self.leaked_duplicates:,} rows are exact duplicates of training images.")


def read_provenance(folder: Path) -> Provenance:
    """What the config.json of a run folder says; an empty Provenance where there is none to read."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Provenance()
    config, split = _mapping(content, "config"), _mapping(content, "split")
    mode, seed, leaked = (
        split.get("mode", config.get("split")),
        config.get("seed"),
        split.get("leaked_duplicates"),
    )
    return Provenance(
        mode if isinstance(mode, str) else "",
        seed if isinstance(seed, int) else None,
        leaked if isinstance(leaked, int) else None,
    )


def join_provenance(parts: Iterable[Provenance]) -> Provenance:
    """Of joined predictions: 'random' where one part is, else what all parts agree on; leaks add up."""
    found = list(parts)
    modes, seeds = {part.split for part in found}, {part.seed for part in found}
    leaks = [part.leaked_duplicates for part in found if part.leaked_duplicates is not None]
    return Provenance(
        "random" if "random" in modes else modes.pop() if len(modes) == 1 else "",
        seeds.pop() if len(seeds) == 1 else None,
        sum(leaks) if leaks else None,
    )


def _mapping(content: Any, name: str) -> Mapping[str, Any]:
    found = content.get(name) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}
