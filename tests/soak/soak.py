#!/usr/bin/env python3
"""Keeps a server busy for a while with requests of every kind, a fifth of whose clients leave at
random and some of whose bodies are wrong, then stops it under load. Passes when no request was
lost, memory is flat, all KV blocks are free in the end, and the drain is as documented.

  soak.py --binary build/cpu/bin/slipstream --model models/SmolLM2-135M-Instruct.Q4_1.gguf
  soak.py --url http://host:8000 [--pid PID]       a server that runs already; with its process id
                                                   memory is watched; it is not stopped
What follows "--" goes to `slipstream serve`."""
import argparse
import asyncio
import collections
import datetime
import os
import platform
import random
import sys
import time

from drain import drain_under_load
from http_client import Lost, Target, ask, leave
from server import Server, metrics, resident_mb
from traffic import any_request

MEMORY_SLACK_MB = 24  # growth of resident memory from the first third to the last


class Soak:
    def __init__(self, target, options):
        self.target, self.options = target, options
        self.random = random.Random(options.seed)
        self.done = collections.Counter()
        self.left = 0
        self.busy = 0  # answered 429 or 503 and asked again
        self.lost = []
        self.memory = []  # (seconds, MB)
        self.previous = []  # ids of responses
        self.latency = []

    async def prepare(self):
        models = (await ask(self.target, "GET", "/v1/models")).json()["data"]
        self.model = models[0]["id"]
        answer = await ask(self.target, "POST", "/v1/embeddings",
                           {"model": self.model, "input": "a"})
        self.with_embeddings = answer.status == 200

    async def one(self):
        request = any_request(self.random, self.model, self.previous, self.with_embeddings)
        if self.random.random() < self.options.leaving:
            self.left += 1
            return await leave(self.target, request.path, request.body, self.random)
        started = time.monotonic()
        try:
            answer = await ask(self.target, "POST", request.path, request.body)
            while answer.status in (429, 503):
                self.busy += 1
                await asyncio.sleep(float(answer.headers.get("retry-after", 1)))
                answer = await ask(self.target, "POST", request.path, request.body)
            if request.kind == "responses stream" or request.kind == "responses":
                if answer.status == 404:  # the previous one was forgotten: bounded, as documented
                    request.statuses, request.check = (404,), lambda a: None
            if answer.status not in request.statuses:
                raise Lost(f"status {answer.status}: {answer.body[:300]!r}")
            request.check(answer)
            self.done[request.kind] += 1
            self.latency.append(time.monotonic() - started)
        except (Lost, ValueError, KeyError, IndexError, TypeError) as e:
            self.lost.append(f"{request.kind}: {type(e).__name__}: {e}")
            print("LOST", self.lost[-1], flush=True)

    async def client(self, until):
        while time.monotonic() < until:
            await self.one()

    async def watch(self, until, pid):
        started = time.monotonic()
        while (now := time.monotonic()) < until:
            if pid:
                self.memory.append((now - started, resident_mb(pid)))
            print(f"{now - started:6.0f} s  {sum(self.done.values())} answered, {self.left} left, "
                  f"{len(self.lost)} lost, {self.memory[-1][1] if self.memory else 0:.1f} MB",
                  flush=True)
            await asyncio.sleep(min(10, max(0.1, until - now)))

    async def run(self, pid):
        await self.prepare()
        until = time.monotonic() + self.options.seconds
        await asyncio.gather(self.watch(until, pid),
                             *(self.client(until) for _ in range(self.options.clients)))
        for _ in range(100):
            self.last = await metrics(self.target)
            if all(self.last[name] == 0 for name in self.idle_metrics()):
                break
            await asyncio.sleep(0.2)
        if pid:
            self.memory.append((self.options.seconds, resident_mb(pid)))

    @staticmethod
    def idle_metrics():
        return ("kv_blocks_used", "num_requests_running", "num_requests_waiting", "open_requests",
                "queued_requests", "queued_tokens")

    def memory_growth(self):
        """MB by which the last third lies above the second: the first one warms up."""
        if len(self.memory) < 6:
            return 0.0
        third = len(self.memory) // 3
        values = [mb for _, mb in self.memory]
        return max(values[2 * third:]) - max(values[third: 2 * third])

    def failures(self):
        out = [f"{len(self.lost)} requests lost"] if self.lost else []
        out += [f"{n} is {self.last[n]:.0f} in the end" for n in self.idle_metrics() if self.last[n]]
        if self.last.get("engine_step_errors_total"):
            out.append("a step of the engine failed")
        if self.memory_growth() > MEMORY_SLACK_MB:
            out.append(f"memory grew by {self.memory_growth():.1f} MB")
        return out

    def report(self):
        o = self.options
        total = sum(self.done.values())
        lines = [f"soak of {o.seconds:.0f} s, {o.clients} clients, {o.leaving:.0%} of them leaving",
                 f"date {datetime.date.today()}  commit {o.commit}  cpu {cpu_name()}"
                 + (f"  card {o.card}" if o.card else ""),
                 f"model {self.model}  server {o.serves}", "",
                 f"answered in full     {total}",
                 f"clients that left    {self.left}",
                 f"asked again (busy)   {self.busy}",
                 f"lost                 {len(self.lost)}", ""]
        lines += [f"  {count:6d} {kind}" for kind, count in sorted(self.done.items())]
        if self.latency:
            times = sorted(self.latency)
            at = lambda q: times[int(q * (len(times) - 1))]
            lines += ["", f"seconds to a whole answer: p50 {at(.5):.2f}, p99 {at(.99):.2f}, "
                          f"most {times[-1]:.2f}"]
        names = ["engine_steps_total", "engine_step_errors_total", "generation_tokens_total",
                 "prompt_tokens_total", "prefix_cache_hit_tokens_total", "preemptions_total",
                 "engine_aborts_total", "client_disconnects_total", "slow_clients_total"]
        lines += ["", "metrics in the end:"]
        lines += [f"  {self.last.get(n, 0):10.0f} {n}" for n in [*self.idle_metrics(), *names]]
        if self.memory:
            lines += ["", f"resident memory in MB; the last third grew by {self.memory_growth():.1f}"
                          " over the second:"]
            step = max(1, len(self.memory) // 20)
            lines += [f"  {t:6.0f} s  {mb:8.1f}" for t, mb in self.memory[::step]]
        return lines


def cpu_name():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(": ")[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    parser.add_argument("--pid", type=int, help="of the server at --url, to watch its memory")
    parser.add_argument("--binary")
    parser.add_argument("--model")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--leaving", type=float, default=0.2)
    parser.add_argument("--drain-seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", help="a file for the report")
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--card", default="", help="the GPU of the server, for the report")
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:split])
    options.more = arguments[split + 1:]
    if bool(options.url) == bool(options.binary and options.model):
        parser.error("either --url, or --binary and --model")
    options.serves = options.url or " ".join(options.more) or "default options"
    return options


async def main():
    options = parse()
    if options.model and not os.path.exists(options.model):
        print(f"skipped: there is no model {options.model}; scripts/test.sh fetches it")
        return 77
    server = None
    if options.url:
        target, pid = Target(options.url, options.api_key), options.pid
    else:
        server = Server(options.binary, options.model, options.drain_seconds, options.more)
        target, pid = Target(await server.start(), options.api_key), server.pid
    try:
        soak = Soak(target, options)
        await soak.run(pid)
        lines, failures = soak.report(), soak.failures()
        if server:
            drained, wrong = await drain_under_load(target, soak.model, server)
            lines += ["", *drained]
            failures += wrong
    finally:
        if server:
            server.kill()
    lines += ["", "FAILED: " + "; ".join(failures) if failures else "passed"]
    print("\n" + "\n".join(lines))
    if options.report:
        with open(options.report, "w") as f:
            f.write("\n".join(lines) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
