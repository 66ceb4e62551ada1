"""compare as a build runs it: exit 3 when a bound is broken, 0 when all hold, and each broken one by name."""
import json

from test_eval import EvalTest

FEW = ["--limit", "8", "--threads", "1", "--quiet"]
ANSWERS, TEXT = ["--data", "demo/exam.jsonl"], ["--text", "demo/text.txt"]


class Compare(EvalTest):
    def compare(self, *args, code):
        return self.check(["compare", *args, *FEW], code=code)

    def test_the_second_is_examined_against_the_first(self):
        compared = json.loads(self.compare("f16", "q4", *ANSWERS, "--json", code=0).out)
        evaluated = self.eval("q4", "--against", "f16", *ANSWERS, "--limit", 8)
        for result in (compared, evaluated):
            del result["speed"], result["provenance"]
        self.assertEqual(compared, evaluated)

    def test_bounds(self):
        args = ["f16", "q4", *ANSWERS, *TEXT]
        found = json.loads(self.compare(*args, "--json", code=0).out)
        kl = max(found["kl"]["answer"]["mean"], found["kl"]["text"]["mean"])
        agreement = min(found["agreement"]["answer"], found["agreement"]["text"]) * 100
        flips = found["flips"]["lost"] + found["flips"]["gained"]
        held = ["--max-kld", f"{kl * 1.01:.12f}", "--min-agreement", f"{agreement * 0.999:.6f}", "--max-flips", flips]
        self.assertEqual(self.compare(*args, *held, code=0).err, "")
        result = self.compare(*args, "--max-kld", f"{kl * 0.99:.12f}", code=3)
        self.assertRegex(result.err, r"\A(llava-quantize: q4: --max-kld [\d.e-]+ is broken: the mean KL divergence on "
                         r"(answers|text) is [\d.e-]+\n)+\Z")
        self.assertIn("After pictures", result.out)
        result = self.compare(*args, "--max-kld", 0, "--min-agreement", 100, code=3)
        for where in ("on answers", "on text"):
            self.assertIn(f"the mean KL divergence {where} is ", result.err)
        if agreement < 100:
            self.assertIn("--min-agreement 100 is broken: the likeliest token ", result.err)

    def test_flips(self):
        """With three values to a weight answers change, whatever the demo's weights."""
        self.check(["demo/model", "q2", "tq1_0", "--quiet"])
        found = json.loads(self.compare("f16", "q2", *ANSWERS, "--json", code=0).out)["flips"]
        flips = found["lost"] + found["gained"]
        self.assertGreater(flips, 0)
        self.assertEqual(self.compare("f16", "q2", *ANSWERS, "--max-flips", flips - 1, code=3).err,
                         f"llava-quantize: q2: --max-flips {flips - 1} is broken: {found['lost']} right answers became "
                         f"wrong, {found['gained']} wrong ones right\n")
        self.compare("f16", "q2", *ANSWERS, "--max-flips", flips, code=0)

    def test_a_pair_holds_every_bound_against_itself(self):
        self.compare("q4", "q4", *ANSWERS, "--max-kld", 0, "--min-agreement", 100, "--max-flips", 0, code=0)

    def test_a_bound_on_what_is_not_measured(self):
        result = self.compare("f16", "q4", *TEXT, "--max-flips", 0, code=2)
        self.assertEqual(result.err, "llava-quantize: --max-flips needs --data: without questions no answer is measured; "
                         "see 'llava-quantize compare --help'\n")

    def test_errors_are_not_broken_bounds(self):
        self.compare("f16", "none", *ANSWERS, "--max-kld", 0, code=1)
        self.compare("f16", *ANSWERS, code=2)
        self.compare("f16", "q4", *ANSWERS, "--max-kld", "much", code=2)
