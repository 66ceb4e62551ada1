"""llava-quantize against llama-quantize: time, memory and size on models of real shapes.

    LQ_BIN=build/llava-quantize LQ_LLAMA_BIN=.../bin python3 run.py [--models language,siglip] [--types Q8_0] [--check]

Both run in turn (ours, ours with --effort best, theirs, ours, ...) with the same number of threads, on a memory file
system where one has room, so that none gets the better moment. Times are the best of the rounds, peaks the worst; ratios
are ours to theirs, bits are per weight of the original. `large` is `language` three times over: there our memory alone is
looked at. LQ_LLAMA_BIN is llama-quantize or the folder that holds it; without it only ours is measured. Every bound that
the project set itself is printed with what came out; --check exits 1 when one does not hold.
"""
import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

# What is measured, and the bounds: on wall time (ours to theirs), on peak memory (bytes), on bits per weight.
TYPES = {"language": ("Q8_0", "Q4_0", "Q4_K_M", "Q6_K"), "clip": ("Q8_0", "Q4_0", "Q4_K_M"),
         "siglip": ("Q8_0", "Q4_0", "Q4_K_M"), "large": ("Q8_0",)}
RATIOS = {"Q8_0": 1 / 4, "Q4_0": 1 / 4, "Q4_K_M": 1 / 6, "Q6_K": 1 / 6}
BEST_RATIO = 1.0
MEMORY, MORE = 250e6, 1.05  # MORE: what counts as "no more" on the large model
BITS = {("siglip", "Q4_0"): 4.8, ("siglip", "Q4_K_M"): 5.2}
ROOM, LARGE_ROOM = 5 << 30, 10 << 30  # bytes: a model and its largest result
OURS, BEST, THEIRS = "llava-quantize", "--effort best", "llama-quantize"


@dataclass
class Result:
    wall: float
    user: float
    peak: int  # bytes
    bpw: float


def memory_folder(room):
    shared = "/dev/shm"
    if os.path.isdir(shared) and shutil.disk_usage(shared).free > room:
        return shared
    return tempfile.gettempdir()


@contextlib.contextmanager
def working_folder(options, room=ROOM):
    """Where models are to lie: the folder asked for, or one that vanishes afterwards."""
    if options.folder:
        yield options.folder
    else:
        with tempfile.TemporaryDirectory(prefix="llava-quantize-bench-", dir=memory_folder(room)) as folder:
            yield folder


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


def commands(name, source, kind, output, threads):
    """Who runs what."""
    ours = [os.environ["LQ_BIN"], "quantize", source, output, kind, "--threads", str(threads), "--quiet"]
    all_of_them = {OURS: ours}
    if name != "large":
        all_of_them[BEST] = [*ours, "--effort", "best"]
        if peer():
            all_of_them[THEIRS] = [peer(), source, output, kind, str(threads)]
    return all_of_them


def best(results):
    return Result(min(r.wall for r in results), min(r.user for r in results), max(r.peak for r in results),
                  results[0].bpw)


def compare(name, source, kind, options, folder):
    output = os.path.join(folder, "out.gguf")
    runs = commands(name, source, kind, output, options.threads)
    results = {who: [] for who in runs}
    for _ in range(options.rounds):
        for who, command in runs.items():
            results[who].append(measure(command, output, source))
    return {who: best(r) for who, r in results.items()}


def line(who, r, theirs):
    ratio = f"{r.wall / theirs.wall:9.3f} wall {r.user / theirs.user:7.3f} user" if theirs and r is not theirs else ""
    return f"  {who:<16}{r.wall:7.2f} s wall {r.user:7.2f} s user {r.peak / 1e6:7.0f} MB peak {r.bpw:7.2f} bpw{ratio}"


def bounds(name, kind, results, small_peak):
    """What was asked, what came out, and the limit."""
    mine, theirs = results[OURS], results.get(THEIRS)
    if name == "language":
        if theirs and kind in RATIOS:
            yield "wall time to theirs", mine.wall / theirs.wall, RATIOS[kind]
            yield "the same with --effort best", results[BEST].wall / theirs.wall, BEST_RATIO
        yield "peak memory, MB", max(mine.peak, results[BEST].peak) / 1e6, MEMORY / 1e6
    if name == "large":
        yield "peak memory, MB", mine.peak / 1e6, MEMORY / 1e6
        if small_peak:
            yield "peak memory to the small model's", mine.peak / small_peak, MORE
    if (name, kind) in BITS:
        yield "bits per weight", mine.bpw, BITS[name, kind]


def report(name, kind, results, small_peak):
    print(f"{name}, {kind}")
    for who, r in results.items():
        print(line(who, r, results.get(THEIRS)))
    good = True
    for what, found, limit in bounds(name, kind, results, small_peak):
        good &= found <= limit
        print(f"  {what}: {found:.4g}, bound {limit:.4g}: {'HOLDS' if found <= limit else 'DOES NOT HOLD'}")
    sys.stdout.flush()
    return good


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(TYPES), help="comma-separated: language, clip, siglip, large")
    parser.add_argument("--types", help="comma-separated file types; default: what the bounds are about")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", help="work here and keep the models; default: a memory file system, else TMPDIR")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound does not hold")
    return parser.parse_args()


def run(options):
    """True when all bounds hold."""
    good, peaks = True, {}
    for name in options.models.split(","):
        with working_folder(options, LARGE_ROOM if name == "large" else ROOM) as folder:
            print(f"{name}: {options.threads} threads, {options.rounds} rounds, in "
                  f"{os.path.dirname(os.path.abspath(folder))}")
            source = make_model(folder, name)
            with tempfile.TemporaryDirectory(dir=folder) as place:
                for kind in options.types.split(",") if options.types else TYPES[name]:
                    results = compare(name, source, kind, options, place)
                    good &= report(name, kind, results, peaks.get(kind))
                    if name == "language":
                        peaks[kind] = results[OURS].peak
    return good


def status(options, good):
    return 0 if good or not options.check else 1


def in_folder(options, bench):
    """Runs another benchmark where models are to lie; the exit status."""
    with working_folder(options) as folder:
        return status(options, bench(options, folder))


if __name__ == "__main__":
    chosen = arguments()
    sys.exit(status(chosen, run(chosen)))
