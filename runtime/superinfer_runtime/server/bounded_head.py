"""HTTP/1.1 with a bounded request head: request line and headers.

uvicorn reads HTTP by httptools where it is installed, and then bounds neither the size nor the
number of headers; vLLM's own limits (``--h11-max-*``) hold only for its other parser, which takes
more time for each token that is streamed. So the fast one is bounded here.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""An unfinished head is refused from here on; what came with its last part is read."""
MAX_HEADERS = 256

_REFUSAL = b"the request's headers are too large or too many"


class BoundedHead(HttpToolsProtocol):
    """Answers 431 and hangs up instead of collecting headers without end."""

    _in_head = True
    _head_bytes = 0
    _too_many = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._hang_up()

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            self._too_many = True
            raise ValueError("too many headers")  # ends the parser, which then asks for a refusal
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        if self._too_many:
            self._hang_up()
        else:
            super().send_400_response(msg)

    def _hang_up(self) -> None:
        length = str(len(_REFUSAL)).encode()
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\n"
            b"content-length: " + length + b"\r\nconnection: close\r\n\r\n" + _REFUSAL
        )
        self.transport.close()
