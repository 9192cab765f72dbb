import threading
from pathlib import Path
from typing import Any

import pytest

from threeages.data.manifest import load_manifest
from threeages.errors import ConfigError, DataError
from threeages.files.locks import BusyError
from threeages.inference.bulk.digests import DigestSet, Shard
from threeages.inference.bulk.lines import LineFile
from threeages.inference.bulk.run import AnswerPlace, Counts, list_new
from threeages.inference.predictor import Predictor, load_predictor
from threeages.inference.sources import Source, open_sources

SETTINGS: dict[str, Any] = {"model": "abc-1", "max_error": None}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor(detect=False)


def _answer(place: AnswerPlace, predictor: Predictor, files: list[Path], **options: Any) -> Counts:
    counts = Counts()
    with place.hold():
        answers, seen = place.open(predictor, SETTINGS | options, resume=True)
        images = list_new(open_sources(files), answers, seen, place.shard, counts)
        for records in predictor.predict_by_image(images):
            answers.add(records)
        place.close(answers, SETTINGS | options)
    return counts


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "parts"])
def test_only_new_images_are_answered(
    name: str, predictor: Predictor, faces_csv: Path, tmp_path: Path
) -> None:
    files = load_manifest(faces_csv).files()[:6]
    place = AnswerPlace(tmp_path / name, Shard())
    first = _answer(place, predictor, files[:3])
    assert (first.listed, first.left_out) == (3, 0)
    second = _answer(place, predictor, [*files, files[5]])
    assert (second.listed, second.left_out) == (7, 4)
    third = _answer(place, predictor, files)
    assert third.left_out == 6


@pytest.mark.parametrize("name", ["a.jsonl", "parts"])
def test_other_settings_are_refused(name: str, predictor: Predictor, faces_csv: Path, tmp_path: Path) -> None:
    files = load_manifest(faces_csv).files()[:1]
    place = AnswerPlace(tmp_path / name, Shard())
    _answer(place, predictor, files)
    with pytest.raises(ConfigError, match=r"max_error None before, 0\.2 now"):
        _answer(place, predictor, files, max_error=0.2)
    with pytest.raises(ConfigError, match="shard 1/1 before, 1/2 now"):
        _answer(AnswerPlace(tmp_path / name, Shard(1, 2)), predictor, files)


@pytest.mark.parametrize("name", ["a.jsonl", "parts"])
def test_answers_are_never_overwritten(
    name: str, predictor: Predictor, faces_csv: Path, tmp_path: Path
) -> None:
    place = AnswerPlace(tmp_path / name, Shard())
    _answer(place, predictor, load_manifest(faces_csv).files()[:1])
    with pytest.raises(DataError, match="is there already") as raised:
        place.open(predictor, SETTINGS, resume=False)
    assert "--resume" in raised.value.hint
    place.settings_path.unlink()
    with pytest.raises(DataError, match="Nothing says how"):
        place.open(predictor, SETTINGS, resume=True)


def test_a_folder_of_other_files_is_refused(predictor: Predictor, faces_dir: Path) -> None:
    with pytest.raises(DataError, match="holds other files"):
        AnswerPlace(faces_dir, Shard()).open(predictor, SETTINGS, resume=True)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    place = AnswerPlace(tmp_path / "a.csv", Shard())
    refused = []

    def hold() -> None:
        try:
            with place.hold():
                pass
        except BusyError as error:
            refused.append(error)

    with place.hold():
        thread = threading.Thread(target=hold)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--out was") as raised:
        _ = AnswerPlace(tmp_path / "a.txt", Shard()).kind
    assert ".jsonl" in raised.value.hint


def test_shards_share_the_images(tmp_path: Path) -> None:
    sources = [Source(f"{i}.jpg", b"") for i in range(50)]
    answers = LineFile(tmp_path / "a.csv", "csv")
    found = [
        source.name
        for number in (1, 2, 3)
        for source in list_new(sources, answers, DigestSet(), Shard(number, 3), Counts())
    ]
    assert sorted(found) == sorted(source.name for source in sources)
