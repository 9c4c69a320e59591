"""The gunicorn worker of the API: gthread, whose own refusals are problems too.

What is no HTTP request never reaches Flask, and gunicorn answers it with HTML that shows what was sent.
"""

import socket
from http import HTTPStatus

from gunicorn import util
from gunicorn.workers.gthread import ThreadWorker

from api.problems import CODES, Problem

DETAILS = {
    414: "the request line (the path and its query) is too long",
    431: "the request has too many header fields, or one that is too long",
    501: "the body comes in a transfer coding that is not read here; chunked is",
}


class Worker(ThreadWorker):
    """gunicorn --worker-class api.server.Worker"""

    def init_process(self) -> None:
        util.write_error = write_problem
        super().init_process()


def write_problem(client: socket.socket, status: int, reason: str, message: str) -> None:
    """In place of gunicorn's function of these arguments; the message repeats the caller's bytes, so it is left out."""
    title = HTTPStatus(status).phrase
    detail = DETAILS.get(status, "a defect of the service" if status == 500 else "this is no request of HTTP/1.1")
    body = Problem(title=title, status=status, detail=detail, code=CODES.get(status, title.lower().replace(" ", "_")),
                   retryable=False, instance="/").model_dump_json(exclude_none=True)
    util.write_nonblock(client, (
        f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"Cache-Control: no-store\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode())
