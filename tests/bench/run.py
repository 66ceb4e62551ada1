"""llava-quantize against llama-quantize: time, memory and size on models of real shapes.

    LQ_BIN=build/llava-quantize LQ_LLAMA_BIN=.../bin python3 run.py [--models language,clip] [--types Q8_0] [--check]

Both run in turn (A B A B ...) with the same number of threads, on a memory file system where one has room, so that
neither gets the better moment. Times are the best of the rounds; ratios are ours to theirs. LQ_LLAMA_BIN is
llama-quantize or the folder that holds it; without it only ours is measured. --check exits 1 unless on the language
model every wall-time ratio is at most 1.0 and our peak memory at most 400 MB.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

RATIO_LIMIT, MEMORY_LIMIT = 1.0, 400e6
ROOM = 5 << 30  # bytes: the language model, its largest result, the towers


@dataclass
class Result:
    wall: float
    user: float
    peak: int  # bytes
    bpw: float


def memory_folder():
    shared = "/dev/shm"
    if os.path.isdir(shared) and shutil.disk_usage(shared).free > ROOM:
        return shared
    return tempfile.gettempdir()


def make_model(folder, name):
    """Path of the model. Made in a process of its own: what a process weighs before it becomes another program counts as
    that one's peak, and numpy's models are heavier than we are."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "make_model.py")
    done = subprocess.run([sys.executable, "-B", script, folder, name], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def peer():
    path = os.environ.get("LQ_LLAMA_BIN", "")
    if os.path.isdir(path):
        path = os.path.join(path, "llama-quantize")
    return path if os.access(path, os.X_OK) else None


def measure(command, output, source):
    """Runs one quantisation and removes its output."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        if process.returncode != 0:
            log.seek(0)
            sys.exit(f"{' '.join(command)}: exit {process.returncode}\n{log.read().decode(errors='replace')[-2000:]}")
    with open(source + ".json") as f:
        facts = json.load(f)
    bpw = (os.path.getsize(output) - facts["header_bytes"]) * 8 / facts["weights"]
    os.remove(output)
    return Result(wall, usage.ru_utime, usage.ru_maxrss * 1024, bpw)


def ours(source, kind, output, threads):
    command = [os.environ["LQ_BIN"], "quantize", source, output, kind, "--threads", str(threads), "--quiet"]
    return measure(command, output, source)


def theirs(source, kind, output, threads):
    return measure([peer(), source, output, kind, str(threads)], output, source)


def best(results):
    first = results[0]
    return Result(min(r.wall for r in results), min(r.user for r in results), max(r.peak for r in results), first.bpw)


def line(who, r):
    return f"  {who:<16}{r.wall:7.2f} s wall {r.user:7.2f} s user {r.peak / 1e6:7.0f} MB peak {r.bpw:7.2f} bpw"


def compare(source, kind, options, folder):
    output = os.path.join(folder, "out.gguf")
    runners = {"llava-quantize": ours} | ({"llama-quantize": theirs} if peer() else {})
    results = {who: [] for who in runners}
    for _ in range(options.rounds):
        for who, quantise in runners.items():
            results[who].append(quantise(source, kind, output, options.threads))
    return {who: best(r) for who, r in results.items()}


def holds(name, ratio, mine):
    return name != "language" or (mine.peak <= MEMORY_LIMIT and (ratio is None or ratio <= RATIO_LIMIT))


def report(name, kind, results):
    print(f"{name}, {kind}")
    for who, r in results.items():
        print(line(who, r))
    mine, other = results["llava-quantize"], results.get("llama-quantize")
    ratio = mine.wall / other.wall if other else None
    if other:
        print(f"  ratio           {ratio:7.2f}   wall {mine.user / other.user:7.2f}   user")
    verdict = "hold" if holds(name, ratio, mine) else "DO NOT HOLD"
    if name == "language":
        print(f"  bounds (wall ratio {RATIO_LIMIT}, peak {MEMORY_LIMIT / 1e6:.0f} MB) {verdict}")
    sys.stdout.flush()
    return holds(name, ratio, mine)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="language", help="comma-separated: language, clip, siglip")
    parser.add_argument("--types", default="Q8_0,Q4_K_M", help="comma-separated file types")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", help="work here and keep the models; default: a memory file system, else TMPDIR")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound does not hold")
    return parser.parse_args()


def run(options, folder):
    """True when all bounds hold."""
    print(f"{options.threads} threads, best of {options.rounds}, in {os.path.dirname(os.path.abspath(folder))}")
    good = True
    for name in options.models.split(","):
        source = make_model(folder, name)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            for kind in options.types.split(","):
                good &= report(name, kind, compare(source, kind, options, place))
    return good


def in_folder(options, bench):
    """Runs `bench` where the models are to lie; the exit status."""
    if options.folder:
        good = bench(options, options.folder)
    else:
        with tempfile.TemporaryDirectory(prefix="llava-quantize-bench-", dir=memory_folder()) as folder:
            good = bench(options, folder)
    return 0 if good or not options.check else 1


if __name__ == "__main__":
    sys.exit(in_folder(arguments(), run))
