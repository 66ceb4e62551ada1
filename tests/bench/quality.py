"""Quality at the same size: our recipes beside llama-quantize's file types, on the demo model's exam and text.

    LQ_BIN=build/llava-quantize LQ_LLAMA_BIN=.../bin python3 quality.py FOLDER [--limit 20] [--update]

Each of our pairs stands beside the peer's pairs whose total size is within 3 % of it, or the nearest one where there is
none. The peer quantises both halves, with one file type where it can; where it aborts on the tower or refuses it, the
tower gets the file type of the nearest size that it can do, and the name says so. All are compared with the same F16
pair by `llava-quantize eval`. Prints a Markdown table, largest pair first; FOLDER keeps the pairs, a result of each
(results/*.json) and a page that compares them (report.html). --curve evaluates every file type of the peer. --update
writes our figures into tests/regress/results.csv, so that a change in quality is a difference to be looked at. Without
LQ_LLAMA_BIN only ours are measured.
"""
import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

from regress import PROJECT, record

RECIPES = ("layered", "8", "6", "5", "4", "3", "2")
HALVES = ("vision", "language")
NEAR = 0.03
# File types that make nothing smaller, and one that gives a model without experts the same types as Q8_0 does.
LEFT_OUT = {"F32", "F16", "BF16", "COPY", "MXFP4_MOE"}
KIND = re.compile(r"^ *\d+ +or +(\w+) *: (?! *alias)", re.M)


@dataclass
class Pair:
    name: str
    files: dict  # half -> path
    maker: str = ""

    def bytes(self):
        return sum(os.path.getsize(f) for f in self.files.values())


def run(*command, **more):
    return subprocess.run([str(c) for c in command], text=True, check=True, **more)


def files_of(folder, name):
    """Where a pair of that name lies: in a folder of its own."""
    place = os.path.join(folder, "pairs", name)
    return {"vision": os.path.join(place, f"mmproj-{name}.gguf"), "language": os.path.join(place, f"{name}.gguf")}


def make_ours(options, recipe, name):
    pair = Pair(name, files_of(options.folder, name))
    run(os.environ["LQ_BIN"], "quantize", options.model, pair.files["language"], recipe, "--force", "--quiet")
    return pair


def peer():
    path = os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-quantize")
    return path if os.access(path, os.X_OK) else None


def file_types():
    """All that llama-quantize offers."""
    done = subprocess.run([peer(), "--help"], capture_output=True, text=True, check=False)
    return [kind for kind in KIND.findall(done.stdout + done.stderr) if kind not in LEFT_OUT]


def try_peer(source, kind, folder, *more):
    """Path of one half quantised by llama-quantize; None where it aborts, or refuses for want of importance data."""
    path = os.path.join(folder, f"{kind}-{os.path.basename(source)}")
    recipe = f"llava_quantize.recipe=str:{kind}"  # else it would keep what the F16 file says of itself
    done = subprocess.run([peer(), "--override-kv", recipe, *more, source, path, kind], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False)
    return path if done.returncode == 0 else None


def make_theirs(options, original):
    """A pair for each file type that llama-quantize can give to the language half."""
    work = os.path.join(options.folder, "llama-quantize")
    os.makedirs(work, exist_ok=True)
    done = {half: {} for half in HALVES}
    for kind in file_types():
        for half in HALVES:
            path = try_peer(original.files[half], kind, work)
            if path:
                done[half][kind] = path
    size = {kind: os.path.getsize(path) for kind, path in done["language"].items()}
    pairs = []
    for kind in size:
        tower = min((k for k in done["vision"] if k in size), key=lambda k: (k != kind, abs(size[k] - size[kind]), k))
        name = kind if tower == kind else f"{kind}, tower {tower}"
        pairs.append(keep(options, name, done["vision"][tower], done["language"][kind]))
    shutil.rmtree(work)
    return pairs


def keep(options, name, vision, language):
    pair = Pair(name, files_of(options.folder, re.sub(r"\W+", "-", name)), "llama-quantize ")
    os.makedirs(os.path.dirname(pair.files["language"]), exist_ok=True)
    shutil.copy(vision, pair.files["vision"])
    shutil.copy(language, pair.files["language"])
    return pair


def matched(ours, theirs):
    """The peer's pairs that have about the size of one of ours."""
    found = []
    for size in (pair.bytes() for pair in ours):
        nearest = min(theirs, key=lambda t: abs(t.bytes() - size))
        found += [t for t in theirs if t is nearest or abs(t.bytes() - size) <= NEAR * size]
    return [t for t in theirs if t in found]


def result_path(options, pair):
    return os.path.join(options.folder, "results", os.path.basename(pair.files["language"])[:-5] + ".json")


def evaluate(options, pair, original, *more):
    """The result of `eval`, which stays in the folder of results."""
    command = [os.environ["LQ_BIN"], "eval", pair.files["language"], "--against", original.files["language"],
               "--data", options.data, "--json", *more]
    command += ["--text", options.text] if options.text else []
    command += ["--limit", options.limit] if options.limit else []
    print(f"evaluating {pair.maker}{pair.name}", file=sys.stderr)
    result = json.loads(run(*command, stdout=subprocess.PIPE).stdout)
    result["name"] = pair.name  # of the language half alone without this
    with open(result_path(options, pair), "w", encoding="utf-8") as f:
        json.dump(result, f, ensure_ascii=False, indent=1)
    return result


def measured(options, pair, original, *more):
    """The same, or an earlier result where it was for the same bytes."""
    digest = hashlib.sha256(str(options.limit).encode())
    for path in (options.data, *pair.files.values(), *original.files.values()):
        with open(path, "rb") as f:
            digest.update(f.read())
    place = result_path(options, pair)
    if os.path.exists(place):
        with open(place, encoding="utf-8") as f:
            result = json.load(f)
        if result.get("measured") == digest.hexdigest():
            return result
    result = {**evaluate(options, pair, original, *more), "measured": digest.hexdigest()}
    with open(place, "w", encoding="utf-8") as f:
        json.dump(result, f, ensure_ascii=False, indent=1)
    return result


def figures(pair, result):
    """What the table and the recorded results show."""
    kl, flips = result["kl"]["answer"], result["flips"]
    return {
        "pair": pair.maker + pair.name,
        "MB": f"{pair.bytes() / 1e6:.2f}",
        "bpw vision": f"{result['halves']['vision']['quantised']['bpw']:.2f}",
        "bpw language": f"{result['halves']['language']['quantised']['bpw']:.2f}",
        "KL answer": f"{kl['mean']:.3g}",
        "95 %": f"{kl['low']:.3g} to {kl['high']:.3g}" if kl["low"] is not None else "",
        "KL 99 %": f"{kl['p99']:.3g}",
        "same token": f"{100 * result['agreement']['answer']:.2f} %",
        "lost": str(flips["lost"]),
        "gained": str(flips["gained"]),
        "exact": f"{100 * result['exact']['quantised']:.1f} %",
        "KL text": f"{result['kl']['text']['mean']:.3g}",
    }


def line(cells):
    return "| " + " | ".join(cells) + " |"


def table(rows):
    names = list(rows[0])
    return [line(names), line(["---"] + ["---:"] * (len(names) - 1))] + [line(row.values()) for row in rows]


def parser_of(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="where pairs, results and the page go")
    parser.add_argument("--model", default=os.path.join(PROJECT, "demo", "model"))
    parser.add_argument("--data", default=os.path.join(PROJECT, "demo", "exam.jsonl"))
    parser.add_argument("--text", default=os.path.join(PROJECT, "demo", "text.txt"))
    parser.add_argument("--limit", type=int, default=0, help="so many pictures instead of all")
    parser.add_argument("--update", action="store_true", help="write tests/regress/results.csv")
    return parser


def arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--curve", action="store_true", help="evaluate all of the peer's file types")
    return parser.parse_args()


def main(options):
    os.makedirs(os.path.join(options.folder, "results"), exist_ok=True)
    original = make_ours(options, "f16", "F16")
    ours = [make_ours(options, recipe, recipe) for recipe in RECIPES]
    theirs = make_theirs(options, original) if peer() else []
    pairs = ours + (theirs if options.curve or not theirs else matched(ours, theirs))
    results = [evaluate(options, pair, original) for pair in pairs]
    rows = [figures(pair, result) for pair, result in zip(pairs, results)]
    print("\n".join(table(sorted(rows, key=lambda row: -float(row["MB"])))))
    print(f"F16: {original.bytes() / 1e6:.2f} MB, exact {100 * results[0]['exact']['original']:.1f} %")
    if not options.limit:
        record(rows[:len(ours)], options.update)
    page = os.path.join(options.folder, "report.html")
    run(os.environ["LQ_BIN"], "report", *(result_path(options, pair) for pair in pairs), "-o", page)


if __name__ == "__main__":
    main(arguments())
