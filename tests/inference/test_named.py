"""The large model: fetched from a file or a hub, verified, and found by its name."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from threeages.errors import DataError, ModelError, ThreeAgesError
from threeages.inference import named
from threeages.inference.named import HUB_FILE, LargeModel, find_model_file
from threeages.inference.predictor import load_predictor
from threeages.inference.runtime import OnnxModel, default_model_path

SmallDisk = Callable[[float], Path]


class Hub:
    """A hub on this machine: the bytes and the status that it answers, and what it was asked."""

    def __init__(self, content: bytes) -> None:
        self.content, self.status, self.length = content, 200, len(content)
        self.asked: list[str] = []


@pytest.fixture
def hub(encoder_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    found = Hub(encoder_file.read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            self.send_response(found.status)
            self.send_header("Content-Length", str(found.length))
            self.end_headers()
            self.wfile.write(found.content)

        def log_message(self, *_: object) -> None:
            logging.debug("asked")

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
        yield found
        server.shutdown()
        thread.join()


def test_names_and_paths_are_resolved_in_one_place(large_model: LargeModel, encoder_file: Path) -> None:
    assert find_model_file("default") == default_model_path()
    assert find_model_file("a.onnx") == Path("a.onnx")
    assert find_model_file(Path("large")) == Path("large")  # a path, not the name
    with pytest.raises(ModelError, match="not fetched") as raised:
        find_model_file("large")
    assert raised.value.hint == "Run: threeages models fetch large"
    assert find_model_file("large") if large_model.fetch(encoder_file) else False


def test_a_file_becomes_the_model_that_was_trained(large_model: LargeModel, encoder_file: Path) -> None:
    path = large_model.fetch(encoder_file)
    assert [file.name for file in large_model.folder.iterdir()] == [path.name]
    with np.load(large_model.asset) as held:
        pixels, expected = held["pixels"], held["probs"]
    np.testing.assert_allclose(OnnxModel(path).predict(pixels), expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.01  # faces of all ages are answered differently
    records = load_predictor("large", detect=False).predict(list(pixels[:2]))
    assert [record.status for record in records] == ["ok", "ok"]


def test_the_hub_is_asked_for_one_file(large_model: LargeModel, hub: Hub) -> None:
    path = large_model.fetch()
    assert hub.asked == [f"/{HUB_FILE}"]
    assert [file.name for file in large_model.folder.iterdir()] == [path.name]
    OnnxModel(path)


def _fail(large_model: LargeModel, kind: type[ThreeAgesError] = DataError) -> ThreeAgesError:
    """The error of fetching from the hub, which leaves nothing."""
    with pytest.raises(kind) as raised:
        large_model.fetch()
    assert list(large_model.folder.iterdir()) == []
    return raised.value


def test_an_answer_that_is_refused_or_cut_leaves_nothing(large_model: LargeModel, hub: Hub) -> None:
    hub.status = 404
    assert "it answers 404 Not Found" in _fail(large_model).message
    hub.status, hub.length = 200, 2 * len(hub.content)
    error = _fail(large_model)
    assert "it ended after" in error.message
    assert error.hint == "Fetch the file elsewhere and give it: threeages models fetch large --from FILE"
    hub.content, hub.length = hub.content[:-1] + b"x", len(hub.content)
    assert "its sha256 is " in _fail(large_model, ModelError).message


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://hub.invalid", "no address", "https://"])
def test_no_hub_is_one_message(
    address: str, large_model: LargeModel, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert _fail(large_model).message.startswith(f"Cannot fetch {address}/")


def test_a_proxy_carries_the_request(
    large_model: LargeModel, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", named.os.environ["HF_ENDPOINT"])
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    large_model.fetch()
    assert hub.asked == [f"http://hub.invalid/{HUB_FILE}"]


def test_a_disk_without_room_is_said_before_anything_is_fetched(
    large_model: LargeModel, hub: Hub, small_disk: SmallDisk
) -> None:
    hub.length = 10**8
    error = _fail(replace(large_model, folder=small_disk(1)))
    assert "the disk is full; it needs 100 MB" in error.message


def test_a_full_disk_leaves_no_model(
    large_model: LargeModel, encoder_file: Path, small_disk: SmallDisk
) -> None:
    disk = small_disk(0.05)
    with pytest.raises(DataError, match="the disk is full"):
        replace(large_model, folder=disk).fetch(encoder_file)
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"another file"])
def test_a_file_of_another_sha256_is_refused(content: bytes, large_model: LargeModel, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with pytest.raises(DataError, match="Cannot read"):
        large_model.fetch(file)
    file.write_bytes(content)
    with pytest.raises(ModelError, match="is none of the files known") as raised:
        large_model.fetch(file)
    assert "Known are the tiny one" in raised.value.hint
    assert not large_model.folder.exists()


def test_a_model_that_answers_otherwise_is_refused(
    large_model: LargeModel, encoder_file: Path, tmp_path: Path
) -> None:
    with np.load(large_model.asset) as held:
        arrays = dict(held)
    np.savez(tmp_path / "large.npz", **arrays | {"probs": arrays["probs"][:, ::-1] + 0.2})
    with pytest.raises(ModelError, match="probabilities differ by"):
        replace(large_model, asset=tmp_path / "large.npz").fetch(encoder_file)
    assert not large_model.folder.exists()


def test_a_damaged_model_is_seen_and_fetched_again(large_model: LargeModel, encoder_file: Path) -> None:
    path = large_model.fetch(encoder_file)
    whole = path.read_bytes()
    half = len(whole) // 2
    for content in (whole[:half], whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :], b""):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=path.name) as raised:
            find_model_file("large")
        assert raised.value.hint == "Fetch it again: threeages models fetch large"
    assert large_model.fetch(encoder_file).read_bytes() == whole


def test_the_model_of_another_version_of_the_package_is_replaced(
    large_model: LargeModel, encoder_file: Path
) -> None:
    large_model.folder.mkdir()
    (large_model.folder / "large-00000000.onnx").touch()
    assert list(large_model.folder.iterdir()) != [large_model.path]
    large_model.fetch(encoder_file)
    assert list(large_model.folder.iterdir()) == [large_model.path]
