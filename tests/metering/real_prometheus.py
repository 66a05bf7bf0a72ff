"""Starts the `prometheus` of the system on the loopback interface, scraping a page that the test writes."""

import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest

SECONDS = 30


@dataclass
class RealPrometheus:
    """A running server. What is assigned to `page` is what it scrapes from the next second on."""

    url: str
    page: str
    process: "subprocess.Popen[bytes]"

    def query(self, expression: str) -> list[Any]:
        """Return the series that an expression gives now, without the code under test."""
        with urlopen(f"{self.url}/api/v1/query?query={quote(expression)}", timeout=5) as answer:
            return list(json.load(answer)["data"]["result"])

    def wait_for(self, expression: str) -> None:
        """Wait until an expression gives at least one series."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"prometheus stopped with status {self.process.returncode}")
            try:
                if self.query(expression):
                    return
            except (URLError, ConnectionError, TimeoutError):
                pass  # it is still starting
            time.sleep(0.1)
        raise TimeoutError(f"prometheus gave nothing for {expression} within {SECONDS} s")


@contextmanager
def real_prometheus(page: str = "", history: str = "") -> Iterator[RealPrometheus]:
    """Run Prometheus with a page that it scrapes every second, and with samples of the past.

    Both are texts in the exposition format; those of `history` carry their time, and end with `# EOF`.
    Skips the test where Prometheus is not installed.
    """
    if not (binary := shutil.which("prometheus")) or not (tool := shutil.which("promtool")):
        pytest.skip("prometheus and promtool are not installed (Debian: apt-get install prometheus)")
    with tempfile.TemporaryDirectory(prefix="prometheus") as name, page_server() as pages:
        folder, data = Path(name), Path(name, "data")
        target = f"127.0.0.1:{pages.server_address[1]}"
        job = {"job_name": "tenants", "static_configs": [{"targets": [target]}]}
        # JSON is YAML.
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}
        (folder / "prometheus.yml").write_text(json.dumps(config))
        if history:
            (folder / "history").write_text(history)
            command = [tool, "tsdb", "create-blocks-from", "openmetrics", str(folder / "history"), str(data)]
            subprocess.run(command, check=True, capture_output=True)
        port = free_port()
        options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={data}", "--log.level=error"]
        listen = [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=100y"]
        with subprocess.Popen([binary, *options, *listen], stdout=subprocess.DEVNULL) as process:
            try:
                server = pages.running = RealPrometheus(f"http://127.0.0.1:{port}", page, process)
                server.wait_for("vector(1)")
                yield server
            finally:
                process.terminate()


class _PageServer(ThreadingHTTPServer):
    running: RealPrometheus | None = None


class _Page(BaseHTTPRequestHandler):
    server: _PageServer

    def do_GET(self) -> None:
        body = (self.server.running.page if self.server.running else "").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass  # a line per second is noise


@contextmanager
def page_server() -> Iterator[_PageServer]:
    with _PageServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
