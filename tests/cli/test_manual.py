"""The manual pages and completions that the build makes of the option tables, as man, bash and zsh read them."""
import glob
import os
import re
import shutil
import subprocess
import unittest

from harness import CliTest

MANUAL = os.path.join(os.environ.get("LQ_BUILD", ""), "manual")
PAGES = os.path.join(MANUAL, "man", "man1")
BASH = os.path.join(MANUAL, "bash-completion", "completions", "llava-quantize")
ZSH = os.path.join(MANUAL, "zsh", "site-functions")

# Completes the words in $2.. as readline would: the words are split at "=" too, the last one is under the cursor.
DRIVE_BASH = r"""
. "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_llava_quantize llava-quantize "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
printf '%s\n' "${COMPREPLY[@]}"
"""

# Has an interactive zsh complete $LINE, and prints every word that it finds: compadd, which is told them, is watched.
DRIVE_ZSH = r"""
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1= PS2=; fpath=("$FOLDER" $fpath); autoload -Uz compinit; compinit -u -D'
zpty -w z 'watched() { local -a seen hits; compadd() { [[ "$*" == *-[OAD]* ]] || { builtin compadd -O hits "$@"'
zpty -w z '    seen+=($hits) }; builtin compadd "$@" }; _main_complete; unfunction compadd'
zpty -w z '    print -rl -- $seen >"$RESULT" }'
zpty -w z 'zle -C watched complete-word watched; bindkey "^I" watched; print ready'
zpty -r z line '*ready*ready*'
zpty -n -w z "$LINE"$'\t'
for i in {1..300}; do [[ -s $RESULT ]] && break; sleep 0.1; done
zpty -d z
cat "$RESULT"
"""


def commands(test):
    listed = test.check(["help"]).out.split("\nCommands:\n")[1].split("\n\n")[0]
    return [line.split()[0] for line in listed.splitlines()]


def long_options(test, command):
    """Every option that `--help` lists: (letter or "", name)."""
    text = test.check([command, "--help"]).out
    found = re.findall(r"^  (?:(-\w), |    )--([a-z-]+)", text, re.MULTILINE)
    test.assertTrue(found)
    return found


def page_text(name):
    """A page's source without troff's escapes."""
    with open(os.path.join(PAGES, name), encoding="utf-8") as f:
        return re.sub(r"\\f[BIR]", "", f.read()).replace("\\-", "-")


def squeezed(text):
    return re.sub(r"\s+", " ", text)


@unittest.skipUnless(os.path.isdir(MANUAL), "the manual has not been built")
class Pages(CliTest):
    def test_one_for_each_command(self):
        expected = {"llava-quantize.1"} | {f"llava-quantize-{c}.1" for c in commands(self)}
        self.assertEqual({os.path.basename(p) for p in glob.glob(os.path.join(PAGES, "*"))}, expected)
        main = page_text("llava-quantize.1")
        for command in commands(self):
            self.assertIn(f"\n.BR llava-quantize-{command} (1)\n", main)

    def test_all_options_and_sentences(self):
        for command in commands(self):
            page = page_text(f"llava-quantize-{command}.1")
            for letter, name in long_options(self, command):
                self.assertRegex(page, rf"(?m)^{letter + ', ' if letter else ''}--{name}( |$)")
            for row in re.findall(r"(?m)^ {26}(\S.*)$", self.check([command, "--help"]).out):
                self.assertIn(squeezed(row), squeezed(page), command)

    def test_well_formed(self):
        pages = sorted(glob.glob(os.path.join(PAGES, "*.1")))
        self.assertTrue(pages)
        lint = ["mandoc", "-T", "lint", "-W", "warning"]
        if shutil.which("mandoc") is None:
            lint = ["groff", "-ww", "-man", "-Tutf8"]
        if shutil.which(lint[0]) is None:
            self.skipTest("neither mandoc nor groff is here")
        for page in pages:
            done = subprocess.run([*lint, page], capture_output=True, text=True, check=False)
            said = done.stderr + (done.stdout if lint[0] == "mandoc" else "")
            self.assertEqual((done.returncode, said), (0, ""), page)


    def test_installed_where_they_are_looked_for(self):
        env = self.environment(DESTDIR=self.path("root"))
        subprocess.run(["cmake", "--install", os.environ["LQ_BUILD"], "--prefix", "/usr", "--component", "manual"],
                       env=env, check=True, capture_output=True)
        share = self.path("root", "usr", "share")
        for name in ("man/man1/llava-quantize.1", "man/man1/llava-quantize-quantize.1",
                     "bash-completion/completions/llava-quantize", "zsh/site-functions/_llava-quantize"):
            self.check_same_files(os.path.join(share, name), os.path.join(MANUAL, name))


@unittest.skipUnless(os.path.isdir(MANUAL), "the manual has not been built")
class Bash(CliTest):
    def complete(self, *words):
        args = ["bash", "--norc", "-c", DRIVE_BASH, "bash", BASH, "llava-quantize", *words]
        done = subprocess.run(args, cwd=self.dir, capture_output=True, text=True, check=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def setUp(self):
        super().setUp()
        for name in ("picture.png", "pair.gguf"):
            with open(self.path(name), "w", encoding="utf-8"):
                pass

    def test_commands_and_inputs_first(self):
        self.assertLessEqual({*commands(self), "demo", "pair.gguf", "picture.png"}, set(self.complete("")))
        self.assertEqual(self.complete("qu"), ["quantize"])
        self.assertEqual(self.complete("help", "con"), ["convert"])

    def test_every_option_of_every_command(self):
        for command in commands(self):
            offered = self.complete(command, "-")
            listed = {word for pair in long_options(self, command) for word in (pair[0], "--" + pair[1]) if word}
            self.assertEqual(set(offered), listed, command)
            self.assertEqual(len(offered), len(listed), command)
        self.assertEqual(self.complete("in", "out", "--dr"), ["--dry-run"])

    def test_files(self):
        self.assertEqual(self.complete("ask", "pa"), ["pair.gguf"])
        self.assertEqual(self.complete("ask", "pair.gguf", "pic"), ["picture.png"])
        self.assertEqual(self.complete("ask", "pair.gguf", "picture.png", "p"), [])
        self.assertEqual(self.complete("ask", "-m", "pa"), ["pair.gguf"])
        self.assertEqual(self.complete("in", "demo/mod"), ["demo/model"])
        self.assertEqual(self.complete("report", "a", "b", "pa"), ["pair.gguf"])

    def test_recipes_behind_output(self):
        for before in (["in", "out"], ["quantize", "in", "out"], ["in", "-f", "--threads", "4", "out"],
                       ["--", "in", "out"], ["--threads", "=", "4", "in", "out"]):
            self.assertEqual(self.complete(*before, "la"), ["layered"], before)
        self.assertLessEqual({"Q4_K_S", "Q4_K_M"}, set(self.complete("in", "out", "Q4_K")))
        self.assertEqual(self.complete("in", "out", "q4_k"), ["q4_k"])
        self.assertEqual(self.complete("in", "out", "q4_k", ""), [])
        self.assertEqual(self.complete("convert", "in", "out", ""), ["f16", "bf16", "f32"])

    def test_values(self):
        self.assertEqual(self.complete("in", "out", "--only", "v"), ["vision"])
        self.assertEqual(self.complete("in", "out", "--only", "=", "v"), ["vision"])
        self.assertEqual(self.complete("in", "out", "--only", "="), ["vision", "language"])
        self.assertEqual(self.complete("in", "out", "--vision", "q8"), ["q8_0"])
        self.assertEqual(self.complete("in", "out", "--threads", ""), [])

    def test_rules(self):
        roles = self.complete("in", "out", "--type", "vision.ffn")
        self.assertEqual(roles, ["vision.ffn=", "vision.ffn.up=", "vision.ffn.gate=", "vision.ffn.down="])
        self.assertEqual(self.complete("in", "out", "--type", "vision.ffn", "=", "q5_k"), ["q5_k"])
        self.assertEqual(self.complete("in", "out", "--type", "=", "vision.ffn", "=", "q5_k"), ["q5_k"])
        self.assertEqual(self.complete("in", "out", "--type", "norm"), [])


@unittest.skipUnless(os.path.isdir(MANUAL) and shutil.which("zsh"), "no manual, or no zsh")
class Zsh(CliTest):
    def complete(self, line):
        result = self.path("offered")
        env = self.environment(FOLDER=ZSH, RESULT=result, LINE=line, TERM="dumb")
        done = subprocess.run(["zsh", "-f", "-c", DRIVE_ZSH], cwd=self.dir, env=env, capture_output=True, text=True,
                              check=True)
        os.unlink(result)
        return set(done.stdout.split())

    def test_syntax(self):
        subprocess.run(["zsh", "-f", "-n", os.path.join(ZSH, "_llava-quantize")], check=True)

    def test_offers(self):
        self.assertLessEqual({*commands(self), "demo"}, self.complete("llava-quantize "))
        for command in commands(self):
            listed = {f"--{name}" for _, name in long_options(self, command)}
            self.assertEqual({w for w in self.complete(f"llava-quantize {command} --") if w != "--"}, listed)

    def test_arguments(self):
        self.assertLessEqual({"layered", "Q4_K_M", "q4_k"}, self.complete("llava-quantize demo/model out "))
        self.assertEqual(self.complete("llava-quantize convert demo/model out "), {"f16", "bf16", "f32"})
        self.assertEqual(self.complete("llava-quantize a b --only=v"), {"vision"})
        self.assertIn("q5_k", self.complete("llava-quantize a b --type vision.ffn=q5"))
        self.assertIn("demo", self.complete("llava-quantize inspect d"))
        self.assertIn("demo", self.complete("llava-quantize report a b d"))


if __name__ == "__main__":
    unittest.main()
