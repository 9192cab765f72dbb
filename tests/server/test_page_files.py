"""The files of the page, without a browser."""

import re
from pathlib import Path

from threeages import server
from threeages.inference.records import REJECTION_REASONS
from threeages.inference.writers import COLUMNS, SET_SEPARATOR
from threeages.labels import AGE_GROUP_COLORS

PAGE = Path(server.__file__).parent / "page"


def test_the_page_has_the_palette_of_the_plots() -> None:
    css = (PAGE / "style.css").read_text(encoding="utf-8")
    for group, color in AGE_GROUP_COLORS.items():
        (value,) = re.findall(rf"--{group.lower()}: (.*);", css)
        assert set(re.findall("#[0-9a-f]{6}", value)) == {color}


def test_the_script_has_no_copy_of_the_format_of_records() -> None:
    script = (PAGE / "app.js").read_text(encoding="utf-8")
    for name in ("prob_young", "prob_middle", "prob_old"):  # columns that are no field of a record
        assert name in {column.name for column in COLUMNS}
        assert name not in script
    for status, reason in REJECTION_REASONS.items():
        assert status not in script
        assert reason not in script
    assert f'"{SET_SEPARATOR}"' not in script
