import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from threeages.cli import remaining
from threeages.cli.explaining import Explaining
from threeages.cli.signals import Interrupted
from threeages.data.synthetic import draw_face
from threeages.inference.explanation import FaceMap
from threeages.inference.prepare import FacePreparer
from threeages.signature import Signature

Make = Callable[[NDArray[np.uint8]], FaceMap]
ABOUT = {"model": "tiny", "method": "occlusion"}


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for i, path in enumerate(paths):
        Image.fromarray(draw_face(20 + 5 * i, i, np.random.default_rng(i))).save(path)
    return paths


@pytest.fixture
def preparer() -> FacePreparer:
    return FacePreparer(Signature("cnn", 32), None)


def _map(pixels: NDArray[np.uint8]) -> FaceMap:
    return FaceMap(int(pixels.sum() % 3), 0.75, pixels[:2, :2, 0].astype(np.float64))


def _stop_after(count: int) -> tuple[Make, list[int]]:
    """A method that is interrupted instead of its map number `count + 1`; and what it was asked for."""
    made: list[int] = []

    def make(pixels: NDArray[np.uint8]) -> FaceMap:
        if len(made) == count:
            raise Interrupted
        made.append(1)
        return _map(pixels)

    return make, made


@pytest.mark.parametrize("mean", [False, True])
def test_a_stop_keeps_what_is_explained_and_the_same_command_resumes(
    mean: bool, photos: list[Path], preparer: FacePreparer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    stopped = Explaining(out, ABOUT, preparer, mean=mean)
    with pytest.raises(Interrupted):
        stopped.run(photos, _stop_after(5)[0], None)
    content = json.loads((out / "explanations.json").read_text())
    assert (content["complete"], len(content["faces"])) == (False, 5)
    resumed = Explaining(out, ABOUT, preparer, mean=mean)
    make, made = _stop_after(99)
    resumed.run(photos, make, None)
    assert len(made) == 7
    assert "5 images of" in capsys.readouterr().err
    Explaining(whole, ABOUT, preparer, mean=mean).run(photos, _map, None)
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in out.iterdir())
    assert ("mean.png" in names) == mean == (len(names) == 2)
    for name in names:
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert json.loads((out / "explanations.json").read_text())["complete"]


def test_what_was_made_by_other_settings_is_not_resumed(
    photos: list[Path], preparer: FacePreparer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Interrupted):
        Explaining(tmp_path / "out", ABOUT, preparer, mean=False).run(photos, _stop_after(2)[0], None)
    capsys.readouterr()
    other = Explaining(tmp_path / "out", ABOUT | {"method": "grad-cam"}, preparer, mean=False)
    assert other.explanations == []
    assert "every image is explained again" in capsys.readouterr().err


def test_a_stop_before_the_first_image_writes_nothing(
    photos: list[Path], preparer: FacePreparer, tmp_path: Path
) -> None:
    stopped = Explaining(tmp_path / "out", ABOUT, preparer, mean=False)
    with pytest.raises(Interrupted):
        stopped.run(photos, _stop_after(0)[0], None)
    assert not (tmp_path / "out").exists()


def test_how_far_it_is_stands_on_stderr(
    photos: list[Path],
    preparer: FacePreparer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(remaining, "EVERY_LINE", 0.0)
    Explaining(tmp_path / "out", ABOUT, preparer, mean=False).run(photos[:3], _map, None)
    assert "3 of 3 images, " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_signal_ends_it_with_a_line_that_says_what_is_kept(faces_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "threeages", "explain", str(faces_dir), "--no-detect", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(out.glob("*-map.png")):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    kept = json.loads((out / "explanations.json").read_text())["faces"]
    assert 0 < len(kept) < 120
    assert errors.splitlines()[-1].endswith("explanations.json; the same command resumes.")
    assert len(list(out.glob("*-map.png"))) == len(kept)
