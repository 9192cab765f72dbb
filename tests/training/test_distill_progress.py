"""A distillation that is stopped, damaged, started twice or on other data: 16 faces in 8 steps an epoch."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from threeages.data.manifest import Manifest
from threeages.errors import ConfigError, DataError, ModelError, ThreeAgesError
from threeages.files.locks import BusyError, hold_file
from threeages.models.weights import read_about
from threeages.training import distill
from threeages.training.autosave import SaveTimer
from threeages.training.build import create_model, open_data
from threeages.training.config import DistillConfig, TrainConfig
from threeages.training.distill import run_distillation

pytestmark = pytest.mark.slow

SMALL = TrainConfig(
    model="mobilenet_v1_face", weights="random", input_size=32, batch_size=2, precision="32-true"
)
ONLY = ("part", "few")
Start = Callable[..., Iterator[float]]


@pytest.fixture(scope="module")
def few(manifest: Manifest, cache_dir: Path) -> Manifest:
    """The drawn faces, 16 training rows of which are `few`."""
    rows = set(open_data(manifest, SMALL, cache_dir)[1].train[:16].tolist())
    parts = tuple("few" if row in rows else "rest" for row in range(len(manifest)))
    return replace(manifest, columns=manifest.columns | {"part": parts})


@pytest.fixture
def start(few: Manifest, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """`run_distillation` of 16 faces, which saves its state after every step."""
    monkeypatch.setattr(distill, "create_pool", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(SaveTimer, "is_due", lambda timer: True)
    monkeypatch.setattr(SaveTimer, "is_affordable", lambda timer: True)  # of a slow disk it is not

    def run(out: Path, *, rows: Manifest = few, config: TrainConfig = SMALL, **given: Any) -> Iterator[float]:
        only = given.pop("only", ONLY)
        distillation = DistillConfig(**{"epochs": 1, **given})
        return run_distillation(rows, config, distillation, out, only=only, cache_dir=cache_dir)

    return run


@pytest.fixture(scope="module")
def whole(few: Manifest, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a distillation in one go."""
    out = tmp_path_factory.mktemp("whole") / "whole"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(distill, "create_pool", lambda: ThreadPoolExecutor(1))
        list(run_distillation(few, SMALL, DistillConfig(epochs=1), out, only=ONLY, cache_dir=cache_dir))
    return out


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`stop_after(n)`: n further steps are done, and the next is interrupted; every step draws a number."""
    step = distill._train_step

    def stop(n: int) -> None:
        left = iter(range(n))

        def step_or_stop(*args: Any) -> float:
            if next(left, None) is None:
                raise KeyboardInterrupt
            torch.rand(1)  # as dropout does
            return step(*args)

        monkeypatch.setattr(distill, "_train_step", step_or_stop)

    return stop


def _progress(out: Path) -> Path:
    return out.with_name(f"{out.name}.progress")


def _before(out: Path) -> Path:
    return out.with_name(f"{out.name}.progress.before")


@pytest.mark.parametrize("with_encoder", [False, True])
def test_six_steps_and_two_are_eight_bit_for_bit(
    with_encoder: bool,
    start: Start,
    stop_after: Callable[[int], None],
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that the state holds: weights, projections, optimizer, schedule, random states, position, loss."""
    given = {"teacher": str(encoder) if with_encoder else None, "epochs": 2}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for out, steps in ((whole, 8), (stopped, 6), (stopped, 2)):  # 8 end the epoch; the next has no step yet
        numbers = count(1)
        monkeypatch.setattr(SaveTimer, "is_due", lambda timer, numbers=numbers: next(numbers) == 6)
        stop_after(steps)
        with pytest.raises(KeyboardInterrupt):
            list(start(out, **given))
    assert _progress(stopped).read_bytes() == _progress(whole).read_bytes()
    for out in (whole, stopped):
        stop_after(8)
        assert len(list(start(out, **given))) == 2
    assert stopped.read_bytes() == whole.read_bytes()
    assert not _progress(stopped).exists()
    assert not _before(stopped).exists()


def test_a_state_is_saved_within_an_epoch_when_it_is_due(
    start: Start, stop_after: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([False, True, False, False, False])
    monkeypatch.setattr(SaveTimer, "is_due", lambda timer: next(asked))
    stop_after(5)
    with pytest.raises(KeyboardInterrupt):
        list(start(tmp_path / "out"))
    held = torch.load(_progress(tmp_path / "out"), weights_only=True)
    assert held["progress"]["step"] == 2
    assert not _before(tmp_path / "out").exists()


def _halve(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE = {
    "halved": _halve,
    "zeroed": lambda content: bytes(len(content)),
    "flipped": _flip,
    "empty": lambda content: b"",
    "foreign": lambda content: b"path,label\na.jpg,YOUNG\n",
}


def test_a_damaged_state_gives_way_to_the_one_before(
    start: Start,
    stop_after: Callable[[int], None],
    whole: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    stop_after(5)
    with pytest.raises(KeyboardInterrupt):
        list(start(out))
    states = {path: path.read_bytes() for path in (_progress(out), _before(out))}
    for kind, damage in DAMAGE.items():
        for path, state in states.items():
            path.write_bytes(damage(state) if path == _progress(out) else state)
        stop_after(4)  # one step more than without the damage
        caplog.clear()
        list(start(out))
        said = f"{_progress(out)} is damaged; resuming from the state before it, at step 5 of epoch 1"
        assert said in caplog.text, kind
        assert out.read_bytes() == whole.read_bytes()
        out.unlink()
    monkeypatch.setattr(distill, "open_data", None)  # before work
    for damage in DAMAGE.values():
        for path, state in states.items():
            path.write_bytes(damage(state))
        with pytest.raises(ModelError, match="is damaged as well") as raised:
            list(start(out))
        assert "Remove out.progress and out.progress.before" in raised.value.hint


def _other_data(few: Manifest) -> dict[str, dict[str, Any]]:
    """Arguments of a second start on other data, by what the message names."""
    labels = few.labels.copy()
    used = [row for row, part in enumerate(few.columns["part"]) if part == "few"]
    labels[used[0]] = (labels[used[0]] + 1) % 3
    parts = list(few.columns["part"])
    parts[used[0]] = "rest"
    return {
        "other labels": {"rows": replace(few, labels=labels)},
        "other images": {"rows": replace(few, columns=few.columns | {"part": tuple(parts)})},
        "other settings": {"config": replace(SMALL, fold=1)},
    }


@pytest.mark.parametrize("finished", [False, True])
def test_other_data_and_settings_are_refused_before_work(
    finished: bool,
    start: Start,
    few: Manifest,
    stop_after: Callable[[int], None],
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    if finished:
        out.write_bytes(whole.read_bytes())
    else:
        stop_after(1)
        with pytest.raises(KeyboardInterrupt):
            list(start(out))
    place = out if finished else _progress(out)
    before = place.read_bytes()
    monkeypatch.setattr(distill, "open_teachers", None)
    for what, given in _other_data(few).items():
        with pytest.raises(ConfigError, match=what) as raised:
            list(start(out, **given))
        assert str(place) in raised.value.message
        assert "--out" in raised.value.hint
    assert place.read_bytes() == before


def test_another_split_of_the_same_rows_is_refused(
    start: Start, few: Manifest, whole: Path, cache_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.write_bytes(whole.read_bytes())
    identities = few.columns["identity"]
    last = [
        identity for identity, part in zip(identities, few.columns["part"], strict=True) if part == "few"
    ][-1]
    held_out = identities[open_data(few, SMALL, cache_dir)[1].test[0]]
    swapped = tuple({last: held_out, held_out: last}.get(name, name) for name in identities)
    with pytest.raises(ConfigError, match="another split"):
        list(start(out, rows=replace(few, columns=few.columns | {"identity": swapped})))


def test_other_weights_and_another_teacher_under_the_same_names_are_refused(
    start: Start, encoder: Path, tmp_path: Path
) -> None:
    out, weights = tmp_path / "out", tmp_path / "weights.safetensors"
    features = create_model(SMALL).net.features.state_dict()
    save_file({key: value.contiguous() for key, value in features.items()}, weights)
    given = {"config": replace(SMALL, weights=str(weights)), "teacher": str(encoder)}
    list(start(out, **given))
    for file, what in ((encoder, "another teacher"), (weights, "other weights")):
        held = file.read_bytes()
        save_file({key: value + 1 for key, value in load_file(file).items()}, file)
        with pytest.raises(ConfigError, match=what):
            list(start(out, **given))
        file.write_bytes(held)


def test_a_finished_distillation_is_said_and_not_repeated(
    start: Start,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "out"
    before = whole.read_bytes()
    out.write_bytes(before)
    _progress(out).write_bytes(b"left by a kill between the two")
    monkeypatch.setattr(distill, "open_teachers", None)
    with caplog.at_level("INFO", "threeages"):
        losses = list(start(out))
    assert len(losses) == 1
    assert losses == read_about(out)["losses"]  # type: ignore[index]
    assert f"{out} is finished already; remove it to distill again" in caplog.text
    assert out.read_bytes() == before
    assert not _progress(out).exists()


def test_damaged_weights_are_not_written_over(
    start: Start, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(distill, "open_data", None)
    for damage in DAMAGE.values():
        damaged = damage(whole.read_bytes())
        out.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"damaged|Cannot load") as raised:
            list(start(out))
        assert str(out) in raised.value.message
        assert raised.value.hint.startswith("Give another --out.")
        assert out.read_bytes() == damaged


def test_weights_of_another_program_are_not_written_over(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    save_file({"a": torch.zeros(2)}, out)
    with pytest.raises(ConfigError, match="threeages distill did not write it"):
        list(start(out))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_said_and_the_state_before_it_kept(
    value: float, start: Start, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    forward = distill.DistillationLoss.forward
    steps = iter(range(8))

    def diverge(*args: Any) -> torch.Tensor:
        loss: torch.Tensor = forward(*args)
        return loss * value if next(steps) == 3 else loss

    with monkeypatch.context() as patched:
        patched.setattr(distill.DistillationLoss, "forward", diverge)
        with pytest.raises(ThreeAgesError, match=f"became {value} at step 4 of epoch 1") as raised:
            list(start(out))
    assert "--lr" in raised.value.hint
    assert "out.progress holds the last state" in raised.value.hint
    list(start(out))
    assert out.read_bytes() == whole.read_bytes()


def test_a_teacher_that_cannot_be_read_names_its_option(start: Start, tmp_path: Path) -> None:
    for teacher in (tmp_path / "none.safetensors", tmp_path / "halved.safetensors"):
        (tmp_path / "halved.safetensors").write_bytes(b"PK")
        with pytest.raises(ModelError, match=f"Cannot load the weights {teacher}") as raised:
            list(start(tmp_path / "out", teacher=str(teacher)))
        assert "--teacher FILE" in raised.value.hint


def test_two_processes_do_not_write_one_file(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill, "open_data", None)
    with hold_file(tmp_path / "out"), pytest.raises(BusyError, match="Another process") as raised:
        list(start(tmp_path / "out"))
    assert "--out" in raised.value.hint


def test_a_full_disk_keeps_the_last_state(
    start: Start,
    stop_after: Callable[[int], None],
    small_disk: Callable[[int], Path],
    whole: Path,
    tmp_path: Path,
) -> None:
    """The disk holds the state and the one before, and no third while it is written."""
    stop_after(1)
    with pytest.raises(KeyboardInterrupt):
        list(start(tmp_path / "measured"))
    size = _progress(tmp_path / "measured").stat().st_size
    out = small_disk(math.ceil(2.5 * size / 2**20)) / "out"
    stop_after(8)
    with pytest.raises(DataError, match=r"the disk is full; it needs .* MB, and .* has") as raised:
        list(start(out))
    assert "start the same command again" in raised.value.hint
    assert {path.name for path in out.parent.iterdir()} == {
        ".out.lock",
        "out.progress",
        "out.progress.before",
    }
    kept = tmp_path / "out"
    for ending in (".progress", ".progress.before"):
        kept.with_name(f"out{ending}").write_bytes(out.with_name(f"out{ending}").read_bytes())
    stop_after(6)
    list(start(kept))
    assert kept.read_bytes() == whole.read_bytes()
