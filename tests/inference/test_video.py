import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.demo import find_portraits
from threeages.errors import ConfigError, DataError
from threeages.faces.images import Pixels, load_image
from threeages.inference.answer import Policy
from threeages.inference.capture import Frame, Video, open_video
from threeages.inference.classify import FaceClassifier, Output
from threeages.inference.predictor import load_predictor
from threeages.inference.prepare import FacePreparer, PreparedFace, PreparedImage
from threeages.inference.video import (
    Tracker,
    _Pace,
    summarize_tracks,
    track_faces,
    video_writer,
)

FRAMES = 10


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    return np.asarray(cv2.resize(load_image(find_portraits()[-1]), (240, 240), interpolation=cv2.INTER_AREA))


@pytest.fixture(scope="module")
def clip(portrait: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait that moves to the right, 10 frames a second; in the last two frames it is gone."""
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    with video_writer(path, 10) as write:
        for i in range(FRAMES):
            frame = np.full((240, 320, 3), 128, dtype=np.uint8)
            if i < FRAMES - 2:
                frame[:, 8 * i : 8 * i + 240] = portrait
            write(frame)
    return path


Script = list[list[tuple[tuple[int, int, int, int], list[float]]]]


class ScriptedPreparer(FacePreparer):
    """Gives the boxes of a list, one entry a frame."""

    def __init__(self, script: Script) -> None:
        self.script = iter(script)

    def prepare(self, path: str, image: object, **_: object) -> PreparedImage:
        nothing = np.zeros((1, 1, 3), dtype=np.uint8)
        return PreparedImage(path, tuple(PreparedFace(box, nothing) for box, _ in next(self.script)))


class ScriptedClassifier(FaceClassifier):
    """Gives the probabilities of a list, one entry a frame."""

    def __init__(self, script: Script) -> None:
        self.policy = Policy()
        self.script = iter(script)

    def outputs(self, images: object) -> list[Output]:
        return [(np.asarray(probs, dtype=np.float32), None) for _, probs in next(self.script)]


def scripted(script: Script, rate: float = 25) -> Tracker:
    """A tracker of a predictor with the boxes and probabilities of a list, one entry a frame."""
    predictor = load_predictor(detect=False)
    predictor.preparer, predictor.classifier = ScriptedPreparer(script), ScriptedClassifier(script)
    return Tracker(predictor, rate=rate)


def frame(number: int, seconds: float) -> Frame:
    return Frame(number, seconds, np.zeros((9, 9, 3), dtype=np.uint8))


def test_a_moving_face_is_one_track_and_its_video_is_annotated(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "annotated.mp4"
    faces = list(track_faces(open_video(str(clip)), load_predictor(), name="walk", out=out))
    assert {face.track for face in faces} == {0}
    assert [face.frame for face in faces] == list(range(FRAMES - 2))
    lefts = [face.record.box[0] for face in faces if face.record.box]
    assert lefts[-1] - lefts[0] == pytest.approx(8 * (FRAMES - 3), abs=12)
    first, again = next(open_video(str(clip)).frames).pixels, [f.pixels for f in open_video(str(out)).frames]
    assert len(again) == FRAMES
    assert np.abs(again[0].astype(int) - first).max() > 60  # the box
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


def test_flicker_is_smoothed() -> None:
    young, middle, box = [0.9, 0.1, 0.0], [0.1, 0.9, 0.0], (0, 0, 50, 50)
    script = [[(box, young)]] * 6 + [[(box, middle)]] + [[(box, young)]] * 3
    tracker = scripted(script)
    answers = [tracker.update(frame(i, i / 10))[0].record for i in range(len(script))]
    assert {r.age_group for r in answers} == {"YOUNG"}
    assert answers[6].confidence < answers[5].confidence
    assert sum(answers[6].probs.values()) == pytest.approx(1, abs=1e-5)


def test_a_lasting_change_wins() -> None:
    box = (0, 0, 50, 50)
    script = [[(box, [0.9, 0.1, 0.0])]] * 10 + [[(box, [0.1, 0.9, 0.0])]] * 20
    tracker = scripted(script)
    assert [tracker.update(frame(i, i / 10)) for i in range(30)][-1][0].record.age_group == "MIDDLE"


def test_two_faces_keep_their_numbers_when_their_order_changes() -> None:
    left, right = (0, 0, 50, 50), (100, 0, 150, 50)
    young, old = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]
    tracker = scripted([[(left, young), (right, old)], [(right, old), (left, young)]])
    tracker.update(frame(0, 0))
    assert [(f.track, f.record.age_group) for f in tracker.update(frame(1, 0.1))] == [
        (1, "OLD"),
        (0, "YOUNG"),
    ]


def test_a_hidden_face_goes_on_and_a_lost_one_is_new() -> None:
    entry = [((0, 0, 50, 50), [1.0, 0.0, 0.0])]
    tracker = scripted([entry, [], entry, entry])
    found = [tracker.update(frame(i, seconds)) for i, seconds in enumerate((0, 0.5, 0.9, 2.5))]
    assert [[f.track for f in faces] for faces in found] == [[0], [], [0], [1]]


def test_what_is_no_video_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    for source in (tmp_path / "a.mp4", tmp_path / "none.mp4"):
        with pytest.raises(DataError, match=source.name):
            open_video(str(source))
    with pytest.raises(ConfigError, match="webm"):
        list(track_faces(Video(iter([]), 25), load_predictor(), out=tmp_path / "a.webm"))


def test_nothing_is_left_of_a_video_that_failed(tmp_path: Path) -> None:
    def fail() -> None:
        with video_writer(tmp_path / "a.avi", 5) as write:
            write(np.zeros((48, 64, 3), dtype=np.uint8))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_command(clip: Path) -> None:
    result = CliRunner().invoke(app, ["video", str(clip), "--jsonl", "--seconds", "0.25"])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.output.splitlines()]
    assert [row["frame"] for row in rows] == [0, 1, 2]
    assert rows[0]["track"] == 0
    header, table = summarize_tracks(track_faces(open_video(str(clip)), load_predictor()))
    assert [row[:3] for row in table] == [["0", "0.0-0.7", "8"]]
    assert header[-1] == "confidence"


def test_brackets_of_ages_come_with_every_face_and_track(clip: Path) -> None:
    short = ["video", str(clip), "--seconds", "0.25", "--brackets", "0,13,50"]
    rows = [json.loads(line) for line in CliRunner().invoke(app, [*short, "--jsonl"]).output.splitlines()]
    assert [list(row["brackets"]) for row in rows] == [["0-12", "13-49", "50+"]] * 3
    assert sum(rows[-1]["brackets"].values()) == pytest.approx(1, abs=0.01)
    table = CliRunner().invoke(app, short)
    assert table.exit_code == 0, table.output
    assert "13-49" in table.stdout
    assert f"{rows[-1]['brackets']['13-49']:.2f}" in table.stdout
    refused = CliRunner().invoke(app, ["video", "none.avi", "--brackets", "50,13"])
    assert "brackets" in str(refused.exception)


def test_a_face_in_every_frame_is_one_track_below_one_frame_a_second() -> None:
    entry = [((0, 0, 50, 50), [1.0, 0.0, 0.0])]
    slow = scripted([entry] * 3 + [[]] * 2 + [entry], rate=0.5)
    found = [slow.update(frame(i, 2.0 * i)) for i in range(6)]
    assert [[f.track for f in faces] for faces in found] == [[0], [0], [0], [], [], [1]]


def test_an_annotated_video_keeps_the_times_of_its_source(tmp_path: Path) -> None:
    """Frames that come late are repeated, those that come too early passed over."""
    times = [5.0, 5.1, 5.2, 5.9, 5.91, 6.0]
    pixels = [np.full((48, 64, 3), 40 * i, dtype=np.uint8) for i in range(len(times))]
    pixels[2] = np.full((96, 128, 3), 80, dtype=np.uint8)  # the camera changes its size
    frames = [Frame(i, seconds, p) for i, (seconds, p) in enumerate(zip(times, pixels, strict=True))]
    out = tmp_path / "out.avi"
    assert list(track_faces(Video(iter(frames), 10), load_predictor(), out=out)) == []
    written = [round(f.pixels.mean() / 40) for f in open_video(str(out)).frames]
    assert written == [0, 1, 2] + [3] * 7 + [5]


def test_a_wild_timestamp_fills_no_disk() -> None:
    pace = _Pace(10)
    assert [pace.count(seconds) for seconds in (0, 1e6, 1e6 + 0.1)] == [1, 600, 1]
