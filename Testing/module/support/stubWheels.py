"""Wheels of a few hundred bytes under the names and versions that the worker needs, and an index that serves them."""

import base64
import hashlib
import http.server
import threading
import time
import zipfile
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[3] / "VCMSlicer" / "Resources" / "worker-requirements.txt"
MODULES = {"pillow": "PIL"}
NUMPY = "float32 = 'f'\ndef ones(shape, kind):\n    return shape\n"
TORCH = """
class Sum:
    def sum(self):
        return TOTAL
class nn:
    class functional:
        conv3d = staticmethod(lambda image, kernel: Sum())
class backends:
    class mps:
        is_available = staticmethod(lambda: False)
class cuda:
    is_available = staticmethod(lambda: False)
class Array(tuple):
    def to(self, device):
        return self
def from_numpy(shape):
    return Array(shape)
def ones(*shape):
    return Array(shape)
TOTAL = 480.0
__version__ = 'VERSION'
"""


# In the tests one wheel stands for all that needs no stub, since each wheel costs a start of pip.
REST, REST_VERSION = "companions", "1.0"


def pinned():
    """The requirements as (name, version)."""
    lines = REQUIREMENTS.read_text("utf-8").splitlines()
    return [tuple(line.split("==")) for line in lines if line and not line.startswith("#")]


def fewRequirements(path):
    """A file of requirements that three wheels fulfil."""
    versions = dict(pinned())
    few = {"numpy": versions["numpy"], "torch": versions["torch"], REST: REST_VERSION}
    path.write_text("".join(f"{name}=={version}\n" for name, version in few.items()), "utf-8")
    return few


def makeWheels(folder, wrongSum=False):
    """Wheels that fulfil all requirements, and the few; returns their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    torch = TORCH.replace("VERSION", dict(pinned())["torch"])
    sources = {"numpy": NUMPY, "torch": torch.replace("480.0", "479.0") if wrongSum else torch}
    made = {name: makeWheel(folder, name, version, sources.get(name, "")) for name, version in pinned()}
    others = [MODULES.get(name, name) for name, _version in pinned() if name not in sources]
    made[REST] = makeWheel(folder, REST, REST_VERSION, "", others)
    return made


def makeWheel(folder, name, version, source, modules=()):
    plain = name.replace("-", "_")
    path, information = folder / f"{plain}-{version}-py3-none-any.whl", f"{plain}-{version}.dist-info"
    files = {
        **{f"{module}/__init__.py": source for module in modules or [MODULES.get(name, name)]},
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},sha256={digest(content)},{len(content)}\n" for file, content in files.items())
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(file, content)
        wheel.writestr(f"{information}/RECORD", record + f"{information}/RECORD,,\n")
    return path


def digest(content):
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


class Index:
    """A package index on this machine: `asked` counts the downloads of each wheel, `hold` keeps one back for good."""

    def __init__(self, wheels):
        self.asked, self.hold = [], ""
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/").split("/")[-1]
                if self.path.startswith("/files/"):
                    index.serve(self, next(path for path in wheels.values() if path.name == name))
                else:
                    known = [path for key, path in wheels.items() if key.lower() == name.lower()]
                    rows = [f'<a href="/files/{p.name}#sha256={sha256(p)}">{p.name}</a>' for p in known]
                    index.answer(self, "".join(rows).encode(), "text/html")

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/simple/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def serve(self, handler, path):
        self.asked.append(path.name.split("-")[0])
        while self.hold and path.name.startswith(self.hold) and handler.command == "GET" and self._isDownload():
            time.sleep(0.05)
        self.answer(handler, path.read_bytes(), "application/octet-stream")

    def _isDownload(self):
        """Pip fetches a wheel once to read what it needs, and once to keep it."""
        return self.asked.count(self.hold) > 1

    def answer(self, handler, content, kind):
        try:
            handler.send_response(200)
            handler.send_header("Content-Type", kind)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
        except OSError:
            pass

    def close(self):
        self.hold = ""
        self._server.shutdown()
        self._server.server_close()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
