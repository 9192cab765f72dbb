"""A run's folder after kills, damage, other data, a second process and a full disk."""

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from threeages.data.manifest import Manifest
from threeages.errors import ConfigError, DataError, ModelError, ThreeAgesError
from threeages.files.locks import BusyError, hold_folder
from threeages.models.classifier import create_classifier
from threeages.models.registry import create_signature
from threeages.training import autosave, run_folder
from threeages.training.checkpoint import load_checkpoint, save_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.run import run_training
from threeages.training.state_file import DamagedError, read_content
from threeages.training.temperature import TEMPERATURES

SMALL = TrainConfig(
    model="cnn",
    input_size=48,
    options={"filters": (8, 8, 8, 8), "dense": 16},
    batch_size=32,
    epochs=2,
    calibrate=True,
    precision="32-true",
)
DERIVED = (
    *("best.ckpt", "metrics.csv", "config.json", "train_digests.json", "environment.json"),
    *("curves.png", "test_metrics.json"),
)
STATES = ("last.ckpt", "previous.ckpt")


class _Killed(BaseException):
    """Stands for kill -9: no handler of errors sees it."""


def _train(manifest: Manifest, run: Path, cache_dir: Path, config: TrainConfig = SMALL, **more: Any) -> None:
    run_training(manifest, config, run, cache_dir=cache_dir, **more)


@pytest.fixture(scope="module")
def whole(manifest: Manifest, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an undisturbed run."""
    run = tmp_path_factory.mktemp("whole")
    _train(manifest, run, cache_dir)
    return _read(run)


@pytest.fixture
def run(whole: dict[str, bytes], tmp_path: Path) -> Path:
    """A folder with a finished run."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    return folder


def _read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def _rows(content: bytes) -> list[dict[str, str]]:
    rows = list(csv.DictReader(content.decode().splitlines()))
    return [{k: v for k, v in row.items() if k not in {"seconds", "images_per_second"}} for row in rows]


def _assert_same_result(run: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """All files but for times: weights and temperature by bit, metrics by digit, and no other file."""
    found = _read(run)
    assert found.keys() == whole.keys()
    assert _rows(found["metrics.csv"]) == _rows(whole["metrics.csv"])
    for name in ("config.json", "test_metrics.json", "environment.json"):
        assert found[name] == whole[name], name
    for name in ("best.ckpt", "last.ckpt"):
        (tmp_path / name).write_bytes(whole[name])
        (one, state), (two, expected) = (load_checkpoint(folder / name) for folder in (run, tmp_path))
        assert one.signature == two.signature
        assert [row["epoch"] for row in state["history"]] == [row["epoch"] for row in expected["history"]]
        for key, value in two.state_dict().items():
            assert torch.equal(one.state_dict()[key], value), key


def test_a_finished_run_started_again_ends_with_the_same_bytes(
    run: Path, whole: dict[str, bytes], manifest: Manifest, cache_dir: Path
) -> None:
    assert whole.keys() == {*DERIVED, *STATES}
    _train(manifest, run, cache_dir)
    assert _read(run) == whole


@pytest.mark.parametrize(
    "name", [*DERIVED[:2], *(pytest.param(n, marks=pytest.mark.slow) for n in DERIVED[2:])]
)
def test_what_is_missing_damaged_or_stale_is_written_again(
    name: str, run: Path, whole: dict[str, bytes], manifest: Manifest, cache_dir: Path
) -> None:
    older = whole["previous.ckpt"] if name == "best.ckpt" else b"another\n"
    for content in (None, whole[name][: len(whole[name]) // 2], bytes(len(whole[name])), older):
        (run / name).unlink()
        if content is not None:
            (run / name).write_bytes(content)
        _train(manifest, run, cache_dir)
        assert _read(run) == whole


@pytest.mark.slow
def test_a_kill_before_any_write_changes_nothing_of_the_result(
    whole: dict[str, bytes],
    manifest: Manifest,
    cache_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every file takes its name by a rename; the process dies before the first, the second, ... of them."""
    original = Path.replace
    for kill_at in range(100):
        run = tmp_path / f"run-{kill_at}"
        count = iter(range(10**6))

        def rename(path: Path, target: Path, count: Any = count, kill_at: int = kill_at) -> Path:
            if next(count) == kill_at:
                raise _Killed
            return original(path, target)

        monkeypatch.setattr(Path, "replace", rename)
        try:
            _train(manifest, run, cache_dir)
        except _Killed:
            monkeypatch.setattr(Path, "replace", original)
            _train(manifest, run, cache_dir)
            _assert_same_result(run, whole, tmp_path)
        else:
            break
    assert kill_at > 12


@pytest.mark.parametrize("content", [b"", b"a text", bytes(5000), None])
def test_a_damaged_state_resumes_from_the_one_before(
    content: bytes | None,
    run: Path,
    whole: dict[str, bytes],
    manifest: Manifest,
    cache_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damaged = whole["last.ckpt"][:-1000] if content is None else content
    (run / "last.ckpt").write_bytes(damaged)
    _train(manifest, run, cache_dir)
    assert "last.ckpt is damaged; resuming from the state before it, at the end of epoch 2." in caplog.text
    (tmp_path / "all").mkdir()
    assert (run / "last.ckpt").read_bytes() == whole["last.ckpt"]
    _assert_same_result(run, whole, tmp_path / "all")


def test_a_state_of_something_else_is_none_of_a_training(
    run: Path, whole: dict[str, bytes], manifest: Manifest, cache_dir: Path
) -> None:
    (run / "last.ckpt").write_bytes(whole["best.ckpt"])
    _train(manifest, run, cache_dir)
    assert (run / "last.ckpt").read_bytes() == whole["last.ckpt"]


def test_where_both_states_are_damaged_the_way_out_is_said(
    run: Path, manifest: Manifest, cache_dir: Path
) -> None:
    for name in STATES:
        (run / name).write_bytes(b"")
    before = _read(run)
    with pytest.raises(DamagedError, match=r"(?s)last.ckpt is damaged.*as well.*another --out"):
        _train(manifest, run, cache_dir)
    assert _read(run) == before


def test_a_damaged_model_names_the_command_that_writes_it_again(
    run: Path, whole: dict[str, bytes], manifest: Manifest, cache_dir: Path
) -> None:
    data = bytearray(whole["best.ckpt"])
    data[len(data) // 2] ^= 1
    (run / "best.ckpt").write_bytes(data)
    with pytest.raises(DamagedError, match="Run the same threeages train command again"):
        load_checkpoint(run)
    _train(manifest, run, cache_dir)
    assert (run / "best.ckpt").read_bytes() == whole["best.ckpt"]


def test_a_model_without_its_state_is_not_written_over(
    run: Path, manifest: Manifest, cache_dir: Path
) -> None:
    for name in STATES:
        (run / name).unlink()
    before = _read(run)
    with pytest.raises(ConfigError, match=r"without the state of its training"):
        _train(manifest, run, cache_dir)
    assert _read(run) == before


def test_a_run_of_an_earlier_release_is_refused(
    run: Path, whole: dict[str, bytes], manifest: Manifest, cache_dir: Path
) -> None:
    (run / "previous.ckpt").unlink()
    content = read_content(run / "last.ckpt", "")
    torch.save({k: v for k, v in content.items() if k not in {"kind", "data"}}, run / "last.ckpt")
    with pytest.raises(ModelError, match=r"(?s)earlier release.*another --out"):
        _train(manifest, run, cache_dir)
    run_folder.write_state(run / "last.ckpt", run / "previous.ckpt", {**content, "data": {}})
    with pytest.raises(ConfigError, match=r"(?s)earlier release.*another --out"):
        _train(manifest, run, cache_dir)


def _with_labels(manifest: Manifest) -> Manifest:
    return replace(manifest, labels=(manifest.labels + 1) % 3)


def _with_fewer_rows(manifest: Manifest) -> Manifest:
    return manifest.select(np.arange(len(manifest) - 5))


def _with_other_identities(manifest: Manifest) -> Manifest:
    identities = manifest.columns["identity"]
    return replace(manifest, columns={**manifest.columns, "identity": identities[7:] + identities[:7]})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_with_labels, "other labels"),
        (_with_fewer_rows, "other images and other labels and another split"),
        (_with_other_identities, "another split"),
    ],
)
def test_a_folder_takes_no_other_data(
    change: Callable[[Manifest], Manifest],
    words: str,
    run: Path,
    whole: dict[str, bytes],
    manifest: Manifest,
    cache_dir: Path,
) -> None:
    times = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    with pytest.raises(ConfigError, match=f"(?s)was made with {words}.*another --out"):
        _train(change(manifest), run, cache_dir)
    assert _read(run) == whole
    assert {name: (run / name).stat().st_mtime_ns for name in times} == times


def test_a_column_that_a_head_learns_belongs_to_the_data(
    manifest: Manifest, cache_dir: Path, tmp_path: Path
) -> None:
    config = replace(SMALL, epochs=1, extra_heads={"years": 0.5})
    _train(manifest, tmp_path / "run", cache_dir, config)
    ages = manifest.columns["age"]
    other = replace(manifest, columns={**manifest.columns, "age": (*ages[1:], ages[0])})
    with pytest.raises(ConfigError, match="other labels"):
        _train(other, tmp_path / "run", cache_dir, config)
    unused = replace(manifest, columns={**manifest.columns, "note": ages})
    _train(unused, tmp_path / "run", cache_dir, config)


@pytest.mark.slow
def test_other_weights_of_one_name_are_refused(manifest: Manifest, cache_dir: Path, tmp_path: Path) -> None:
    signature = create_signature("mobilenet_v1_face", 32)
    weights = tmp_path / "weights.safetensors"
    for seed in (0, 1):
        torch.manual_seed(seed)
        features = create_classifier(signature).net.features.state_dict()
        save_file({k: v.contiguous() for k, v in features.items()}, weights)
        config = TrainConfig(model="mobilenet_v1_face", input_size=32, weights=str(weights), epochs=1)
        if seed == 0:
            _train(manifest, tmp_path / "run", cache_dir, config)
            before = _read(tmp_path / "run")
    with pytest.raises(ConfigError, match="was made with other weights"):
        _train(manifest, tmp_path / "run", cache_dir, config)
    assert _read(tmp_path / "run") == before


def test_a_second_training_is_told_so_before_it_does_anything(
    manifest: Manifest, cache_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with hold_folder(run), pytest.raises(BusyError, match=r"(?s)Another process.*another --out"):
        _train(manifest, run, cache_dir)
    assert _read(run) == {}


def test_the_lock_is_held_to_the_last_write(
    manifest: Manifest, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threeages.training import run as running

    def check(path: Path, content: Any) -> None:
        with pytest.raises(BusyError), hold_folder(path.parent):
            pass
        original(path, content)

    original = running.write_json
    monkeypatch.setattr(running, "write_json", check)
    _train(manifest, tmp_path / "run", cache_dir, replace(SMALL, epochs=1))
    assert (tmp_path / "run" / "test_metrics.json").exists()


def test_the_temperature_is_fitted_once_and_never_half(
    manifest: Manifest,
    whole: dict[str, bytes],
    cache_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr("threeages.training.fit._fit_temperature", _raise_killed)
    with pytest.raises(_Killed):
        _train(manifest, run, cache_dir)
    assert load_checkpoint(run)[0].signature.temperature == 1
    monkeypatch.undo()
    _train(manifest, run, cache_dir)
    found = load_checkpoint(run)[0].signature.temperature
    assert found in TEMPERATURES
    assert read_content(run / "last.ckpt", "")["temperature"] == found
    monkeypatch.setattr("threeages.training.fit._fit_temperature", _raise_killed)
    _train(manifest, run, cache_dir)  # not again
    assert load_checkpoint(run)[0].signature.temperature == found
    (tmp_path / "all").mkdir()
    _assert_same_result(run, whole, tmp_path / "all")


def _raise_killed(*_: object) -> None:
    raise _Killed


def test_a_full_disk_is_one_sentence_and_the_older_state_stays_whole(
    manifest: Manifest,
    whole: dict[str, bytes],
    cache_dir: Path,
    tmp_path: Path,
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(autosave, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(autosave, "SAVE_SHARE", math.inf)
    need = len(whole["last.ckpt"])
    disk = small_disk(math.ceil(5 * need / 2**20))
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - int(2.5 * need)))  # no room for a third state
    for _ in range(2):
        with pytest.raises(DataError, match=r"(?s)the disk is full; it needs .* free.*same command again"):
            _train(manifest, disk / "run", cache_dir)
        assert not list((disk / "run").glob(".*.part"))
        held = read_content(disk / "run" / "last.ckpt", "")
        assert held["within"] or held["history"]
    filler.unlink()
    _train(manifest, disk / "run", cache_dir)
    _assert_same_result(disk / "run", whole, tmp_path)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] can't allocate memory: 9 bytes")]
)
def test_the_end_of_memory_is_said_with_options_that_help(
    error: Exception,
    manifest: Manifest,
    cache_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("threeages.training.loop._train_step", fail)
    with pytest.raises(ThreeAgesError, match=r"(?s)32 images of 48 px.*smaller --batch-size or --input-size"):
        _train(manifest, tmp_path / "run", cache_dir)
    assert not any(name.endswith(".ckpt") for name in _read(tmp_path / "run"))


def test_a_folder_with_settings_alone_was_stopped_before_its_first_state(
    manifest: Manifest, cache_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    _train(manifest, tmp_path / "run", cache_dir, replace(SMALL, epochs=1))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["epochs"] == 1


def test_a_checkpoint_alone_is_no_run(manifest: Manifest, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.ckpt", create_classifier(create_signature("cnn", 48)))
    with pytest.raises(ModelError, match=r"(?s)holds no training to resume.*another --out"):
        run_folder.read_run(tmp_path)
