"""The documents tell the truth: links, files, commands, tables and formulas, held against the tree and the program."""
import glob
import json
import os
import re
import shlex
import subprocess
import sys
import unittest
from xml.etree import ElementTree

import numpy as np

from formats import DECODERS
from harness import CliTest, PROJECT
from models import decode, read_gguf

DOCS = os.path.join(PROJECT, "docs")
PAGES = sorted(glob.glob(os.path.join(DOCS, "**", "*.md"), recursive=True))
TEXTS = [*PAGES, *(p for name in ("README.md", "CONTRIBUTING.md") if os.path.exists(p := os.path.join(PROJECT, name)))]


def read(*parts):
    with open(os.path.join(PROJECT, *parts), encoding="utf-8") as f:
        return f.read()


def table_below(text, heading):
    """Rows of the first table behind a heading, as lists of cells; the head and its rule left out."""
    lines = f"\n{text}".split(f"\n{heading}\n")[1].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[2:]


def plain(cell):
    return cell.strip("`")


def code_in(text):
    """Fenced and indented code and inline code: every piece that may hold a command."""
    return re.findall(r"(?m)^    (.*)$", text) + re.findall(r"`([^`\n]+)`", text)


def commands_in(text):
    """Command lines of this program, as words behind its name."""
    for piece in code_in(text):
        for part in re.split(r" \| | && |; | +# | > ", piece.removeprefix("$ ")):
            try:
                words = shlex.split(part)
            except ValueError:
                continue
            if words[:2] == ["timeout", "-s"]:
                del words[:4]
            if words and os.path.basename(words[0]) == "llava-quantize":
                yield part, words[1:]


class Tree(CliTest):
    def test_links(self):
        links = 0
        for page in TEXTS:
            with open(page, encoding="utf-8") as f:
                text = f.read()
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                if re.match(r"\w+:", target):
                    continue
                path, _, place = target.partition("#")
                there = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
                self.assertTrue(os.path.exists(there), f"{os.path.relpath(page, PROJECT)}: {target}")
                if place:
                    with open(there, encoding="utf-8") as f:
                        headings = re.findall(r"(?m)^#+ (.*)$", f.read())
                    places = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
                    self.assertIn(place, places, f"{os.path.relpath(page, PROJECT)}: {target}")
                links += 1
        self.assertGreater(links, 100)

    def test_files_named(self):
        known = {os.path.basename(p) for p in glob.glob(os.path.join(PROJECT, "**"), recursive=True)}
        for page in PAGES + [os.path.join(PROJECT, "CONTRIBUTING.md")]:
            with open(page, encoding="utf-8") as f:
                text = f.read()
            for name in re.findall(r"`([\w./-]+\.(?:c|h|py|sh|cmake|txt))`", text):
                if re.search("ROOM|NAME|tools/mtmd/|^ggml/src/|^(llama|mtmd|ggml-common)\\.h$", name):
                    continue
                there = os.path.exists(os.path.join(PROJECT, name)) if "/" in name else name in known
                self.assertTrue(there, f"{os.path.relpath(page, PROJECT)}: {name}")

    def test_commands_parse(self):
        seen = 0
        for page in TEXTS:
            with open(page, encoding="utf-8") as f:
                text = f.read()
            for line, words in commands_in(text):
                if not words or "..." in words:
                    continue
                result = self.run_cli([*words, "--help"])
                self.assertEqual(result.code, 0, f"{os.path.relpath(page, PROJECT)}: {line}\n{result.err}")
                seen += 1
        self.assertGreater(seen, 20)

    def test_no_line_is_too_long(self):
        for page in PAGES + [os.path.join(PROJECT, "CONTRIBUTING.md")]:
            with open(page, encoding="utf-8") as f:
                for number, line in enumerate(f, 1):
                    if not line.startswith(("|", "    ")):
                        self.assertLessEqual(len(line.rstrip("\n")), 120, f"{os.path.relpath(page, PROJECT)}:{number}")

    def test_picture(self):
        picture = ElementTree.parse(os.path.join(DOCS, "data-flow.svg")).getroot()
        space = "{http://www.w3.org/2000/svg}"
        names = {t.text for t in picture.iter(space + "text") if t.get("class") == "name"}
        self.assertLessEqual(set(rooms()) - {"base"}, names)
        self.assertTrue(picture.find(space + "title").text and picture.find(space + "desc").text)

    def test_curve_is_of_the_recorded_figures(self):
        sys.path.insert(0, os.path.join(PROJECT, "tests", "bench"))
        import picture
        drawn = read("docs", "automatic.svg")
        self.assertEqual(drawn, picture.picture(picture.table("automatic")), "python3 tests/bench/picture.py draws it")
        root = ElementTree.fromstring(drawn)
        self.assertEqual(len(root.findall("{http://www.w3.org/2000/svg}polyline")), len(picture.LINES))

    def test_rules_are_listed(self):
        tests = read("tests", "CMakeLists.txt")
        tests += "".join(read("cmake", os.path.basename(p)) for p in glob.glob(os.path.join(PROJECT, "cmake", "*.cmake")))
        defined = set(re.findall(r"NAME (rules\.\w+)", tests))
        listed = {plain(row[0]) for row in table_below(read("CONTRIBUTING.md"), "## Rules that a test checks")}
        self.assertTrue(defined)
        self.assertEqual({name for name in listed if name.startswith("rules.")}, defined)

    def test_make_targets(self):
        targets = set(re.findall(r"(?m)^([\w-]+):", read("Makefile")))
        used = set(re.findall(r"`make ([a-z]+)", read("CONTRIBUTING.md")))
        self.assertTrue(used)
        self.assertLessEqual(used, targets)
        self.assertLessEqual(set(re.findall(r"(?m)^#     make (\w+)", read("Makefile"))), used)


def rooms():
    """In the order that the build gives them."""
    return re.search(r"set\(LQ_ROOMS ([\w ]+)\)", read("CMakeLists.txt")).group(1).split()


class Rooms(CliTest):
    def test_each_has_a_page(self):
        folders = {name for name in os.listdir(os.path.join(PROJECT, "src"))}
        self.assertEqual(set(rooms()), folders)
        self.assertEqual({os.path.basename(p)[:-3] for p in PAGES if os.path.dirname(p).endswith("rooms")}, folders)

    def test_order(self):
        order = "  ".join(rooms())
        for page in ("design.md", "data-flow.md"):
            self.assertIn(f"\n    {order}\n", read("docs", page))
        listed = [re.match(r"\[(\w+)\]", row[0]).group(1) for row in table_below(read("docs", "data-flow.md"),
                  "# How the data flow")]
        self.assertEqual(listed, rooms())

    def test_sections_and_public_headers(self):
        for room in rooms():
            page = read("docs", "rooms", f"{room}.md")
            for part in ("**Enters**", "**Leaves**", "## What always holds", "## Files, in reading order", "## An example",
                         "## Its tests"):
                self.assertIn(part, page, room)
            if os.path.exists(os.path.join(PROJECT, "include", "llava_quantize", f"{room}.h")):
                self.assertIn(f"include/llava_quantize/{room}.h", page)


class Output(CliTest):
    """docs/output.md and docs/metadata.md against the program."""

    def test_exit_status(self):
        enum = re.search(r"enum cli_exit \{([^}]*)\}", read("cli", "message.h")).group(1)
        rows = [int(row[0]) for row in table_below(read("docs", "output.md"), "# Exit status, output, JSON")]
        self.assertLessEqual({int(n) for n in re.findall(r"= (\d+)", enum)}, set(rows))

    def members(self):
        rows = table_below(read("docs", "output.md"), "## JSON")
        return {plain(c): (re.search(r"\(\.\./(.*)\)", row[1]).group(1), re.findall(r"`(\w+)`", row[2]))
                for row in rows for c in row[0].split(", ")}

    def test_json_members(self):
        members = self.members()
        listed = self.check(["help"]).out.split("\nCommands:\n")[1].split("\n\n")[0]
        with_json = {line.split()[0] for line in listed.splitlines()
                     if "--json" in self.check([line.split()[0], "--help"]).out}
        self.assertEqual(set(members), with_json)
        for command, (path, names) in members.items():
            for name in names:
                self.assertIn(f'"{name}"', read(path), command)
        runs = {"quantize": ["demo/model", "out", "8", "--quiet"], "convert": ["convert", "demo/model", "f16", "--quiet"],
                "inspect": ["inspect", "demo/model", "--all"],
                "verify": ["verify", "out", "--against", "demo/model", "--quiet"],
                "bench": ["bench", "--types", "q8_0", "--seconds", "0"]}
        for command, args in runs.items():
            self.assertEqual(set(json.loads(self.check([*args, "--json"]).out)), set(members[command][1]), command)

    def test_members_of_an_evaluation(self):
        """tests/fuzz/seeds/fuzz_evaluation/whole has every member; unit.test_evaluation_json holds it to the code."""
        def members(value, path=""):
            if isinstance(value, dict):
                return {m for key, part in value.items() for m in members(part, f"{path}.{key}" if path else key)}
            if isinstance(value, list):
                return {m for part in value for m in members(part, f"{path}[]")}
            return {path}
        parts = {"WHERE": "answer|text", "WHICH": "original|quantised", "HALF": "vision|language"}
        rows = table_below(read("docs", "output.md"), "## The result of an evaluation")
        listed = {member for row in rows for member in re.findall(r"`([^`]+)`", row[0])}
        whole = json.loads(read("tests", "fuzz", "seeds", "fuzz_evaluation", "whole"))
        top = members({**whole, "by_half": None, "kinds": None}) - {"by_half", "kinds"}
        listed -= {"by_half.language", "by_half.vision", "kinds[].kind"}
        patterns = [re.sub("WHERE|WHICH|HALF", lambda m: f"({parts[m[0]]})", re.escape(m)) for m in listed]
        self.assertEqual({m for m in top if not any(re.fullmatch(p, m) for p in patterns)}, set())
        self.assertEqual({p for p in patterns if not any(re.fullmatch(p, m) for m in top)}, set())

    def test_metadata_keys(self):
        rows = {plain(row[0]) for row in table_below(read("docs", "metadata.md"), "# Metadata that we write")}
        source = read("src", "quantize", "metadata.c")
        written = set(re.findall(r'set_\w+\(\w+, "((?:general|llava_quantize|quantize)\.[\w.]+)"', source))
        self.assertEqual(rows, written)
        self.check(["demo/model", "out", "8", "--effort", "best", "--quiet"])
        keys = read_gguf(self.path("out", "model-8bit.gguf"))[0]
        with_statistics = {k for k in rows if k.startswith("quantize.imatrix.")} | {"llava_quantize.method"}
        self.assertLessEqual(rows - with_statistics, set(keys))


class Library(CliTest):
    """docs/library.md: its program compiles, and it lists every public header."""

    def test_headers(self):
        listed = [plain(row[0]) for row in table_below(read("docs", "library.md"), "## Headers")]
        self.assertEqual(sorted(listed), sorted(os.listdir(os.path.join(PROJECT, "include", "llava_quantize"))))

    def test_program(self):
        text = read("docs", "library.md").split("## A whole program\n")[1].split("\n[")[0]
        with open(self.path("page.c"), "w", encoding="utf-8") as f:
            f.write(re.sub("(?m)^    ", "", text))
        done = subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                               "-I", os.path.join(PROJECT, "include"), self.path("page.c")], capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Formats(CliTest):
    """docs/formats.md against src/codec/format.c, and its formulas against what the program writes."""

    @classmethod
    def setUpClass(cls):
        cls.page = read("docs", "formats.md")
        ids = dict(re.findall(r"\bLQ_TYPE_(\w+) = (\d+)", read("include", "llava_quantize", "codec.h")))
        rows = re.findall(r'\{LQ_TYPE_(\w+), "(\w+)", (\d+), (\d+), ([^}]*)\}', read("src", "codec", "format.c"))
        cls.formats = {name: (int(ids[i]), int(block), int(size), flags) for i, name, block, size, flags in rows}

    def test_sizes(self):
        self.assertGreater(len(self.formats), 30)
        expected = [[f"`{name}`", str(i), str(block), str(size), f"{size * 8 / block:g}",
                     "yes" if "T" in flags else "no", "demanded" if "I" in flags else "no"]
                    for name, (i, block, size, flags) in sorted(self.formats.items(), key=lambda f: f[1])]
        self.assertEqual(table_below(self.page, "## Sizes"), expected)

    def test_fields_add_up(self):
        self.assertEqual(set(re.findall(r"^### `(\w+)`$", self.page, re.MULTILINE)), set(self.formats))
        for name, (_, _, size, _) in self.formats.items():
            fields = table_below(self.page, f"### `{name}`")
            self.assertEqual(sum(int(field[1]) for field in fields), size, name)

    def test_formulas(self):
        known = {name for name, (_, _, _, flags) in self.formats.items() if "Q" in flags and "T" in flags}
        self.assertEqual({name for name in known - set(DECODERS) if not re.match("iq[123]", name)}, set())
        self.check(["convert", "demo/model", "f32.gguf", "f32", "--quiet"])
        original = read_gguf(self.path("f32.gguf"))[1]
        for name, decoder in DECODERS.items():
            with self.subTest(name):
                args = ["demo/model", f"{name}.gguf", "copy", "--type", f"language.ffn.down={name}", "--json", "--quiet"]
                plan = json.loads(self.check(args).out)["plan"]
                tensors = read_gguf(self.path(f"{name}.gguf"))[1]
                done = [entry for entry in plan if entry["to"] == name]
                self.assertTrue(done)
                for entry in done:
                    coded, exact = tensors[entry["name"]], original[entry["name"]]
                    weights = decode(exact.data, 0).astype(np.float64)
                    blocks = np.frombuffer(coded.data, np.uint8).reshape(-1, self.formats[name][2])
                    loss = np.sum((decoder(blocks).ravel() - weights.ravel()) ** 2)
                    error = np.sqrt(loss / np.sum(weights ** 2))
                    self.assertAlmostEqual(error / entry["relative_error"], 1, 5, entry["name"])


class Recipes(CliTest):
    """The tables of docs/recipes.md against the plans that the program makes for the demo."""

    def plan(self, recipe):
        return json.loads(self.check(["demo/model", "out", recipe, "--dry-run", "--json", "--quiet"]).out)

    def test_types(self):
        page = read("docs", "recipes.md")
        head = next(line for line in page.splitlines() if line.startswith("| role |"))
        names = [plain(cell.strip()) for cell in head.strip("|").split("|")][1:]
        rows = [[plain(cell) for cell in row] for row in table_below(page, "## What each recipe gives to each role")]
        listed = re.search(r"\nRecipes:\n(.*?)\n  Q", self.check(["help", "quantize"]).out, re.DOTALL).group(1)
        self.assertEqual(names, [line.split()[0] for line in re.findall(r"(?m)^  \S.*", listed)])
        seen = set()
        for column, name in enumerate(names, 1):
            for entry in self.plan(name)["plan"]:
                role = entry["role"]
                row = next((r for r in rows if role == r[0] or role.startswith(r[0] + ".")), None)
                if row is None:
                    self.assertEqual(entry["reason"], "never quantised", entry)
                    continue
                seen.add(row[0])
                self.assertEqual(entry["to"], entry["from"] if row[column] == "-" else row[column], (name, role))
        self.assertEqual({r[0] for r in rows} - seen, {"vision", "language"})  # of other architectures

    def test_sizes(self):
        for recipe, vision, language, bpw in table_below(read("docs", "recipes.md"), "## Sizes on the demo"):
            halves = self.plan(plain(recipe))["halves"]
            found = [f"{halves[half]['bytes_after'] / 2 ** 20:.2f}" for half in ("vision", "language")]
            bits = sum(half["bytes_after"] * 8 for half in halves.values())
            found.append(f"{bits / sum(half['weights'] for half in halves.values()):.2f}")
            self.assertEqual([vision, language, bpw], found, recipe)


if __name__ == "__main__":
    unittest.main()
