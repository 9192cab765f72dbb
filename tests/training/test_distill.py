from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from threeages.data.manifest import Manifest
from threeages.errors import ConfigError, DataError
from threeages.models.weights import load_pretrained
from threeages.training import distill
from threeages.training.build import create_model, open_data
from threeages.training.config import DistillConfig, TrainConfig
from threeages.training.distill import open_teachers, run_distillation, select_rows

pytestmark = pytest.mark.slow

SMALL = TrainConfig(
    model="mobilenet_v1_face", weights="random", input_size=64, augmented_copies=2, precision="32-true"
)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images augmented in this process: to start others takes seconds (tests/data/test_online_augment.py)."""
    monkeypatch.setattr(distill, "create_pool", lambda: ThreadPoolExecutor(1))


@pytest.fixture
def run(in_process: None, manifest: Manifest, cache_dir: Path):  # type: ignore[no-untyped-def]
    """`run_distillation` of the small recipe."""

    def start(
        out: Path, only: tuple[str, str] | None = None, config: TrainConfig = SMALL, **settings: object
    ) -> Iterator[float]:
        distillation = DistillConfig(**settings)  # type: ignore[arg-type]
        return run_distillation(manifest, config, distillation, out, only=only, cache_dir=cache_dir)

    return start


def test_the_student_comes_nearer_to_its_teacher(run, manifest: Manifest, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "distilled.safetensors"
    losses = list(run(out, epochs=3))
    assert losses[-1] < 0.8 * losses[0]
    model = create_model(SMALL, manifest)
    before = {key: value.clone() for key, value in model.net.features.state_dict().items()}
    load_pretrained(model, str(out))
    after = model.net.features.state_dict()
    written = load_file(out)
    assert all(torch.equal(after[key], written[key]) for key in before)  # no preprocessing is folded in twice
    assert not torch.equal(after["1.weight"], before["1.weight"])


def test_images_augmented_on_the_device_teach_the_same(  # type: ignore[no-untyped-def]
    run, manifest: Manifest, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = open_data(manifest, SMALL, cache_dir)[1]
    given = {"only": ("identity", manifest.columns["identity"][split.train[0]]), "epochs": 1}
    expected = list(run(tmp_path / "processes.safetensors", **given))
    monkeypatch.setattr(distill, "augments", lambda device: True)
    monkeypatch.setattr(distill, "create_pool", lambda: pytest.fail("no process is needed"))
    assert list(run(tmp_path / "device.safetensors", **given)) == pytest.approx(expected, rel=0.02)


def test_held_out_rows_change_nothing(
    in_process: None, manifest: Manifest, cache_dir: Path, tmp_path: Path
) -> None:
    """The same weights come out where every held-out image is replaced by another."""
    config = replace(SMALL, split="random")
    split = open_data(manifest, config, cache_dir)[1]
    paths = list(manifest.paths)
    for row in split.test:
        paths[row] = paths[split.train[0]]
    other = replace(manifest, paths=tuple(paths))
    for rows, out in ((manifest, "a"), (other, "b")):
        list(run_distillation(rows, config, DistillConfig(epochs=1), tmp_path / out, cache_dir=cache_dir))
    first, second = load_file(tmp_path / "a"), load_file(tmp_path / "b")
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_only_some_rows_may_be_trained_on(run, manifest: Manifest, cache_dir: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    split = open_data(manifest, SMALL, cache_dir)[1]
    identities = manifest.columns["identity"]
    every = select_rows(manifest, split.train, None)
    assert np.array_equal(every.faces[every.train], split.train)
    assert len(every.faces) == len(manifest)
    name = identities[split.train[0]]
    some = select_rows(manifest, split.train, ("identity", name))
    expected = [row for row, identity in enumerate(identities) if identity == name]
    assert some.faces.tolist() == expected == some.faces[some.train].tolist()
    held_out = identities[split.test[0]]
    for other in ("nobody", held_out):
        with pytest.raises(DataError, match=f"identity={other}"):
            select_rows(manifest, split.train, ("identity", other))
    out = tmp_path / "some.safetensors"
    assert len(list(run(out, only=("identity", name), epochs=1))) == 1
    assert out.exists()


def test_an_encoder_may_be_a_second_teacher(run, manifest: Manifest, encoder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "distilled.safetensors"
    losses = list(run(out, teacher=str(encoder), epochs=3))
    assert losses[-1] < 0.8 * losses[0]
    assert load_file(out).keys() == create_model(SMALL, manifest).net.features.state_dict().keys()


@pytest.mark.parametrize("alignment", [None, 1.2])
def test_the_encoder_sees_faces_aligned_as_the_students_and_the_network_as_published(
    alignment: float | None, manifest: Manifest, encoder: Path, tmp_path: Path
) -> None:
    config = replace(SMALL, alignment=alignment)
    distillation = DistillConfig(teacher=str(encoder))
    own, given = (
        open_teachers(manifest, c, distillation, create_model(c), tmp_path) for c in (SMALL, config)
    )
    assert np.array_equal(own.network, given.network)
    assert own.encoder is not None
    assert given.encoder is not None
    assert own.encoder.shape == (len(manifest), 101, 768)
    assert np.array_equal(own.encoder, given.encoder) == (alignment is None)


def test_a_stopped_distillation_resumes_to_the_same_weights(run, encoder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    whole, stopped = tmp_path / "whole.safetensors", tmp_path / "stopped.safetensors"
    given = {"teacher": str(encoder), "epochs": 3}
    expected = list(run(whole, **given))
    running = run(stopped, **given)
    assert [next(running), next(running)] == expected[:2]
    running.close()
    assert not stopped.exists()
    with pytest.raises(ConfigError, match="other settings"):
        next(run(stopped, **{**given, "epochs": 4}))
    assert list(run(stopped, **given)) == expected
    assert stopped.read_bytes() == whole.read_bytes()
    left = {file.name for file in tmp_path.iterdir() if file.suffix != ".lock"}
    assert left == {whole.name, stopped.name, encoder.name}
