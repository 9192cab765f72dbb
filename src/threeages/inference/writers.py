"""Records as csv or as lines of JSON."""

import csv
import json
from collections.abc import Iterable
from typing import TextIO

from threeages.inference.records import Record

CSV_HEADER = ("path", "status", "x1", "y1", "x2", "y2", "age_group", "prob_young", "prob_middle", "prob_old",
              "confidence", "age", "age_low", "age_high", "age_set", "message")  # fmt: skip


def write_records(records: Iterable[Record], out: TextIO, kind: str) -> None:
    """Write records as they come: `jsonl` one object a line, `csv` with a header."""
    if kind == "jsonl":
        for record in records:
            out.write(json.dumps(record.to_dict(), ensure_ascii=False) + "\n")
        return
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for r in records:
        probs = r.probs.values() if r.probs else ("",) * 3
        writer.writerow(
            [
                r.path,
                r.status,
                *(r.box or ("",) * 4),
                r.age_group,
                *probs,
                r.confidence,
                r.age,
                r.age_low,
                r.age_high,
                "|".join(r.age_set or ()),
                r.message,
            ]
        )
