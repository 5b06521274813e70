"""A real HTTP server on loopback that speaks what an upload to the hub needs, well or badly."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub:
    """Keeps what was made and committed.

    Args:
        refuse: Part of a path -> status with which it is answered.
    """

    def __init__(self, refuse: dict[str, int] | None = None) -> None:
        self.made: list[dict[str, Any]] = []
        self.branches: list[str] = []
        self.files: dict[str, bytes] = {}
        self.summary = ""
        self.tokens: set[str | None] = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(404, {"error": "there is no such repository"})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                hub.tokens.add(self.headers["authorization"])
                status = next((s for part, s in (refuse or {}).items() if part in self.path), 200)
                if status != 200:
                    self._answer(status, {"error": "no"})
                    return
                self._answer(200, hub.reply(self.path, body))

            def _answer(self, status: int, content: Any) -> None:
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def reply(self, path: str, body: bytes) -> Any:
        """What the hub says to a POST."""
        if path.endswith("/repos/create"):
            self.made.append(json.loads(body))
            return {"url": f"{self.url}/me/even", "name": "me/even"}
        if "/branch/" in path:
            self.branches.append(path.rpartition("/")[2])
            return {}
        if "/preupload/" in path:
            asked = json.loads(body)["files"]
            return {"files": [{**f, "uploadMode": "regular", "shouldIgnore": False} for f in asked]}
        if "/commit/" in path:
            for line in body.splitlines():
                row = json.loads(line)
                if row["key"] == "header":
                    self.summary = row["value"]["summary"]
                elif row["key"] == "file":
                    self.files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            url = f"{self.url}/me/even/commit/abc"
            return {"commitUrl": url, "commitOid": "abc", "success": True}
        return {}

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
