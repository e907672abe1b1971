"""The page at / in a real headless Chromium: a message is sent and its answer seen as it streams,
the charts move, Stop stops, nothing of it breaks the page's own policy.

Driven over the DevTools protocol. SLIPSTREAM_CHROMIUM names the browser; SLIPSTREAM_SCREENSHOT a
file for a picture of the page.
"""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

import websocket
from harness import Runner, Server

WAIT_SECONDS = 150


class Browser:
    def __init__(self, url):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [os.environ["SLIPSTREAM_CHROMIUM"], "--headless=new", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0",
             "--remote-allow-origins=*", "--window-size=1200,800",
             f"--user-data-dir={self.folder.name}", "about:blank"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for line in self.process.stderr:
            found = re.search(r"DevTools listening on ws://([^/]+)/", line)
            if found:
                break
        else:
            raise RuntimeError(f"the browser did not start: exit code {self.process.wait()}")
        pages = json.loads(urllib.request.urlopen(f"http://{found.group(1)}/json").read())
        target = next(page for page in pages if page["type"] == "page")
        self.socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=60)
        self.number, self.events = 0, []
        for domain in ("Page", "Runtime", "Log"):
            self.call(domain + ".enable")
        self.call("Page.navigate", url=url)

    def call(self, method, **params):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                assert "error" not in message, (method, message)
                return message["result"]
            self.events.append(message)

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression, what):
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            value = self.value(expression)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"{what}: {expression} is {self.value(expression)!r}")

    def type(self, element, text):
        self.value(f"document.getElementById('{element}').focus()")
        self.call("Input.insertText", text=text)

    def press_enter(self):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r",
                      windowsVirtualKeyCode=13)

    def complaints(self):
        """What the console says went wrong: exceptions, errors, refusals of the policy."""
        out = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                out.append(params["exceptionDetails"].get("text"))
            if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
                if "favicon" not in params["entry"].get("url", ""):
                    out.append(params["entry"]["text"])
        return out

    def stop(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()


ANSWER = "document.querySelectorAll('.turn.assistant .text')[{}]?.textContent ?? ''"
NOTE = "document.querySelectorAll('.turn.assistant .note')[{}]?.textContent ?? ''"


def test_finds_the_model(browser, server):
    browser.until("document.getElementById('model')?.textContent.includes('context')",
                  "the page asks which model there is")


def test_streams_an_answer(browser, server):
    browser.value("document.getElementById('max_tokens').value = '200'")  # long enough to be seen
    browser.value("document.getElementById('temperature').value = '0'")
    browser.type("text", "Tell me about the sea.")
    browser.press_enter()
    seen = set()
    end = time.monotonic() + WAIT_SECONDS
    while not browser.value(NOTE.format(0)):
        seen.add(len(browser.value(ANSWER.format(0))))
        assert time.monotonic() < end, "the answer did not end"
    assert len(seen - {0}) >= 3, f"the answer grew in steps: {sorted(seen)}"
    assert "tokens, first after" in browser.value(NOTE.format(0))
    assert browser.value("document.querySelector('.turn.user .text').textContent") == \
        "Tell me about the sea."
    assert browser.value("document.getElementById('send').textContent") == "Send"


def test_charts_move(browser, server):
    path = "document.querySelectorAll('.chart path')[{}].getAttribute('d')"
    assert browser.value("document.querySelectorAll('.chart').length") == 9
    before = browser.value(path.format(3))
    browser.type("text", "And about the mountains.")
    browser.press_enter()
    number = "document.querySelectorAll('.chart b')[{}].textContent"
    browser.until(f"parseFloat({number.format(0)}) >= 1", "a request runs")
    browser.until(f"parseFloat({number.format(3)}) > 0", "tokens per second")
    browser.until(f"parseFloat({number.format(2)}) >= 0", "KV cache in use")
    browser.until(f"{number.format(5)} !== '-'", "time to first token")
    browser.until(f"{path.format(3)} !== {json.dumps(before)}", "the line of tokens per second")
    browser.until(NOTE.format(1), "the second answer ends")


def test_stop_stops(browser, server):
    browser.value("document.getElementById('max_tokens').value = '4000'")
    browser.type("text", "Write a very long story.")
    browser.press_enter()
    browser.until(ANSWER.format(2), "the third answer begins")
    browser.value("document.getElementById('send').click()")
    browser.until(NOTE.format(2) + " === 'stopped'", "the page says so")
    server.until("kv_blocks_used", lambda v: v == 0, "the server stopped, too")


def test_shows_errors(browser, server):
    browser.value("document.getElementById('max_tokens').value = '1000000'")
    browser.type("text", "Hello")
    browser.press_enter()
    assert "context" in browser.until(NOTE.format(3), "the error is shown")
    browser.value("document.getElementById('max_tokens').value = '4'")


def test_parameters_have_bounds(browser, server):
    turns = browser.value("document.querySelectorAll('.turn').length")
    browser.value("document.getElementById('temperature').value = '2.5'")
    browser.type("text", "too hot")
    browser.press_enter()
    assert browser.value("document.activeElement.id") == "temperature"
    assert browser.value("document.querySelectorAll('.turn').length") == turns, "nothing was sent"
    assert browser.value("document.getElementById('text').value") == "too hot"
    browser.value("document.getElementById('text').value = ''")
    browser.value("document.getElementById('temperature').value = '0'")


def test_markup_stays_text(browser, server):
    browser.value("document.getElementById('clear').click()")
    browser.value("document.getElementById('max_tokens').value = '4'")
    browser.type("text", "<img src=x onerror=alert(1)><b>bold</b>")
    browser.press_enter()
    browser.until(NOTE.format(0), "an answer")
    assert browser.value("document.querySelectorAll('#log img, #log b').length") == 0


def test_nothing_to_complain(browser, server):
    complaints = [text for text in browser.complaints() if "400" not in text]
    assert not complaints, complaints


def main():
    if not os.environ.get("SLIPSTREAM_CHROMIUM"):
        print("skipped: 1 page test, there is no Chromium here")
        return
    runner = Runner()
    server = Server()
    browser = Browser(server.url + "/")
    picture = os.environ.get("SLIPSTREAM_SCREENSHOT")
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            runner.run(name, lambda: test(browser, server))
            if picture and name == "test_charts_move":
                shot = browser.call("Page.captureScreenshot", format="png")["data"]
                with open(picture, "wb") as file:
                    file.write(base64.b64decode(shot))
    browser.stop()
    runner.run("drain", server.stop)
    runner.finish()


if __name__ == "__main__":
    sys.exit(main())
