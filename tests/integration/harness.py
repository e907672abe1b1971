"""What the integration tests share: a real `slipstream serve` process, and a runner of tests.

Started by ctest (label integration) with SLIPSTREAM_BINARY and SLIPSTREAM_MODEL. Tests are plain
functions named test_*; all run, failures are listed at the end.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
import urllib.request

import openai

READY_SECONDS = 120


class Server:
    """One `slipstream serve` process on a free port."""

    def __init__(self, *options):
        command = [os.environ["SLIPSTREAM_BINARY"], "serve", os.environ["SLIPSTREAM_MODEL"],
                   "--host", "127.0.0.1", "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = None
        killer = threading.Timer(READY_SECONDS, self.process.kill)
        killer.start()
        for line in self.process.stdout:
            sys.stderr.write(line)
            found = re.search(r"listening on (http://\S+)", line)
            if found:
                self.url = found.group(1)
                break
        killer.cancel()
        if self.url is None:
            raise RuntimeError(f"the server did not start: exit code {self.process.wait()}")

    def client(self, **more):
        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", **more)

    def async_client(self, **more):
        return openai.AsyncOpenAI(base_url=self.url + "/v1", api_key="none", **more)

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, data=json.dumps(body).encode(),
                                         headers={"content-type": "application/json"})
        return json.loads(urllib.request.urlopen(request).read())

    def metric(self, name):
        text = urllib.request.urlopen(self.url + "/metrics").read().decode()
        found = re.search(rf"^slipstream_{name}\{{[^}}]*\}} (\S+)$", text, re.MULTILINE)
        return float(found.group(1))

    def until(self, name, accept, what):
        for _ in range(10000):
            if accept(self.metric(name)):
                return
            time.sleep(0.01)
        raise AssertionError(f"{name} is {self.metric(name)}: {what}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert code == 0, f"exit code {code} after SIGTERM"


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


class Runner:
    def __init__(self):
        self.failed = []

    def run(self, name, call):
        started = time.monotonic()
        try:
            call()
            print(f"ok      {name} ({time.monotonic() - started:.1f} s)", flush=True)
        except Exception:  # every test runs; the report is at the end
            traceback.print_exc()
            self.failed.append(name)
            print(f"FAILED  {name}", flush=True)

    def finish(self):
        if self.failed:
            sys.exit(f"{len(self.failed)} failed: {', '.join(self.failed)}")
