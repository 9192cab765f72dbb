"""Images to one record a face: decode and detect in threads, answer in batches. Needs no torch."""

import csv
import glob
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from threeages.errors import DataError, ImageError, ModelError
from threeages.faces import Detector, Face, crop, find_faces, whole
from threeages.images import SUFFIXES, Pixels, load_image, resize
from threeages.labels import UNKNOWN
from threeages.manifest import Manifest, RowFault
from threeages.predictions import OK, PredictionTable
from threeages.records import Record
from threeages.signature import METADATA_KEY, Signature

BATCH = 32
LOOK_AHEAD = 128  # images decoded before the model asks: bounds memory whatever the folder's size
CSV_HEADER = ("path", "status", "x1", "y1", "x2", "y2", "age_group", "prob_young", "prob_middle", "prob_old",
              "confidence", "message")  # fmt: skip


class OnnxModel:
    """An exported model with its signature, on the CPU; `threads` is its share of the cores (None: all)."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        if not path.is_file():
            raise ModelError(
                f"There is no model {path}.", hint="Give 'default', an ONNX file or a run folder."
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:  # in company idle threads must sleep: spinning takes cores from the others
            options.intra_op_num_threads = threads
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            metadata = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime raises its own unrelated classes
            raise ModelError(
                f"{path} is not an ONNX model: {error}", hint="Write one: threeages export RUN."
            ) from error
        if METADATA_KEY not in metadata:
            raise ModelError(
                f"{path} carries no threeages signature.", hint="Write one: threeages export RUN."
            )
        self.signature = Signature.from_json(metadata[METADATA_KEY])

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB `(n, size, size, 3)` to probabilities float32 `(n, 3)`."""
        probs: NDArray[np.float32] = self._session.run(["probs"], {"pixels": pixels})[0]
        return probs


def default_model_path() -> Path:
    """The model that ships inside the package."""
    return Path(__file__).parent / "assets" / "default.onnx"


@dataclass(frozen=True)
class Prepared:
    """What was made of one image before the model is asked: the crops of its faces, or why there are none."""

    path: str
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    pixels: tuple[Pixels, ...] = ()
    status: str = OK
    message: str = ""


class Predictor:
    """Answers images of any number in their order; with no detector every image is taken whole."""

    def __init__(self, model: OnnxModel, detector: Detector | None) -> None:
        self.model = model
        self.detector = detector

    def predict(self, images: Iterable[Path | bytes | Pixels]) -> Iterator[Record]:
        """One record a face, or one that says why there is none; a bad image loses no other's answer."""
        waiting: list[Prepared] = []
        for item in self._look_ahead(images):
            waiting.append(item)
            if sum(len(w.pixels) for w in waiting) >= BATCH or len(waiting) >= LOOK_AHEAD:
                yield from self.answer(waiting)
                waiting = []
        yield from self.answer(waiting)

    def _look_ahead(self, images: Iterable[Path | bytes | Pixels]) -> Iterator[Prepared]:
        queue: deque[Future[Prepared]] = deque()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for i, image in enumerate(images):
                queue.append(
                    pool.submit(self.prepare, str(image) if isinstance(image, Path) else f"image-{i}", image)
                )
                if len(queue) >= LOOK_AHEAD:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()

    def prepare(self, path: str, image: Path | bytes | Pixels) -> Prepared:
        """Decode one image and find its faces; may be called from many threads. `path` names its records."""
        try:
            pixels = image if isinstance(image, np.ndarray) else load_image(image)
        except ImageError as error:
            return Prepared(path, status=error.status, message=f"{error.message} {error.hint}".strip())
        faces = [whole(pixels)] if self.detector is None else find_faces(pixels, self.detector)
        if not faces:
            return Prepared(
                path, status="no_face", message="No face was found; --no-detect takes the image whole."
            )
        return Prepared(path, tuple(map(_rounded, faces)), tuple(map(partial(self._crop, pixels), faces)))

    def _crop(self, pixels: Pixels, face: Face) -> Pixels:
        signature = self.model.signature
        return resize(crop(pixels, face, signature.margin), signature.input_size)

    def answer(self, items: Sequence[Prepared]) -> Iterator[Record]:
        """Records of prepared images, in their order; the model is asked in batches."""
        batch = [pixels for item in items for pixels in item.pixels]
        parts = [self.model.predict(np.stack(batch[i : i + BATCH])) for i in range(0, len(batch), BATCH)]
        answers = iter(np.concatenate(parts) if parts else ())
        for item in items:
            if item.status != OK:
                yield Record(item.path, item.status, message=item.message)
            for box in item.boxes:
                yield self._record(item.path, box, next(answers))

    def _record(self, path: str, box: tuple[int, int, int, int], probs: NDArray[np.float32]) -> Record:
        names = self.model.signature.class_names
        best = int(probs.argmax())
        by_name = {name: round(float(p), 6) for name, p in zip(names, probs, strict=True)}
        return Record(path, OK, box, names[best], by_name, by_name[names[best]])


def predict_table(
    predictor: Predictor, manifest: Manifest, faults: Sequence[RowFault] = ()
) -> PredictionTable:
    """One row an image of a manifest, for its largest face; then one row a fault, none dropped."""
    files = manifest.files()
    first: dict[str, Record] = {}
    for record in predictor.predict(files):
        first.setdefault(record.path, record)
    records = [first[str(file)] for file in files]
    nothing = (np.nan,) * 3
    probs = [tuple(r.probs.values()) if r.probs else nothing for r in records] + [nothing] * len(faults)
    array = np.asarray(probs, dtype=np.float64).reshape(-1, 3)
    return PredictionTable(
        (*manifest.paths, *(f"{fault.path} (line {fault.line})" for fault in faults)),
        np.concatenate([manifest.labels, np.full(len(faults), UNKNOWN, dtype=np.int64)]),
        (*(r.status for r in records), *(fault.status for fault in faults)),
        array,
        array.max(axis=1),
        {name: (*values, *("",) * len(faults)) for name, values in manifest.columns.items()},
    )


def expand_sources(sources: Sequence[str], stdin: TextIO) -> list[Path]:
    """Files of the given files, folders (searched deeply), globs and, for '-', the lines of `stdin`.

    A plain path that does not exist is kept: it becomes a record that says so. A folder without images or a
    glob without matches raises DataError.
    """
    return [path for source in sources for path in _expand(source, stdin)]


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
            [r.path, r.status, *(r.box or ("",) * 4), r.age_group, *probs, r.confidence, r.message]
        )


def _expand(source: str, stdin: TextIO) -> list[Path]:
    if source == "-":
        return [Path(line.strip()) for line in stdin if line.strip()]
    path = Path(source)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        what = f"The folder {source} holds no images."
    elif path.exists() or not glob.has_magic(source):
        return [path]
    else:
        found = sorted(p for p in map(Path, glob.glob(source, recursive=True)) if p.is_file())  # noqa: PTH207 - Path.glob takes no absolute pattern
        what = f"No file matches {source}."
    if not found:
        raise DataError(what, hint=f"Looked for {', '.join(sorted(SUFFIXES))}.")
    return found


def _rounded(face: Face) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (round(v) for v in face.box)
    return x1, y1, x2, y2
