"""Files that tests download."""

import gzip
import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def file_server(tmp_path):
    """A folder that an HTTP server offers: (folder, its URL, paths requested)."""
    folder, requests = tmp_path / "served", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            if self.path.startswith("/broken/"):  # promises more than it sends
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b"half")
                return
            super().do_GET()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_port}", requests
        http.shutdown()
        thread.join()


@pytest.fixture
def packed_files(idx_files):
    """Role -> (name, MD5, content) of gzipped IDX files."""
    packed = {}
    for role, content in idx_files.items():
        gz = gzip.compress(content, mtime=0)
        packed[role] = (f"{role}-ubyte.gz", hashlib.md5(gz).hexdigest(), gz)
    return packed
