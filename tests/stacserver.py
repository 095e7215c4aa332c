"""A tiny STAC API and file server, a process of its own: GDAL holds this one while it waits.

`python -m tests.stacserver ROOT` prints its address. It serves the files below ROOT, answers
searches from ROOT/items.json, where ADDRESS stands for its own, and keeps what it was asked in
ROOT/asked.json.
"""

import json
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CORE = "https://api.stacspec.org/v1.0.0/"


class Handler(BaseHTTPRequestHandler):
    root: Path
    address: str

    def log_message(self, *_):
        pass

    def _send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, answer: object) -> None:
        self._send(json.dumps(answer).encode(), Content_Type="application/json")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.path == "/":
            return self._json(self._landing())
        file = self.root / self.path.lstrip("/")
        if not file.is_file():
            return self._send(b"", 404)
        body = file.read_bytes()
        if "Range" not in self.headers:
            return self._send(body, Accept_Ranges="bytes")
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        part = body[int(first) : int(last or len(body)) + 1]
        span = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
        return self._send(part, 206, Content_Range=span)

    def _landing(self) -> dict[str, object]:
        links = [{"rel": rel, "href": self.address} for rel in ("self", "root")]
        links.append({"rel": "search", "href": f"{self.address}search", "method": "POST"})
        return {
            "type": "Catalog",
            "id": "api",
            "stac_version": "1.0.0",
            "description": "made up",
            "links": links,
            "conformsTo": [f"{CORE}core", f"{CORE}item-search"],
        }

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (self.root / "asked.json").write_text(json.dumps(asked))
        text = (self.root / "items.json").read_text().replace("ADDRESS", self.address)
        kept = [i for i in json.loads(text) if i["collection"] in asked["collections"]]
        self._json({"type": "FeatureCollection", "features": kept, "links": []})


@contextmanager
def served(root: Path):
    """Serve a folder; yields the address."""
    command = [sys.executable, "-m", "tests.stacserver", str(root)]
    here = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=here) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.root = Path(sys.argv[1])
    Handler.address = f"http://127.0.0.1:{server.server_port}/"
    print(Handler.address, flush=True)
    server.serve_forever()
