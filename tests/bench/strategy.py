"""What the automatic strategy is worth: its plans beside our uniform recipes and llama-quantize at the same bytes.

    LQ_BIN=build/llava-quantize LQ_LLAMA_BIN=.../bin python3 strategy.py FOLDER [--limit 20] [--update] [--check]

Plans are made on demo/calibration.json and examined on what no calibration has seen: the exam, and 1000 pictures with
up to eight questions each that drawn.py draws, because at 5 bits and more the mean over the exam hangs on one question.
The bounds hold, or do not, over both together; a ratio's interval is a bootstrap's over pictures. Recipes and plans are
quantised with the same statistics and error feedback, llama-quantize with the importance data of llama-imatrix. The
bits of a uniform recipe are its name. No recipe has 3.5 bits: q3_k for every tensor, 3.44 bits per weight, stands for
it. (Recipe 3 has 3.8 bits per weight, because it spares what matters most.)

Prints two tables and the bounds: the pairs (figures of the exam, then of the drawn pictures), and the plans (time,
passes, size against the target, divergence against the limit). FOLDER keeps statistics, plans, pairs and results; the
same pair is measured once. --update writes the figures into tests/regress/results.csv, but for times, and draws
docs/automatic.svg; --check exits 1 when a bound does not hold.
"""
import json
import os
import sys
import time

from calibrated import (DATA, figures, gather_ours, gather_theirs, interval, make, make_theirs, measured,
                        parser_of_bounds)
from drawn import bootstrap, draw, measured_on, pictures_of
from picture import draw as draw_picture
from quality import Pair, files_of, make_ours, peer, run, table
from regress import record

UNIFORM = {"6": "6", "5": "5", "4": "4", "3.5": "q3_k", "3": "3"}  # bits: recipe
PEER = {"4": "Q4_K_S", "3": "Q3_K_S"}                              # bits: file type
LIMITS = (0.003, 0.001, 0.0003)  # of the answers' mean divergence
LESS_THAN_UNIFORM, LESS_THAN_PEER = 0.75, 0.25  # of the other's divergence, at most
CLOSE = 0.995  # of the bytes asked for, at least


def plan_for(options, original, stats, name, *goal):
    """A pair made by a plan, and what the planning said and took."""
    pair = Pair(f"plan for {name}", files_of(options.folder, f"plan-{name}"))
    plan = os.path.join(options.folder, "plans", f"{name}.json")
    program, source = os.environ["LQ_BIN"], original.files["language"]
    start = time.monotonic()
    said = run(program, "plan", source, *goal, "--data", DATA, "--stats", stats, "-o", plan, "--force", "--json", "--quiet",
               "-t", options.threads, capture_output=True)
    seconds = time.monotonic() - start
    run(program, "quantize", source, pair.files["language"], "--plan", plan, "--stats", stats, "--force", "--quiet")
    return pair, {**json.loads(said.stdout), "wall": seconds}


def row(size, name, pair, results):
    """Of the results on the exam and on the drawn pictures."""
    kl = results[1]["kl"]["answer"]
    return {"automatic": size, "pair": name, "bytes": str(pair.bytes()), **figures(results[0]),
            "KL drawn": f"{kl['mean']:.3g}", "95 % drawn": interval(kl),
            "same token drawn": f"{100 * results[1]['agreement']['answer']:.2f} %"}


def same_tokens(results):
    """Share of all answer tokens whose likeliest stayed."""
    tokens = [r["counts"]["answer_tokens"] for r in results]
    return sum(r["agreement"]["answer"] * n for r, n in zip(results, tokens)) / sum(tokens)


def less(ours, theirs, most):
    """(what, whether it holds): how much less the answers diverge, and that no fewer tokens stay the same."""
    share, (low, high) = bootstrap([pictures_of(both) for both in zip(ours, theirs)])
    same = [same_tokens(results) for results in (ours, theirs)]
    return [(f"answers diverge {100 * (1 - share):.1f} % less (95 % {100 * (1 - high):.0f} to {100 * (1 - low):.0f}, "
             f"bound {100 * (1 - most):.0f} %)", share <= most),
            (f"same token {100 * same[0]:.3f} % (bound {100 * same[1]:.3f} %)", same[0] >= same[1])]


def near(pair, target):
    share = pair.bytes() / target
    return (f"{100 * share:.2f} % of the bytes asked for (bound {100 * CLOSE:.1f} to 100 %)", CLOSE <= share <= 1)


class Bench:
    """Everything that is measured with the same statistics."""

    def __init__(self, options):
        self.options = options
        self.original = make_ours(options, "f16", "F16")
        self.stats = gather_ours(options, self.original, "both", [])
        self.drawn = draw(os.path.join(options.folder, "drawn"))
        self.rows, self.plans, self.held = [], [], []

    def results(self, pair):
        """On the exam, and on the drawn pictures."""
        return (measured(self.options, pair, self.original, "--by-half"),
                measured_on(self.options, pair, self.original, "unseen", self.drawn))

    def plan(self, name, *goal):
        pair, said = plan_for(self.options, self.original, self.stats, name, *goal)
        results = self.results(pair)
        exam, drawn = (result["kl"]["answer"]["mean"] for result in results)
        plan, search = said["plan"], said["search"]
        self.plans.append({"planned": name, "bytes": str(pair.bytes()), "expected": f"{plan['estimate']:.3g}",
                           "measured": f"{plan['measured']:.3g}", "exam": f"{exam:.3g}", "drawn": f"{drawn:.3g}",
                           "swaps": str(plan["swaps"]), "measurements": str(search["measurements"]),
                           "seconds": f"{said['wall']:.0f}"})
        return pair, results

    def beside(self, bits, name, other, most):
        """A plan of another pair's size."""
        theirs = self.results(other)
        pair, ours = self.plan(name, "--target-size", f"{other.bytes() / 1e6:.6f}M")
        size = f"{bits} bits"
        self.rows += [row(size, other.maker + other.name, other, theirs), row(size, "plan", pair, ours)]
        self.held += [(f"{size}, {other.maker}{other.name}", *bound)
                      for bound in (*less(ours, theirs, most), near(pair, other.bytes()))]

    def below(self, limit):
        """A plan of the least bytes for a divergence."""
        pair, ours = self.plan(f"{limit}", "--max-kld", str(limit))
        self.rows.append(row(f"KL {limit}", "plan", pair, ours))
        for name, result in zip(("exam", "drawn pictures"), ours):
            kl = result["kl"]["answer"]
            self.held.append((f"--max-kld {limit}", f"{kl['mean']:.3g} on the {name}, from {kl['low']:.3g} on by its "
                              "interval", kl["low"] <= limit))


def main(options):
    for name in ("results", "statistics", "plans"):
        os.makedirs(os.path.join(options.folder, name), exist_ok=True)
    bench = Bench(options)
    for bits, recipe in UNIFORM.items():
        pair = make(options, "uniform", (recipe, recipe), ["--stats", bench.stats])
        bench.beside(bits, f"{bits}-bits", Pair(f"uniform {recipe}", pair.files), LESS_THAN_UNIFORM)
    if peer():
        imatrix = gather_theirs(options, bench.original)
        for bits, kind in PEER.items():
            bench.beside(bits, kind, make_theirs(options, bench.original, kind, imatrix)[0], LESS_THAN_PEER)
    for limit in LIMITS:
        bench.below(limit)
    print("\n".join(table(bench.rows)))
    print("\n".join(table(bench.plans)))
    for name, what, holds in bench.held:
        print(f"{name}: {what}: {'HOLDS' if holds else 'DOES NOT HOLD'}")
    if not options.limit and peer():
        record(bench.rows, options.update)
        if options.update:
            draw_picture()
    return 1 if options.check and not all(holds for _, _, holds in bench.held) else 0


if __name__ == "__main__":
    sys.exit(main(parser_of_bounds(__doc__).parse_args()))
