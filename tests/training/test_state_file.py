import logging
from pathlib import Path

import pytest
import torch

from threeages.errors import DataError, ModelError
from threeages.training.state_file import (
    MARK_LENGTH,
    Content,
    DamagedError,
    read_content,
    read_state,
    serialize_content,
    write_state,
)

HINT = "Start over."


def _content(number: int) -> Content:
    return {"number": number, "weights": torch.arange(12.0).reshape(3, 4) + number, "rows": [{"a": 0.5}]}


def _describe(content: Content) -> str:
    return f"number {content['number']}"


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The two files of a state after two saves, of the numbers 2 and 1."""
    path, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for number in (1, 2):
        write_state(path, previous, _content(number))
    return path, previous


def _damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "empty": b"",
            "halved": whole[:middle],
            "cut": whole[:-1],
            "zeroed": bytes(len(whole)),
            "zeroed in part": whole[: middle - 16] + bytes(32) + whole[middle + 16 :],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "lengthened": whole + b"\0",
            "foreign": b"a text",
        }[how]
    )


DAMAGES = ("empty", "halved", "cut", "zeroed", "zeroed in part", "flipped", "lengthened", "foreign")


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_state_falls_back_to_the_one_before_and_says_so(
    how: str, places: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    _damage(places[0], how)
    found = read_state(*places, _describe, HINT)
    assert found is not None
    assert found["number"] == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"{places[0]} is damaged; resuming from the state before it, at number 1."
    assert read_content(places[0], HINT)["number"] == 1  # the damaged one never becomes the one before
    assert not places[1].exists()


def test_a_kill_between_the_two_renames_loses_no_more_than_the_last_save(
    places: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    places[0].unlink()
    found = read_state(*places, _describe, HINT)
    assert found is not None
    assert found["number"] == 1
    assert "is missing" in caplog.text


@pytest.mark.parametrize("how", DAMAGES)
def test_where_both_are_damaged_nothing_is_loaded(how: str, places: tuple[Path, Path]) -> None:
    for place in places:
        _damage(place, how)
    before = [place.read_bytes() for place in places]
    with pytest.raises(DamagedError, match=r"(?s)last.ckpt.*previous.ckpt, is damaged as well.*Start over"):
        read_state(*places, _describe, HINT)
    places[1].unlink()
    alone = "not a checkpoint" if how == "foreign" else "previous.ckpt, is not there"
    with pytest.raises(ModelError, match=alone):
        read_state(*places, _describe, HINT)
    assert places[0].read_bytes() == before[0]


def test_without_files_there_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path / "last.ckpt", tmp_path / "previous.ckpt", _describe, HINT) is None


def test_no_flipped_bit_is_read_in_silence(tmp_path: Path) -> None:
    whole = bytes(serialize_content(_content(1)))
    path = tmp_path / "flipped.ckpt"
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        with pytest.raises(DamagedError):
            read_content(path, HINT)


def test_files_of_others_are_told_from_damaged_ones(tmp_path: Path) -> None:
    path = tmp_path / "of_torch.ckpt"
    torch.save({"weights": torch.zeros(3)}, path)
    for place in (path, Path(__file__)):
        with pytest.raises(ModelError, match="not a checkpoint of threeages") as caught:
            read_content(place, HINT)
        assert not isinstance(caught.value, DamagedError)
    with pytest.raises(ModelError, match="Cannot read"):
        read_content(tmp_path, HINT)


def test_a_folder_of_that_name_is_left_alone(places: tuple[Path, Path]) -> None:
    places[0].unlink()
    places[0].mkdir()
    with pytest.raises(ModelError, match="Cannot read"):
        read_state(*places, _describe, HINT)
    assert places[1].exists()


def test_equal_content_gives_equal_bytes_and_torch_alone_reads_them(tmp_path: Path) -> None:
    content = _content(1) | {"map": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)}
    data = bytes(serialize_content(content))
    path = tmp_path / "a.ckpt"
    path.write_bytes(data)
    found = read_content(path, HINT)
    assert bytes(serialize_content(found)) == data
    assert found["map"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.load(path, weights_only=True)["weights"], content["weights"])


def test_a_view_is_saved_without_the_rest_of_its_storage() -> None:
    large = torch.zeros(100_000)
    assert len(serialize_content({"part": large[:10]})) < 10_000
    assert MARK_LENGTH < 10_000


def test_a_save_that_fails_leaves_both_files(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = [place.read_bytes() for place in places]
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(DataError, match="the disk is full; it needs"):
        write_state(*places, _content(3))
    monkeypatch.undo()
    assert [place.read_bytes() for place in places] == before
    assert sorted(p.name for p in places[0].parent.iterdir()) == ["last.ckpt", "previous.ckpt"]
