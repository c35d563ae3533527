"""A local HTTP server that misbehaves on request, and counts what it sent."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    path: str
    range: str | None
    if_range: str | None
    sent: int = 0


@dataclass
class Faulty:
    """What to serve. `plan` holds one behaviour per request; when it's used up, requests are answered well.

    "ok" | "plain" (no Range, no ETag) | "bare" (Range, no ETag) | "deaf" (to If-Range) | "chunked" (no length) |
    "endless" | "misfit" (a piece from another place) | "redirect" or ("redirect", address) | 403 and other codes |
    ("cut", n) and ("stall", n) after n bytes | ("length", n) announced | ("ok", f) or ("deaf", f) calls f before.
    """

    body: bytes
    plan: list = field(default_factory=list)
    log: list[Request] = field(default_factory=list)
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def sent(self) -> int:
        return sum(request.sent for request in self.log)


@contextmanager
def serve(body: bytes, *plan: object) -> Iterator[Faulty]:
    faulty = Faulty(body, list(plan))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            request = Request(self.path, self.headers["Range"], self.headers["If-Range"])
            faulty.log.append(request)
            what = faulty.plan.pop(0) if faulty.plan else "ok"
            if len(faulty.log) > 20:
                what = 410
            self.close_connection = True
            answer(self, request, *(what if isinstance(what, tuple) else (what,)))

    def answer(handler: Handler, request: Request, what: object, amount: int | str | Callable = 0) -> None:
        if callable(amount):
            amount()
        body, start, status, headers = faulty.body, 0, 200, {}
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        if isinstance(what, int):
            headers["Content-Length"] = "0"
            return head(handler, what, headers)
        if what == "redirect":
            return head(handler, 302, {"Location": amount or "/elsewhere", "Content-Length": "0"})
        if what not in {"plain", "bare"}:
            headers["ETag"] = etag
        if what != "plain" and request.range and (request.if_range in {None, etag} or what == "deaf"):
            status, start = 206, int(re.fullmatch(r"bytes=(\d+)-", request.range)[1])
            if start >= len(body):
                return head(handler, 416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
            begin = start - 1 if what == "misfit" else start
            headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        rest = body[start:]
        if what == "endless":
            head(handler, status, headers)
            for _ in range(500):
                send(handler, request, bytes(100_000))
            return None
        if what == "chunked":
            head(handler, status, {**headers, "Transfer-Encoding": "chunked"})
            for i in range(0, len(rest), 50_000):
                piece = rest[i : i + 50_000]
                send(handler, request, b"%x\r\n" % len(piece) + piece + b"\r\n")
            return send(handler, request, b"0\r\n\r\n")
        head(handler, status, {**headers, "Content-Length": str(amount if what == "length" else len(rest))})
        send(handler, request, rest[:amount] if what in {"cut", "stall"} else rest)
        if what == "stall":
            faulty.ended.wait(10)
        return None

    def head(handler: Handler, status: int, headers: dict[str, str]) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()

    def send(handler: Handler, request: Request, data: bytes) -> None:
        handler.wfile.write(data)
        request.sent += len(data)

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # so that closing waits for the last answer

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    faulty.url = f"http://127.0.0.1:{server.server_port}/vgg19-dcbb9e9d.pth"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield faulty
    finally:
        faulty.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
