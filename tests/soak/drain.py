"""SIGTERM under load: readiness drops at once and new requests are turned away; what can finish
within the grace time does, what cannot ends with an error as its last event; clients that read
slowly or not at all do not keep the process from ending."""
import asyncio
import signal
import time

from http_client import Lost, ask, connect, read_answer, request_bytes

FLUSH_SECONDS = 2  # for last events to leave, after the grace time
EXIT_SLACK_SECONDS = 8


async def stream(target, model, max_tokens, slowly=0.0, started=None):
    """How a stream ended: "done", "error", or what is wrong."""
    body = {"model": model, "prompt": "Once upon a time", "max_tokens": max_tokens,
            "stream": True, "ignore_eos": True}
    reader, writer = await connect(target)
    writer.write(request_bytes(target, "POST", "/v1/completions", body))
    try:
        answer = await read_answer(reader, slowly, lambda n: started and started.set())
    except (Lost, OSError, asyncio.IncompleteReadError) as e:
        return f"broken: {type(e).__name__} {e}"
    finally:
        writer.close()
    if answer.status != 200:
        return f"status {answer.status}"
    events = answer.events()
    if events[-1] == "[DONE]" and not any("error" in e for e in events[:-1]):
        return "done"
    if any(isinstance(e, dict) and "error" in e for e in events[-2:]):
        return "error"
    return f"neither finished nor failed: {events[-1]}"


async def silent(target, model):
    """Asks and never reads."""
    reader, writer = await connect(target)
    reader._limit = 1  # stop taking bytes from the socket
    body = {"model": model, "prompt": "x", "max_tokens": 4000, "stream": True, "ignore_eos": True}
    writer.write(request_bytes(target, "POST", "/v1/completions", body))
    return writer


async def drain_under_load(target, model, server):
    """Lines for the report, and what was not as documented."""
    started = [asyncio.Event() for _ in range(8)]
    short = [asyncio.create_task(stream(target, model, 24)) for _ in range(8)]
    long = [asyncio.create_task(stream(target, model, 4000, started=e)) for e in started]
    slow = [asyncio.create_task(stream(target, model, 24, slowly=0.05)) for _ in range(4)]
    silent_ones = [await silent(target, model) for _ in range(4)]
    await asyncio.wait_for(asyncio.gather(*(e.wait() for e in started)), 60)
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    wrong = []

    async def refused(method, path, body=None):
        try:
            return (await ask(target, method, path, body, timeout=10)).status
        except Lost:
            return "refused"

    ready = await refused("GET", "/ready")
    while ready == 200 and time.monotonic() - begun < server.drain_seconds / 2:
        await asyncio.sleep(0.01)  # the signal is on its way
        ready = await refused("GET", "/ready")
    turned_away = await refused("POST", "/v1/completions", {"model": model, "prompt": "x"})
    if ready != 503:
        wrong.append(f"/ready says {ready} during the drain")
    if turned_away not in (503, "refused"):
        wrong.append(f"a new request during the drain got {turned_away}")
    ends = {}
    for name, tasks, wanted in (("short", short, ("done",)), ("slow", slow, ("done",)),
                                ("long", long, ("done", "error"))):
        ends[name] = await asyncio.gather(*tasks)
        wrong += [f"a {name} stream ended: {end}" for end in ends[name] if end not in wanted]
    status = await server.wait(server.drain_seconds + FLUSH_SECONDS + EXIT_SLACK_SECONDS)
    took = time.monotonic() - begun
    for writer in silent_ones:
        writer.close()
    if status != 0:
        wrong.append("the process did not end" if status is None else f"exit status {status}")
    count = lambda name: ", ".join(f"{ends[name].count(e)} {e}" for e in sorted(set(ends[name])))
    return [f"SIGTERM under load, {server.drain_seconds:.0f} s of grace:",
            f"  /ready {ready}, new requests {turned_away}",
            f"  short streams: {count('short')}", f"  slow readers: {count('slow')}",
            f"  long streams: {count('long')}", f"  {len(silent_ones)} clients read nothing",
            f"  exit status {status} after {took:.1f} s"], wrong
