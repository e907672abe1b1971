"""The server's process: starting it, its memory, its metrics, its end."""
import asyncio
import re

from http_client import ask


def resident_mb(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmRSS:"))


async def metrics(target):
    """Samples of /metrics by name, those with several labels added up."""
    text = (await ask(target, "GET", "/metrics")).body.decode()
    out = {}
    for name, value in re.findall(r"^slipstream_(\w+)(?:\{[^}]*\})? (\S+)$", text, re.M):
        out[name] = out.get(name, 0) + float(value)
    return out


class Server:
    def __init__(self, binary, model, drain_seconds, more):
        self.drain_seconds = drain_seconds
        self.command = [binary, "serve", model, "--port", "0", "--drain-seconds",
                        str(drain_seconds), "--no-log-requests", *more]
        self.log = []

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        self.pid = self.process.pid
        while line := (await self.process.stdout.readline()).decode():
            self.log.append(line)
            if found := re.search(r"https?://[\w.\[\]:]+:\d+", line):
                self.reader = asyncio.create_task(self._read())
                return found.group(0)
        raise RuntimeError("the server did not start:\n" + "".join(self.log))

    async def _read(self):
        while line := (await self.process.stdout.readline()).decode():
            self.log = [*self.log[-200:], line]

    async def wait(self, timeout):
        """The exit status; None when it still runs."""
        try:
            return await asyncio.wait_for(self.process.wait(), timeout)
        except TimeoutError:
            return None

    def kill(self):
        if self.process.returncode is None:
            self.process.kill()
