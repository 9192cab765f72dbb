"""What of a model is shared: its ONNX file, its card, its signature and its licence, and nothing else."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from threeages.data.train_digests import TrainDigests, parse_train_digests
from threeages.errors import DataError, ModelError, describe_cause, format_count
from threeages.evaluation.card_terms import find_terms_rows
from threeages.evaluation.front_matter import BLOCK
from threeages.files.checksums import digest_file
from threeages.files.writing import as_json, format_json
from threeages.inference.runtime import OnnxModel
from threeages.signature import Signature

MODEL_FILE, CARD_FILE, SIGNATURE_FILE = "model.onnx", "README.md", "signature.json"
LICENSE_FILES = ("LICENSE", "LICENSE.md", "LICENSE.txt")
FORMAT = 1
CARD_HINT = "Write it: threeages card --set NAME=PREDICTIONS.csv --model FILE.onnx --run RUN --out {}"

SOURCE_HINT = "RUN names them where the manifest that it was trained on has the column source."


@dataclass(frozen=True)
class SharedModel:
    """Files by their names on the hub, the model's signature, and the digests that its file carries."""

    files: Mapping[str, Path | bytes]
    signature: Signature
    digests: TrainDigests | None


def collect_model(model: Path, card: Path | None = None) -> SharedModel:
    """The files of a model that are shared; `model` is its folder or ONNX file.

    The folder's ONNX file is `model.onnx`, or the only one there. The card is README.md beside it unless one
    is given; a licence beside it goes along. Raises ModelError where there is no model, or a damaged one, and
    DataError where the card is missing or does not say what the terms of each source are.
    """
    path = find_onnx(model)
    onnx = OnnxModel(path)
    card = card or path.parent / CARD_FILE
    check_card(read_card(card), card)
    licenses = {name: path.parent / name for name in LICENSE_FILES if (path.parent / name).is_file()}
    files: dict[str, Path | bytes] = {MODEL_FILE: path, CARD_FILE: card, **licenses}
    files[SIGNATURE_FILE] = format_signature(path, onnx.signature)
    carried = onnx.read_train_digests()
    digests = parse_train_digests(carried, path) if carried else None
    return SharedModel(files, onnx.signature, digests)


def find_onnx(model: Path) -> Path:
    """The ONNX file of a model's folder, or the file itself; raises ModelError where that is not clear."""
    if not model.is_dir():
        if not model.exists():
            raise ModelError(f"There is no model {model}.", hint="Give an ONNX file or its folder.")
        return model
    found = sorted(model.glob("*.onnx"))
    if model / MODEL_FILE in found:
        return model / MODEL_FILE
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        raise ModelError(
            f"{model} holds {format_count(found, 'ONNX file')}{f': {names}' if names else ''}.",
            hint=f"{'Give one of them, or export' if found else 'Export'} one: threeages export RUN --out "
            f"{model / MODEL_FILE}",
        )
    return found[0]


def read_card(card: Path) -> str:
    """The text of a card; raises DataError where it is missing or no text."""
    hint = CARD_HINT.format(card)
    try:
        text = card.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"The model has no card: there is no {card}.", hint=hint) from error
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {card}: {describe_cause(error)}.", hint=hint) from error
    if "\0" in text:
        raise DataError(f"{card} is damaged: it is no text.", hint=hint)
    return text


def check_card(text: str, card: Path) -> None:
    """Raise DataError where a card lacks its metadata, or the terms of each source of the training data."""
    hint = CARD_HINT.format(card)
    block = BLOCK.match(text)
    if block is None or "\nlicense:" not in block[0]:
        raise DataError(f"{card} does not begin with a card's metadata, which names the licence.", hint=hint)
    if not find_terms_rows(text):
        raise DataError(f"{card} has no table of sources with their terms.", hint=f"{hint}. {SOURCE_HINT}")


def format_signature(path: Path, signature: Signature) -> bytes:
    """What `signature.json` says: the signature, and size and SHA-256 of the ONNX file at `path`."""
    file = {"name": MODEL_FILE, "bytes": path.stat().st_size, "sha256": digest_file(path)}
    return format_json({"format": FORMAT, "file": file, "signature": asdict(signature)}).encode()


def check_signature(text: bytes, path: Path, signature: Signature) -> None:
    """Raise ModelError where `signature.json` is not of the ONNX file at `path`."""
    try:
        held = json.loads(text)
        same = held["file"]["sha256"] == digest_file(path) and held["signature"] == as_json(asdict(signature))
    except (ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise ModelError(
            f"Its {SIGNATURE_FILE} is not of its ONNX file.", hint="Ask its owner to push the model again."
        )


def describe_digests(digests: TrainDigests | None) -> Iterator[str]:
    """What a model's file lets others find out about those whose images it was trained on, as sentences."""
    if digests is None:
        return
    if len(digests.images):
        yield (
            f"The file carries digests of {format_count(len(digests.images), 'train image')}: whoever has an "
            "image can find out whether it was trained on."
        )
    if len(digests.identities):
        yield (
            f"The file carries digests of {format_count(len(digests.identities), 'identity', 'identities')}: "
            "whoever has the file can try names until one is found."
        )
    if len(digests.images) or len(digests.identities):
        yield "Without them: threeages export RUN --digests none --out FILE.onnx"
