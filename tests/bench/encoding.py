"""What our encoding and ggml's of the same types cost the demo model's answers, without importance data.

    LQ_BIN=build/llava-quantize LQ_LLAMA_BIN=.../bin python3 encoding.py FOLDER [--limit 20] [--update] [--check]

Pairs of the file types Q4_0, Q4_K_S and Q3_K_S, made by us and by llama-quantize from the same F16 pair: every tensor
has the same type in both (this is looked at), so that nothing but the encoder differs. `llava-quantize eval` measures
the divergence from the F16 pair on the exam, on the calibration pictures, which no encoder has seen either, and on 1000
pictures with up to eight questions each that drawn.py draws: a mean over the exam alone hangs on a few tokens, as its
interval shows. The bound: over the answer tokens of all three, ours is not above ggml's. The ratio's interval is a
bootstrap's: pictures are drawn again within each set, 10000 times, the same ones for both encoders.

FOLDER keeps pairs and results; what was measured before of the same bytes is not measured again. Otherwise it takes
about 15 minutes of one CPU. --update writes the figures into tests/regress/results.csv; --check exits 1 when a bound
does not hold.
"""
import os
import sys

from drawn import bootstrap, draw, measured_on, pictures_of
from quality import HALVES, Pair, files_of, make_ours, parser_of, table, try_peer
from regress import PROJECT, record

KINDS = ("Q4_0", "Q4_K_S", "Q3_K_S")


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


def types(result):
    return {t["name"]: t["type"] for t in result["tensors"]}


def row_of(kind, name, tokens, means, intervals, sets):
    ratio, (low, high) = bootstrap(sets)
    row = {"encoding": kind, "pictures": name, "tokens": str(tokens)}
    for who, mean, interval in zip(("ours", "ggml's"), means, intervals):
        row |= {f"KL answer {who}": f"{mean:.3g}", f"95 % {who}": interval}
    return row | {"ratio": f"{ratio:.3f}", "95 % ratio": f"{low:.3f} to {high:.3f}"}


def interval(kl):
    return f"{kl['low']:.3g} to {kl['high']:.3g}" if kl["low"] is not None else ""


def compare(options, original, kind, data):
    """A row of the table for each set, and one for all of them."""
    pairs = make_ours(options, kind, f"ours-{kind}"), make_theirs(options, original, kind)
    rows, sets, tokens = [], [], []
    for name, path in data.items():
        results = [measured_on(options, pair, original, os.path.join("encoding", name), path) for pair in pairs]
        if types(results[0]) != types(results[1]):
            sys.exit(f"{kind}: the types differ")
        sets.append(pictures_of(results))
        tokens.append(results[0]["counts"]["answer_tokens"])
        kl = [result["kl"]["answer"] for result in results]
        rows.append(row_of(kind, name, tokens[-1], [k["mean"] for k in kl], [interval(k) for k in kl], sets[-1:]))
    means = sum(s.sum(axis=1) for s in sets) / sum(tokens)
    return rows + [row_of(kind, "all", sum(tokens), means, ("", ""), sets)]


def arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound does not hold")
    return parser.parse_args()


def main(options):
    data = {"exam": os.path.join(PROJECT, "demo", "exam.jsonl"),
            "calibration": os.path.join(PROJECT, "demo", "calibration.json"),
            "drawn": draw(os.path.join(options.folder, "drawn"))}
    original = make_ours(options, "f16", "F16")
    rows = [row for kind in KINDS for row in compare(options, original, kind, data)]
    print("\n".join(table(rows)))
    pooled = [row for row in rows if row["pictures"] == "all"]
    for row in pooled:
        print(f"{row['encoding']}: answers diverge {row['ratio']} times as far as with ggml's encoding "
              f"(95 % {row['95 % ratio']}; bound 1): {'HOLDS' if float(row['ratio']) <= 1 else 'DOES NOT HOLD'}")
    if not options.limit:
        record(rows, options.update)
    return 1 if options.check and any(float(row["ratio"]) > 1 for row in pooled) else 0


if __name__ == "__main__":
    sys.exit(main(arguments()))
