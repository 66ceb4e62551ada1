"""Help texts and wrong use: exact texts, exit status 0 on stdout for help asked for, 2 on stderr otherwise."""
import os
import shlex
import unittest

from harness import CliTest

COMMANDS = ("ask", "bench", "calibrate", "compare", "convert", "eval", "help", "inspect", "plan", "quantize", "report",
            "verify", "version")
SEE = "; see 'llava-quantize{} --help'"
PROGRAM, ASK, CONVERT, QUANTIZE = (SEE.format(c) for c in ("", " ask", " convert", " quantize"))
NUMBER = "is not a whole number from 1 to 1024"
WRONG_USE = {
    "no command's option": (["--bogus", "a"], "unknown option '--bogus'" + QUANTIZE),
    "near option": (["a", "b", "--thread", "3"], "unknown option '--thread' (did you mean '--threads'?)" + QUANTIZE),
    "beginning of an option": (["a", "b", "--allow"],
        "unknown option '--allow' (did you mean '--allow-requantize'?)" + QUANTIZE),
    "unknown letter": (["a", "b", "-z"], "unknown option '-z'" + QUANTIZE),
    "missing value": (["a", "b", "--threads"], "--threads needs a value: N" + QUANTIZE),
    "missing value of a letter": (["a", "b", "-qt"], "--threads needs a value: N" + QUANTIZE),
    "empty value": (["a", "b", "--mmproj="], "--mmproj: FILE is empty" + QUANTIZE),
    "value of a flag": (["a", "b", "--force=yes"], "--force takes no value" + QUANTIZE),
    "no threads": (["a", "b", "--threads", "0"], f"--threads: '0' {NUMBER}" + QUANTIZE),
    "too many threads": (["a", "b", "-t1025"], f"--threads: '1025' {NUMBER}" + QUANTIZE),
    "half a number": (["a", "b", "--threads=4x"], f"--threads: '4x' {NUMBER}" + QUANTIZE),
    "signed number": (["a", "b", "--threads", "-4"], f"--threads: '-4' {NUMBER}" + QUANTIZE),
    "number beyond 64 bits": (["a", "b", "--threads", "18446744073709551617"],
        f"--threads: '18446744073709551617' {NUMBER}" + QUANTIZE),
    "choice": (["a", "b", "--only", "audio"], "--only: 'audio' is not vision|language" + QUANTIZE),
    "no output": (["quantize", "a"], "OUTPUT is missing" + QUANTIZE),
    "empty input": (["quantize", "", "b"], "INPUT is empty" + QUANTIZE),
    "too many arguments": (["a", "b", "q8_0", "4"], "'4' is one argument too many" + QUANTIZE),
    "plan and recipe": (["a", "b", "q8_0", "--plan", "p.json"],
        "--plan gives every tensor its type: it goes with no recipe, --vision, --language or --type" + QUANTIZE),
    "plan and rule": (["a", "b", "--type", "x=q8_0", "--plan", "p.json"],
        "--plan gives every tensor its type: it goes with no recipe, --vision, --language or --type" + QUANTIZE),
    "quiet and verbose": (["a", "b", "-qv"], "--quiet and --verbose contradict each other" + QUANTIZE),
    "rule without a type": (["a", "b", "--type", "vision.ffn"],
        "--type vision.ffn: is not PATTERN=TYPE, such as 'vision.ffn=q5_k'"),
    "rule with an empty type": (["a", "b", "--type", "x=y="],
        "--type x=y=: is not PATTERN=TYPE, such as 'vision.ffn=q5_k'"),
    "rule without a pattern": (["a", "b", "--type", "=q8_0"],
        "--type =q8_0: is not PATTERN=TYPE, such as 'vision.ffn=q5_k'"),
    "mistyped command": (["convrt", "a", "b"], "unknown command 'convrt' (did you mean 'convert'?)" + PROGRAM),
    "British command": (["quantise", "a", "b"], "unknown command 'quantise' (did you mean 'quantize'?)" + PROGRAM),
    "help about nothing": (["help", "dance"], "unknown command 'dance'" + PROGRAM),
    "help about a slip": (["help", "asks"], "unknown command 'asks' (did you mean 'ask'?)" + PROGRAM),
    "convert to q8_0": (["convert", "a", "b", "q8_0"], "'q8_0' is not f16, bf16 or f32" + CONVERT),
    "ask without a question": (["ask", "a", "b"], "QUESTION is missing" + ASK),
    "temperature": (["ask", "a", "b", "c", "--temp", "nan"], "--temp: 'nan' is not a number from 0 to 10" + ASK),
    "hexadecimal temperature": (["ask", "a", "b", "c", "--temp", "0x1"],
        "--temp: '0x1' is not a number from 0 to 10" + ASK),
    "no type": (["bench", "--types", "q8_0,q9"], "--types: 'q9' is not a type that can be encoded"),
    "type that needs importance": (["bench", "--types", "iq1_s"], "--types: iq1_s demands --importance"),
    "rows that fit no type": (["bench", "--types", "q4_k", "--columns", "1152"],
        "normal: no row divides into q4_k blocks of 256"),
    "seed": (["ask", "a", "b", "c", "--seed", "4294967296"],
        "--seed: '4294967296' is not a whole number from 0 to 4294967295" + ASK),
}


class Help(CliTest):
    def test_texts(self):
        for command in COMMANDS:
            with self.subTest(command):
                text = self.check([command, "--help"], err="").out
                self.check_golden(f"help-{command}.txt", text)
                self.check([command, "-h"], out=text)
                self.check(["help", command], out=text)

    def test_whole_program(self):
        text = self.check(["help"], err="").out
        self.check_golden("help.txt", text)
        self.check(["--help"], out=text, err="")
        self.check(["-h"], out=text, err="")
        self.check([], code=2, out="", err=text)

    def test_help_wins_over_missing_arguments(self):
        self.assertEqual(self.check(["--dry-run", "--help"]).out, self.check(["quantize", "--help"]).out)

    def test_lines_fit(self):
        for command in COMMANDS:
            for line in self.check([command, "--help"]).out.splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_version(self):
        self.check(["version"], out="llava-quantize 0.1.0\n", err="")
        self.check(["--version"], out="llava-quantize 0.1.0\n", err="")


class Examples(CliTest):
    """Every example line of every help text, run as it stands from a folder that holds `demo`."""

    def check_examples(self, args):
        lines = self.check(args).out.split("\nExample:\n")[1].splitlines()
        self.assertTrue(lines)
        for line in lines:
            words = shlex.split(line)
            self.assertEqual(words[0], "llava-quantize")
            self.assertNotEqual(self.check(words[1:]).out, "", line)

    def test_ask(self):
        self.check_examples(["help", "ask"])

    def test_bench(self):
        self.check_examples(["help", "bench"])

    def test_compare(self):
        self.check_examples(["help", "compare"])

    def test_convert(self):
        self.check_examples(["help", "convert"])

    def test_eval(self):
        self.check_examples(["help", "eval"])

    def test_help(self):
        self.check_examples(["help", "help"])

    def test_inspect(self):
        self.check_examples(["help", "inspect"])

    def test_report(self):
        self.check_examples(["help", "report"])

    def test_verify(self):
        self.check_examples(["help", "verify"])

    def test_quantize(self):
        self.check_examples(["help", "quantize"])

    def test_version(self):
        self.check_examples(["help", "version"])

    def test_whole_program(self):
        self.check_examples(["help"])


class WrongUse(CliTest):
    def test_messages(self):
        for name, (args, message) in WRONG_USE.items():
            with self.subTest(name):
                self.check_refused(args, message, code=2)

    def test_a_file_named_like_a_command_is_an_input(self):
        os.mkdir(self.path("quantise"))
        result = self.check(["quantise", "out"], code=1, out="")
        self.assertNotIn("unknown command", result.err)

    def test_words_behind_two_dashes_are_no_options(self):
        result = self.check(["quantize", "--", "--help", "out"], code=1, out="")
        self.assertIn("--help", result.err)


class Output(CliTest):
    def test_full_disk(self):
        with open("/dev/full", "w") as full:
            self.check(["help"], code=1, stdout=full, err="llava-quantize: standard output: No space left on device\n")

    def test_closed_pipe(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        self.check(["help", "quantize"], code=0, stdout=write_end, err="")
        os.close(write_end)

    def test_no_control_characters_from_names(self):
        result = self.check(["quantize", "\x1b[31mred", "out"], code=1, out="")
        self.assertNotIn("\x1b", result.err)


if __name__ == "__main__":
    unittest.main()
