"""What calibration is worth: our pairs beside llama-quantize's best of the same weights' size, and each step's share.

    LQ_BIN=build/llava-quantize LQ_LLAMA_BIN=.../bin python3 calibrated.py FOLDER [--limit 20] [--update] [--check]

llama-quantize gets the importance data that llama-imatrix gathers from plain text and from the calibration set's
prompts and answers, for the language half; its tower has none, because there is no way to give it any. It aborts on a
tower at Q2_K, which then gets the next larger file type that works. Ours have the same type for every tensor (this is
looked at), so that the weights take the same bytes; the files differ by their metadata alone. All are compared with the
same F16 pair on the exam, which no calibration has seen.

Prints two tables and the bounds: the peer's pairs and each step of ours, also with one half alone quantised; what the
weights of the kinds of tokens and the cap on single ones do. FOLDER keeps statistics, pairs and results; the same pair
is measured once. --update writes the figures into tests/regress/results.csv; --check exits 1 when a bound does not
hold.
"""
import json
import os
import sys

from quality import HALVES, Pair, files_of, make_ours, measured, parser_of, peer, run, table, try_peer
from regress import PROJECT, record

# File type of the whole pair, and the most that our answers may diverge, as a share of the peer's.
BOUNDS = {"Q5_K_S": 0.5, "Q4_K_S": 0.35, "Q3_K_S": 0.35, "Q2_K": 0.35}
DATA = os.path.join(PROJECT, "demo", "calibration.json")
TEXT = os.path.join(PROJECT, "demo", "text.txt")
# Each step of ours, with what it adds to the command; {..} are files in the folder of statistics.
STEPS = {
    "plain": ["--method", "plain"],
    "imatrix, text": ["--stats", "{peer}", "--method", "imatrix"],
    "imatrix, both": ["--stats", "{both}", "--method", "imatrix"],
    "feedback": ["--stats", "{both}", "--method", "feedback"],
    "sequential": ["--data", DATA, "--sequential"],
}
OURS = "feedback"  # what stands beside the peer
# What may be added to the command that gathers statistics, and the file types at which that is measured.
WEIGHTINGS = {"as above": [], "--weighting 1:1:0": ["--weighting", "1:1:0"],
              "--weighting measured": ["--weighting", "measured"], "--cap 10": ["--cap", "10"],
              "--text demo/text.txt": ["--text", TEXT],
              "--text demo/text.txt --weighting equal": ["--text", TEXT, "--weighting", "equal"]}
WEIGHED = ("Q5_K_S", "Q3_K_S")


def prompts():
    """Plain text, and every conversation of the calibration set as the language half sees it, without its picture."""
    with open(TEXT, encoding="utf-8") as f:
        parts = [f.read()]
    with open(DATA, encoding="utf-8") as f:
        for entry in json.load(f):
            said = [turn["value"].replace("<image>\n", "") for turn in entry["conversations"]]
            parts.append("".join(f"USER: {q} ASSISTANT: {a}</s>" for q, a in zip(said[::2], said[1::2])))
    return "\n".join(parts)


def path(options, name):
    return os.path.join(options.folder, "statistics", name)


def gather_theirs(options, original):
    """What llama-imatrix gathers for the language half."""
    out, text = path(options, "peer.gguf"), path(options, "peer.txt")
    with open(text, "w", encoding="utf-8") as f:
        f.write(prompts())
    tool = os.path.join(os.environ["LQ_LLAMA_BIN"], "llama-imatrix")
    run(tool, "-m", original.files["language"], "-f", text, "-o", out, "--parse-special", "--no-ppl", "-t",
        options.threads, capture_output=True)
    return out


def gather_ours(options, original, name, more):
    out = path(options, f"{name}.gguf")
    run(os.environ["LQ_BIN"], "calibrate", original.files["language"], "--data", DATA, "--hessian", "-o", out, "-t",
        options.threads, "--force", "--quiet", *more)
    return out


def make_theirs(options, original, kind, imatrix):
    """The peer's pair; the second value is the file type that its tower got."""
    pair = Pair(kind, files_of(options.folder, f"peer-{kind}"), "llama-quantize ")
    folder = os.path.dirname(pair.files["vision"])
    os.makedirs(folder, exist_ok=True)
    made = {"language": try_peer(original.files["language"], kind, folder, "--imatrix", imatrix)}
    larger = list(BOUNDS)[list(BOUNDS).index(kind)::-1]
    tower, made["vision"] = next((k, f) for k in larger if (f := try_peer(original.files["vision"], k, folder)))
    for half in HALVES:
        os.replace(made[half], pair.files[half])
    pair.name += "" if tower == kind else f", tower {tower}"
    return pair, tower


def make(options, name, kinds, arguments):
    """A pair of ours with the peer's file type for each half."""
    pair = Pair(name, files_of(options.folder, f"{name.replace(', ', '-')}-{kinds[1]}"))
    run(os.environ["LQ_BIN"], "quantize", options.model, pair.files["language"], "--vision", kinds[0], "--language",
        kinds[1], "--force", "--quiet", *arguments)
    return pair


def types(result):
    return {t["name"]: t["type"] for t in result["tensors"]}


def interval(kl):
    return f"{kl['low']:.3g} to {kl['high']:.3g}" if kl["low"] is not None else ""


def figures(result):
    kl, flips, halves = result["kl"]["answer"], result["flips"], result["by_half"]
    return {"KL answer": f"{kl['mean']:.3g}", "95 %": interval(kl), "median": f"{kl['median']:.3g}",
            "KL 90 %": f"{kl['p90']:.3g}",
            "vision alone": f"{halves['vision']['kl']['answer']['mean']:.3g}",
            "language alone": f"{halves['language']['kl']['answer']['mean']:.3g}",
            "same token": f"{100 * result['agreement']['answer']:.2f} %", "flips": str(flips["lost"] + flips["gained"])}


def bounds(kind, ours, theirs):
    """(what, whether it holds) of each bound of one file type."""
    share = ours["kl"]["answer"]["mean"] / theirs["kl"]["answer"]["mean"]
    flips = [r["flips"]["lost"] + r["flips"]["gained"] for r in (ours, theirs)]
    same = [r["agreement"]["answer"] for r in (ours, theirs)]
    return [(f"answers diverge {100 * (1 - share):.1f} % less (bound {100 * (1 - BOUNDS[kind]):.0f} %)",
             share <= BOUNDS[kind]),
            (f"same token {100 * same[0]:.2f} % (bound {100 * same[1]:.2f} %)", same[0] >= same[1]),
            (f"{flips[0]} flips (bound {flips[1]})", flips[0] <= flips[1])]


def compare(options, original, statistics, kind):
    """Rows of the table of steps, the peer's first, and the bounds of one file type."""
    theirs, tower = make_theirs(options, original, kind, statistics["peer"])
    pairs = {theirs.maker + "with its imatrix": theirs}
    for step, arguments in STEPS.items():
        pairs[step] = make(options, step, (tower, kind), [a.format(**statistics) for a in arguments])
    results = {step: measured(options, pair, original, "-t", options.threads, "--by-half")
               for step, pair in pairs.items()}
    if any(types(r) != types(results["plain"]) for r in results.values()):
        sys.exit(f"{kind}: the types differ")
    rows = [{"calibrated": kind + ("" if tower == kind else f", tower {tower}"), "step": step,
             "bytes": str(pairs[step].bytes()), **figures(result)} for step, result in results.items()]
    return rows, bounds(kind, results[OURS], next(iter(results.values())))


def weigh(options, original):
    """Rows of the table of weightings."""
    rows = []
    for number, (name, more) in enumerate(WEIGHTINGS.items()):
        stats = gather_ours(options, original, f"weighting-{number}", more)
        row = {"weighting": name}
        for kind in WEIGHED:
            pair = make(options, f"weighting-{number}", (kind, kind), ["--stats", stats])
            kl = measured(options, pair, original, "-t", options.threads)["kl"]["answer"]
            row |= {f"KL {kind}": f"{kl['mean']:.3g}", f"95 % {kind}": interval(kl),
                    f"KL 90 % {kind}": f"{kl['p90']:.3g}"}
        rows.append(row)
    return rows


def parser_of_bounds(description):
    parser = parser_of(description)
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound does not hold")
    parser.add_argument("--threads", default=str(len(os.sched_getaffinity(0))), help="default: the CPUs there are")
    parser.set_defaults(text=None)
    return parser


def main(options):
    if not peer():
        sys.exit("LQ_LLAMA_BIN has no llama-quantize")
    for name in ("results", "statistics"):
        os.makedirs(os.path.join(options.folder, name), exist_ok=True)
    original = make_ours(options, "f16", "F16")
    statistics = {"peer": gather_theirs(options, original), "both": gather_ours(options, original, "both", [])}
    rows, held = [], []
    for kind in BOUNDS:
        more, found = compare(options, original, statistics, kind)
        rows += more
        held += [(kind, *bound) for bound in found]
    print("\n".join(table(rows)))
    for kind, what, holds in held:
        print(f"{kind}: {what}: {'HOLDS' if holds else 'DOES NOT HOLD'}")
    weighed = weigh(options, original)
    print("\n".join(table(weighed)))
    if not options.limit:
        record(rows, options.update)
        record(weighed, options.update)
    return 1 if options.check and not all(holds for _, _, holds in held) else 0


if __name__ == "__main__":
    sys.exit(main(parser_of_bounds(__doc__).parse_args()))
