"""The report: what the command refuses and keeps, and the page as a browser shows it."""
import json
import os
import re
import resource
import subprocess
import unittest

from browser import Browser, why_missing
from harness import BIN, SANITIZE, WRAPPED, CliTest, read_bytes
from results import result

CURVE = {"format": "llava-quantize curve", "version": 1, "model": "model", "data": "calibration.json", "questions": 48,
         "effort": "normal",
         "points": [{"bytes": int(4.2e6 * bpw / 8), "bpw": bpw, "estimate": 2 * 4 ** -bpw, "measured": 2.4 * 4 ** -bpw,
                     "error": 0.2 * 4 ** -bpw} for bpw in (2.4, 2.8, 3.2, 3.7, 4.2, 4.8, 5.5, 6.3, 7.3, 8.5)]}
CANDIDATES = {"8bit": (0.001, 8.9), "layered": (0.012, 6.8), "4bit": (0.05, 5.1), "2bit": (0.9, 3.1)}
PHONE, DESKTOP = 390, 1280


class ReportTest(CliTest):
    def save(self, name, value):
        with open(self.path(f"{name}.json"), "w", encoding="utf-8") as f:
            json.dump(value, f)
        return f"{name}.json"

    def save_candidates(self):
        demo = os.path.realpath(self.path("demo"))
        return [self.save(name, result(name, damage, demo, bpw=bpw, seed=i))
                for i, (name, (damage, bpw)) in enumerate(CANDIDATES.items())]


class Command(ReportTest):
    def test_writes_the_page(self):
        self.check(["report", *self.save_candidates()], out=re.compile(r"\AWritten: report\.html \([\d.]+ [KM]iB\)\n\Z"), err="")
        first = read_bytes(self.path("report.html"))
        self.assertTrue(first.startswith(b"<!doctype html>"))
        self.check(["report", *self.save_candidates(), "-o", "again.html"])
        self.assertEqual(first, read_bytes(self.path("again.html")))

    def test_refusals(self):
        good = self.save("good", {"format": "llava-quantize evaluation", "version": 1, "name": "q4"})
        os.link(self.path(good), self.path("link.html"))
        self.save("number", {"format": "llava-quantize evaluation", "version": 1, "kl": {"answer": {"mean": "low"}}})
        with open(self.path("cut.json"), "w", encoding="utf-8") as f:
            f.write('{"format": ')
        self.check_refused(["report", good, "-o", good], f"{good}: is also the input, {good}; choose another output", code=2)
        self.check_refused(["report", good, "-o", "link.html"],
                           f"link.html: is also the input, {good}; choose another output", code=2)
        self.check_refused(["report", good, "none.json"], "none.json: cannot open: No such file or directory")
        self.check_refused(["report", good, "-o", "no/such.html"], "no/such.html: cannot create: No such file or directory")
        self.check_refused(["report", good, "--curve", "link.html", "-o", good],
                           f"{good}: is also the input, {good}; choose another output", code=2)
        self.check_refused(["report", good, "--curve", good],
                           f"{good}: not a curve of sizes: the key 'format' does not say 'llava-quantize curve'")
        self.check_refused(["report"], "RESULT... is missing; see 'llava-quantize report --help'", code=2)
        for name, found in (("number", "kl.answer.mean"), ("cut", "line 1")):
            self.check(["report", good, f"{name}.json"], code=1, out="",
                       err=re.compile(rf"\Allava-quantize: {name}\.json: .*{re.escape(found)}"))

    def test_full_disk_keeps_the_old_page(self):
        names = self.save_candidates()
        self.check(["report", names[0]])
        before = read_bytes(self.path("report.html"))
        done = subprocess.run([BIN, "report", *names], cwd=self.dir, env=self.environment(), text=True, capture_output=True,
                              check=False, restore_signals=False,  # SIGXFSZ stays ignored: the write fails
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, "llava-quantize: report.html: cannot write at byte 65536: File too large\n")
        self.assertEqual(read_bytes(self.path("report.html")), before)
        self.assertEqual([name for name in os.listdir(self.dir) if "tmp" in name], [])

    def test_pictures_that_are_too_large_are_named(self):
        png = read_bytes(self.path("demo/exam/00000.png"))
        demo = os.path.realpath(self.path("demo"))
        value = result("q4", 0.05, demo)
        lost = [q for q in value["questions"] if q["exact_original"] and not q["exact"]]
        for i, question in enumerate(lost[:8]):
            question["image"] = f"large{i}.png"
            with open(self.path(question["image"]), "wb") as f:
                f.write(png + bytes((3 << 20) + (2 << 20) * (i == 0)))
        self.check(["report", self.save("q4", value)])
        page = read_bytes(self.path("report.html")).decode()
        self.assertIn("large0.png: left out, it has more than 4 MiB", page)
        self.assertEqual(page.count("left out, this page holds 14 MiB of pictures already"), 3)
        self.assertLess(len(page), 20 << 20)


NO_BROWSER = "the page of the plain build is looked at" if SANITIZE or WRAPPED else why_missing()


@unittest.skipIf(NO_BROWSER, NO_BROWSER)
class InBrowser(ReportTest):
    """One browser for all cases; the pages are written once."""

    files = {}

    @classmethod
    def setUpClass(cls):
        cls.browser = Browser().__enter__()
        cls.addClassCleanup(cls.browser.__exit__, None, None, None)

    def setUp(self):
        super().setUp()
        if not self.files:
            names = self.save_candidates()
            self.check(["report", *names, "-o", "many.html"])
            self.check(["report", "layered.json", "--curve", self.save("curve", CURVE), "-o", "one.html"])
            self.files.update({name: read_bytes(self.path(name)) for name in (*names, "many.html", "one.html")})
        for name, content in self.files.items():
            with open(self.path(name), "wb") as f:
                f.write(content)
        self.opened = []

    def open(self, name, **size):
        page = self.browser.open(self.path(name), **size)
        self.opened.append(page)
        return page

    def tearDown(self):
        for page in self.opened:
            self.assertEqual(page.complaints, [])
            self.assertEqual(page.requests, [])
        super().tearDown()

    def count(self, page, selector):
        return page.run(f"document.querySelectorAll({json.dumps(selector)}).length")

    def value(self, name):
        with open(self.path(f"{name}.json"), encoding="utf-8") as f:
            return json.load(f)

    def test_plots_have_their_points(self):
        page = self.open("many.html")
        n = len(CANDIDATES)
        for panel in ("answers", "text"):
            self.assertEqual(self.count(page, f"#size-{panel} .item circle"), n)
            self.assertEqual(self.count(page, f"#size-{panel} .bar"), n)
            self.assertEqual(self.count(page, f"#tail-{panel} .curve"), n)
        self.assertEqual(self.count(page, "#strip circle.item"), 300 * n)
        tensors = [t for t in self.value("layered")["tensors"] if t["role"] not in ("norm", "bias")]
        self.assertEqual(self.count(page, "#c2 .cell"), len(tensors))
        self.assertEqual(self.count(page, "svg:not([aria-hidden]):not(:has(title))"), 0, "a plot without a title")

    def test_points_stand_where_the_figures_say(self):
        """Larger is farther right, a larger KL is higher up, and both panels have one scale."""
        page = self.open("many.html")
        found = page.run("[...document.querySelectorAll('#size-answers .item')].map(g => [g.querySelector('title').textContent,"
                         " +g.querySelector('circle').getAttribute('cx'), +g.querySelector('circle').getAttribute('cy')])")
        names = [title.split(":")[0] for title, _, _ in found]
        self.assertEqual(names, sorted(CANDIDATES, key=lambda name: CANDIDATES[name][1]))
        self.assertEqual([x for _, x, _ in found], sorted(x for _, x, _ in found))
        self.assertEqual([y for _, _, y in found], sorted(y for _, _, y in found))
        self.assertIn("KL 0.0120 (0.0096 – 0.015)", found[names.index("layered")][0])
        ticks = [page.run(f"[...document.querySelectorAll('#size-{panel} .grid')].map(line => line.getAttribute('y1'))")
                 for panel in ("answers", "text")]
        self.assertEqual(*ticks)

    def test_curve(self):
        page = self.open("one.html")
        places = page.run("[...document.querySelectorAll('#curve-plot .item:not(.pair) circle')].map(c => [+c.getAttribute('cx'), +c.getAttribute('cy')])")
        self.assertEqual(len(places), len(CURVE["points"]))
        self.assertEqual(places, sorted(places, key=lambda place: place[0]))
        self.assertEqual(places, sorted(places, key=lambda place: place[1]), "a larger pair diverges less, farther down")
        self.assertEqual(self.count(page, "#curve-plot .bar"), len(CURVE["points"]) + 1)
        self.assertEqual(self.count(page, "#curve-plot .pair"), 1)
        self.assertEqual(page.run("document.querySelector('#curve-plot .label').textContent"), "layered")
        page.point("document.querySelector('#curve-plot .item')")
        self.assertRegex(page.run("document.querySelector('#curve-plot').nextElementSibling.textContent"),
                         r"\Abest plan at 1\.20 MiB \(2\.40 bits per weight\): KL 0\.0862 ")
        self.assertEqual(self.count(self.open("many.html"), "#curve"), 0)

    def test_flips(self):
        page = self.open("one.html")
        questions = self.value("layered")["questions"]
        lost = [q for q in questions if q["exact_original"] and not q["exact"]]
        gained = [q for q in questions if q["exact"] and not q["exact_original"]]
        self.assertEqual(self.count(page, ".card"), min(24, len(lost)) + min(24, len(gained)))
        self.assertIn(lost[0]["question"], page.run("document.querySelector('.card').innerText"))
        self.assertIn(lost[0]["answer"], page.run("document.querySelector('.card .wrong').innerText"))
        shown = page.run("[...document.querySelectorAll('.card use')].every(use => use.getBBox().width === 64)")
        self.assertTrue(shown, "a picture is not there")
        page = self.open("many.html")
        broken = [q for q in self.value("2bit")["questions"] if q["exact_original"] and not q["exact"]]
        self.assertGreater(len(broken), 24)
        self.assertIn(f"and {len(broken) - 24} more", page.run("document.querySelector('#c4').textContent"))

    def detail(self, page, half):
        return page.run(f"document.querySelector('#map1-{half}-t').closest('.map').nextElementSibling.textContent")

    def test_tensors_by_mouse_and_by_key(self):
        page = self.open("one.html")
        cell = "document.querySelector('#map1-vision-t').parentNode.querySelector('[data-x=\"{}\"][data-y=\"{}\"]')"
        self.assertEqual(self.detail(page, "vision"), "")
        page.point(cell.format(2, 1))
        self.assertRegex(self.detail(page, "vision"),
                         r"\Avision\.2\.vision\.attention\.k\.weight: q8_0, error 0\.\d+\s%; reason: recipe gives vision\.attention\.k ")
        page.run(cell.format(0, 0) + ".focus()")
        for key, expected in (("ArrowRight", "vision.1.vision.attention.q"), ("ArrowDown", "vision.1.vision.attention.k"),
                              ("ArrowLeft", "vision.0.vision.attention.k"), ("ArrowUp", "vision.0.vision.attention.q"),
                              ("ArrowUp", "vision.0.vision.attention.q")):
            page.press(key)
            self.assertTrue(self.detail(page, "vision").startswith(expected + ".weight: q8_0"), key)
        self.assertEqual(page.run("document.querySelector('#map1-vision-t').parentNode.querySelectorAll('[tabindex=\"0\"]').length"), 1)
        for _ in range(9):
            page.press("ArrowDown")
        self.assertIn("projector", self.detail(page, "vision"), "what stands outside the blocks can be reached")

    def test_plots_by_key(self):
        page = self.open("many.html")
        page.run("document.querySelector('#size-answers .item').focus()")
        page.press("ArrowRight")
        self.assertTrue(page.run("document.querySelector('#size-answers').nextElementSibling.textContent").startswith("4bit: "))
        page.run("document.querySelector('#strip .item').focus()")
        worst = min(self.value("8bit")["pictures"], key=lambda picture: picture["cosine"])
        self.assertIn(worst["image"], page.run("document.querySelector('#embedding .detail').textContent"))

    def test_sorting(self):
        page = self.open("many.html")
        rows = "[...document.querySelectorAll('#candidates .rows th')].map(cell => cell.textContent)"
        button = "[...document.querySelectorAll('#candidates thead button')].find(b => b.textContent === {})"
        self.assertEqual(page.run(rows), list(CANDIDATES))
        by_size = sorted(CANDIDATES, key=lambda name: CANDIDATES[name][1])
        page.click(button.format("'Size'"))
        self.assertEqual(page.run(rows), by_size)
        page.click(button.format("'Size'"))
        self.assertEqual(page.run(rows), by_size[::-1])
        self.assertEqual(page.run("document.querySelector('#candidates [aria-sort]').getAttribute('aria-sort')"), "descending")
        page.run(button.format("'Candidate'") + ".click()")
        self.assertEqual(page.run(rows), sorted(CANDIDATES))

    def test_what_was_not_measured_is_sorted_last(self):
        self.check(["report", self.save("bare", {"format": "llava-quantize evaluation", "version": 1, "name": "bare"}),
                    "8bit.json", "2bit.json", "-o", "three.html"])
        page = self.open("three.html")
        for first in ("8bit", "2bit"):
            page.run("[...document.querySelectorAll('#candidates thead button')].find(b => b.textContent === 'KL, answers').click()")
            names = page.run("[...document.querySelectorAll('#candidates .rows th')].map(cell => cell.textContent)")
            self.assertEqual((names[0], names[2]), (first, "bare"))

    def test_colours(self):
        page = self.open("one.html")
        colours = "[document.documentElement, document.body, document.querySelector('.cell rect')].map(e => " \
                  "getComputedStyle(e)[e.tagName === 'BODY' ? 'color' : e.tagName === 'rect' ? 'fill' : 'backgroundColor'])"
        light = page.run(colours)
        page.media(prefers_color_scheme="dark")
        dark = page.run(colours)
        self.assertTrue(all(a != b for a, b in zip(light, dark)), (light, dark))
        page.click("document.querySelector('#theme')")
        self.assertEqual(page.run(colours), light)
        page.click("document.querySelector('#theme')")
        self.assertEqual(page.run(colours), dark)
        page.media("print", prefers_color_scheme="dark")
        self.assertEqual(page.run(colours), light, "paper is light")
        self.assertEqual(page.run("getComputedStyle(document.querySelector('#theme')).display"), "none")

    def test_nothing_overflows(self):
        self.check(["report", self.save("deep", result("deep", 0.03, os.path.realpath(self.path("demo")), blocks=32)),
                    "-o", "deep.html"])
        for name in ("one.html", "many.html", "deep.html"):
            page = self.open(name)
            page.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
            for width in (PHONE, 768, DESKTOP):
                page.resize(width)
                self.assertLessEqual(page.run("document.scrollingElement.scrollWidth"), width, name)

    def test_links_open_candidates(self):
        page = self.open("many.html")
        self.assertEqual(page.run("document.querySelectorAll('details[open]').length"), 0)
        page.run("document.querySelector('#candidates .rows a[href=\"#c3\"]').click()")
        self.assertTrue(page.run("new Promise(done => setTimeout(() => done(document.querySelector('#c3').open), 50))"))

    def test_without_script(self):
        page = self.browser.open(self.path("one.html"))
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.load()
        self.assertIn("Which half does the damage", page.run("document.body.innerText"))

    def test_policy_stops_a_script_that_is_not_ours(self):
        with open(self.path("one.html"), encoding="utf-8") as f:
            text = f.read()
        with open(self.path("attacked.html"), "w", encoding="utf-8") as f:
            f.write(text.replace("<footer>", "<script>window.attacked = 1</script><img src='http://127.0.0.1:9/x.png'><footer>"))
        page = self.browser.open(self.path("attacked.html"))
        self.assertFalse(page.run("'attacked' in window"))
        self.assertIn("Content Security Policy", str(page.complaints))
        self.assertEqual([e for e in page.of_kind("Network.responseReceived") if "127.0.0.1" in str(e)], [])


if __name__ == "__main__":
    unittest.main()
