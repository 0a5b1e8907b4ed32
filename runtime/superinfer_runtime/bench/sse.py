"""Server-sent events, cut out of bytes as they arrive.

Cut by hand at newlines alone: httpx's line iterator also cuts at Unicode line separators, which
stand unescaped inside the JSON of a model that happens to generate one.
"""


class EventReader:
    """Feed it what the socket gave; it returns the data of each event that is complete.

    for data in reader.feed(b'data: {"a": 1}\\n\\n'):
        json.loads(data)
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [event for line in lines if (event := self._line(line.rstrip(b"\r"))) is not None]

    def close(self) -> list[bytes]:
        """The event that the end of the stream left without its blank line, if any."""
        return self.feed(b"\n\n")

    def _line(self, line: bytes) -> bytes | None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            return None
        if line or not self._data:
            return None  # a comment or another field; or blank lines between events
        event = b"\n".join(self._data)
        self._data.clear()
        return event
