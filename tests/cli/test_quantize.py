"""quantize as a user runs it: exact tables, plans, the forms of input and output, the same bytes by every way."""
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
import unittest

from harness import BIN, CliTest, read_bytes, snapshot
from models import BLOCKS, TYPE_IDS, read_gguf, write_pair

TYPES = {**TYPE_IDS, "q4_0": 2, "q8_0": 8, "q2_k": 10, "q4_k": 12, "q5_k": 13, "q6_k": 14, "iq4_nl": 20}


def types_of(path):
    """Tensor name -> ggml type id."""
    return {name: t.type for name, t in read_gguf(path)[1].items()}


def bits_per_weight(path):
    weights = size = 0
    for t in read_gguf(path)[1].values():
        block, _ = BLOCKS[t.type]
        n = 1
        for d in t.ne:
            n *= d
        assert n % block == 0
        weights, size = weights + n, size + len(t.data)
    return size * 8 / weights


class Report(CliTest):
    def test_table(self):
        result = self.check(["demo/model", "out"])
        self.check_golden("quantize-demo.txt", result.out)
        self.assertEqual(sorted(os.listdir(self.path("out"))), ["mmproj-model-layered.gguf", "model-layered.gguf"])

    def test_quantize_by_name_is_the_same(self):
        first = self.check(["demo/model", "out"]).out
        self.assertEqual(self.check(["quantize", "demo/model", "out", "--force"]).out, first)

    def run_next_command(self, out, name):
        """Runs the command that the report printed for a program, as a shell reads it, about a picture."""
        line = next(x for x in out.split("Try it:\n")[1].splitlines() if x.strip().startswith(name))
        line = line.replace("IMAGE", "demo/exam/00000.png").replace("QUESTION", "What is at the center?")
        path = os.pathsep.join((os.path.dirname(BIN), os.environ.get("LQ_LLAMA_BIN", ""), os.environ["PATH"]))
        for _ in range(5):  # llama.cpp's tools lose the end of what they print now and then
            done = subprocess.run(["sh", "-c", line], cwd=self.dir, text=True, stdin=subprocess.DEVNULL,
                                  env=self.environment(PATH=path, LLAMA_ARG_THREADS="1"), capture_output=True)
            self.assertEqual(done.returncode, 0, f"{line}\n{done.stderr}")
            if done.stdout.strip():
                break
        self.assertRegex(done.stdout, r"[a-z]", line)

    def test_next_command(self):
        self.run_next_command(self.check(["demo/model", "out"]).out, "llava-quantize")

    @unittest.skipUnless(os.path.exists(os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-mtmd-cli")),
                         "llama.cpp's tools are not built")
    def test_next_command_of_llama_cpp(self):
        self.run_next_command(self.check(["demo/model", "out"]).out, "llama-mtmd-cli")

    def test_paths_are_quoted_for_a_shell(self):
        out = self.check(["demo/model", "it's $HOME/a model.gguf"]).out
        self.assertIn("--mmproj 'it'\\''s $HOME/mmproj-a model.gguf'", out)
        self.run_next_command(out, "llava-quantize")

    def test_json(self):
        result = self.check(["demo/model", "out", "--json", "-q"], err="")
        report = json.loads(result.out)
        self.assertEqual(set(report), {"command", "version", "recipe", "effort", "feedback", "pair_id", "halves",
                                       "plan"})
        self.assertEqual((report["command"], report["recipe"], report["effort"]), ("quantize", "layered", "normal"))
        self.assertRegex(report["pair_id"], r"\A[0-9a-f]{32}\Z")
        for half in ("vision", "language"):
            found = report["halves"][half]
            self.assertEqual(set(found), {"path", "paths", "bytes", "tensors", "weights", "bytes_before", "bytes_after",
                                          "bpw", "relative_error"})
            self.assertEqual(found["paths"], [found["path"]])
            path = self.path(found["path"])
            self.assertEqual(found["bytes"], os.path.getsize(path))
            self.assertAlmostEqual(found["bpw"], bits_per_weight(path), places=6)
            self.assertEqual(read_gguf(path)[0]["llava_quantize.pair_id"], report["pair_id"])
            plan = {e["name"]: TYPES[e["to"]] for e in report["plan"] if e["half"] == half}
            self.assertEqual(plan, types_of(path))
            self.assertEqual(found["bytes_after"], sum(e["bytes_after"] for e in report["plan"] if e["half"] == half))

    def test_relative_error_is_the_error(self):
        write_pair(self.path("in"), dtype="f32")
        report = json.loads(self.check(["in", "out", "f16", "--json", "-q"]).out)
        before = read_gguf(self.path("in/tiny.gguf"))[1]
        after = read_gguf(self.path("out/tiny-F16.gguf"))[1]
        stated = {e["name"]: e["relative_error"] for e in report["plan"] if e["half"] == "language"}
        for name, tensor in before.items():
            a, b = tensor.array().astype(float), after[name].array().astype(float)
            error = (((a - b) ** 2).sum() / (a ** 2).sum()) ** 0.5
            self.assertAlmostEqual(stated[name], error, delta=1e-9 + 1e-4 * error, msg=name)


class DryRun(CliTest):
    def test_lines(self):
        before = snapshot(self.dir)
        result = self.check(["demo/model", "out", "--dry-run"], err="")
        self.check_golden("dry-run-demo.txt", result.out)
        self.assertEqual(snapshot(self.dir), before)

    def test_json(self):
        before = snapshot(self.dir)
        report = json.loads(self.check(["demo/model", "out", "-n", "--json", "--effort", "best"], err="").out)
        self.assertEqual(snapshot(self.dir), before)
        self.assertEqual(set(report), {"command", "version", "recipe", "effort", "halves", "plan"})
        self.assertEqual(report["effort"], "best")
        self.assertEqual(set(report["halves"]["vision"]), {"paths", "tensors", "weights", "bytes_before", "bytes_after",
                                                           "bpw"})
        self.assertEqual(set(report["plan"][0]), {"name", "half", "role", "from", "to", "bytes_before", "bytes_after",
                                                  "reason"})

    def test_states_the_sizes_that_come_out(self):
        planned = json.loads(self.check(["demo/model", "out", "3", "--dry-run", "--json", "-q"]).out)
        made = json.loads(self.check(["demo/model", "out", "3", "--json", "-q"]).out)
        for half in ("vision", "language"):
            for member, value in planned["halves"][half].items():
                self.assertEqual(made["halves"][half][member], value)

    def test_closed_pipe(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        self.check(["demo/model", "out", "--dry-run", "--json"], stdout=write_end, err="")
        os.close(write_end)


class Plans(CliTest):
    def test_saved_plan_gives_the_same_bytes(self):
        self.check(["demo/model", "direct", "4", "-q"])
        self.check(["demo/model", "unused", "4", "-n", "-q", "--save-plan", "plan.json"])
        self.check(["demo/model", "planned", "--plan", "plan.json", "-q"])
        for name in ("model-4bit.gguf", "mmproj-model-4bit.gguf"):
            self.check_same_files(self.path("direct", name), self.path("planned", name))

    def test_loaded_plan_saved_again_is_the_same(self):
        self.check(["demo/model", "out", "4", "-n", "-q", "--save-plan", "a.json"])
        self.check(["demo/model", "out", "-n", "-q", "--plan", "a.json", "--save-plan", "b.json"])
        self.check(["demo/model", "out", "-n", "-q", "--plan", "b.json", "--save-plan", "c.json"])
        self.check_same_files(self.path("b.json"), self.path("c.json"))

    def test_edited_plan_is_followed(self):
        self.check(["demo/model", "unused", "-n", "-q", "--save-plan", "plan.json"])
        text = read_bytes(self.path("plan.json")).decode()
        edited, n = re.subn(r'("v\.blk\.1\.ffn_up\.weight"[^\n]*)"q4_k"', r'\1"q6_k"', text)
        self.assertEqual(n, 1, text[:500])
        with open(self.path("plan.json"), "w") as f:
            f.write(edited)
        self.check(["demo/model", "a.gguf", "-q"])
        self.check(["demo/model", "b.gguf", "--plan", "plan.json", "-q"])
        a, b = types_of(self.path("mmproj-a.gguf")), types_of(self.path("mmproj-b.gguf"))
        self.assertEqual({n: t for n, t in b.items() if a[n] != t}, {"v.blk.1.ffn_up.weight": TYPES["q6_k"]})

    def test_plan_is_written_beside_the_pair(self):
        self.check(["demo/model", "out", "-q", "--save-plan", "plan.json"])
        self.check(["demo/model", "out", "-n", "-q", "--save-plan", "dry.json"])
        self.check_same_files(self.path("plan.json"), self.path("dry.json"))

    def test_existing_plan_is_kept(self):
        with open(self.path("plan.json"), "w") as f:
            f.write("mine")
        self.check_refused(["demo/model", "out", "--save-plan", "plan.json"],
                           "plan.json: already exists; --force replaces it", code=2)
        self.check(["demo/model", "out", "--save-plan", "plan.json", "--force", "-q"])
        self.assertEqual(json.loads(read_bytes(self.path("plan.json")))["tensors"][0]["name"], "v.class_embd")

    def test_plan_that_has_no_place_is_refused_before_the_work(self):
        self.check(["demo/model", "there", "q8_0", "-q"])
        cases = {"no/such/plan.json": (1, "cannot create: No such file or directory"),
                 "there": (2, "is a folder, expected the path of a file"),
                 "there/plan.json/": (1, "cannot create: No such file or directory"),
                 "out.gguf": (2, "is the name of a model's file; call the plan something like plan.json"),
                 "there/model-Q8_0.GGUF": (2, "is the name of a model's file; call the plan something like plan.json")}
        for path, (code, message) in cases.items():
            with self.subTest(path):
                self.check_refused(["demo/model", "out.gguf", "--save-plan", path, "--force"], f"{path}: {message}",
                                   code=code)

    def test_plan_in_the_folder_that_the_run_makes(self):
        self.check(["demo/model", "out/", "-q", "--save-plan", "out/plan.json"])
        self.assertEqual(len(os.listdir(self.path("out"))), 3)
        self.check_refused(["demo/model", "other", "-n", "--save-plan", "other/plan.json"],
                           "other/plan.json: cannot create: No such file or directory")


class Choices(CliTest):
    def types(self, *args):
        shutil.rmtree(self.path("out"), ignore_errors=True)
        report = json.loads(self.check(["demo/model", "out", *args, "--json", "-q"]).out)
        return {e["name"]: (e["half"], e["role"], e["to"]) for e in report["plan"]}

    def test_names_ignore_case(self):
        for a, b in (("layered", "LAYERED"), ("q4_k_m", "Q4_K_M"), ("iq4_nl", "IQ4_NL"), ("f16", "F16")):
            self.check(["demo/model", "a.gguf", a, "-q", "--force"])
            self.check(["demo/model", "b.gguf", b, "-q", "--force"])
            self.check_same_files(self.path("a.gguf"), self.path("b.gguf"))
            self.check_same_files(self.path("mmproj-a.gguf"), self.path("mmproj-b.gguf"))

    def test_bare_numbers_are_bits(self):
        for number, note in (("2", True), ("3", True), ("4", False), ("5", False), ("6", True), ("8", True)):
            result = self.check(["demo/model", "out", number, "--dry-run"])
            self.assertEqual(bool(result.err), note, result.err)
            if note:
                self.assertRegex(result.err, rf"\A{number} means {number} bits here; .*\n\Z")
            self.assertEqual(self.check(["demo/model", "out", number, "--dry-run", "--quiet"]).err, "")

    def test_one_type(self):
        for name, (_, role, to) in self.types("q4_k").items():
            fixed = role in ("norm", "bias", "patch_embedding", "position_embedding", "class_embedding", "fixed")
            self.assertEqual(to in ("f32", "f16"), fixed, name)

    def test_rule_by_name(self):
        plain, ruled = self.types(), self.types("--type", r"^blk\.2\.ffn_up\.weight$=q5_k")
        self.assertEqual({n for n in plain if plain[n] != ruled[n]}, {"blk.2.ffn_up.weight"})
        self.assertEqual(ruled["blk.2.ffn_up.weight"][2], "q5_k")

    def test_rule_by_role(self):
        plain, ruled = self.types(), self.types("--type", "vision.ffn=q6_k")
        changed = {n for n in plain if plain[n] != ruled[n]}
        self.assertEqual(changed, {n for n, (_, role, _) in plain.items() if role.startswith("vision.ffn")})
        self.assertEqual({ruled[n][2] for n in changed}, {"q6_k"})

    def test_last_rule_wins(self):
        types = self.types("--type", "vision.ffn=q6_k", "--type=v.blk.0.ffn_up=q5_k", "--type", "projector=q4_0")
        self.assertEqual([types[n][2] for n in ("v.blk.0.ffn_up.weight", "v.blk.1.ffn_up.weight", "mm.0.weight")],
                         ["q5_k", "q6_k", "q4_0"])

    def test_each_half_its_own(self):
        both = self.types("--vision", "q8_0", "--language", "4")
        vision, language = self.types("q8_0"), self.types("4")
        for name, found in both.items():
            self.assertEqual(found, (vision if found[0] == "vision" else language)[name])

    def test_threads_do_not_change_a_byte(self):
        for n in (1, 2, 5):
            self.check(["demo/model", f"{n}.gguf", "4", "-q", "-t", n])
            self.check_same_files(self.path("1.gguf"), self.path(f"{n}.gguf"))
            self.check_same_files(self.path("mmproj-1.gguf"), self.path(f"mmproj-{n}.gguf"))


class Inputs(CliTest):
    def test_hugging_face_directly_is_convert_then_quantize(self):
        self.check(["convert", "demo/model", "f32", "f32", "-q"])
        for spec in ("layered", "4", "Q4_K_M"):
            self.check(["demo/model", f"direct-{spec}", spec, "-q"])
            self.check(["f32", f"twice-{spec}", spec, "-q"])
            names = sorted(os.listdir(self.path(f"direct-{spec}")))
            self.assertEqual(sorted(os.listdir(self.path(f"twice-{spec}"))), names)
            for name in names:
                self.check_same_files(self.path(f"direct-{spec}", name), self.path(f"twice-{spec}", name))

    def test_folder_language_file_and_mmproj_by_name_are_the_same(self):
        write_pair(self.path("in"))
        shutil.copytree(self.path("in"), self.path("apart"))
        os.rename(self.path("apart/mmproj-tiny.gguf"), self.path("eyes.gguf"))
        self.check(["in", "a.gguf", "q8_0", "-q"])
        self.check(["in/tiny.gguf", "b.gguf", "q8_0", "-q"])
        self.check(["apart/tiny.gguf", "c.gguf", "q8_0", "-q", "--mmproj", "eyes.gguf"])
        for other in "bc":
            self.check_same_files(self.path("a.gguf"), self.path(f"{other}.gguf"))
            self.check_same_files(self.path("mmproj-a.gguf"), self.path(f"mmproj-{other}.gguf"))

    def test_either_half_alone(self):
        write_pair(self.path("in"))
        self.check(["in", "both.gguf", "q8_0", "-q"])
        for half, name, made in (("language", "tiny", "both"), ("vision", "mmproj-tiny", "mmproj-both")):
            self.check(["in", f"only-{half}.gguf", "q8_0", "-q", "--only", half])
            os.mkdir(self.path(half))
            shutil.copy(self.path(f"in/{name}.gguf"), self.path(half))
            self.check([f"{half}/{name}.gguf", f"alone-{half}.gguf", "q8_0", "-q"])
            self.check_same_files(self.path(f"only-{half}.gguf"), self.path(f"alone-{half}.gguf"))
            self.assertEqual(read_gguf(self.path(f"only-{half}.gguf"))[1], read_gguf(self.path(f"{made}.gguf"))[1])
            self.assertFalse(os.path.exists(self.path(f"mmproj-only-{half}.gguf")))

    def test_cache_of_the_hugging_face_hub(self):
        model = self.path("models--llava-hf--llava-1.5-7b-hf")
        revision = os.path.join(model, "snapshots", "8c85ab0123")
        os.makedirs(revision)
        os.mkdir(os.path.join(model, "blobs"))
        for i, name in enumerate(os.listdir(self.path("demo/model"))):
            shutil.copyfile(self.path("demo/model", name), os.path.join(model, "blobs", str(i)))
            os.symlink(f"../../blobs/{i}", os.path.join(revision, name))
        self.check([revision, "out", "q8_0", "-q"])
        self.check(["demo/model", "plain", "q8_0", "-q"])
        for prefix in ("", "mmproj-"):
            made, plain = (self.path(folder, f"{prefix}{name}-Q8_0.gguf")
                           for folder, name in (("out", "llava-1.5-7b-hf"), ("plain", "model")))
            self.assertEqual(read_gguf(made)[1], read_gguf(plain)[1])

    def test_table_of_one_half(self):
        write_pair(self.path("in"))
        out = self.check(["in", "one", "q8_0", "--only", "vision"]).out
        self.assertIn("mmproj-tiny-Q8_0.gguf", out)
        self.assertNotIn("language", out)
        self.assertNotIn("Try it", out)


class Outputs(CliTest):
    def test_three_forms(self):
        os.mkdir(self.path("there"))
        for output, files in (("there", ["there/model-layered.gguf", "there/mmproj-model-layered.gguf"]),
                              ("new", ["new/model-layered.gguf", "new/mmproj-model-layered.gguf"]),
                              ("x.gguf", ["x.gguf", "mmproj-x.gguf"])):
            self.check(["demo/model", output, "-q"])
            for file in files:
                self.assertTrue(os.path.isfile(self.path(file)), file)
        self.check_same_files(self.path("there/model-layered.gguf"), self.path("x.gguf"))
        self.check_same_files(self.path("there/mmproj-model-layered.gguf"), self.path("mmproj-x.gguf"))

    def test_force(self):
        self.check(["demo/model", "out.gguf", "-q"])
        before = snapshot(self.dir)
        self.check_refused(["demo/model", "out.gguf", "q4_k"],
                           "mmproj-out.gguf: already exists; --force replaces it", code=2)
        self.assertEqual(snapshot(self.dir), before)
        self.check(["demo/model", "out.gguf", "q4_k", "-q", "--force"])
        self.assertNotEqual(snapshot(self.dir), before)
        self.assertEqual(len(os.listdir(self.dir)), 3)


class Progress(CliTest):
    def test_plain_lines(self):
        err = self.check(["demo/model", "out"]).err
        self.assertTrue(err)
        for line in err.splitlines():
            self.assertRegex(line, r"\A *\d+ %  +\d+ MB/s  \d+:\d\d left  .+\Z")
        self.assertLessEqual(len(err.splitlines()), 10)

    def test_verbose(self):
        planned = self.check(["demo/model", "out", "--dry-run"]).out.split("\n\n")[0].splitlines()
        self.assertEqual(self.check(["demo/model", "out", "--verbose"]).err.splitlines(), planned)

    def test_quiet(self):
        self.check(["demo/model", "out", "--quiet"], out="", err="")

    def run_on_terminal(self, columns, *, term="xterm", both=False):
        """What a terminal of that width gets from a run: stderr, or with `both` stdout too."""
        master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
        process = subprocess.Popen([BIN, "demo/model", "out"], cwd=self.dir, env=self.environment(TERM=term),
                                   stderr=terminal, stdout=terminal if both else subprocess.DEVNULL)
        os.close(terminal)
        text = b""
        try:
            while chunk := os.read(master, 4096):
                text += chunk
        except OSError:  # the terminal's last writer has gone
            pass
        self.assertEqual(process.wait(), 0)
        os.close(master)
        return text.decode()

    def test_terminal_line_is_rewritten_and_cut(self):
        columns = 40
        drawings = self.run_on_terminal(columns).split("\r\x1b[K")
        self.assertEqual((drawings[0], drawings[-1]), ("", ""), "the line is wiped at the end")
        self.assertGreater(len(drawings), 2)
        for drawing in drawings:
            self.assertLess(len(drawing), columns)
        self.assertRegex(drawings[1], r"\A *\d+ %")

    def test_terminal_line_is_wiped_before_the_table(self):
        text = self.run_on_terminal(80, both=True)
        self.assertRegex(text.split("\r\x1b[K")[-1], r"\Arole  ")

    def test_dumb_terminal_gets_plain_lines(self):
        text = self.run_on_terminal(80, term="dumb")
        self.assertNotIn("\x1b", text)
        self.assertRegex(text, r"\A *\d+ % .*\r\n")


if __name__ == "__main__":
    unittest.main()
