import errno
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from threeages.cli.main import list_commands, main
from threeages.data.manifest import load_manifest


def _run(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "threeages", *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)


def test_version_of_the_module_as_a_command() -> None:
    assert _run("--version").stdout.strip() == version("threeages")


def test_a_bad_file_is_a_row_and_exit_code_1(bad_images: dict[str, Path], faces_csv: Path) -> None:
    good = str(load_manifest(faces_csv).files()[0])
    done = _run("predict", "-", "--no-detect", "--jsonl", stdin=f"{good}\n{bad_images['truncated']}\n")
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["ok", "truncated"]
    assert done.returncode == 1
    assert "1 of 2 images" in done.stderr


def test_a_closed_pipe_is_no_traceback(faces_csv: Path) -> None:
    command = f"{sys.executable} -m threeages predict {faces_csv.parent} --no-detect --jsonl"
    done = subprocess.run(
        ["sh", "-c", f"{command} | head -1"], capture_output=True, text=True, timeout=300, check=True
    )
    assert json.loads(done.stdout)["path"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["predict", "."], "holds no images"),
        (["evaluate", "none.csv", "--out", "x"], "none.csv"),
        pytest.param(
            ["train", "none.csv", "--out", "x", "--recipe", "other"], "other", marks=pytest.mark.slow
        ),
        (["data", "import", "nothing-here", "--out", "x.csv"], "nothing-here"),
        (["predict", "a.jpg", "--model", "none.onnx"], "none.onnx"),
        (["card", "--set", "film", "--out", "x.md"], "--set"),
        (["evaluate", "none.csv", "--out", "x", "--only", "=faces"], "--only"),
    ],
)
def test_errors_are_messages(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["threeages", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    found = capsys.readouterr()
    assert words in found.err
    assert found.out == ""


def _list_numbers() -> list[tuple[str, str, str]]:
    """Command, option and a value outside its range, of every option that takes a number; NaN is in none."""
    found = []
    for name, command in list_commands().items():
        for option in command.params:
            kind = getattr(option.type_descriptor, "annotation", None)
            values = {int: ("-1",), float: ("nan", "-1")}.get(kind, ())
            found += [(name, option.opts[0], value) for value in values]
    return found


SPOKEN = {"--max-body-mb": "max_body", "--max-megapixels": "max_pixels", "--size": "input_size"}
REQUIRED = {"--target-error": "0.1", "--out": "out.html", "--root": ".", "--set": "a=none.csv"}


@pytest.mark.parametrize(("name", "option", "value"), _list_numbers())
def test_numbers_outside_their_range_are_refused_before_a_file_is_read(
    name: str,
    option: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = list_commands()[name]
    words = name.split()[1:]
    for parameter in command.params:
        if parameter.param_type_name == "argument" and parameter.required:
            words.append("none.csv")
        elif parameter.required and parameter.opts[0] != option:
            words += [parameter.opts[0], REQUIRED[parameter.opts[0]]]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["threeages", *words, option, value])
    monkeypatch.setattr("threeages.server.run.serve", lambda *_, **__: pytest.fail("it serves"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    known = (option, option.removeprefix("--").replace("-", "_"), SPOKEN.get(option, option))
    assert any(word in shown for word in known), shown
    assert "none.csv" not in shown
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["threeages", "predict", "x.jpg", "--model", str(tmp_path)])
    monkeypatch.setitem(sys.modules, "threeages.export.to_onnx", None)
    monkeypatch.setattr("threeages.cli.main.EXTRAS", {"threeages.export.to_onnx": "train"})
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "pip install 'threeages[train]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EIO, "Input/output error", "/photos/a.jpg"), "Cannot use /photos/a.jpg: Input/output"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/a.bin"), "Cannot write /tmp/a.bin: the disk"),
        (OSError(errno.ENOSPC, "No space left on device"), "A disk is full: No space left on device."),
        (OSError(errno.EROFS, "Read-only file system", "/mnt/a"), "name a folder on another one"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/mnt/a"),
            "Cannot use /mnt/a: Permission denied.",
        ),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300), "Give a shorter name."),
        (OSError(errno.EMFILE, "Too many open files", "a.jpg"), "ulimit -n"),
        (OSError("without a number"), "without a number"),
        (MemoryError(), "The memory of this machine does not suffice."),
    ],
)
def test_what_the_system_refuses_is_a_message(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["threeages", "predict", "a.jpg"])
    monkeypatch.setattr("threeages.cli.inputs.expand_sources", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    found = capsys.readouterr().err
    assert words in found
    assert found.startswith("Error: ")
    assert len(found.splitlines()) == 2


@pytest.mark.skipif(os.name == "nt", reason="a shell closes the streams")
def test_a_process_without_streams_ends_as_any_other(tmp_path: Path) -> None:
    command = f"{sys.executable} -m threeages predict {tmp_path} >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], timeout=300, check=False).returncode == 2
    command = f"{sys.executable} -m threeages predict --help >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
