"""Push and pull by the real client, as they are typed, against the stand-in of the hub."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from threeages.bundled import ASSETS
from threeages.cli.main import app
from threeages.errors import ConfigError, DataError, ModelError, ServiceError
from threeages.hub.remote import Hub

REPO = "owner/faces"
SHARED = {"model.onnx", "README.md", "signature.json", "LICENSE"}


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


def _push(model: Path, *more: object) -> Result:
    return _invoke("push", model, REPO, *more)


def _pull(out: Path, *more: object) -> Result:
    return _invoke("pull", REPO, "--out", out, *more)


def test_what_was_pushed_is_pulled_byte_by_byte_and_answers(hub: Any, model: Path, tmp_path: Path) -> None:
    shown = _push(model).stdout
    assert shown.startswith(f"To {REPO} at {hub.address} (public")
    assert "  model.onnx         5.67 MB\n" in shown
    assert f"Uploaded: {hub.address}/{REPO}/commit/" in shown
    out = tmp_path / "pulled"
    assert "Written and verified" in _pull(out).stdout
    assert {path.name for path in out.iterdir()} == SHARED
    for name in SHARED - {"signature.json"}:
        assert (out / name).read_bytes() == (model / name).read_bytes()
    held = json.loads((out / "signature.json").read_text())
    assert held["file"]["sha256"] == hashlib.sha256((model / "model.onnx").read_bytes()).hexdigest()
    assert _invoke("predict", ASSETS.parent / "no.jpg", "--model", out).exit_code == 1  # it loads


def test_nothing_but_the_model_goes_up(hub: Any, model: Path) -> None:
    _push(model)
    assert hub.repos[REPO].files.keys() == SHARED
    assert not any(b"secret" in content for content in hub.repos[REPO].files.values())
    assert {line.split("/")[1] for line in hub.asked} <= {"api", "owner", "blobs"}
    assert not [line for line in hub.asked if "agent" in line]  # no telemetry of the client
    assert all("torch" not in agent for agent in hub.agents)


def test_a_dry_run_asks_nothing(hub: Any, model: Path) -> None:
    assert _push(model, "--dry-run").stdout.endswith("Nothing was uploaded.\n")
    assert not hub.asked


def test_private_is_private_from_its_first_file(hub: Any, model: Path) -> None:
    assert "(private)" in _push(model, "--private").stdout
    assert hub.repos[REPO].private
    _push(model)  # again, without a word on it
    assert hub.repos[REPO].private


def test_a_public_repository_gets_no_file_that_is_to_be_private(hub: Any, model: Path) -> None:
    _push(model)
    hub.repos[REPO].files.clear()
    with pytest.raises(ConfigError, match=r"exists at .* and is public"):
        _push(model, "--private")
    assert not hub.repos[REPO].files


def test_an_interrupted_upload_leaves_nothing_and_the_next_one_ends_well(
    hub: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the client's tries
    hub.cut_uploads = True
    with pytest.raises(ServiceError, match=REPO) as error:
        _push(model)
    assert "start the same command again" in error.value.hint
    assert not hub.repos[REPO].files
    hub.cut_uploads = False
    assert _push(model).exit_code == 0
    assert hub.repos[REPO].files.keys() == SHARED


@pytest.mark.parametrize("command", ["push", "pull"])
def test_a_wrong_token_says_where_to_get_one(
    command: str, hub: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ServiceError, match=r"refused \(HTTP 401\)") as error:
        _push(model) if command == "push" else _pull(tmp_path / "out")
    assert "hf auth login" in error.value.hint
    assert "hf_wrong" not in str(error.value)
    assert error.value.status == 401


def test_a_push_without_a_token_says_so(hub: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ServiceError, match="HTTP 401") as error:
        _push(model)
    assert "may write there" in error.value.hint


def test_a_repository_or_revision_that_is_not_there(hub: Any, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=f"There is no {REPO} at {hub.address}"):
        _pull(tmp_path / "out")
    _push(model)
    with pytest.raises(ServiceError, match="has no revision v9"):
        _pull(tmp_path / "out", "--revision", "v9")
    with pytest.raises(ConfigError, match="'a/b/c' is no name of a repository"):
        _invoke("pull", "a/b/c", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_hub_that_cannot_be_reached(tmp_path: Path, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match=r"at http://127\.0\.0\.1:9: Connection refused") as error:
        _pull(tmp_path / "out")
    assert "HF_ENDPOINT" in error.value.hint


def test_an_address_of_no_hub(hub: Any, tmp_path: Path) -> None:
    hub.page = b"<html>"
    with pytest.raises(ServiceError, match=f"{hub.address} answers as no hub does"):
        _pull(tmp_path / "out")


def test_a_hub_that_fails(hub: Any, model: Path) -> None:
    hub.fails = 418
    with pytest.raises(ServiceError, match="HTTP 418"):
        _push(model)


@pytest.mark.parametrize("name", sorted(SHARED))
def test_a_file_that_comes_damaged_is_refused(name: str, hub: Any, model: Path, tmp_path: Path) -> None:
    _push(model)
    hub.damaged = name
    with pytest.raises(DataError, match=f"{name} of {REPO} came damaged"):
        _pull(tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if path not in {model, tmp_path / "token"}]


def test_a_connection_that_breaks_leaves_nothing(
    hub: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the client's tries
    _push(model)
    hub.cut_off = "model.onnx"
    with pytest.raises(ServiceError, match=REPO):
        _pull(tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_what_a_killed_pull_left_is_removed(hub: Any, model: Path, tmp_path: Path) -> None:
    _push(model)
    left = tmp_path / ".out.4194304.part"  # of a process that cannot be
    left.mkdir()
    (left / "model.onnx").write_bytes(b"half")
    _pull(tmp_path / "out")
    assert not list(tmp_path.glob(".out*"))


def test_a_card_that_the_hub_refuses(hub: Any, model: Path) -> None:
    hub.complaint = "license must be one of ..."
    with pytest.raises(DataError, match=r"The hub refuses: .*license must be one of"):
        _push(model)
    assert not hub.repos[REPO].files


def test_a_repository_without_our_model_is_refused(hub: Any, model: Path, tmp_path: Path) -> None:
    _push(model)
    files = hub.repos[REPO].files
    whole = files.pop("model.onnx")
    with pytest.raises(ModelError, match="no model of threeages: it holds no ONNX file"):
        _pull(tmp_path / "out")
    files |= {"a.onnx": b"x", "b.onnx": b"x"}
    with pytest.raises(ModelError, match=r"holds 2 ONNX files and none named model\.onnx"):
        _pull(tmp_path / "out")
    files["model.onnx"] = b"no ONNX"
    with pytest.raises(
        ModelError, match=f"{REPO} is no model that this version reads. model.onnx is no ONNX"
    ):
        _pull(tmp_path / "out")
    files["model.onnx"] = whole
    files["signature.json"] = files["signature.json"].replace(b'"sha256": "', b'"sha256": "0')
    with pytest.raises(ModelError, match=r"Its signature.json is not of its ONNX file"):
        _pull(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_model_in_the_folder_stays(hub: Any, model: Path, tmp_path: Path) -> None:
    _push(model)
    out = tmp_path / "out"
    _pull(out)
    assert _pull(out).exit_code == 0  # the same again
    (out / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match="is another one"):
        _pull(out)
    assert (out / "README.md").read_text() == "mine"


def test_a_full_disk_leaves_nothing(hub: Any, model: Path, small_disk: Any) -> None:
    _push(model)
    for megabytes in (4, 8):  # less than the model, and less than the model and what is fetched
        disk = small_disk(megabytes)
        with pytest.raises(DataError, match="the disk is full"):
            _pull(disk / "out")
        assert not list(disk.rglob("*"))


def test_a_hub_without_its_client(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from threeages.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"threeages\[hub\]"):
        Hub()
