"""Images to explanations: every face prepared as for an answer, its map, and what the map is worth."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from threeages.faces.images import Pixels
from threeages.inference.explanation import FaceMap, MapMethod, Predict
from threeages.inference.faithfulness import Faithfulness, measure_faithfulness
from threeages.inference.prepare import FacePreparer
from threeages.inference.records import OK
from threeages.labels import AGE_GROUPS

LEAST_FACES = 10  # of a mean that is shown: that of fewer shows who they are


@dataclass(frozen=True)
class Explanation:
    """The explanation of one face of an image, or the status and message that say why there is none.

    `box` is x1, y1, x2, y2 in pixels of the upright image, `crop` uint8 RGB `(size, size, 3)` as the model
    takes it. `faithfulness` is None where it was not asked for.
    """

    path: str
    status: str = OK
    message: str = ""
    face: int = 0
    box: tuple[int, int, int, int] | None = None
    crop: Pixels | None = None
    found: FaceMap | None = None
    faithfulness: Faithfulness | None = None

    @property
    def age_group(self) -> str | None:
        """The age group that the map is of; None where there is no face."""
        return None if self.found is None else AGE_GROUPS[self.found.group]

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`, without the crop; KeyError, TypeError or ValueError where it is none."""
        one = cls(str(held["path"]), str(held["status"]), str(held["message"]))
        if "map" not in held:
            return one
        values = np.asarray(held["map"], dtype=np.float64)
        found = FaceMap(AGE_GROUPS.index(held["age_group"]), float(held["prob"]), values)
        left, top, right, bottom = (int(edge) for edge in held["box"])
        areas = {field.name: held[field.name] for field in fields(Faithfulness) if field.name in held}
        worth = Faithfulness(**areas) if areas else None
        box = (left, top, right, bottom)
        return replace(one, face=int(held["face"]), box=box, found=found, faithfulness=worth)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the crop."""
        held: dict[str, Any] = {"path": self.path, "status": self.status, "message": self.message}
        if self.found is None or self.box is None:
            return held
        held |= {"face": self.face, "box": list(self.box), "age_group": self.age_group}
        held |= {"prob": round(self.found.prob, 6), "map": np.round(self.found.values, 6).tolist()}
        return held if self.faithfulness is None else held | asdict(self.faithfulness)


def explain_images(
    paths: Iterable[Path],
    preparer: FacePreparer,
    make_map: MapMethod,
    *,
    predict: Predict | None = None,
    largest: bool = False,
) -> Iterator[Explanation]:
    """Yield an explanation for every face of every image, or with `largest` for its largest face alone.

    A face too small, blurred or turned for an answer is explained all the same. An image without a face, or
    one that cannot be read, has one explanation that says so. With `predict` every map's faithfulness is
    measured, which takes about three times as long as the map.

    Example:
        >>> model = OnnxModel(default_model_path())
        >>> preparer = FacePreparer(model.signature, YuNet())
        >>> for found in explain_images([Path("a.jpg")], preparer, partial(map_occlusion, model.predict)):
        ...     print(found.age_group, found.found.values)
    """
    for path in paths:
        prepared = preparer.prepare(str(path), path)
        if prepared.status != OK:
            yield Explanation(prepared.path, prepared.status, prepared.message)
        for number, face in enumerate(prepared.faces[:1] if largest else prepared.faces):
            found = make_map(face.pixels)
            worth = measure_faithfulness(predict, face.pixels, found) if predict else None
            yield Explanation(
                prepared.path,
                face=number,
                box=face.box,
                crop=face.pixels,
                found=found,
                faithfulness=worth,
            )


@dataclass(frozen=True)
class MeanMap:
    """The mean over the faces of a set: `crop` uint8 RGB `(size, size, 3)`, `values` `(rows, columns)`.

    `crop` is None where it would show fewer than LEAST_FACES faces, or give them away beside other means.
    """

    faces: int
    crop: Pixels | None
    values: NDArray[np.float64]


class MapMean:
    """Adds up the maps of aligned faces, of all of them and by age group, one face at a time."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(("all", *AGE_GROUPS), 0)
        self._crops: dict[str, NDArray[np.float64]] = {}
        self._maps: dict[str, NDArray[np.float64]] = {}

    def add(self, explanation: Explanation) -> None:
        """Add one face; an image without a face adds nothing.

        Each map counts as much as any other: it is divided by its sum, since the maps of faces that the
        model is sure of are flat.
        """
        if explanation.found is None or explanation.crop is None:
            return
        total = explanation.found.values.sum()
        share = explanation.found.values / total if total > 0 else explanation.found.values
        for name in ("all", str(explanation.age_group)):
            self._counts[name] += 1
            self._crops[name] = self._crops.get(name, 0) + explanation.crop.astype(np.float64)
            self._maps[name] = self._maps.get(name, 0) + share

    def means(self) -> dict[str, MeanMap]:
        """The means by name: `all`, and every age group that a face was answered with."""
        shown = self._choose_shown()
        return {
            name: MeanMap(
                n,
                np.rint(self._crops[name] / n).astype(np.uint8) if name in shown else None,
                self._maps[name] / n,
            )
            for name, n in self._counts.items()
            if n
        }

    def _choose_shown(self) -> set[str]:
        """Names of the means whose faces are shown.

        What is left of `all` without the age groups shown must not be a few faces either, or they could be
        computed: another age group is then hidden beside them, the smallest.
        """
        if self._counts["all"] < LEAST_FACES:
            return set()
        shown = sorted(
            (name for name in AGE_GROUPS if self._counts[name] >= LEAST_FACES), key=self._counts.__getitem__
        )
        hidden = self._counts["all"] - sum(self._counts[name] for name in shown)
        return {"all", *(shown[1:] if 0 < hidden < LEAST_FACES else shown)}
