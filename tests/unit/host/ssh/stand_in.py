"""A stand-in for the agent: speaks the wire and does what a request tells it, so that its failures can be ordered.

Sent to the far side as source, so it stands alone."""

import json
import os
import sys
import time


def serve(source: int, sink: int) -> None:
    """Answer until the end of the input."""
    incoming = os.fdopen(source, "rb", closefd=False)
    outgoing = os.fdopen(sink, "wb", closefd=False)
    outgoing.write(b"\nEXQ-AGENT 1\n")
    outgoing.flush()
    while True:
        head = incoming.readline()
        if not head:
            return
        body_bytes, blob_bytes = map(int, head.split())
        request = json.loads(incoming.read(body_bytes))
        blob = incoming.read(blob_bytes)
        for message, attached in answers(request, blob, outgoing):
            body = json.dumps(message).encode()
            outgoing.write(b"%d %d\n" % (len(body), len(attached)) + body + attached)
        outgoing.flush()


def answers(request, blob, outgoing):  # type: ignore[no-untyped-def]
    """The frames that one request brings."""
    number, op = request["id"], request["op"]
    if op == "start" and request["settings"].get("refuse"):
        return [({"id": number, "error": request["settings"]["refuse"]}, b"")]
    if op in ("start", "hello"):
        return [({"id": number, "hostname": "far", "pid": os.getpid(), "state": request.get("state")}, b"")]
    if op == "echo":
        return [({"id": number, "text": request.get("text")}, blob)]
    if op == "make":
        return [({"id": number}, b"x" * request["bytes"])]
    if op == "event":
        return [({"event": "spool"}, b""), ({"id": number}, b"")]
    if op == "garbage":
        outgoing.write(b"Have you read the news?\n")
        return []
    if op == "exit":
        print("the end of the world", file=sys.stderr)
        outgoing.flush()
        os._exit(request["code"])
    if op == "sleep":
        time.sleep(request["seconds"])
        return [({"id": number}, b"")]
    return []  # says nothing


if __name__ == "exq_agent":
    serve(0, 1)
