"""One HTTP/1.1 request on one connection, with what a test of hostile clients needs: leaving in the
middle of an answer, reading slowly, and knowing whether an answer came to its end."""
import asyncio
import json
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit


class Lost(Exception):
    """The answer did not come, or not to its end."""


@dataclass
class Target:
    url: str
    api_key: str = ""

    def __post_init__(self):
        parts = urlsplit(self.url)
        self.host, self.tls = parts.hostname, parts.scheme == "https"
        self.port = parts.port or (443 if self.tls else 80)


@dataclass
class Answer:
    status: int = 0
    headers: dict = field(default_factory=dict)
    body: bytes = b""

    def json(self):
        return json.loads(self.body)

    def events(self):
        """The data fields of a stream; "[DONE]" stays a string."""
        out = []
        for event in self.body.decode().split("\n\n"):
            for line in event.split("\n"):
                if line.startswith("data: "):
                    data = line[6:]
                    out.append(data if data == "[DONE]" else json.loads(data))
        return out


def request_bytes(target, method, path, body):
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: {target.host}\r\nconnection: close\r\n"
    if target.api_key:
        head += f"authorization: Bearer {target.api_key}\r\n"
    if method == "POST":
        head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n"
    return head.encode() + b"\r\n" + data


async def connect(target):
    context = None
    if target.tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return await asyncio.open_connection(target.host, target.port, ssl=context, limit=1 << 16)


async def read_answer(reader, slowly=0.0, on_bytes=None):
    """Reads to the end of the answer. `slowly`: seconds to wait between reads of 256 bytes."""
    answer = Answer()
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    answer.status = int(lines[0].split(" ")[1])
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        answer.headers[name.lower()] = value
    raw = bytearray()
    while True:
        piece = await reader.read(256 if slowly else 1 << 16)
        if not piece:
            break
        raw += piece
        if on_bytes:
            on_bytes(len(raw))
        if slowly:
            await asyncio.sleep(slowly)
    answer.body = unframed(bytes(raw), answer.headers)
    return answer


def unframed(raw, headers):
    if headers.get("transfer-encoding") != "chunked":
        length = int(headers.get("content-length", len(raw)))
        if len(raw) != length:
            raise Lost(f"{len(raw)} of {length} bytes")
        return raw
    body, at = bytearray(), 0
    while True:
        end = raw.find(b"\r\n", at)
        if end < 0:
            raise Lost("the stream ends without its last chunk")
        size = int(raw[at:end], 16)
        if len(raw) < end + 2 + size + 2:
            raise Lost("the stream ends within a chunk")
        if size == 0:
            return bytes(body)
        body += raw[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


async def ask(target, method, path, body=None, timeout=180.0, slowly=0.0):
    """The whole answer; Lost when there is none."""
    writer = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await connect(target)
            writer.write(request_bytes(target, method, path, body))
            await writer.drain()
            return await read_answer(reader, slowly)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as e:
        raise Lost(f"{type(e).__name__}: {e}") from e
    except TimeoutError as e:
        raise Lost(f"no answer within {timeout:.0f} s") from e
    finally:
        if writer:
            writer.close()


async def leave(target, path, body, random):
    """Sends a request, whole or in part, and goes away: at once, after a while, or after some bytes
    of the answer; with a proper end or a reset."""
    data = request_bytes(target, "POST", path, body)
    how = random.random()
    if how < 0.2:
        data = data[: random.randrange(1, len(data))]
    try:
        async with asyncio.timeout(60):
            reader, writer = await connect(target)
            writer.write(data)
            await writer.drain()
            if how > 0.6:
                await reader.read(random.randrange(1, 2000))
            elif how > 0.1:
                await asyncio.sleep(random.random() * 2)
            if random.random() < 0.5:
                writer.transport.abort()
            else:
                writer.close()
    except (OSError, TimeoutError):
        pass
