"""What evaluating costs beside the forward passes that it is made of.

    LQ_BIN=build/llava-quantize LQ_BENCH=build/tests python3 eval.py [--models demo,large] [--check]

`eval` runs once under a recorder that writes down every batch and picture which it gives to llama.cpp; then eval and
the replay of that record through the bare C API run in turn (A B A B ...). The ratio is the whole of eval, from start to
end, to the replay without loading its models; the bound is 1.1. Peak memory is held against the sizes of both pairs'
files and 200 MB; the replay's shows how much of it is llama.cpp's own (its contexts keep keys, values and buffers for
one picture at least). LQ_BENCH is the folder with libbench_record.so and bench_replay. `large` has real shapes: CLIP-L/14-336
and three blocks of LLaVA-1.5-7B.
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

from run import in_folder, make_model

RATIO, MEMORY = 1.1, 200e6
PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEMO = os.path.join(PROJECT, "demo")
PICTURE = os.path.join(DEMO, "exam", "00000.png")


@dataclass
class Case:
    original: str  # folders
    pair: str
    limit: int


def quantise(*args):
    subprocess.run([os.environ["LQ_BIN"], *args, "--quiet", "--force"], check=True, stdout=subprocess.DEVNULL)


def demo(folder):
    original, pair = (os.path.join(folder, name) for name in ("demo-f16", "demo-4"))
    quantise("convert", os.path.join(DEMO, "model"), original)
    quantise("quantize", os.path.join(DEMO, "model"), pair, "4")
    return Case(original, pair, 100)


def large(folder):
    original, pair = (os.path.join(folder, name) for name in ("large-f16", "large-8"))
    os.makedirs(original, exist_ok=True)
    for name in ("language", "clip"):
        made = make_model(folder, name)
        shutil.move(made, os.path.join(original, os.path.basename(made)))
    os.makedirs(pair, exist_ok=True)
    quantise("quantize", original, pair, "q8_0")
    return Case(original, pair, 2)


CASES = {"demo": demo, "large": large}


def command(case, threads, output):
    return [os.environ["LQ_BIN"], "eval", case.pair, "--against", case.original, "--data",
            os.path.join(DEMO, "exam.jsonl"), "--limit", str(case.limit), "--max-tokens", "8", "--threads", str(threads),
            "--quiet", "-o", output]


def evaluate(case, threads, folder, **more):
    """Wall and processor seconds, and the result."""
    output = os.path.join(folder, "result.json")
    started = time.monotonic()
    process = subprocess.Popen(command(case, threads, output), stdout=subprocess.DEVNULL, **more)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"eval: exit {process.returncode}")
    with open(output, encoding="utf-8") as f:
        return (wall, usage.ru_utime + usage.ru_stime), json.load(f)


def record(case, threads, folder):
    path = os.path.join(folder, "trace")
    preload = os.path.join(os.environ["LQ_BENCH"], "libbench_record.so")
    evaluate(case, threads, folder, env={**os.environ, "LD_PRELOAD": preload, "LQ_TRACE": path})
    return path


def replay(trace):
    """Wall and processor seconds, and peak memory in bytes."""
    process = subprocess.Popen([os.path.join(os.environ["LQ_BENCH"], "bench_replay"), trace, PICTURE],
                               stdout=subprocess.PIPE, text=True)
    wall, processor = map(float, process.stdout.read().split())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"bench_replay: exit {process.returncode}")
    return (wall, processor), usage.ru_maxrss * 1024


def compare(name, case, options, folder):
    trace = record(case, options.threads, folder)
    ours, bare, peak, bare_peak = [], [], 0, 0
    for _ in range(options.rounds):
        cost, result = evaluate(case, options.threads, folder)
        ours.append(cost)
        cost, memory = replay(trace)
        bare.append(cost)
        peak, bare_peak = max(peak, result["provenance"]["peak_memory"]), max(bare_peak, memory)
    files = sum(h[w]["bytes"] for h in result["halves"].values() for w in ("original", "quantised"))
    return report(name, [min(x) for x in zip(*ours)], [min(x) for x in zip(*bare)], (peak, bare_peak, files), result)


def report(name, ours, bare, memory, result):
    peak, bare_peak, files = memory
    print(f"{name}: {result['counts']['questions']} questions, {result['provenance']['pictures']} pictures")
    for who, (wall, processor) in (("eval", ours), ("bare C API", bare)):
        print(f"  {who:<16}{wall:7.2f} s wall {processor:7.2f} s processor")
    ratio, fits = ours[0] / bare[0], peak <= files + MEMORY
    print(f"  ratio           {ratio:7.3f}   wall {ours[1] / bare[1]:7.3f}   processor; bound ({RATIO}, wall) "
          f"{'holds' if ratio <= RATIO else 'DOES NOT HOLD'}")
    print(f"  peak memory     {peak / 1e6:7.0f} MB, bare C API {bare_peak / 1e6:.0f} MB, files {files / 1e6:.0f} MB; "
          f"bound (files and {MEMORY / 1e6:.0f} MB) {'holds' if fits else 'DOES NOT HOLD'}")
    sys.stdout.flush()
    return ratio <= RATIO and fits


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="demo,large", help="comma-separated: demo, large")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where models are made; default: a new one in memory, else in TMPDIR")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound does not hold")
    return parser.parse_args()


def run(options, folder):
    """True when all bounds hold."""
    good = True
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            good &= compare(name, CASES[name](place), options, place)
    return good


if __name__ == "__main__":
    sys.exit(in_folder(arguments(), run))
