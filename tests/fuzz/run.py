"""All fuzzed calls, in worker processes with a time limit a call.

``python -m tests.fuzz.run --calls 20000 --workers 2`` prints what was wrong, by kind.
"""

import argparse
import collections
import json
import os
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

LIMIT = 30.0  # seconds a call
RIGHT = ("ok", "refused")
_BLOCK = 400
_IMPORTS = 200.0  # seconds until a worker begins, or has made what a call starts from


def run_block(seed, first, last, limit=LIMIT):
    """Results of the calls of one block; a worker that hangs or dies costs one call."""
    results = []
    while first < last:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", str(seed), str(first), str(last)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ),
        )  # fmt: skip
        lines = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(process.stdout, lines))
        reader.start()
        done, under_way, why = _follow(process, lines, results, limit)
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
        if done + first >= last:
            break
        if under_way is None:
            raise RuntimeError(f"the worker ended before call {first}: {why}")
        results.append(under_way | {"outcome": why, "words": ""})
        first = under_way["number"] + 1
    return results


def _read(stream, lines):
    for line in stream:
        lines.put(line)
    lines.put("")


def _follow(process, lines, results, limit):
    """Read a worker's lines until it ends or a call takes too long."""
    count, under_way, patience = 0, None, _IMPORTS
    while True:
        try:
            line = lines.get(timeout=patience)
        except queue.Empty:
            return count, under_way, "hang"
        if not line:
            code = process.wait()
            return count, under_way, f"crash {code}"
        said = json.loads(line)
        patience = limit
        if "make" in said:
            under_way = {"number": said["make"], "name": said["name"], "changed": "nothing yet"}
            patience = _IMPORTS
        elif "begin" in said:
            under_way = {"number": said["begin"], "name": said["name"], "changed": said["changed"]}
        else:
            results.append(under_way | {"outcome": said["outcome"], "words": said["words"]})
            if said["outcome"] not in RIGHT:
                print(json.dumps(results[-1]), file=sys.stderr, flush=True)
            count, under_way = count + 1, None


def run(calls, workers=2, seed=0, first=0, limit=LIMIT):
    """Results of the calls `first` to `first + calls - 1`."""
    starts = range(first, first + calls, _BLOCK)
    with ThreadPoolExecutor(workers) as pool:
        blocks = pool.map(
            lambda start: run_block(seed, start, min(start + _BLOCK, first + calls), limit), starts
        )
        return [result for block in blocks for result in block]


def faults(results):
    """What is neither answered nor refused in words."""
    return [r for r in results if r["outcome"] not in RIGHT]


def main():
    """Run, and print what was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--limit", type=float, default=LIMIT)
    options = parser.parse_args()
    begin = time.monotonic()
    results = run(options.calls, options.workers, options.seed, options.first, options.limit)
    print(
        dict(collections.Counter(r["outcome"] for r in results)),
        f"{time.monotonic() - begin:.0f} s",
    )
    for r in sorted(faults(results), key=lambda r: (r["outcome"], r["name"])):
        print(r["outcome"], r["number"], r["name"], r["changed"], r["words"])


if __name__ == "__main__":
    main()
