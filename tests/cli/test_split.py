"""Split models: shards out by size or as they came in, any shard in, joined again, and what is refused."""
import json
import os
import shutil
import subprocess
import tempfile

from harness import BIN, DEMO, CliTest, snapshot
from models import read_gguf, write_gguf

LIMIT = 2000000
QUESTIONS = [("00000.png", "What is at the center?"), ("00001.png", "What shape is the pink object?"),
             ("00004.png", "Describe the image.")]


def u16(value):
    return 2, value.to_bytes(2, "little")


def i32(value):
    return 5, value.to_bytes(4, "little")


def split_by_hand(source, stem, cuts):
    """Writes `source` as gguf-split does: all keys in the first shard, split.* in all; cuts: tensors of each."""
    keys, tensors = read_gguf(source)
    names = list(tensors)
    assert sum(cuts) == len(names)
    paths = []
    for i, n in enumerate(cuts):
        place = {"split.no": u16(i), "split.count": u16(len(cuts)), "split.tensors.count": i32(len(tensors))}
        paths.append(f"{stem}-{i + 1:05d}-of-{len(cuts):05d}.gguf")
        taken, names = names[:n], names[n:]
        write_gguf(paths[-1], {**keys, **place} if i == 0 else place, {name: tensors[name] for name in taken})
    return paths


class Split(CliTest):
    """The demo in f16, whole and in shards of at most 2 MB, made once."""
    @classmethod
    def setUpClass(cls):
        cls.pairs = tempfile.mkdtemp(prefix="lq-split-")
        cls.addClassCleanup(shutil.rmtree, cls.pairs, ignore_errors=True)
        model = os.path.join(DEMO, "model")
        for command in (["convert", model, "whole"], ["convert", model, "split", "--split-size", "2M"]):
            subprocess.run([BIN, *command, "--quiet"], cwd=cls.pairs, check=True, stdout=subprocess.DEVNULL)
        cls.shards = [f"model-F16-{i:05d}-of-00004.gguf" for i in range(1, 5)]

    def setUp(self):
        super().setUp()
        for name in ("whole", "split"):
            shutil.copytree(os.path.join(self.pairs, name), self.path(name))

    def ask(self, pair, picture, question):
        return self.check(["ask", pair, f"demo/exam/{picture}", question, "--threads", 1]).out

    def same_tensors(self, paths, whole):
        """The shards' tensors in order are those of the whole file."""
        found = {}
        for path in paths:
            found.update(read_gguf(self.path(path))[1])
        expected = read_gguf(self.path(whole))[1]
        self.assertEqual(list(found), list(expected))
        self.assertTrue(found == expected, "data differ")


class Output(Split):
    def test_files(self):
        self.assertEqual(sorted(os.listdir(self.path("split"))), ["mmproj-model-F16.gguf", *self.shards])
        paths = [f"split/{name}" for name in self.shards]
        self.same_tensors(paths, "whole/model-F16.gguf")
        self.check_same_files(self.path("split/mmproj-model-F16.gguf"), self.path("whole/mmproj-model-F16.gguf"))
        whole, _ = read_gguf(self.path("whole/model-F16.gguf"))
        for i, path in enumerate(paths):
            self.assertLessEqual(os.path.getsize(self.path(path)), LIMIT)
            keys, _ = read_gguf(self.path(path))
            place = {"split.no": i, "split.count": 4, "split.tensors.count": 39}
            own = whole if i == 0 else {"llava_quantize.pair_id": whole["llava_quantize.pair_id"]}
            self.assertEqual(keys, {**own, **place})

    def test_table_and_json(self):
        done = self.check(["demo/model", "out", "f16", "--split-size=2M"])
        written = [f"out/{n}" for n in (*self.shards, "mmproj-model-F16.gguf")]
        lines = done.out.split("Written:\n")[1].split("\n\n")[0].splitlines()
        self.assertEqual([line.split()[-1] for line in lines], written)
        report = json.loads(self.check(["demo/model", "two", "f16", "--split-size", "2m", "--json", "-q"]).out)
        half = report["halves"]["language"]
        self.assertEqual(half["paths"], [f"two/{n}" for n in self.shards])
        self.assertEqual(half["path"], half["paths"][0])
        self.assertEqual(half["bytes"], sum(os.path.getsize(self.path(p)) for p in half["paths"]))
        self.assertEqual(report["halves"]["vision"]["paths"], ["two/mmproj-model-F16.gguf"])

    def test_dry_run_lists_what_is_written(self):
        before = snapshot(self.dir)
        planned = self.check(["demo/model", "out.gguf", "q8_0", "--split-size", "1M", "-n"]).out
        report = json.loads(self.check(["demo/model", "out.gguf", "q8_0", "--split-size", "1M", "-n", "--json"]).out)
        self.assertEqual(snapshot(self.dir), before)
        written = self.check(["demo/model", "out.gguf", "q8_0", "--split-size", "1M"]).out
        listed = planned.split("Would write:\n")[1]
        self.assertEqual(written.split("Written:\n")[1].split("\n\n")[0] + "\n", listed)
        paths = report["halves"]["language"]["paths"]
        self.assertEqual(len(paths), 5)
        self.assertEqual(paths[2], "out-00003-of-00005.gguf")
        for path in paths:
            self.assertTrue(os.path.exists(self.path(path)), path)

    def test_notes(self):
        """Files that stay larger than asked for are named, the mmproj among them."""
        whole = os.path.getsize(self.path("whole/mmproj-model-F16.gguf"))
        alone = self.check(["convert", "demo/model", "out", "--split-size", "300M"]).err
        self.assertNotIn("stays one file", alone)
        done = self.check(["convert", "demo/model", "small", "f32", "--split-size", "1M"])
        self.assertIn("small/mmproj-model-F32.gguf: stays one file of ", done.err)
        self.assertIn("llama.cpp loads no split mmproj", done.err)
        self.assertNotIn("with one tensor alone", done.err)
        self.assertGreater(whole, LIMIT)

    def test_same_bytes_for_any_thread_count(self):
        for threads in (1, 5):
            self.check(["demo/model", f"t{threads}", "q4_k", "--split-size", "1M", "--threads", threads])
        names = sorted(os.listdir(self.path("t1")))
        self.assertEqual(names, sorted(os.listdir(self.path("t5"))))
        self.assertGreater(len(names), 3)
        for name in names:
            self.check_same_files(self.path("t1", name), self.path("t5", name))

    def test_replacing(self):
        self.check_refused(["convert", "demo/model", "split", "--split-size", "2M"],
                           "split/mmproj-model-F16.gguf: already exists; --force replaces it", code=2)
        os.remove(self.path("split/mmproj-model-F16.gguf"))
        self.check_refused(["convert", "demo/model", "split", "--split-size", "2M"],
                           f"split/{self.shards[0]}: already exists; --force replaces it", code=2)
        self.check(["convert", "demo/model", "split", "--split-size", "2M", "--force"])
        self.same_tensors([f"split/{name}" for name in self.shards], "whole/model-F16.gguf")


    def test_an_earlier_output_split_otherwise_is_named(self):
        for args, other in ((["--split-size", "2M"], "model-F16.gguf"), ([], "model-F16-00001-of-00004.gguf"),
                            (["--split-size", "3M"], "model-F16-00001-of-00004.gguf")):
            folder = "whole" if other == "model-F16.gguf" else "split"
            with self.subTest(other):
                before = snapshot(self.path(folder))
                done = self.check(["convert", "demo/model", folder, "--force", *args])
                self.assertIn(f"{folder}/{other}: an earlier output, split otherwise, stays beside the new one; delete "
                              "it if it is not wanted\n", done.err)
                self.assertEqual(snapshot(self.path(folder))[other], before[other])
                self.assertNotIn("earlier output", self.check(["convert", "demo/model", f"new-{len(args)}", *args]).err)
                shutil.rmtree(self.path(f"new-{len(args)}"))


class Input(Split):
    def test_any_shard_joins(self):
        for name in ("split", *(f"split/{shard}" for shard in self.shards)):
            with self.subTest(name):
                self.check([name, "joined", "copy", "--force"])
                self.assertEqual(sorted(os.listdir(self.path("joined"))), ["mmproj-model-copy.gguf", "model-copy.gguf"])
                self.same_tensors(["joined/model-copy.gguf"], "whole/model-F16.gguf")
                keys, _ = read_gguf(self.path("joined/model-copy.gguf"))
                self.assertFalse([key for key in keys if key.startswith("split.")])

    def test_quantised_alike(self):
        self.check(["whole", "a.gguf", "q4_0"])
        self.check(["split", "b.gguf", "q4_0"])
        for prefix in ("", "mmproj-"):
            self.check_same_files(self.path(f"{prefix}a.gguf"), self.path(f"{prefix}b.gguf"))

    def test_shards_of_gguf_split(self):
        """Shards as llama.cpp's own tool writes them: split.* alone in all but the first; an empty one among them."""
        folder = self.path("hand")
        os.mkdir(folder)
        shutil.copy(self.path("whole/mmproj-model-F16.gguf"), folder)
        paths = split_by_hand(self.path("whole/model-F16.gguf"), os.path.join(folder, "model-F16"), [0, 20, 19])
        self.check(["hand", "kept", "q8_0", "--keep-split"])
        counts = [len(read_gguf(self.path("kept", os.path.basename(p).replace("F16", "Q8_0")))[1]) for p in paths]
        self.assertEqual(counts, [0, 20, 19])
        picture, question = QUESTIONS[0]
        self.assertEqual(self.ask("hand", picture, question), self.ask("whole", picture, question))

    def test_keep_split(self):
        self.check(["split", "kept", "q8_0", "--keep-split"])
        for shard in self.shards:
            expected = list(read_gguf(self.path("split", shard))[1])
            self.assertEqual(list(read_gguf(self.path("kept", shard.replace("F16", "Q8_0")))[1]), expected)
        self.check(["whole", "plain", "q8_0", "--keep-split"])
        self.assertEqual(sorted(os.listdir(self.path("plain"))), ["mmproj-model-Q8_0.gguf", "model-Q8_0.gguf"])

    def test_a_split_mmproj_is_joined(self):
        """llama.cpp loads none, so that is said before it is asked, with the command that helps."""
        source = self.path("whole/mmproj-model-F16.gguf")
        split_by_hand(source, source[:-5], [40, 33])
        os.remove(source)
        picture, question = QUESTIONS[0]
        self.check_refused(["ask", "whole", f"demo/exam/{picture}", question],
                           "whole/mmproj-model-F16-00001-of-00002.gguf: one shard of several, but llama.cpp loads no "
                           "split mmproj; 'llava-quantize quantize PAIR OUTPUT copy' joins them")
        done = self.check(["whole", "joined", "copy", "--keep-split"])
        self.assertIn("joined/mmproj-model-copy.gguf: stays one file of ", done.err)
        self.assertEqual(sorted(os.listdir(self.path("joined"))), ["mmproj-model-copy.gguf", "model-copy.gguf"])
        self.assertEqual(self.ask("joined", picture, question), self.ask("split", picture, question))


class Answers(Split):
    def test_same_answers(self):
        for picture, question in QUESTIONS:
            with self.subTest(question):
                answer = self.ask("whole", picture, question)
                self.assertEqual(self.ask("split", picture, question), answer)
        self.assertEqual(self.ask(f"split/{self.shards[2]}", *QUESTIONS[-1]), answer)

    def test_inspect_names_all_shards(self):
        seen = json.loads(self.check(["inspect", f"split/{self.shards[1]}", "--json"]).out)
        self.assertEqual(seen["halves"]["language"]["paths"], [f"split/{shard}" for shard in self.shards])
        self.assertEqual(seen["halves"]["language"]["path"], f"split/{self.shards[0]}")
        self.assertEqual(seen["halves"]["vision"]["paths"], ["split/mmproj-model-F16.gguf"])
        text = self.check(["inspect", "split"]).out
        self.assertIn(f"  split/{self.shards[0]} and 3 more shards\n", text)
        self.assertIn("  split/mmproj-model-F16.gguf\n", text)

    def test_missing_shard(self):
        os.remove(self.path("split", self.shards[2]))
        for command in (["ask", "split", "demo/exam/00000.png", "?"], ["split", "out"], ["inspect", "split"]):
            with self.subTest(command[0]):
                self.check_refused(command, f"split/{self.shards[2]}: this shard is missing: "
                                   f"split/{self.shards[0]} is one of 4")


class Refused(Split):
    def test_wrong_use(self):
        size = "is not a size such as 500M or 2G (millions or thousand millions of bytes)"
        for args, message in ((["--split-size", "2"], f"--split-size: '2' {size}"),
                              (["--split-size", "M"], f"--split-size: 'M' {size}"),
                              (["--split-size", "0G"], f"--split-size: '0G' {size}"),
                              (["--split-size", "-1G"], f"--split-size: '-1G' {size}"),
                              (["--split-size", "2GB"], f"--split-size: '2GB' {size}"),
                              (["--split-size", "1.G"], f"--split-size: '1.G' {size}"),
                              (["--split-size", "9999999999G"], f"--split-size: '9999999999G' {size}"),
                              (["--split-size", "2G", "--keep-split"],
                               "--keep-split and --split-size contradict each other")):
            with self.subTest(args):
                self.check_refused(["split", "out", *args], f"{message}; see 'llava-quantize quantize --help'", code=2)

    def test_the_name_of_a_shard(self):
        self.check_refused(["split", "out-00001-of-00002.gguf"],
                           "out-00001-of-00002.gguf: the name of a shard; leave out its numbers", code=2)

    def test_output_over_input(self):
        self.check_refused(["split", "split/model-F16.gguf", "copy", "--keep-split", "--force"],
                           "split/mmproj-model-F16.gguf: is also the input, split/mmproj-model-F16.gguf; choose "
                           "another output", code=2)
        self.check_refused(["split", "split/model-F16.gguf", "copy", "--keep-split", "--force", "--only", "language"],
                           f"split/{self.shards[0]}: is also the input, split/{self.shards[0]}; choose another output",
                           code=2)

    def test_shards_of_two_runs(self):
        self.check(["demo/model", "other.gguf", "f16", "--language", "bf16", "--split-size", "2M"])
        shutil.copy(self.path("other-00002-of-00004.gguf"), self.path("split", self.shards[1]))
        self.check_refused(["split", "out"], f"split/{self.shards[1]}: foreign to split/{self.shards[0]}: "
                           "llava_quantize.pair_id differs")

    def test_surplus_shard(self):
        extra = self.shards[3].replace("00004-of", "00005-of")
        shutil.copy(self.path("split", self.shards[3]), self.path("split", extra))
        self.check_refused(["split", "out"], f"split/{extra}: a surplus shard: split/{self.shards[0]} is one of 4; "
                           "move it away")
