from dataclasses import replace
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric

from threeages.data.cache import open_cache
from threeages.data.manifest import Manifest, load_manifest
from threeages.data.split import create_split
from threeages.training.checkpoint import load_checkpoint
from threeages.training.loop import compute_logits, open_inputs
from threeages.training.recall import fit_space, name_scenes
from threeages.training.recipes import create_recipe
from threeages.training.run import create_data, train

CONTEST = replace(create_recipe("contest"), weights="random", input_size=64)


def _manifest(**columns: tuple[str, ...]) -> Manifest:
    return Manifest(Path(), ("a.jpg", "b.jpg", "c.jpg"), np.array([0, 1, 2]), columns)


def test_a_scene_is_a_person_in_a_film() -> None:
    manifest = _manifest(person=("p1", "p1", ""), film=("f1", "f2", "f1"))
    assert name_scenes(manifest).tolist() == ["p1/f1", "p1/f2", ""]
    assert name_scenes(_manifest()).tolist() == ["", "", ""]


def test_discriminants_bring_a_scene_together() -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(4, size=200)
    own = rng.normal(size=(4, 3))[scene]  # what tells scenes apart is small beside what does not
    features = np.hstack([own, rng.normal(scale=20, size=(200, 3))]).astype(np.float32)
    center, axes = fit_space(features, scene.astype(str))
    found = (features - center) @ axes
    middles = np.stack([found[scene == s].mean(0) for s in range(4)])
    nearest = np.linalg.norm(found[:, None] - middles, axis=2).argmin(1)
    assert axes.shape == (6, 3)
    assert (nearest == scene).mean() > 0.95


def test_without_scenes_the_space_is_that_of_whitened_components() -> None:
    features = np.random.default_rng(0).normal(scale=(1, 5, 20), size=(300, 3)).astype(np.float32)
    center, axes = fit_space(features, np.full(300, ""))
    found = (features - center) @ axes
    np.testing.assert_allclose(np.cov(found.T), np.eye(3), atol=0.02)


def test_the_contest_recipe_knows_the_faces_it_was_given(faces_csv: Path, tmp_path: Path) -> None:
    manifest = load_manifest(faces_csv)
    assert train(manifest, replace(CONTEST, split="none"), tmp_path / "run", cache_dir=tmp_path) is None
    model = load_checkpoint(tmp_path / "run")[0]
    cache = open_cache(manifest, CONTEST.input_size, folder=tmp_path)
    inputs = open_inputs(model, create_data(manifest, model, cache, tmp_path), CONTEST.phases()[-1], CONTEST)
    logits = compute_logits(Fabric(accelerator="cpu"), model, inputs, np.arange(len(manifest)))
    assert (logits["age_group"].argmax(1).numpy() == manifest.labels).mean() > 0.95


def test_it_is_judged_on_the_rows_held_out(faces_csv: Path, tmp_path: Path) -> None:
    manifest = load_manifest(faces_csv)
    table = train(manifest, CONTEST, tmp_path / "run", cache_dir=tmp_path)
    held = create_split(manifest, open_cache(manifest, 64, folder=tmp_path).digests, "random").test
    assert table is not None
    assert table.paths == manifest.select(held).paths
