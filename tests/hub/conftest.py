"""A stand-in of the hub: a real HTTP server with what the real client asks of it, in this process."""

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from threeages.bundled import ASSETS

TOKEN = "hf_of_the_stand_in"
LFS_FROM = 100_000  # bytes; smaller files go into the commit itself


@dataclass
class Repository:
    """Files by name, of one branch; a commit replaces all of them at once."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=lambda: ["0" * 40])
    branches: set[str] = field(default_factory=lambda: {"main"})


@dataclass
class StandIn:
    """What the hub holds, what it was asked, and how it fails."""

    address: str = ""
    repos: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    cut_uploads: bool = False
    fails: int = 0  # the status of every answer, where it is not 0
    page: bytes = b""  # every answer, where it is not empty
    damaged: str = ""  # the file that comes with a byte changed
    cut_off: str = ""  # the file of which half comes
    complaint: str = ""  # about the metadata of a card


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandIn

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _answer(self) -> None:
        self.path = unquote(urlsplit(self.path).path)
        size = int(self.headers.get("Content-Length") or 0)
        cut = self.command == "PUT" and self.hub.cut_uploads
        body = self.rfile.read(size // 2 if cut else size)
        self.hub.asked.append(f"{self.command} {self.path}")
        self.hub.agents.add(self.headers.get("User-Agent", ""))
        if cut:
            self.close_connection = True
            self.connection.close()
            return
        try:
            self._route(body)
        except KeyError:
            self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def _route(self, body: bytes) -> None:
        if self.hub.page:
            self._send(200, self.hub.page)
        elif self.hub.fails:
            self._send(self.hub.fails, {"error": "it fails"})
        elif self.path.startswith("/blobs/"):
            self.hub.blobs[self.path.removeprefix("/blobs/")] = body
            self._send(200, {})
        elif self.headers.get("Authorization") not in {None, f"Bearer {TOKEN}"}:
            self._send(401, {"error": "Invalid credentials in Authorization header"})
        elif self.command in {"GET", "HEAD"}:
            self._read()
        elif not self.headers.get("Authorization"):
            self._send(401, {"error": "Invalid username or password."})
        else:
            self._write(body)

    def _read(self) -> None:
        if "/resolve/" in self.path:
            self._resolve()
            return
        name, _, revision = self.path.removeprefix("/api/models/").partition("/revision/")
        repo = self._find(name)
        if revision and revision not in {*repo.branches, *repo.commits}:
            self._send(404, {"error": "Revision not found"}, {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [_describe(file, content) for file, content in repo.files.items()]
        about = {"id": name, "modelId": name, "private": repo.private, "sha": repo.commits[-1]}
        self._send(200, about | {"siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def _resolve(self) -> None:
        name, _, rest = self.path.removeprefix("/").partition("/resolve/")
        file = rest.partition("/")[2]
        repo = self._find(name)
        content = repo.files[file]
        about = _describe(file, content)
        headers = {"X-Repo-Commit": repo.commits[-1], "ETag": f'"{about["blobId"]}"'}
        if lfs := about.get("lfs"):
            headers |= {"X-Linked-Etag": f'"{lfs["sha256"]}"', "X-Linked-Size": str(len(content))}
        if file == self.hub.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self._send(200, content, headers)

    def _find(self, name: str) -> Repository:
        repo = self.hub.repos[name]
        if repo.private and not self.headers.get("Authorization"):
            raise KeyError(name)
        return repo

    def _write(self, body: bytes) -> None:
        if self.path.endswith("/commit/main"):
            self._commit(body)
            return
        asked = json.loads(body or b"{}")
        if self.path == "/api/repos/create":
            self._create(asked)
        elif self.path == "/api/validate-yaml":
            errors = [{"message": self.hub.complaint}] if self.hub.complaint else []
            self._send(400 if errors else 200, {"errors": errors, "warnings": []})
        elif self.path.endswith("/objects/batch"):
            self._send(
                200, {"transfer": "basic", "objects": [self._offer(each) for each in asked["objects"]]}
            )
        elif "/preupload/" in self.path:
            self._send(200, {"files": [_choose_mode(each) for each in asked["files"]]})
        elif "/branch/" in self.path:
            name, _, branch = self.path.removeprefix("/api/models/").partition("/branch/")
            self._find(name).branches.add(branch)
            self._send(200, {})
        else:
            self._send(404, {"error": f"no {self.path}"})

    def _create(self, asked: dict[str, Any]) -> None:
        name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        known = name in self.hub.repos
        private = asked.get("private") or asked.get("visibility") == "private"  # by the client's release
        self.hub.repos.setdefault(name, Repository(private))
        self._send(409 if known else 200, {"url": f"{self.hub.address}/{name}", "error": "You have it"})

    def _offer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["oid"] in self.hub.blobs:
            return asked
        return asked | {"actions": {"upload": {"href": f"{self.hub.address}/blobs/{asked['oid']}"}}}

    def _commit(self, body: bytes) -> None:
        name = self.path.removeprefix("/api/models/").partition("/commit/")[0]
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        repo = self.hub.repos[name]
        repo.files |= files
        repo.commits.append(hashlib.sha1(body).hexdigest())
        address = f"{self.hub.address}/{name}/commit/{repo.commits[-1]}"
        self._send(200, {"success": True, "commitUrl": address, "commitOid": repo.commits[-1]})

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            cut = bool(self.hub.cut_off) and self.path.endswith(f"/{self.hub.cut_off}")
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = self.close_connection or cut


def _describe(name: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    about: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
    if len(content) >= LFS_FROM:
        sha256 = hashlib.sha256(content).hexdigest()
        about["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
    return about


def _choose_mode(asked: dict[str, Any]) -> dict[str, Any]:
    mode = "lfs" if asked["size"] >= LFS_FROM else "regular"
    return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}


@pytest.fixture(scope="module")
def _server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hub(_server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """An empty hub whose token the client has."""
    constants = pytest.importorskip("huggingface_hub.constants")
    found = StandIn(f"http://127.0.0.1:{_server.server_address[1]}")
    _server.RequestHandlerClass.hub = found  # type: ignore[attr-defined]
    monkeypatch.setenv("HF_ENDPOINT", found.address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    # the stand-in has no store of the protocol Xet; the client reads its environment at its import
    template = f"{found.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    names = {"HF_HUB_DISABLE_XET": True, "ENDPOINT": found.address, "HUGGINGFACE_CO_URL_TEMPLATE": template}
    for name, value in names.items():
        monkeypatch.setattr(constants, name, value, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder: the shipped one with its card, and much beside it that is nobody's business."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(ASSETS / "default.onnx", folder / "model.onnx")
    shutil.copy(ASSETS / "default.md", folder / "README.md")
    (folder / "LICENSE").write_text("Apache-2.0\n")
    for name in ("predictions.csv", "config.json", "train_digests.json", "face.jpg", "best.ckpt"):
        (folder / name).write_text("secret")
    return folder
