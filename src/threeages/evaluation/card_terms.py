"""The part of a model card on the terms of the weights: what allows their use, and a row for each source."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from threeages.data.terms import find_terms
from threeages.evaluation.tables import load_template, markdown_table

HEADER = ("Source", "Train images", "What it is", "Terms as stated", "Use")
ROWS = re.compile(rf"^{re.escape(markdown_table(HEADER, ()))}\n((?:\|.*\n)+)", re.MULTILINE)


def write_terms(sources: Mapping[str, int | None], is_shipped: bool) -> Iterator[str]:
    """What the terms of the training data allow, in the first line, and a row for each source.

    `sources` holds train images by source, None where their number is not known.
    """
    if is_shipped:
        yield load_template("terms_default.md").template.strip()
    elif sources:
        yield _sum_up([name for name in sources if find_terms(name).use != "permissive"])
    else:
        yield load_template("terms_unknown.md").template.strip()
    if sources:
        yield markdown_table(HEADER, (_row(name, count) for name, count in sources.items()))


def find_terms_rows(card: str) -> list[str]:
    """The rows of the table by source in the text of a card; none where it has no such table."""
    table = ROWS.search(f"{card}\n")
    return table[1].splitlines() if table else []


def _row(name: str, count: int | None) -> Sequence[str]:
    terms = find_terms(name)
    return f"`{name}`", "" if count is None else f"{count:,}", terms.title, terms.terms, terms.use


def _sum_up(restricted: Sequence[str]) -> str:
    if not restricted:
        text = "The terms stated for every source of the training data allow any use; name the sources."
    else:
        text = f"""The terms stated for these sources of the training data do not allow any use, or are
        not known: {", ".join(restricted)}. Ask their holders before any commercial use."""
    return textwrap.fill(f"**Terms of the weights.** {' '.join(text.split())}", 110)
