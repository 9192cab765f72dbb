"""Which rows of a source the manifest takes, and what is said of the others."""

from collections import Counter
from collections.abc import Iterator

from threeages.data.ages import Ages, interval_cells, plain_age, read_interval
from threeages.data.columns import AGE, AGE_HIGH, AGE_HOW, AGE_LOW, WITHHELD
from threeages.data.importing.grouping import SEVERAL_GROUPS, Grouped, Grouping
from threeages.data.importing.layouts import MAX_NAMED
from threeages.data.importing.rows import BOX, SourceRows
from threeages.data.paths import FileFinder, path_inside, root_hint
from threeages.errors import format_count
from threeages.files.csvfiles import Row
from threeages.labels import AGE_GROUPS


class UsableRows:
    """Iterates over the rows with an image inside the root and a label by name.

    The others are counted in `found.excluded`, with examples for `notes`. `children` keeps a row whose age
    lies below the bounds; its label is empty.
    """

    def __init__(self, found: SourceRows, grouping: Grouping, children: bool) -> None:
        self.found, self.grouping, self.children = found, grouping, children
        # a walk found the files of the other kinds
        self.finder = FileFinder(found.root) if found.kind == "csv" else None
        self.outside: list[str] = []
        self.missing: list[str] = list(found.missing)
        self.ranges: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Row]:
        seen: set[tuple[str, str]] = set()
        if self.found.missing:
            self.found.excluded["missing"] += len(self.found.missing)
        for row in self.found.rows:
            path, reason = self._find(row["path"])
            face = (path, row.get(BOX, ""))
            if face in seen:
                reason = "duplicate_row"
            grouped, text = self._group(row)
            if not reason and grouped.label is None and not self._keeps(grouped):
                reason = self._note(grouped, text)
            if reason:
                self.found.excluded[reason] += 1
                continue
            seen.add(face)
            if grouped.reason == SEVERAL_GROUPS:
                self.ranges[text] += 1
            label = "" if grouped.label is None else AGE_GROUPS[grouped.label]
            yield row | {"path": path, "label": label} | _age_cells(row, grouped, text)

    def _find(self, name: str) -> tuple[str, str]:
        """The path in the manifest, or '' and the reason why there is none."""
        if not name:
            return "", "no_path"
        inside = path_inside(name, self.found.root)
        if inside is None:
            self.outside.append(name)
            return "", "outside_root"
        path = self.finder.find(inside) if self.finder else inside
        if path is None:
            self.missing.append(name)
        return path or "", "" if path else "missing"

    def _group(self, row: Row) -> tuple[Grouped, str]:
        """The group with the text that it was read from; a range that the row gives goes before its age."""
        if row.get(AGE_HOW, "").casefold() == WITHHELD:
            return Grouped(None, WITHHELD), ""
        if row.get("label"):
            return self.grouping.read_label(row["label"]), row["label"]
        if interval := read_interval(row.get(AGE_LOW, ""), row.get(AGE_HIGH, "")):
            return self.grouping.group_ages(interval), f"{interval.low:g}-{interval.high:g}"
        if AGE in row and "label" not in row:
            return self.grouping.read_age(row[AGE]), row[AGE]
        return Grouped(None, "no_label" if "label" in row else "no_age"), ""

    def _keeps(self, grouped: Grouped) -> bool:
        """Whether a row without a label is one: a range for a head for years, a child, or any face at all."""
        if grouped.reason == SEVERAL_GROUPS:
            return True
        if grouped.ages is not None and grouped.reason == self.grouping.under:
            return self.children
        return self.found.keeps_unlabelled and grouped.ages is None

    def _note(self, grouped: Grouped, text: str) -> str:
        if text and grouped.reason != self.grouping.under:
            self.found.unmatched[text] += 1
        return grouped.reason

    def notes(self) -> list[str]:
        """What was excluded by name, and what would include it."""
        notes = []
        if self.found.unmatched:
            first = next(name for name, _ in self.found.unmatched.most_common())
            notes.append(
                f"No group has the name {_counts(self.found.unmatched)}. Give it one with "
                f"--map '{first}=MIDDLE'."
            )
        if self.ranges:
            notes.append(
                f"More than one group is in {_counts(self.ranges)}: no label, but years to learn from. "
                "Set where groups begin with --bounds."
            )
        if self.missing:
            what = format_count(self.missing, "missing file")
            elsewhere = "Name another folder with --root." if self.finder else "The set is not whole there."
            notes.append(
                f"There {'is' if len(self.missing) == 1 else 'are'} {what}, first {self.missing[0]} in "
                f"{self.found.root}. {elsewhere}"
            )
        if self.outside:
            notes.append(
                f"{format_count(self.outside, 'path leaves', 'paths leave')} {self.found.root}, first "
                f"{self.outside[0]}. {root_hint(self.outside)}"
            )
        return notes


def _age_cells(row: Row, grouped: Grouped, text: str) -> Row:
    """The cells of ages: a single one as a number, and the two ends of a range.

    What is withheld is left out, so that no head learns from it and no metric is measured on it.
    """
    if grouped.reason == WITHHELD:
        return {AGE: "", AGE_LOW: "", AGE_HIGH: ""}
    if grouped.ages and grouped.ages.is_range:
        age = row.get(AGE, "")
        return {AGE: "" if age == text else plain_age(age)} | _interval(grouped.ages)
    if row.get(AGE) and not row.get("label") and not grouped.ages:  # a label in the column of ages, or no age
        return {AGE: ""}
    return {AGE: plain_age(row[AGE])} if AGE in row else {}


def _interval(ages: Ages) -> Row:
    return dict(zip((AGE_LOW, AGE_HIGH), interval_cells(ages), strict=True))


def _counts(names: Counter[str]) -> str:
    rest = len(names) - MAX_NAMED
    named = ", ".join(f"'{name}' ({count:,})" for name, count in names.most_common(MAX_NAMED))
    return f"{named} and {rest:,} others" if rest > 0 else named
