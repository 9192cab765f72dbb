"""What reading a source gives, before labels are set: rows of text, and counts of what is no row."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from threeages.files.csvfiles import Row

# Key of a row whose image shows more than the face: x1 y1 x2 y2 in pixels of the image. No csv has the name.
BOX = ":box"


@dataclass
class SourceRows:
    """Rows of a source with `path` (below `root`), other columns, and a `label` or an `age` in years.

    A row may hold `age_low` and `age_high`, and a BOX. `excluded` counts the files of a folder that are no
    rows, by reason; `unmatched` the names of folders or labels that stand for no group; `missing` names the
    files that are not there; `passed_over` counts those that are no images, by kind. With `keeps_unlabelled`
    a row without an age is kept.
    """

    kind: str
    root: Path
    rows: list[Row]
    excluded: Counter[str] = field(default_factory=Counter)
    unmatched: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    keeps_unlabelled: bool = False
