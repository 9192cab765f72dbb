from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.data import cache
from threeages.data import online_views as drawing
from threeages.data.cache import PixelCache, open_cache
from threeages.data.manifest import Manifest
from threeages.data.mixup import Mixture
from threeages.data.split import Rows
from threeages.errors import ConfigError, DataError
from threeages.faces.images import Pixels
from threeages.models.weights import load_pretrained
from threeages.training import distill as adapting
from threeages.training.build import create_model, open_data
from threeages.training.config import TrainConfig
from threeages.training.distill import adapt
from threeages.training.distill_losses import FeatureLesson, Features

SMALL = TrainConfig(
    model="mobilenet_v1_face", weights="random", input_size=64, views=2, split="identity", precision="32-true"
)


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views drawn in this process: to start others takes seconds (tests/data/test_drawing.py does)."""
    monkeypatch.setattr(adapting, "create_pool", lambda: ThreadPoolExecutor(1))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[int]]:
    """The rows that are drawn from and taught, and those that a lesson takes its deviations from."""
    rows: dict[str, set[int]] = {"learnt": set(), "scale": set()}

    class Noting(FeatureLesson):
        def __init__(self, features: Features, learnt: Rows) -> None:
            rows["scale"].update(learnt.tolist())
            super().__init__(features, learnt)

    class Drawing(drawing.Drawing):
        def draw(
            self, pool: Executor, order: Iterable[Mixture], seed: tuple[int, ...]
        ) -> Iterator[tuple[Pixels, drawing.Moves]]:
            batches = list(order)
            for batch in batches:
                rows["learnt"].update(batch.rows.tolist(), batch.others[batch.mixed].tolist())
            return super().draw(pool, batches, seed)

    monkeypatch.setattr(adapting, "FeatureLesson", Noting)
    monkeypatch.setattr(adapting, "Drawing", Drawing)
    return rows


@pytest.mark.usefixtures("at_home")
def test_small_views_come_nearer_to_large_faces_and_held_out_people_are_not_seen(
    manifest: Manifest, cache_dir: Path, tmp_path: Path, seen: dict[str, set[int]]
) -> None:
    out = tmp_path / "adapted.safetensors"
    losses = list(adapt(manifest, SMALL, out, epochs=3, mix=0.1, cache_dir=cache_dir))
    assert losses[-1] < 0.8 * losses[0]
    train = open_data(manifest, SMALL, cache_dir)[1].train
    assert seen == {"learnt": set(train.tolist()), "scale": set(train.tolist())}

    model = create_model(SMALL, manifest)
    before = {key: value.clone() for key, value in model.net.features.state_dict().items()}
    load_pretrained(model, str(out))
    after = model.net.features.state_dict()
    written = load_file(out)
    assert all(torch.equal(after[key], written[key]) for key in before)  # no preprocessing is folded in twice
    assert not torch.equal(after["1.weight"], before["1.weight"])


@pytest.mark.usefixtures("at_home")
def test_only_some_rows_may_teach(
    manifest: Manifest, cache_dir: Path, tmp_path: Path, seen: dict[str, set[int]]
) -> None:
    train = open_data(manifest, SMALL, cache_dir)[1].train
    person = manifest.columns["identity"][train[0]]
    out = tmp_path / "adapted.safetensors"
    list(adapt(manifest, SMALL, out, only=("identity", person), epochs=1, cache_dir=cache_dir))
    theirs = [row for row, name in enumerate(manifest.columns["identity"]) if name == person]
    assert set(theirs) <= set(train.tolist())
    assert seen == {"learnt": set(theirs), "scale": set(range(len(theirs)))}  # of those that `only` leaves
    held_out = manifest.columns["identity"][open_data(manifest, SMALL, cache_dir)[1].test[0]]
    for other in ("nobody", held_out):
        with pytest.raises(DataError, match=f"identity={other}"):
            next(adapt(manifest, SMALL, out, only=("identity", other), epochs=1, cache_dir=cache_dir))


@pytest.mark.usefixtures("at_home")
def test_a_tower_of_patches_may_teach_too(
    manifest: Manifest, tower: Path, cache_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "adapted.safetensors"
    losses = list(adapt(manifest, SMALL, out, teacher=tower, mix=0.1, epochs=3, cache_dir=cache_dir))
    assert losses[-1] < 0.8 * losses[0]
    written = load_file(out)
    assert written.keys() == create_model(SMALL, manifest).net.features.state_dict().keys()


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("given", [None, 1.2])
def test_faces_are_cut_as_closely_as_asked_but_for_the_network_as_published(
    given: float | None, manifest: Manifest, tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def note(*args: Any, **settings: Any) -> PixelCache:
        asked.append((args[1], settings.get("alignment", 0.0)))
        return open_cache(*args, **settings)

    for module in (adapting, cache):
        monkeypatch.setattr(module, "open_cache", note)
    config = replace(SMALL, alignment=given)
    out = tmp_path / "adapted.safetensors"
    list(adapt(manifest, config, out, teacher=tower, epochs=1, cache_dir=tmp_path / "cache"))
    own = 0.85
    # the student's, its teachers', and images as they are without a detector
    assert asked == [(64, given or own), (224, own), (160, given or own), (64, 0.0)]


@pytest.mark.usefixtures("at_home")
def test_it_goes_on_from_what_it_wrote(
    manifest: Manifest, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    list(adapt(manifest, SMALL, first, epochs=1, cache_dir=cache_dir))
    monkeypatch.setattr(adapting, "LR", 0.0)  # what it begins with stays
    list(adapt(manifest, SMALL, second, start=first, epochs=1, cache_dir=cache_dir))
    began, published = load_file(second), create_model(SMALL, manifest).net.features.state_dict()
    assert torch.equal(began["1.weight"], load_file(first)["1.weight"])
    assert not torch.equal(began["1.weight"], published["1.weight"])


@pytest.mark.usefixtures("at_home")
def test_stopped_it_goes_on_as_if_it_had_not_been(
    manifest: Manifest, cache_dir: Path, tower: Path, tmp_path: Path
) -> None:
    whole, stopped = tmp_path / "whole.safetensors", tmp_path / "stopped.safetensors"
    given = {"teacher": tower, "epochs": 3, "cache_dir": cache_dir}
    expected = list(adapt(manifest, SMALL, whole, **given))
    running = adapt(manifest, SMALL, stopped, **given)
    assert [next(running), next(running)] == pytest.approx(expected[:2])
    running.close()
    assert not stopped.exists()
    with pytest.raises(ConfigError, match="other settings"):
        next(adapt(manifest, SMALL, stopped, **{**given, "epochs": 4}))
    assert list(adapt(manifest, SMALL, stopped, **given)) == pytest.approx(expected)
    torch.testing.assert_close(load_file(stopped), load_file(whole))
    assert {file.name for file in tmp_path.iterdir()} == {whole.name, stopped.name, tower.name}


def test_the_command_writes_weights_that_a_training_takes(faces_csv: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "small.json", tmp_path / "adapted.safetensors"
    recipe.write_text('{"model": "mobilenet_v1_face", "split": "identity", "epochs": 0, "head_epochs": 1}')
    common = ["--recipe", str(recipe), "--size", "64", "--fold", "1", "--cache-dir", str(tmp_path)]
    command = ["adapt", str(faces_csv), "--weights", "random", "--epochs", "1", "--out", str(out), *common]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "epoch 1  loss" in result.output
    command = ["train", str(faces_csv), "--weights", str(out), "--out", str(tmp_path / "run"), *common]
    assert CliRunner().invoke(app, command).exit_code == 0
