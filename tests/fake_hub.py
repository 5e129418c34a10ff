"""A small server on this machine that answers as the Hugging Face Hub does."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

COMMIT = "c" * 40
CONVERTED = "d" * 40


class Hub(ThreadingHTTPServer):
    """Repositories as {name: {revision: {path: bytes}}}; answers and remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.gated: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        """Paths of GET requests for files, and their Range."""
        self.stall: dict[str, int] = {}
        """Files of which only so many bytes are sent before the connection hangs."""
        self.stalled = Event()
        self.over = Event()
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/"):
            return self._answer_info(path)
        if path.startswith("/plain/"):
            return self._send_file(b"weights " * 1000, body, path)
        name, _, rest = path.strip("/").removeprefix("datasets/").partition("/resolve/")
        if name in self.server.gated:
            return self._refuse(403, "GatedRepo")
        commit, _, file = rest.partition("/")
        files = next(f for r, f in self.server.repositories[name].items() if r == commit)
        if file not in files:
            return self._refuse(404, "EntryNotFound")
        return self._send_file(files[file], body, path, commit)

    def _answer_info(self, path: str) -> None:
        _, _, _, *names = path.split("/")
        owner, name, *rest = names if len(names) > 1 else ("", "")
        repository = self.server.repositories.get(f"{owner}/{name}")
        if repository is None:
            return self._refuse(401, "RepoNotFound")
        revision = "/".join(rest[1:]).replace("%2F", "/") or "main"
        commit = {"main": COMMIT, "refs/convert/parquet": CONVERTED}.get(revision, revision)
        if commit not in repository:
            return self._refuse(404, "RevisionNotFound")
        siblings = [
            {
                "rfilename": file,
                "size": len(content),
                "blobId": "b",
                "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1},
            }
            for file, content in repository[commit].items()
        ]
        self._send(200, json.dumps({"id": f"{owner}/{name}", "sha": commit, "siblings": siblings}).encode(), {})
        return None

    def _send_file(self, content: bytes, body: bool, path: str, commit: str = COMMIT) -> None:
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit}
        headers["Content-Length"] = str(len(content) - start)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if not body:
            return self._send(200, b"", headers)
        self.server.asked.append((path.rpartition("/")[2], asked))
        stop = self.server.stall.pop(path.rpartition("/")[2], None)
        self._send(206 if start else 200, content[start : stop if stop else len(content)], headers)
        if stop:
            self.server.stalled.set()
            self.server.over.wait(20)
        return None

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
            self.wfile.flush()
