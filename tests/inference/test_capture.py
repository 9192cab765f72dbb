"""Recordings that are cut off or of odd rates, cameras and streams that are lost."""

import http.server
import io
import json
import logging
import os
import struct
import threading
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.errors import DataError
from threeages.inference import capture
from threeages.inference.capture import Frame, hide_password, open_video

CODES = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "MJPG"}
STEPS = [0.1, 0.1, 2.0, 0.1, 0.5, 3.0, 0.1, 0.1, 1.0, 0.1]  # seconds between frames of variable rate


def write_video(path: Path, rate: float = 10, count: int = 30) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODES[path.suffix]), rate, (160, 120))
    assert writer.isOpened()
    rng = np.random.default_rng(0)
    for _ in range(count):
        writer.write(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8))
    writer.release()
    return path


def vary_rate(path: Path, steps: list[float]) -> Path:
    """Give the frames of an MP4 other durations: the table `stts` stands behind the frames."""
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") - 4
    old = int.from_bytes(data[at : at + 4], "big")
    count, delta = struct.unpack_from(">II", data, at + 16)
    assert count == len(steps)
    scale = delta * 10  # units a second; the file was written with 10 frames a second
    entries = b"".join(struct.pack(">II", 1, round(step * scale)) for step in steps)
    table = struct.pack(">I4sII", 16 + len(entries), b"stts", 0, len(steps)) + entries
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = data.index(name) - 4
        size = int.from_bytes(data[place : place + 4], "big") + len(table) - old
        data[place : place + 4] = size.to_bytes(4, "big")
    data[at : at + old] = table
    for name, offset, units in ((b"elst", 12, 1000), (b"mdhd", 20, scale)):
        place = data.index(name) + offset
        data[place : place + 4] = round(sum(steps) * units).to_bytes(4, "big")
    path.write_bytes(data)
    return path


def move_index(path: Path) -> Path:
    """Put the index of an MP4 before its frames, as for the web."""
    data = path.read_bytes()
    at = data.index(b"moov") - 4
    index, start = bytearray(data[at:]), data.index(b"ftyp") - 4 + int.from_bytes(data[:4], "big")
    place = index.index(b"stco") + 8
    for i in range(int.from_bytes(index[place : place + 4], "big")):
        entry = slice(place + 4 + 4 * i, place + 8 + 4 * i)
        index[entry] = (int.from_bytes(index[entry], "big") + len(index)).to_bytes(4, "big")
    path.write_bytes(data[:start] + index + data[start:at])
    return path


def read(source: str | Path, **options: object) -> tuple[list[Frame], str]:
    video = open_video(str(source), **options)
    return list(video.frames), video.problem


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


@pytest.mark.parametrize("suffix", CODES)
@pytest.mark.parametrize("rate", [0.5, 10, 29.97])
def test_times_are_those_of_the_file(suffix: str, rate: float, tmp_path: Path) -> None:
    video = open_video(str(write_video(tmp_path / f"a{suffix}", rate)))
    frames = list(video.frames)
    assert video.rate == pytest.approx(rate, rel=1e-3)
    assert [frame.seconds for frame in frames] == pytest.approx([i / rate for i in range(30)], abs=2e-3)
    assert (video.read, video.problem) == (30, "")


def test_times_of_a_variable_rate(tmp_path: Path) -> None:
    path = vary_rate(write_video(tmp_path / "a.mp4", count=len(STEPS)), STEPS)
    frames, problem = read(path)
    assert [f.seconds for f in frames] == pytest.approx([sum(STEPS[:i]) for i in range(len(STEPS))], abs=1e-3)
    assert problem == ""


@pytest.mark.parametrize(
    ("stamps", "seconds"),
    [
        ([0, 0, 0, 0], [0, 0.1, 0.2, 0.3]),
        ([0, 0.5, float("nan"), 2], [0, 0.5, 0.6, 2]),
        ([0, 5, 6, 0.1, 0.2], [0, 5, 6, 6.1, 6.2]),
        ([0, 1, 1, 1.5], [0, 1, 1, 1.5]),
        ([-1, 0.2], [0, 0.2]),
    ],
)
def test_times_never_run_back(stamps: list[float], seconds: list[float]) -> None:
    clock = capture._Clock(0.1)
    assert [clock.update(stamp) for stamp in stamps] == pytest.approx(seconds)


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
@pytest.mark.parametrize("share", [0.3, 0.8])
@pytest.mark.parametrize("rate", [0.5, 25])
def test_a_recording_that_is_cut_off_says_so(suffix: str, share: float, rate: float, tmp_path: Path) -> None:
    frames, problem = read(cut(write_video(tmp_path / f"cut{suffix}", rate), share))
    assert 2 < len(frames) < 30
    assert "ends early" in problem
    assert f"{len(frames)} of about 30 frames" in problem
    assert f"cut{suffix}" in problem


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_an_mp4_with_its_index_first_says_so(share: float, tmp_path: Path) -> None:
    path = move_index(write_video(tmp_path / "a.mp4"))
    frames, problem = read(path)
    assert (len(frames), problem) == (30, "")
    frames, problem = read(cut(path, share))
    assert 2 < len(frames) < 30
    assert "ends early" in problem


def test_a_trimmed_clip_is_whole(tmp_path: Path) -> None:
    """A phone trims a clip by its edit list and leaves the frames in the file."""
    path = write_video(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 12
    data[place : place + 4] = (1000).to_bytes(4, "big")
    path.write_bytes(data)
    frames, problem = read(path)
    assert len(frames) < 15
    assert problem == ""


def test_frames_that_end_by_request_do_not_end_early(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi")
    frames, problem = read(path, seconds=1)
    assert (len(frames), problem) == (10, "")
    count = iter(range(100))
    frames, problem = read(path, stopped=lambda: next(count) >= 4)
    assert (len(frames), problem) == (4, "")


def test_an_mp4_without_its_index_ends_early(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ends early: its index is missing"):
        open_video(str(cut(write_video(tmp_path / "a.mp4"), 0.9)))


def test_what_holds_no_frames_is_refused_in_words(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1), sound.setsampwidth(2), sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    no_frames = cv2.VideoWriter(str(tmp_path / "none.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 64))
    no_frames.release()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    for source, words in {
        tmp_path / "sound.wav": "cannot be read as a video",
        tmp_path / "none.avi": "holds no video frames",
        tmp_path / "text.mp4": "cannot be read as a video",
        tmp_path / "empty.mp4": "has no bytes",
        tmp_path: "is a folder",
        tmp_path / "missing.mp4": "There is no video",
        "x" * 5000: "There is no video",
        "/dev/null": "There is no camera",
        "/dev/video97": "There is no device",
        "gopher://a/b": "Allowed: rtsp",
        "97": "There is no camera",
    }.items():
        with pytest.raises(DataError, match=words):
            open_video(str(source))


def test_a_file_may_have_an_address(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a b.avi", count=3)
    assert len(read(path.as_uri())[0]) == 3


def test_passwords_are_hidden() -> None:
    assert hide_password("rtsp://me:secret@host:554/a") == "rtsp://me:***@host:554/a"
    assert hide_password("rtsp://me:a@b:c@host/a") == "rtsp://me:***@host/a"
    for plain in ("rtsp://host:554/a@b", "clip.mp4", "0", "/dev/video0", "C:\\a@b.mp4"):
        assert hide_password(plain) == plain
    with pytest.raises(DataError) as caught:
        open_video("rtsp://me:secret@127.0.0.1:9/a")
    assert "secret" not in str(caught.value)


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of a folder, and `/live`: a few frames as a camera sends them, then a lost line."""

    daemon_threads = True
    connections = 0
    most = 100  # connections after which the camera is gone


class Handler(http.server.SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if not self.path.startswith("/live"):
            return super().do_GET()
        self.server.connections += 1
        if self.server.connections > self.server.most:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for i in range(6):
            data = io.BytesIO()
            Image.new("RGB", (160, 120), (40 * i, 90, 90)).save(data, "JPEG")
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {data.tell()}\r\n\r\n"
            self.wfile.write(head.encode() + data.getvalue() + b"\r\n")
            time.sleep(0.05)
        return None

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[tuple[Server, str]]:
    server = Server(("127.0.0.1", 0), lambda *args: Handler(*args, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_recording_over_http_ends_at_its_end(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", 10)
    write_video(tmp_path / "index-last.mp4", 10)
    with serve(tmp_path) as (_, address):
        frames, problem = read(f"{address}/a.avi")
        with pytest.raises(DataError, match="download it"):
            open_video(f"{address}/index-last.mp4")  # this server sends whole files only
        with pytest.raises(DataError, match="cannot be opened"):
            open_video(f"{address}/none.mp4")
    assert [f.seconds for f in frames] == pytest.approx([i / 10 for i in range(30)])
    assert problem == ""


def test_a_lost_stream_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(capture._Reader, "_pause", lambda self, seconds: slept.append(seconds))
    caplog.set_level(logging.WARNING, "threeages")
    with serve(tmp_path) as (server, address):
        server.most = 2
        frames, problem = read(f"{address}/live", reconnects=3)
        assert server.connections == 4  # two of them were refused
    assert 8 <= len(frames) <= 12  # a demuxer may keep the last frame of a line that breaks
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert [f.seconds for f in frames] == sorted(f.seconds for f in frames)
    assert slept == [1, 2, 4]
    assert "was lost" in problem
    said = [record.getMessage() for record in caplog.records]
    assert sum("try" in line for line in said) == 3
    assert sum("gives frames again" in line for line in said) == 1


def test_a_stream_that_breaks_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture._Reader, "_pause", lambda self, seconds: None)
    with serve(tmp_path) as (server, address):
        frames, problem = read(f"{address}/live", reconnects=2)
        assert server.connections == 3
    assert len(frames) > 10
    assert "opened again 2 times" in problem


def test_time_ends_a_stream_that_is_lost(tmp_path: Path) -> None:
    with serve(tmp_path) as (server, address):
        server.most = 1
        start = time.monotonic()
        frames, problem = read(f"{address}/live", seconds=1.5, reconnects=50)
    assert frames
    assert time.monotonic() - start < 20
    assert problem == ""


def test_a_camera_by_number_and_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[object, ...]] = []

    class Camera:
        def __init__(self, *args: object) -> None:
            opened.append(args)
            self.left = 3

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def get(self, _: int) -> float:
            return 0.0

        def read(self) -> tuple[bool, object]:
            self.left -= 1
            return self.left >= 0, np.zeros((4, 4, 3), dtype=np.uint8)

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(capture._Reader, "_pause", lambda self, seconds: None)
    frames, problem = read("0", reconnects=1)
    assert len(frames) == 6
    assert "opened again 1 times" in problem
    read(os.devnull, reconnects=0)  # a character device, as /dev/video0 is
    assert opened == [(0,), (0,), (os.devnull, cv2.CAP_V4L2)]


def run_command(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["video", *args])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_says_that_no_face_was_found(tmp_path: Path) -> None:
    code, out, err = run_command(str(write_video(tmp_path / "a.avi", count=4)))
    assert (code, out) == (0, "")
    assert "No face was found in 4 frames." in err


def test_the_command_says_that_a_recording_ends_early(tmp_path: Path) -> None:
    code, out, err = run_command(str(cut(write_video(tmp_path / "a.avi"), 0.5)), "--jsonl")
    assert (code, out) == (1, "")
    assert "ends early" in err


def test_the_command_reads_a_stream(tmp_path: Path) -> None:
    with serve(tmp_path) as (_, address):
        code, out, err = run_command(f"{address}/live", "--jsonl", "--reconnects", "0")
    assert (code, out) == (1, "")
    assert "was lost after" in err


def test_records_of_a_stream_hide_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    from threeages.demo import find_portraits
    from threeages.faces.images import load_image
    from threeages.inference.capture import Video

    frame = Frame(0, 0.0, load_image(find_portraits()[0]))
    monkeypatch.setattr(capture, "open_video", lambda *_, **__: Video(iter([frame]), 5))
    code, out, _ = run_command("rtsp://me:secret@camera/1", "--jsonl")
    assert code == 0
    assert json.loads(out)["path"] == "rtsp://me:***@camera/1"
