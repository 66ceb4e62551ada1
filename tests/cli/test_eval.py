"""eval as a user runs it: a pair beside itself and beside its original, each half alone, text, bad input, Ctrl-C."""
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile

from harness import BIN, DEMO, CliTest, read_bytes, snapshot
from models import read_gguf, write_gguf
from test_ask import png

FEW = ["--limit", "8", "--threads", "1", "--quiet"]
RUN = ("speed", "provenance")  # what differs from run to run


def measured(result):
    return {name: value for name, value in result.items() if name not in RUN}


def numbers(value, path=""):
    """Every number below `value` with its place."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from numbers(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from numbers(inner, f"{path}[{i}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, value


class EvalTest(CliTest):
    """Each test finds the pairs f16 and q4 in its folder."""

    @classmethod
    def setUpClass(cls):
        cls.pairs = tempfile.mkdtemp(prefix="lq-eval-")
        cls.addClassCleanup(shutil.rmtree, cls.pairs, ignore_errors=True)
        model = os.path.join(DEMO, "model")
        for command in (["convert", model, "f16"], [model, "q4", "4", "--save-plan", "q4.json"]):
            subprocess.run([BIN, *command, "--quiet"], cwd=cls.pairs, check=True, stdout=subprocess.DEVNULL)

    def setUp(self):
        super().setUp()
        for name in ("f16", "q4", "q4.json"):
            os.symlink(os.path.join(self.pairs, name), self.path(name))

    def halves(self, pair):
        """Language file, mmproj."""
        files = sorted(os.listdir(self.path(pair)), key=lambda name: name.startswith("mmproj"))
        return [f"{pair}/{name}" for name in files]

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        return name

    def write_records(self, name, records):
        return self.write(name, "".join(json.dumps(r) + "\n" for r in records))

    def exam(self, n):
        """The exam's first records, as Python objects, with pictures under `demo/`."""
        with open(os.path.join(DEMO, "exam.jsonl"), encoding="utf-8") as f:
            records = [json.loads(next(f)) for _ in range(n)]
        return [{**r, "image": f"demo/{r['image']}"} for r in records]

    def eval(self, *args, **more):
        """The result."""
        return json.loads(self.check(["eval", *args, "--json", "--threads", 1, "--quiet"], err="", **more).out)


class Figures(EvalTest):
    def test_a_pair_beside_itself_differs_by_nothing(self):
        result = self.eval("q4", "--against", "q4", "--data", "demo/exam.jsonl", "--text", "demo/text.txt", "--by-half",
                           "--limit", 6, "--window", 64)
        for arm in (result, result["by_half"]["language"], result["by_half"]["vision"]):
            for where in ("answer", "text"):
                if arm is result["by_half"]["vision"] and where == "text":
                    self.assertIsNone(arm["kl"]["text"]["mean"])
                    continue
                self.assertEqual(set(arm["kl"][where].values()), {0})
                self.assertEqual(set(arm["dp"][where].values()), {0})
                self.assertEqual(arm["agreement"][where], 1)
                self.assertEqual(arm["perplexity"][where]["ratio"], 1)
                self.assertEqual(arm["perplexity"][where]["original"], arm["perplexity"][where]["quantised"])
            self.assertEqual((arm["flips"]["lost"], arm["flips"]["gained"], arm["flips"]["changed"]), (0, 0, 0))
            self.assertEqual(arm["exact"]["original"], arm["exact"]["quantised"])
        self.assertEqual({p["cosine"] for p in result["pictures"]}, {1})
        self.assertEqual({p["relative_error"] for p in result["pictures"]}, {0})
        self.assertEqual({t["error"] for t in result["tensors"]}, {0})
        self.assertEqual({(q["kl"], q["agreement"]) for q in result["questions"]}, {(0, 1)})
        self.assertTrue(all(q["answer"] == q["answer_original"] for q in result["questions"]))

    def test_two_runs_are_the_same(self):
        args = ["q4", "--against", "f16", "--data", "demo/exam.jsonl", "--text", "demo/text.txt", "--by-half",
                "--limit", 6]
        first, second = self.eval(*args), self.eval(*args)
        self.assertEqual(measured(first), measured(second))
        self.assertGreater(first["kl"]["answer"]["mean"], 0)
        self.assertGreater(first["kl"]["text"]["mean"], 0)

    def test_f16_answers_as_hugging_face(self):
        result = self.eval("f16", "--data", "demo/exam.jsonl")
        with open(os.path.join(DEMO, "golden.jsonl"), encoding="utf-8") as f:
            golden = {str(r["question_id"]): r for r in map(json.loads, f)}
        self.assertEqual([q["id"] for q in result["questions"]], list(golden))
        same = sum(q["answer"] == golden[q["id"]]["answer"] for q in result["questions"])
        self.assertGreaterEqual(same, 0.99 * len(golden))
        for q in result["questions"]:
            self.assertEqual(q["exact"], q["answer"] == q["right"])
        self.assertEqual(sum(k["counts"]["questions"] for k in result["kinds"]), len(golden))

    def test_a_half_that_is_the_same_does_no_damage(self):
        (f16, f16_vision), (q4, q4_vision) = self.halves("f16"), self.halves("q4")
        data = ["--against", "f16", "--data", "demo/exam.jsonl", "--by-half", "--limit", 6]
        result = self.eval(q4, "--mmproj", f16_vision, *data)
        self.assertEqual(set(result["by_half"]["vision"]["kl"]["answer"].values()), {0})
        self.assertEqual(result["by_half"]["language"]["kl"], result["kl"])
        self.assertGreater(result["kl"]["answer"]["mean"], 0)
        result = self.eval(f16, "--mmproj", q4_vision, *data)
        self.assertEqual(set(result["by_half"]["language"]["kl"]["answer"].values()), {0})
        self.assertEqual(result["by_half"]["vision"]["kl"], result["kl"])
        self.assertGreater(result["kl"]["answer"]["mean"], 0)

    def test_a_question_does_not_depend_on_the_others(self):
        """But for rounding, which batches of another shape do otherwise."""
        args = ["q4", "--against", "f16", "--data", "demo/exam.jsonl"]
        few, more = (self.eval(*args, "--limit", n) for n in (5, 15))
        more = {q["id"]: q for q in more["questions"]}
        shared = [(q, more[q["id"]]) for q in few["questions"] if q["id"] in more]
        self.assertGreaterEqual(len(shared), 4)
        for a, b in shared:
            self.assertAlmostEqual(a["kl"], b["kl"], delta=5e-4 + 0.25 * b["kl"])
        self.assertGreaterEqual(sum(a["answer"] == b["answer"] for a, b in shared), len(shared) - 1)

    def test_without_an_original(self):
        result = self.eval("q4", "--data", "demo/exam.jsonl", "--text", "demo/text.txt", "--limit", 4)
        self.assertIsNone(result["original_name"])
        self.assertIsNone(result["kl"]["answer"]["mean"])
        self.assertIsNone(result["exact"]["original"])
        self.assertEqual(result["pictures"], [])
        self.assertGreater(result["perplexity"]["answer"]["quantised"], 1)
        self.assertGreater(result["perplexity"]["text"]["quantised"], 1)
        self.assertIsNotNone(result["exact"]["quantised"])
        self.assertIsNone(result["speed"]["original"]["tokens_per_second"])

    def test_conversations_have_several_turns(self):
        turns = [{"from": "human", "value": "<image>\nWhat shape is the pink object?"}, {"from": "gpt", "value": "triangle"},
                 {"from": "human", "value": "Where is the triangle?"}, {"from": "gpt", "value": "center"}]
        self.write("talk.json", json.dumps([{"id": "a", "image": "demo/exam/00001.png", "conversations": turns},
                                            {"id": "b", "image": "demo/exam/00001.png", "conversations": turns[:2]}]))
        result = self.eval("q4", "--against", "f16", "--data", "talk.json")
        self.assertEqual([(q["id"], q["question"], q["right"]) for q in result["questions"]],
                         [("a", "What shape is the pink object?", "triangle"), ("a", "Where is the triangle?", "center"),
                          ("b", "What shape is the pink object?", "triangle")])
        first, _, alone = result["questions"]
        self.assertAlmostEqual(first["kl"], alone["kl"], delta=1e-6)
        self.assertEqual(first["answer"], alone["answer"])
        self.assertEqual(len(result["pictures"]), 1)

    def test_many_questions_about_one_picture(self):
        """More than go into one group, in any order in the file."""
        asked, *others = self.exam(6)
        records = [{**asked, "question_id": f"same {i}"} for i in range(20)]
        mixed = records[:3] + others + records[3:]
        self.write_records("data.jsonl", mixed)
        result = self.eval("q4", "--against", "f16", "--data", "data.jsonl")
        self.assertEqual([q["id"] for q in result["questions"]], [str(r["question_id"]) for r in mixed])
        self.assertEqual(len(result["pictures"]), len({r["image"] for r in mixed}))
        same = [q for q in result["questions"] if q["id"].startswith("same")]
        for q in same:
            self.assertAlmostEqual(q["kl"], same[0]["kl"], delta=5e-4 + 0.25 * same[0]["kl"])
            self.assertEqual(q["question"], asked["text"])

    def test_windows(self):
        args = ["q4", "--against", "f16", "--text", "demo/text.txt", "--limit", 3]
        counts = {}
        for window in (32, 33, 512):
            result = self.eval(*args, "--window", window)
            counts[window] = result["counts"]["text_tokens"]
            self.assertEqual(result["provenance"]["window"], window)
            self.assertEqual(result["provenance"]["text_windows"], 3)
            self.assertIsNone(result["kl"]["answer"]["mean"])
        self.assertEqual(counts, {32: 3 * 15, 33: 3 * 16, 512: 3 * 255})
        halves = self.eval(*args, "--by-half")["by_half"]
        self.assertEqual(halves["language"]["kl"], result["kl"])
        self.assertIsNone(halves["vision"])

    def test_tensors(self):
        result = self.eval("q4", "--against", "f16", "--text", "demo/text.txt", "--limit", 1, "--plan", "q4.json")
        self.assertTrue(all(t["reason"] for t in result["tensors"]))
        checked = json.loads(self.check(["verify", "q4", "--against", "f16", "--json", "--all", "--quiet"]).out)
        errors = {t["name"]: t["relative_error"] for t in checked["tensors"]}
        self.assertEqual(len(errors), len(result["tensors"]))
        for t in result["tensors"]:
            self.assertAlmostEqual(t["error"], errors[t["name"]], delta=1e-8)

    def test_provenance(self):
        args = ["eval", "q4", "--against", "f16", "--data", "demo/exam.jsonl", "--limit", "2", "--seed", "7", "--json",
                "-t1", "-q"]
        result = json.loads(self.check(args).out)
        p = result["provenance"]
        self.assertEqual(p["command"], "llava-quantize " + " ".join(args))
        self.assertEqual((p["pictures"], p["records"], p["broken"], p["seed"], p["limit"], p["threads"]), (2, 4, 0, 7, 2, 1))
        self.assertEqual(p["runtime"], "llama.cpp 0.5.0")
        self.assertTrue(p["cpu"])
        for half in ("language", "vision"):
            for which, pair in (("original", "f16"), ("quantised", "q4")):
                facts = result["halves"][half][which]
                file = self.halves(pair)[half == "vision"]
                self.assertEqual((facts["path"], facts["bytes"]), (file, os.path.getsize(self.path(file))))
                sums = subprocess.run(["sha256sum", self.path(file)], capture_output=True, text=True, check=True).stdout
                self.assertEqual(facts["sha256"], sums.split()[0])
        for which in ("original", "quantised"):
            self.assertTrue(all(value > 0 for _, value in numbers(result["speed"][which])))
        other = self.eval("q4", "--data", "demo/exam.jsonl", "--limit", 2, "--seed", 8)
        self.assertNotEqual({q["image"] for q in other["questions"]}, {q["image"] for q in result["questions"]})


class Output(EvalTest):
    def test_table(self):
        args = ["eval", "q4", "--against", "f16", "--data", "demo/exam.jsonl", "--text", "demo/text.txt", *FEW]
        text = self.check([*args, "--by-half", "-o", "q4-result.json"], err="").out
        with open(self.path("q4-result.json"), encoding="utf-8") as f:
            result = json.load(f)
        self.assertEqual(text.splitlines()[0], result["verdict"] + ".")
        for title in ("After pictures", "On text", "Greedy answers", "Which half does the damage", "By kind of question",
                      "Projector output", "Size and speed"):
            self.assertIn(f"\n{title}", text)
        self.assertNotIn("nan", text)
        self.assertLessEqual(max(map(len, text.splitlines()[1:])), 100)

    def test_what_was_not_measured_says_so(self):
        text = self.check(["eval", "q4", "--text", "demo/text.txt", *FEW]).out
        self.assertIn("\nAfter pictures: not measured\n", text)
        self.assertNotIn("nan", text)

    def test_progress(self):
        result = self.check(["eval", "q4", "--data", "demo/exam.jsonl", "--limit", 12, "--threads", 1])
        self.assertRegex(result.err, r"(?m)^ *\d+ %  \d+:\d\d left  picture \d+ of 12$")
        self.assertNotIn("MB/s", result.err)

    def test_the_result_of_json_and_output_is_the_same(self):
        printed = self.eval("q4", "--data", "demo/exam.jsonl", "--limit", 3, "--output", "r.json")
        with open(self.path("r.json"), encoding="utf-8") as f:
            self.assertEqual(json.load(f), printed)

    def limited(self, *args):
        """Run where files may have 100 bytes only."""
        return self.run_cli(["eval", "q4", "--data", "demo/exam.jsonl", *FEW, *args],
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)))

    def test_a_full_disk_keeps_the_old_result(self):
        self.write("r.json", "old")
        before = snapshot(self.dir)
        result = self.limited("-o", "r.json")
        self.assertEqual(result.code, 1)
        self.assertRegex(result.err, r"\Allava-quantize: r\.json: .*\n\Z")
        self.assertIn("Greedy answers", result.out)
        self.assertEqual(snapshot(self.dir), before)

    def test_places_that_cannot_be_written(self):
        for place, why in (("none/r.json", "No such file or directory"), ("/dev/null", "not an ordinary file")):
            self.check_refused(["eval", "q4", "--data", "demo/exam.jsonl", *FEW, "-o", place],
                               f"{place}: cannot be written: {why}")
        self.assertFalse(os.path.isfile("/dev/null"))

    def test_an_input_is_never_written_over(self):
        data = self.write_records("data.jsonl", self.exam(4))
        for option in ("--output", "--report"):
            self.check_refused(["eval", "q4", "--data", data, *FEW, option, "./data.jsonl"],
                               "./data.jsonl: is also the input, data.jsonl; choose another output", code=2)

    def test_report(self):
        text = self.check(["eval", "q4", "--against", "f16", "--data", "demo/exam.jsonl", *FEW, "--report", "page.html",
                           "-o", "r.json"]).out
        self.assertTrue(text.endswith("\nThe report: page.html\n"))
        self.check(["report", "r.json", "-o", "again.html"])
        self.check_same_files(self.path("page.html"), self.path("again.html"))

    def test_a_full_disk_keeps_the_old_page(self):
        self.write("page.html", "old")
        result = self.limited("--report", "page.html")
        self.assertEqual(result.code, 1)
        self.assertEqual(read_bytes(self.path("page.html")), b"old")

    def test_interrupt(self):
        before = snapshot(self.dir)
        process = subprocess.Popen([BIN, "eval", "q4", "--against", "f16", "--data", "demo/exam.jsonl", "--threads", "1",
                                    "-o", "r.json"], cwd=self.dir, env=self.environment(), text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        while "picture" not in (line := process.stderr.readline()):
            self.assertTrue(line, "ended too soon")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        self.assertEqual((process.returncode, out, err.splitlines()[-1]), (1, "", "llava-quantize: interrupted"))
        self.assertEqual(snapshot(self.dir), before)


class BadInput(EvalTest):
    def refused(self, args, message, code=1):
        """One error line that holds `message`, nothing on stdout."""
        result = self.run_cli(["eval", *args, "--threads", 1, "--quiet"])
        self.assertEqual((result.code, result.out), (code, ""), result.err)
        self.assertRegex(result.err, r"\Allava-quantize: [^\n]*\n\Z")
        self.assertIn(message, result.err)

    def test_data_sets(self):
        self.refused(["q4", "--data", self.write("empty.jsonl", "")], "empty.jsonl: ")
        self.refused(["q4", "--data", self.write("list.json", "[]")], "list.json: ")
        self.refused(["q4", "--data", self.write("bad.jsonl", '{"image": \n')], "bad.jsonl: ")
        self.refused(["q4", "--data", "none.jsonl"], "none.jsonl: ")

    def test_pairs(self):
        data = ["--data", "demo/exam.jsonl"]
        language, vision = self.halves("f16")
        self.refused(["demo/model", *data], "'llava-quantize convert' makes a GGUF pair of it", code=2)
        self.refused(["q4", "--against", "demo/model", *data], "'llava-quantize convert' makes a GGUF pair of it", code=2)
        self.refused([vision, *data], f"{vision}: is a vision half alone; name the language half", code=2)
        os.mkdir(self.path("alone"))
        shutil.copy(self.path(language), self.path("alone/m.gguf"))
        self.refused(["alone/m.gguf", *data], "name one with --mmproj FILE", code=2)
        self.refused(["q4", "--against", "alone/m.gguf", *data], "name one with --against-mmproj FILE", code=2)
        self.write("cut.gguf", read_bytes(self.path(language))[:1000000])
        self.refused(["cut.gguf", "--mmproj", vision, *data], "cut.gguf: ")

    def test_vocabularies_that_differ(self):
        language, vision = self.halves("f16")
        keys, tensors = read_gguf(self.path(language))
        tokens = keys["tokenizer.ggml.tokens"]
        tokens[300] = "surely not there"
        write_gguf(self.path("other.gguf"), keys, tensors)
        self.refused(["other.gguf", "--mmproj", vision, "--against", "f16", "--data", "demo/exam.jsonl"], "300", code=2)

    def pictures(self, n, path):
        """A data set of 20 questions, of which the first n are about the picture at `path`."""
        records = self.exam(20)
        return self.write_records("data.jsonl", [{**r, "image": path} if i < n else r for i, r in enumerate(records)])

    def left_out(self, path, why):
        """One broken picture of twenty is named and left out, three are too many, and one is with --strict."""
        args = ["eval", "q4", "--against", "f16", "--threads", 1, "--json", "--data"]
        result = self.check([*args, self.pictures(1, path)])
        lines = [line for line in result.err.splitlines() if not re.match(r" *\d+ %", line)]
        self.assertEqual(len(lines), 1, result.err)
        self.assertIn(f"{path}: ", lines[0])
        self.assertIn(why, lines[0])
        found = json.loads(result.out)
        self.assertEqual((found["provenance"]["broken"], found["counts"]["questions"]), (1, 19))
        self.assertEqual(len(found["questions"]), 19)
        self.refused(["q4", "--data", self.pictures(3, path)], "3 of 20 records cannot be used, at most a tenth may")
        self.refused(["q4", "--data", self.pictures(1, path), "--strict"], why)

    def test_missing_picture(self):
        self.left_out("none.png", "No such file or directory")

    def test_picture_without_pixels(self):
        self.write("flat.png", png(0, 8, b""))
        self.left_out("flat.png", "0 x 8")

    def test_gigantic_picture(self):
        self.write("huge.png", png(100000, 100000, b""))
        self.left_out("huge.png", "100000")

    def test_picture_that_is_none(self):
        self.write("words.png", "no picture at all")
        self.left_out("words.png", "words.png")

    def test_question_longer_than_the_context(self):
        records = self.exam(20)
        records[3]["text"] = "Is there a red ring? " * 400
        self.write_records("data.jsonl", records)
        result = self.check(["eval", "q4", "--data", "data.jsonl", "--threads", 1, "--json"])
        self.assertRegex(result.err, r"data\.jsonl: record '3': text of \d+ tokens and picture of 64 are longer than the "
                         r"model's context of 1024; left out")
        self.assertEqual(json.loads(result.out)["provenance"]["broken"], 1)

    def test_texts(self):
        self.refused(["q4", "--text", self.write("short.txt", "Hello")], "tokens, but a window takes 512", code=2)
        self.refused(["q4", "--text", self.write("void.txt", "")], "void.txt: 1 tokens", code=2)
        self.refused(["q4", "--text", self.write("bytes.txt", b"\xff\xfe" * 2000)], "bytes.txt: not a text in UTF-8")
        self.refused(["q4", "--text", self.write("zero.txt", b"red " * 2000 + b"\0")], "zero.txt: not a text in UTF-8")
        self.refused(["q4", "--text", "none.txt"], "none.txt: ")
        self.refused(["q4", "--text", "demo/text.txt", "--window", 2048], "1024, the model's context", code=2)

    def test_plans(self):
        args = ["q4", "--text", "demo/text.txt", "--limit", 1, "--plan"]
        self.refused([*args, "none.json"], "none.json: ")
        self.refused([*args, self.write("plan.json", "{")], "plan.json: line 1")
        self.refused([*args, self.write("plan.json", "{}")], "there is no array 'tensors'")

    def test_wrong_use(self):
        self.refused(["q4"], "nothing to evaluate on", code=2)
        self.refused(["q4", "--by-half", "--text", "demo/text.txt"], "--by-half needs --against", code=2)
        self.refused(["q4", "--images", "demo", "--text", "demo/text.txt"], "--images needs --data", code=2)
