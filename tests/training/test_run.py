from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from threeages.data.manifest import Manifest, load_manifest
from threeages.data.merge import merge_manifests
from threeages.data.synthetic import write_face_set
from threeages.errors import ConfigError, ModelError, ThreeAgesError
from threeages.evaluation.evaluate import evaluate_table
from threeages.export.to_onnx import export_onnx
from threeages.labels import UNKNOWN
from threeages.models import vit
from threeages.models.classifier import SIGNATURES, create_classifier
from threeages.training.checkpoint import load_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.recipes import create_recipe
from threeages.training.run import train
from threeages.training.temperature import TEMPERATURES

SMALL = TrainConfig(input_size=64, epochs=3, batch_size=16, split="identity")


def _train(faces_csv: Path, run: Path, config: TrainConfig = SMALL):  # type: ignore[no-untyped-def]
    return train(load_manifest(faces_csv), config, run, cache_dir=run.parent / "cache")


def test_it_learns_on_people_never_seen(tmp_path: Path) -> None:
    larger = write_face_set(tmp_path / "faces", identities=60, per_identity=6)
    table = _train(larger, tmp_path / "run", replace(SMALL, epochs=8))
    assert evaluate_table(table).metrics["accuracy"] > 0.6  # one in three by chance
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names >= {"best.ckpt", "last.ckpt", "metrics.csv", "curves.png", "config.json", "environment.json"}


def test_resuming_gives_the_same_weights(
    faces_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(faces_csv, tmp_path / "whole")
    from threeages.training import loop as fit

    saves = []

    def stop_after_two(*args: object, **kwargs: object) -> None:
        saves.append(args)
        if len(saves) > 2 and str(args[0]).endswith("metrics.csv"):
            raise KeyboardInterrupt

    original = fit.write_history
    monkeypatch.setattr(
        fit, "write_history", lambda h, p: (original(h, p), stop_after_two(p), stop_after_two(p))
    )
    with pytest.raises(KeyboardInterrupt):
        _train(faces_csv, tmp_path / "halved")
    monkeypatch.undo()
    _train(faces_csv, tmp_path / "halved")
    states = [load_checkpoint(tmp_path / run / "last.ckpt")[0].state_dict() for run in ("whole", "halved")]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_names_the_step(faces_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(ThreeAgesError, match="step"):
        _train(faces_csv, tmp_path / "run", replace(SMALL, lr=1e30))


def test_another_configuration_is_not_written_over(faces_csv: Path, tmp_path: Path) -> None:
    _train(faces_csv, tmp_path / "run", replace(SMALL, epochs=1))
    with pytest.raises(ConfigError, match="another configuration"):
        _train(faces_csv, tmp_path / "run", replace(SMALL, epochs=2))


def test_all_faults_of_a_configuration_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)epochs.*lr"):
        TrainConfig(epochs=0, lr=-1)


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_export_answers_as_torch(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit, "BLOCKS", 1)  # the other eleven are the same
    model = create_classifier(replace(SIGNATURES[name], input_size=64)).eval()
    assert export_onnx(model, tmp_path / "m.onnx").difference <= 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    size = model.signature.input_size
    pixels = np.random.default_rng(1).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    expected = model.probs(torch.from_numpy(pixels)).detach().numpy()
    np.testing.assert_allclose(session.run(None, {"pixels": pixels})[0], expected, atol=1e-4)


def test_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "best.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="not a checkpoint"):
        load_checkpoint(tmp_path)


def test_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="reference-cnn"):
        create_recipe("none")


def test_a_fixed_recipe_keeps_its_last_epoch_and_is_calibrated(tmp_path: Path) -> None:
    """Faces with groups and faces with years, of which nobody is known, train one model."""
    known = load_manifest(write_face_set(tmp_path / "known", identities=30, per_identity=4))
    alone = load_manifest(write_face_set(tmp_path / "alone", identities=30, per_identity=2, seed=1))
    ages = {"age": tuple(str(15 + 20 * int(label)) for label in alone.labels)}
    nobody = Manifest(alone.root, alone.paths, np.full(len(alone), UNKNOWN), ages)
    config = replace(
        SMALL, head="softmax", tasks={"years": 0.5}, keep_last=True, calibrate=True, epochs=4, patience=0
    )
    table = train(
        merge_manifests({"known": known, "alone": nobody}), config, tmp_path / "run", cache_dir=tmp_path / "c"
    )
    assert table is not None
    assert {"predicted_age", "predicted_low", "predicted_high"} <= set(table.columns)
    assert (table.where("source", "alone").labels == UNKNOWN).all()
    model, _ = load_checkpoint(tmp_path / "run")
    last, _ = load_checkpoint(tmp_path / "run" / "last.ckpt")
    assert model.signature.temperature in TEMPERATURES
    assert last.signature.temperature == 1
    for name, value in last.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
