"""A web server on the loopback whose answers a test writes by hand, byte by byte where it must be wrong."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Web:
    """`routes` maps a path (without its query) to what answers it; `seen` holds (path, headers) of each request, and
    `posted` the body of each POST, in the order in which they came."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.routes: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.posted: list[bytes] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_address[1]
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def gives(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> str:
        """Answer the path with these; its URL. `content_length` and the like name headers."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for name, value in {"content_length": str(len(body)), **headers}.items():
                request.send_header(name.replace("_", "-"), value)
            request.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                request.wfile.write(body)

        self.routes[path] = answer
        return self.url + path

    def does(self, path: str, answer: Callable[[BaseHTTPRequestHandler], None]) -> str:
        """Answer the path by hand; its URL."""
        self.routes[path] = answer
        return self.url + path

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.seen.append((self.path, dict(self.headers)))
                web.routes[self.path.partition("?")[0]](self)

            do_HEAD = do_GET

            def do_POST(self) -> None:
                self.body = self.rfile.read(int(self.headers["Content-Length"]))
                web.posted.append(self.body)
                self.do_GET()

            def log_message(self, *_) -> None:
                pass

        return Handler


@contextlib.contextmanager
def serve(tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    web = Web(tls)
    thread = threading.Thread(target=web._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web._server.shutdown()
        web._server.server_close()
        thread.join()
