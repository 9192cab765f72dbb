"""Every command with every file that it reads, damaged in every way: a message, exit code 2 and no output."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from threeages.bundled import ASSETS
from threeages.cli.main import list_commands
from threeages.data.manifest import load_manifest, save_manifest
from threeages.evaluation.drift import AnswerHistogram
from threeages.evaluation.predictions import load_predictions
from threeages.inference.runtime import default_model_path
from threeages.signature import METADATA_KEY

Damage = Callable[[bytes], bytes]
RunMain = Callable[..., Any]  # of conftest: code, out and err of a command


def _halve(content: bytes) -> bytes:
    """The first half, within a cell of a line but its first."""
    half = content[: len(content) // 2]
    return half.rpartition(b"\n")[0] + b"\n" + b"002-0" if half.count(b"\n") > 1 and half.isascii() else half


def _flip(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


WHOLE: dict[str, Damage] = {
    "halved": _halve,
    "zeroed": lambda content: bytes(len(content)),
    "half zeroed": lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
    "empty": lambda _: b"",
    "another file": lambda _: b"\x89PNG\r\n\x1a\n\0\0\0 no such file \0\1\2",
}
BINARY = WHOLE | {"a byte flipped": _flip}
TEXT = WHOLE | {"other columns": lambda _: b"a,b\n1,2\n"}


def _change_rows(change: Callable[[list[dict[str, str]]], None]) -> Damage:
    def damage(content: bytes) -> bytes:
        rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        change(rows)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    return damage


PREDICTIONS = TEXT | {
    "NaN": _change_rows(lambda rows: rows[3].update(prob_old="nan")),
    "sum of two": _change_rows(lambda rows: rows[3].update(prob_old="1", prob_young="1", prob_middle="0")),
    "row twice": _change_rows(lambda rows: rows.append(rows[3])),
    "no number": _change_rows(lambda rows: rows[3].update(prob_old="0.3x")),
}


def _foreign_model(_: bytes) -> bytes:
    import onnx

    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["a"], ["b"])
    ends = [info("a", onnx.TensorProto.FLOAT, [1])], [info("b", onnx.TensorProto.FLOAT, [1])]
    content: bytes = onnx.helper.make_model(onnx.helper.make_graph([node], "g", *ends)).SerializeToString()
    return content


def _change_signature(**values: object) -> Damage:
    """The model with other values in its signature, and a checksum that fits."""

    def damage(content: bytes) -> bytes:
        import onnx

        from threeages.inference.model_checksum import add_checksum

        model = onnx.load_from_string(content)
        held = {entry.key: entry.value for entry in model.metadata_props}
        changed = json.loads(held[METADATA_KEY]) | values
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(changed)})
        return add_checksum(model.SerializeToString())

    return damage


MODEL = BINARY | {
    "of another program": _foreign_model,
    "of a newer version": _change_signature(format=99),
    "thresholds that are none": _change_signature(error_thresholds=[[0.1, 7.0]]),
    "thresholds that are text": _change_signature(set_thresholds=["a"]),
}
JSON = WHOLE | {"a list": lambda _: b"[1, 2]", "other settings": lambda _: b'{"colour": "red"}'}
KINDS: dict[str, dict[str, Damage]] = {
    "model.onnx": MODEL,
    "predictions.csv": PREDICTIONS,
    "manifest.csv": TEXT,
    "manifest.parquet": BINARY,
    "manifest.json": {name: damage for name, damage in WHOLE.items() if name != "another file"},
    "recipe.json": JSON,
    "audit.json": WHOLE | {"a list": lambda _: b"[1, 2]"},
    "thresholds.json": JSON,
    "weights.safetensors": BINARY,
    "identities.csv": TEXT,
    "faces.zip": WHOLE,
    "faces.tar.gz": WHOLE,
    # half a text is one
    "card.md": {name: damage for name, damage in WHOLE.items() if name != "halved"},
}
OUT = ("--out", "{out}")
TRAINED = (*OUT, "--cache-dir", "{cache}")
MONITORED = ("--target-error", "0.9", "--min-confidence", "0.5")
# What each command reads: FILE stands for the damaged one. {run} holds a checkpoint.
READS: dict[str, dict[str, tuple[str, ...]]] = {
    "threeages predict": {"model.onnx": ("{photo}", "--no-detect", "--model", "FILE", "--csv")},
    "threeages video": {"model.onnx": ("{video}", "--model", "FILE", "--out", "{out}.avi")},
    "threeages serve": {"model.onnx": ("--model", "FILE", "--port", "0", "--workers", "1")},
    "threeages demo": {},  # what it reads is in the package: see below
    "threeages train": {
        "manifest.csv": ("FILE", *TRAINED),
        "manifest.parquet": ("FILE", *TRAINED),
        "recipe.json": ("{manifest}", "--recipe", "FILE", *TRAINED),
        "weights.safetensors": ("{manifest}", "--weights", "FILE", "--input-size", "48", *TRAINED),
    },
    "threeages distill": {
        "manifest.csv": ("FILE", *TRAINED),
        "recipe.json": ("{manifest}", "--recipe", "FILE", *TRAINED),
    },
    "threeages export": {"manifest.csv": ("{run}", "--int8", "FILE", *TRAINED)},
    "threeages evaluate": {
        "manifest.csv": ("FILE", "--no-detect", *OUT),
        "manifest.parquet": ("FILE", "--no-detect", *OUT),
        "manifest.json": ("{dir}/manifest.csv", "--no-detect", *OUT),
        "predictions.csv": ("{predictions}", "FILE", *OUT),
        "model.onnx": ("{manifest}", "--no-detect", "--model", "FILE", *OUT),
    },
    "threeages compare": {"predictions.csv": ("{predictions}", "FILE")},
    "threeages explain": {"model.onnx": ("{photo}", "--no-detect", "--model", "FILE", *OUT)},
    "threeages sheet": {"predictions.csv": ("FILE", "--root", "{dir}", "--out", "{out}.html")},
    "threeages identity-probe": {
        "manifest.csv": ("frozen-features", "FILE", "--cache-dir", "{cache}", "--table", "{out}.csv")
    },
    "threeages report": {
        "predictions.csv": ("FILE", *OUT),
        "model.onnx": ("{predictions}", "--model", "FILE", *OUT),
        "audit.json": ("{predictions}", "--audit", "FILE", *OUT),
    },
    "threeages monitor": {
        "predictions.csv": ("FILE", *MONITORED, *OUT),
        "model.onnx": ("{predictions}", "--target-error", "0.2", "--model", "FILE", *OUT),
        "thresholds.json": ("{predictions}", *MONITORED, "--reference", "FILE", *OUT),
    },
    "threeages thresholds": {
        "predictions.csv": ("FILE", *OUT),
        "model.onnx": ("{predictions}", "--model", "FILE", *OUT),
    },
    "threeages card": {
        "predictions.csv": ("--set", "drawn=FILE", "--model", "default", *OUT),
        "model.onnx": ("--set", "drawn={predictions}", "--model", "FILE", *OUT),
    },
    "threeages study": {"manifest.csv": ("FILE", *TRAINED)},
    "threeages cross-source": {"manifest.csv": ("FILE", *TRAINED)},
    "threeages tune": {"manifest.csv": ("FILE", *TRAINED)},
    "threeages ensemble": {"manifest.csv": ("FILE", "{run}", *TRAINED)},
    "threeages push": {
        "model.onnx": ("FILE", "owner/name", "--card", "{card}", "--dry-run"),
        "card.md": ("{model}", "owner/name", "--card", "FILE", "--dry-run"),
    },
    "threeages pull": {},  # what it reads comes from the hub: tests/hub/test_push_pull.py
    "threeages doctor": {},  # what it reads is in the package or cached: tests/doctor/test_stored.py
    "threeages bundle": {},  # what it reads is installed: tests/offline/test_own_wheel.py
    "threeages models": {},  # what it reads is in the package or was fetched: tests/cli/test_models.py
    "threeages models fetch": {"weights.safetensors": ("large", "--from", "FILE")},
    "threeages data import": {
        "manifest.csv": ("FILE", *OUT),
        "identities.csv": ("{manifest}", "--identities", "FILE", *OUT),
        "faces.zip": ("FILE", *TRAINED),
        "faces.tar.gz": ("FILE", *TRAINED),
    },
    "threeages data merge": {"manifest.csv": ("{manifest}", "FILE", *OUT)},
    "threeages data audit": {"manifest.csv": ("FILE", *OUT)},
    "threeages data review": {
        "manifest.csv": ("FILE", "--table", "{out}.csv", "--cache-dir", "{cache}"),
        "predictions.csv": ("{manifest}", "FILE", "--table", "{out}.csv", "--cache-dir", "{cache}"),
    },
    "threeages data split": {"manifest.csv": ("FILE", "--cache-dir", "{cache}")},
    "threeages data leakage": {
        "manifest.csv": ("FILE", "--face-model", "none", "--cache-dir", "{cache}", *OUT),
        "model.onnx": ("{manifest}", "--face-model", "FILE", "--cache-dir", "{cache}", *OUT),
    },
    "threeages data cache": {},  # it reads no file but its own: tests/data/stored/test_opening.py
}
CASES = [
    pytest.param(command, file, damage, id=f"{command} {file} {damage}".removeprefix("threeages "))
    for command, files in READS.items()
    for file in files
    for damage in KINDS[file]
]


@pytest.fixture(scope="module")
def whole(
    faces_csv: Path, predictions_csv: Path, small_video: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a good file of every kind."""
    from threeages.models.classifier import create_classifier
    from threeages.models.registry import create_signature
    from threeages.models.weights import save_weights
    from threeages.training.checkpoint import save_checkpoint
    from threeages.training.config import TrainConfig

    folder = tmp_path_factory.mktemp("whole")
    rows = load_manifest(faces_csv)
    for suffix in ("csv", "parquet"):
        save_manifest(rows, folder / f"manifest.{suffix}")
    shutil.copy(default_model_path(), folder / "model.onnx")
    shutil.copy(ASSETS / "default.md", folder / "card.md")
    shutil.copy(predictions_csv, folder / "predictions.csv")
    (folder / "recipe.json").write_text(json.dumps(TrainConfig(input_size=48).to_dict()))
    (folder / "audit.json").write_text(json.dumps({"images": 120, "counts": {"tiny": 2}}))
    histogram = AnswerHistogram.from_probs(load_predictions(predictions_csv).probs)
    (folder / "thresholds.json").write_text(json.dumps({"reference": asdict(histogram)}))
    model = create_classifier(create_signature("mobilenet_v1_face", 48))
    save_weights(folder / "weights.safetensors", model.net.features.state_dict(), {})
    lines = [f"{path},{who}" for path, who in zip(rows.paths, rows.columns["identity"], strict=True)]
    (folder / "identities.csv").write_text("\n".join(["ID,identity", *lines, ""]))
    for kind, name in (("zip", "faces"), ("gztar", "faces")):
        shutil.make_archive(str(folder / name), kind, faces_csv.parent)
    (folder / "run").mkdir()
    save_checkpoint(folder / "run" / "best.ckpt", create_classifier(create_signature("cnn", 48)))
    return folder


def test_every_command_is_in_the_table() -> None:
    assert READS.keys() == list_commands().keys()


@pytest.mark.parametrize(("command", "file", "damage"), CASES)
def test_a_damaged_file_is_a_message_and_nothing_is_written(
    command: str,
    file: str,
    damage: str,
    whole: Path,
    faces_csv: Path,
    small_video: Path,
    tmp_path: Path,
    run_main: RunMain,
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    if file == "manifest.json":
        shutil.copy(whole / "manifest.csv", given)
    path = given / file
    path.write_bytes(KINDS[file][damage]((whole / file).read_bytes()))
    places = {"out": tmp_path / "out", "cache": tmp_path / "cache", "dir": given, "run": whole / "run"}
    places |= {"manifest": faces_csv, "predictions": whole / "predictions.csv", "video": small_video}
    places |= {"photo": load_manifest(faces_csv).files()[0]}
    places |= {"card": whole / "card.md", "model": whole / "model.onnx"}
    words = [word.format(**places).replace("FILE", str(path)) for word in READS[command][file]]
    ended = run_main(*command.split()[1:], *words)
    assert ended.code == 2, ended
    error = ended.err[ended.err.index("Error: ") :]
    assert path.name in error
    assert len(error.strip().splitlines()) >= 2, "there is no hint"
    assert "\0" not in error
    assert not [file for file in tmp_path.rglob("out*") if file.is_file() or any(file.rglob("*.*"))]
