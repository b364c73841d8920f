"""Ways to damage a file, and a room with bounded memory and time in which to open what is left."""

import random
import struct
import subprocess
import sys
from pathlib import Path

# Every reader runs in a process of its own: a crash of a decoder then fails a test and does not end the run.
DRIVER = """
import json, resource, sys, time
sys.path.insert(0, {root!r})
import torch
{prepare}
from minisora.core.errors import MinisoraError
before = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (before + {memory}, before + {memory}))
for path in sys.stdin.read().splitlines():
    started = time.monotonic()
    try:
        outcome = "read " + str(read(path))
    except MinisoraError as error:
        outcome = "refused" if len(str(error).splitlines()) == 1 else "several lines: " + str(error)
    except BaseException as error:
        outcome = "escaped " + type(error).__name__ + ": " + str(error)[:200]
    if time.monotonic() - started > 10:
        outcome = "slow"
    print(json.dumps([path, outcome]), flush=True)
"""


def mutate(data: bytes, seed: int) -> bytes:
    """One of several kinds of damage, chosen by the seed."""
    rng = random.Random(seed)
    broken = bytearray(data)
    kind = seed % 8
    at = rng.randrange(len(broken))
    if kind == 0:
        return bytes(broken[:at])
    if kind == 1:  # flipped bits, anywhere
        for _ in range(rng.choice((1, 4, 64))):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    elif kind == 2:  # flipped bits where the structure is described
        for _ in range(rng.choice((1, 4, 16))):
            broken[rng.randrange(min(len(broken), 400))] ^= 1 << rng.randrange(8)
    elif kind == 3:  # an enormous number, where a length or an offset may stand
        at = rng.randrange(0, max(1, min(len(broken) - 8, 800)))
        broken[at : at + 8] = struct.pack(rng.choice("<>") + "Q", rng.choice((2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1)))
    elif kind == 4:
        broken[at : at + rng.randrange(1, 4096)] = b""
    elif kind == 5:
        end = min(len(broken), at + rng.randrange(1, 4096))
        broken[at:end] = bytes(end - at)
    elif kind == 6:  # two chunks change places
        other, length = rng.randrange(len(broken)), rng.randrange(1, 2048)
        one, two = broken[at : at + length], broken[other : other + length]
        broken[at : at + len(two)], broken[other : other + len(one)] = two, one
    else:  # noise, or something of another kind altogether
        return rng.choice(
            (b"", rng.randbytes(len(broken)), b"\x80\x04\x95cos\nsystem\n(S'touch pwned'\ntR.", bytes(64))
        )
    return bytes(broken)


def read_all(paths: list[Path], prepare: str, memory: int = 2 * 2**30, timeout: float = 300) -> dict[str, str]:
    """Run `read(path)`, which the code in `prepare` defines, on every path: {path: outcome}."""
    import json

    code = DRIVER.format(root=str(Path(__file__).parents[1]), prepare=prepare, memory=memory)
    run = subprocess.run(
        [sys.executable, "-c", code], input="\n".join(map(str, paths)), capture_output=True, text=True, timeout=timeout
    )
    outcomes = dict(json.loads(line) for line in run.stdout.splitlines() if line.startswith("["))
    missing = [path for path in paths if str(path) not in outcomes]
    assert not missing, f"the reader died at {missing[0]} with status {run.returncode}: {run.stderr[-500:]}"
    return outcomes
