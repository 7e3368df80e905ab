"""Serve the report over HTTP on this machine only. The UI links to it, and browsers open no file:// link from http."""

import os
import threading
import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from grip_assets.errors import GripError
from grip_assets.runtime import variables

HOST = "127.0.0.1"
PORT = 3001  # beside Dagster's 3000
NAMES = {HOST, "localhost"}


def address(port: int) -> str:
    return f"http://{HOST}:{port}/"


def port_of_the_ui() -> int:
    """The port where `make ui` serves the report. GRIP_REPORT_PORT sets another one."""
    return variables.value("GRIP_REPORT_PORT") or PORT


def server(page: Path, port: int) -> ThreadingHTTPServer:
    """A server of one file, which is read again for each request. ``port`` 0: a free one. GripError if it is taken."""

    class OneFile(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Refuse other host names: a hostile site may have its name resolve to this machine.
            if self.headers.get("Host", "").partition(":")[0] not in NAMES:
                self.send_error(403)
            elif self.path.partition("?")[0] not in ("/", "/index.html"):
                self.send_error(404)
            else:
                self._send()

        do_HEAD = do_GET

        def _send(self) -> None:
            if not page.is_file():
                self.send_error(404, "There is no report yet: run `grip curate`.")
                return
            body = page.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing, since the terminal is the user's."""

    try:
        return ThreadingHTTPServer((HOST, port), OneFile)
    except OSError as error:
        raise GripError(
            f"Port {port} cannot be used: {error.strerror}. Name another with --port (`make ui`: GRIP_REPORT_PORT)."
        ) from None


def serve(page: Path, port: int | None, show: bool, wait: bool) -> None:
    """Serve until Ctrl+C. ``port`` None: a free one. ``wait``: serve even if there is no page yet."""
    if not wait and not page.is_file():
        raise GripError(f"There is no report at {page}. Run `grip curate`.")
    with server(page, port or 0) as running:
        place = address(running.server_address[1])
        print(f"the report is at {place} (Ctrl+C ends this)", flush=True)
        if show and has_display():
            threading.Thread(target=webbrowser.open, args=[place], daemon=True).start()
        running.serve_forever()


def has_display() -> bool:
    """Whether a browser window can be opened. Without a display, webbrowser may start a text browser."""
    return os.name == "nt" or os.uname().sysname == "Darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
