"""bench: the text, the JSON, rows of models, errors that no instruction set changes, and those that are recorded."""
import csv
import io
import json
import os
import re
import unittest

from harness import CliTest, PROJECT, WRAPPED

HEAD = r"type +bpw +error +against ggml"
SPEEDS = r" +encode MB/s +M weights/s +of copy +decode MB/s +copy MB/s"
LINE = r"(\w+) +[\d.]+ +[\d.]+ % +[+-][\d.]+ %"


class Bench(CliTest):
    def errors(self, *args, **more):
        return json.loads(self.check(["bench", "--seconds", "0", "--json", *args], err="", **more).out)

    def test_errors_as_text(self):
        lines = self.check(["bench", "--types", "q8_0,Q4_K", "--rows", "heavy", "--effort", "fast", "--columns", "512",
                            "--importance", "--seconds", "0"], err="").out.splitlines()
        self.assertRegex(lines[0],
                         r"^heavy rows of 512 weights, with importance, effort fast, 1 thread, \w+ kernels$")
        self.assertRegex(lines[1], f"^{HEAD}$")
        self.assertEqual([re.fullmatch(LINE, line)[1] for line in lines[2:]], ["q8_0", "q4_k"])

    def test_speeds(self):
        args = ["bench", "--types", "q8_0", "--seconds", "0.01", "--threads", "2"]
        lines = self.check(args, err="").out.splitlines()
        self.assertRegex(lines[0], ", 2 threads, ")
        self.assertRegex(lines[1], f"^{HEAD}{SPEEDS}$")
        self.assertRegex(lines[2], rf"^{LINE} +\d+ +\d+\.\d +\d+\.\d % +\d+ +\d+$")
        seen = json.loads(self.check([*args, "--json"]).out)["types"][0]
        self.assertTrue(all(seen[name] > 0 for name in ("encode", "decode", "copy", "encode_share")))

    def test_every_row_length_gets_the_types_that_fit(self):
        fitting = [t["type"] for t in self.errors("--columns", "96")["types"]]
        self.assertIn("q8_0", fitting)
        self.assertFalse([t for t in fitting if t.endswith("_k")])

    def test_every_instruction_set_finds_the_same_errors(self):
        here = self.errors("--columns", "1024", "--rows", "outlier")
        scalar = self.errors("--columns", "1024", "--rows", "outlier", env={"LQ_CPU": "scalar"})
        self.assertEqual(scalar["kernels"], "scalar")
        self.assertEqual(scalar["types"], here["types"])

    def test_rows_of_a_model(self):
        folder = self.errors("--rows", "demo/model", "--types", "q4_0,q8_0")
        self.assertNotIn("columns", folder)
        self.assertGreater(folder["types"][0]["weights"], 500000)
        self.check(["convert", "demo/model", "f16", "--quiet"])
        pair = self.errors("--rows", "f16", "--types", "q4_0,q8_0")
        self.assertEqual(pair["types"], folder["types"])

    def test_a_model_that_is_not_there(self):
        self.check_refused(["bench", "--rows", "none.gguf"], "none.gguf: cannot open: No such file or directory", code=1)

    @unittest.skipIf(WRAPPED, "too slow under a tool")
    def test_recorded_errors_are_todays(self):
        """A part of the table that tests/bench/codec.py --update writes. ggml's share of the quotient is compiled code that
        may be contracted where the machine can: the last digits are not held."""
        with open(os.path.join(PROJECT, "tests", "regress", "results.csv"), encoding="utf-8") as f:
            text = next(part for part in f.read().split("\n\n") if part.startswith("type,"))
        recorded = {(r["type"], r["effort"], r["importance"]): r for r in csv.DictReader(io.StringIO(text))}
        for rows, importance in (("heavy", "with"), ("demo", "without")):
            types = [t for t, effort, given in recorded if (effort, given) == ("normal", importance)]
            self.assertEqual(len(types), 13)
            args = ["--rows", "demo/model" if rows == "demo" else rows, "--types", ",".join(types)]
            for seen in self.errors(*args, *["--importance"] * (importance == "with"))["types"]:
                expected = float(recorded[seen["type"], "normal", importance][rows])
                self.assertAlmostEqual(seen["error_ratio"], expected, delta=2e-4, msg=f"{seen['type']}, {rows} rows")


if __name__ == "__main__":
    unittest.main()
