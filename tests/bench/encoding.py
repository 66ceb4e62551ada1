"""What our encoding and ggml's of the same types cost the demo model's answers, without importance data.

    LQ_BIN=build/llava-quantize LQ_LLAMA_BIN=.../bin python3 encoding.py FOLDER [--limit 20] [--update] [--check]

Pairs of the file types Q4_0, Q4_K_S and Q3_K_S, made by us and by llama-quantize from the same F16 pair: every tensor
has the same type in both (this is looked at), so that nothing but the encoder differs. `llava-quantize eval` measures
the divergence from the F16 pair, on the exam and on the calibration pictures, which no encoder has seen either: a mean
over the exam alone hangs on a few tokens, as its interval shows. The bound: over the answer tokens of both, ours is not
above ggml's. FOLDER keeps pairs and results; --update writes the figures into tests/regress/results.csv; --check exits
1 when a bound does not hold.
"""
import argparse
import os
import sys

from quality import HALVES, Pair, evaluate, files_of, make_ours, parser_of, table, try_peer
from regress import PROJECT, record

KINDS = ("Q4_0", "Q4_K_S", "Q3_K_S")
DATA = ("exam.jsonl", "calibration.json")


def make_theirs(options, original, kind):
    """Both halves by llama-quantize."""
    pair = Pair(kind, files_of(options.folder, f"ggml-{kind}"), "ggml ")
    os.makedirs(os.path.dirname(pair.files["language"]), exist_ok=True)
    for half in HALVES:
        made = try_peer(original.files[half], kind, os.path.dirname(pair.files[half]))
        if made is None:
            sys.exit(f"llama-quantize refuses the {half} half at {kind}")
        os.replace(made, pair.files[half])
    return pair


def measure(options, pair, original, data):
    """Mean divergence of the answer tokens, its interval as text, the number of tokens, and each tensor's type."""
    options = argparse.Namespace(**{**vars(options), "data": os.path.join(PROJECT, "demo", data), "text": None})
    result = evaluate(options, pair, original)
    kl = result["kl"]["answer"]
    interval = f"{kl['low']:.3g} to {kl['high']:.3g}" if kl["low"] is not None else ""
    return kl["mean"], interval, result["counts"]["answer_tokens"], {t["name"]: t["type"] for t in result["tensors"]}


def compare(options, original, kind):
    """A row of the table for each data set, and the ratio of ours to ggml's over all of them."""
    pairs = make_ours(options, kind, f"ours-{kind}"), make_theirs(options, original, kind)
    rows, sums = [], [0, 0]
    for data in DATA:
        seen = [measure(options, pair, original, data) for pair in pairs]
        if seen[0][3] != seen[1][3]:
            sys.exit(f"{kind}: the types differ")
        row = {"encoding": kind, "pictures": data.split(".")[0]}
        for who, (mean, interval, _, _) in zip(("ours", "ggml's"), seen):
            row |= {f"KL answer {who}": f"{mean:.3g}", f"95 % {who}": interval}
        rows.append(row)
        sums = [total + mean * tokens for total, (mean, _, tokens, _) in zip(sums, seen)]
    return rows, sums[0] / sums[1]


def arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound does not hold")
    return parser.parse_args()


def main(options):
    os.makedirs(os.path.join(options.folder, "results"), exist_ok=True)
    original = make_ours(options, "f16", "F16")
    parts, ratios = zip(*(compare(options, original, kind) for kind in KINDS))
    rows = [row for part in parts for row in part]
    print("\n".join(table(rows)))
    for kind, ratio in zip(KINDS, ratios):
        print(f"{kind}: answers diverge {ratio:.2f} times as far as with ggml's encoding (bound 1): "
              f"{'HOLDS' if ratio <= 1 else 'DOES NOT HOLD'}")
    if not options.limit:
        record(rows, options.update)
    return 1 if options.check and max(ratios) > 1 else 0


if __name__ == "__main__":
    sys.exit(main(arguments()))
