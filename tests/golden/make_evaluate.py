"""Makes evaluate.json: what tests/unit/test_token_score.c, test_summarise.c and test_judge.c compare with.

    python3 make_evaluate.py PATH/vqa_eval_metric.py

Token scores come from the definition in decimals of 50 digits, percentiles and moments from numpy, intervals from a
bootstrap written out as the definition has it, McNemar's test from exact fractions, and normalised answers from the
VQA evaluation code as the package lmms-eval 0.7.3 (PyPI) carries it in lmms_eval/tasks/_task_utils/vqa_eval_metric.py,
without that copy's own first step, the splitting of words.
"""
import json
import os
import re
import sys
from decimal import Decimal, getcontext
from fractions import Fraction
from math import comb, exp, sqrt

import numpy as np

getcontext().prec = 50

ANSWERS = """yes|Yes.|No!|  two \n|the red ball|A small black cross|an apple a day|None|Ten|zero|one two three|
dont|don't|Dont.|couldnt've|couldn'tve|couldntve|its|it's|hes here|lets go|shes|somebody'd|yall|y'allll|yall'd've|
'ow'sat|Im fine|ive|thats|what's that?|2:50 pm|100,978|1,000 cats; 2 dogs|3.5|.5|5.|3.|a.b|e.g. this|U.S.A.|
1.000.000|red/blue|red / blue|left-right|left -right|well-known, really|black,white|black, white|"quoted"|it(self)|
what? why?|yes,no,maybe|yes , no|hello!world|semi;colon|snake_case|a=b+c|back\\slash|x>y<z|me@home|`tick`|{set} [list]|
  many   spaces\there  |line\nbreak|THE END|the|a an the|girl's|girls'|wont|were|werent|oclock|5 oclock|mam|maam|
nineteen|nine teen|1,2,3|1 ,2|, leading|trailing ,|...|. . .|3 .5|no.1|No. 1|50%|$5.00|caf\u00e9 au lait""".replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\")
ANSWERS = ANSWERS.replace("|\n", "|").split("|") + [""]


def official(path):
    with open(path, encoding="utf-8") as f:
        source = re.sub(r"(?m)^(from|import) (?!re\b).*$", "", f.read())
    space = {}
    exec(source, space)
    judge = next(v for v in space.values() if isinstance(v, type) and hasattr(v, "CONTRACTIONS"))()

    def normalise(answer):
        answer = answer.replace("\n", " ").replace("\t", " ").strip()
        return judge.process_digit_article(judge.process_punctuation(answer))
    return normalise


def logit(i, seed, scale):
    """A float exactly; test_token_score.c has the same."""
    return ((i * 7919 + seed * 104729 + i * i * seed) % 1009 - 504) * scale / 512


def token_score(n, seeds, scale, right):
    rows = [[Decimal(logit(i, seed, scale)) for i in range(n)] for seed in seeds]
    ln_sums = [sum(x.exp() for x in row).ln() for row in rows]
    p, q = ([x - s for x in row] for row, s in zip(rows, ln_sums))
    kl = sum(a.exp() * (a - b) for a, b in zip(p, q))
    tops = [row.index(max(row)) for row in rows]
    return {"n": n, "seeds": seeds, "scale": scale, "right": right, "kl": float(kl), "log_p_original": float(p[right]),
            "log_p": float(q[right]), "top_original": tops[0], "top": tops[1]}


def draws(n):
    """splitmix64 from 1, each number's upper half scaled to 0 .. n-1."""
    state, mask = 1, (1 << 64) - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
        yield ((z >> 32) * n) >> 32


def ratio_and_error(sums, counts):
    ratio = sums.sum() / counts.sum()
    n = len(sums)
    return ratio, sqrt(np.sum((sums - ratio * counts) ** 2) * n / (n - 1)) / counts.sum()


def interval(sums, counts):
    ratio, error = ratio_and_error(sums, counts)
    draw, t = draws(len(sums)), []
    for _ in range(2000):
        chosen = [next(draw) for _ in sums]
        own_ratio, own_error = ratio_and_error(sums[chosen], counts[chosen])
        t.append((own_ratio - ratio) / own_error)
    high, low = np.percentile(t, [97.5, 2.5])
    return [float(ratio), float(ratio - high * error), float(ratio - low * error)]


def summary():
    """1000 tokens of 250 questions about 125 pictures; every third question is left out."""
    i = np.arange(1000)
    part = (i // 4) % 3 != 0
    kl, agree = ((i * 37) % 101 / 100.0) ** 2, (i % 5 != 0) * 1.0
    loss, loss_original = (i * 13) % 29 / 8.0, (i * 17) % 31 / 8.0
    dp = np.exp(-loss) - np.exp(-loss_original)
    unit = i // 8
    counts = np.array([np.sum(part & (unit == u)) for u in range(125)], float)

    def mean(values):
        sums = np.array([np.sum(values[part & (unit == u)]) for u in range(125)])
        return interval(sums[counts > 0], counts[counts > 0])
    kls, dps = kl[part], dp[part]
    ratio, perplexity = mean(loss - loss_original), mean(loss)
    return {"tokens": int(part.sum()), "kl": mean(kl), "kl_at": list(np.percentile(kls, [50, 90, 99, 99.9, 100])),
            "agreement": mean(agree), "dp": mean(dp), "dp_rms": float(np.sqrt(np.mean(dps ** 2))),
            "dp_at": list(np.percentile(dps, [0.1, 1, 5, 50, 95, 99, 99.9])),
            "perplexity_original": exp(loss_original[part].mean()), "perplexity": [exp(x) for x in perplexity],
            "perplexity_ratio": [exp(x) for x in ratio]}


def mcnemar(lost, gained):
    n = lost + gained
    tail = sum(Fraction(comb(n, k), 2 ** n) for k in range(min(lost, gained) + 1))
    return float(min(Fraction(1), 2 * tail))


def main():
    normalise = official(sys.argv[1])
    values = [round(x, 3) for x in np.random.default_rng(1).normal(size=57).tolist()]
    golden = {
        "vqa": [[a, normalise(a)] for a in ANSWERS],
        "token_scores": [token_score(*case) for case in [
            (2, [1, 2], 1, 0), (7, [3, 4], 4, 6), (128, [5, 5], 8, 77), (129, [6, 7], 8, 128), (512, [8, 9], 16, 511),
            (1000, [10, 11], 32, 0), (4099, [12, 13], 2 ** -10, 4098), (300, [14, 15], 256, 299)]],
        "percentiles": {"values": values, "at": [[p, float(np.percentile(values, p))]
                                                 for p in (0, 0.1, 1, 5, 12.5, 50, 63, 90, 99, 99.9, 100)]},
        "summary": summary(),
        "mcnemar": [[a, b, mcnemar(a, b)] for a, b in [(0, 0), (1, 0), (0, 5), (3, 4), (4, 4), (10, 2), (2, 10),
                                                       (40, 17), (500, 431), (0, 900), (3000, 1)]],
    }
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "evaluate.json"), "w", encoding="utf-8") as f:
        parts = [f'"{name}": ' + re.sub(r"\], \[|\}, \{", lambda m: m[0].replace(" ", "\n"), json.dumps(part))
                 for name, part in golden.items()]
        f.write("{" + ",\n".join(parts) + "}\n")


main()
