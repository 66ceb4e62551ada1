"""Full disks, signals, kills, outputs not to be touched: one message, and finished files or the state as before."""
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time
import unittest

from harness import BIN, CliTest, Result, snapshot

SLOW = ["iq3_s", "--threads", "1"]  # the slowest encoder: many seconds for the demo model
INTERRUPTED = "llava-quantize: interrupted; nothing was written\n"
KILLS = int(os.environ.get("LQ_KILLS", "20"))


def visible(state):
    """A snapshot's files without hidden names, by content alone."""
    return {path: value if value == "folder" else value[2] for path, value in state.items()
            if not any(part.startswith(".") for part in path.split(os.sep))}


class Faults(CliTest):
    def start(self, *args):
        """A run in the background."""
        process = subprocess.Popen([BIN, *args], cwd=self.dir, env=self.environment(), text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end, process)
        return process

    def start_slow(self, *args):
        """A run that has written its first tensors and is far from its end."""
        process = self.start(*args, *SLOW)
        line = process.stderr.readline()
        self.assertRegex(line, r"^ *\d+ %", "no progress line")
        return process

    def end(self, process):
        if process.poll() is None:
            process.kill()
        process.communicate()

    def write_pair(self, output="out", kind="q8_0", *args):
        self.check(["demo/model", output, kind, "--quiet", *args])

    # Signals

    def check_signal(self, number, *args):
        before = snapshot(self.dir)
        process = self.start_slow("demo/model", *args)
        process.send_signal(number)
        out, err = process.communicate()
        messages = [line for line in err.splitlines(keepends=True) if not re.match(r" *\d+ %", line)]
        self.assertEqual((process.returncode, out, messages), (1, "", [INTERRUPTED]))
        self.assertEqual(snapshot(self.dir), before)

    def test_signals_leave_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number.name):
                self.check_signal(number, "out")

    def test_signals_leave_the_old_pair(self):
        self.write_pair("out/x.gguf")
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                self.check_signal(number, "out/x.gguf", "--force")

    def kill_at_random(self, args, states):
        """Kills runs at random moments. `states` are the visible states allowed; the next open clears the rest away."""
        begun = time.monotonic()
        self.check(args)
        duration = time.monotonic() - begun
        for i in range(KILLS):
            self.reset()
            process = self.start(*args)
            time.sleep(random.Random(i).uniform(0, 1.1 * duration))
            process.kill()
            process.communicate()
            found = snapshot(self.dir)
            if any(path.endswith(".lq-commit") for path in found):  # decided: the next run in this folder finishes it
                self.write_pair("out/other.gguf", "q8_0", "--only", "vision")
                os.remove(self.path("out/other.gguf"))
                found = snapshot(self.dir)
            self.assertIn(visible(found), states, f"kill {i}")
            self.check(args + ["--force"])
            self.assertEqual(visible(snapshot(self.dir)), states[1], f"after kill {i}")
            hidden = [path for path in snapshot(self.dir) if os.path.basename(path).startswith(".")]
            self.assertEqual(hidden, [], f"after kill {i}")

    def reset(self):
        shutil.rmtree(self.path("out"), ignore_errors=True)

    def test_a_kill_leaves_nothing_or_a_finished_pair(self):
        before = visible(snapshot(self.dir))
        self.write_pair()
        after = visible(snapshot(self.dir))
        self.reset()
        self.kill_at_random(["demo/model", "out", "q8_0", "--quiet"], [before, after])

    def test_a_kill_leaves_the_old_pair_or_the_new_one(self):
        self.write_pair("old/x.gguf", "q4_0")
        shutil.copytree(self.path("old"), self.path("out"))
        before = visible(snapshot(self.dir))
        self.write_pair("out/x.gguf", "q8_0", "--force")
        after = visible(snapshot(self.dir))

        def reset():
            shutil.rmtree(self.path("out"))
            shutil.copytree(self.path("old"), self.path("out"))

        self.reset = reset
        self.kill_at_random(["demo/model", "out/x.gguf", "q8_0", "--quiet", "--force"], [before, after])

    # Outputs that must not be touched

    def test_existing_output(self):
        self.write_pair()
        for output in ("out", "out/", "./out"):
            name = os.path.join(output, "mmproj-model-Q8_0.gguf")
            self.check_refused(["demo/model", output, "q8_0", "--quiet"],
                               f"{name}: already exists; --force replaces it", code=2)
        os.remove(self.path("out/mmproj-model-Q8_0.gguf"))
        self.check_refused(["demo/model", "out", "q8_0", "--quiet"],
                           "out/model-Q8_0.gguf: already exists; --force replaces it", code=2)
        self.check(["demo/model", "out", "q8_0", "--quiet", "--force"])

    def test_output_that_is_the_input(self):
        self.check(["convert", "demo/model", "in", "f16", "--quiet"])
        os.symlink("in", self.path("link"))
        os.mkdir(self.path("hard"))
        os.link(self.path("in/model-F16.gguf"), self.path("hard/x.gguf"))
        for output in ("in/model-F16.gguf", "./in/../in/model-F16.gguf", "link/model-F16.gguf"):
            mmproj = os.path.join(os.path.dirname(output), "mmproj-model-F16.gguf")
            self.check_refused(["in", output, "q8_0", "--quiet", "--force"],
                               f"{mmproj}: is also the input, in/mmproj-model-F16.gguf; choose another output", code=2)
        self.check_refused(["in", "hard/x.gguf", "q8_0", "--quiet", "--force", "--only", "language"],
                           "hard/x.gguf: is also the input, in/model-F16.gguf; choose another output", code=2)

    def test_output_that_is_no_place_for_files(self):
        with open(self.path("file"), "w"):
            pass
        os.mkdir(self.path("folder.gguf"))
        cases = {
            "no/../such": "no/../such/mmproj-model-Q8_0.gguf: 'no/../such' goes up from a folder that is missing; "
                          "write it without '..'",
            "file": "file/mmproj-model-Q8_0.gguf: 'file' is not a folder",
            "file/out": "file/out/mmproj-model-Q8_0.gguf: 'file/out' is not a folder",
        }
        for output, message in cases.items():
            with self.subTest(output):
                self.check_refused(["demo/model", output, "q8_0", "--quiet"], message)
        self.check_refused(["demo/model", "folder.gguf", "q8_0", "--quiet"],
                           "folder.gguf: is a folder, expected the path of a file", code=2)

    def test_output_that_is_a_link_to_nothing(self):
        os.symlink("gone", self.path("nothing"))
        self.check(["demo/model", "nothing", "q8_0", "--quiet"], code=1, out="", err="llava-quantize: nothing/"
                   "mmproj-model-Q8_0.gguf: 'nothing' is a symbolic link to nothing\n")
        self.assertEqual(sorted(os.listdir(self.dir)), ["demo", "nothing"])

    def test_damaged_record_of_an_interrupted_run(self):
        self.write_pair()
        with open(self.path("out/.x.lq-commit"), "w") as f:
            f.write("llava-quantize commit 1 replace\n1 000000 ../../etc/passwd\n")
        self.check_refused(["demo/model", "out", "q4_0", "--quiet"],
                           "out/.x.lq-commit: the record of an interrupted run is damaged; look at the files beside "
                           "it, then delete it")

    # What the system refuses

    def run_in_namespace(self, mounts, args):
        """Runs the program where `mounts` (shell) have been made, seen by nobody else. Returns its result and a listing
        of the folder "place" after it."""
        script = f"({mounts}) || exit 77; \"$@\"; code=$?; find place -mindepth 1 | sort > listing; exit $code"
        command = ["unshare", "-rm", "sh", "-c", script, "sh", BIN, *args]
        os.mkdir(self.path("place"))
        try:
            done = subprocess.run(command, cwd=self.dir, env=self.environment(), text=True, capture_output=True)
        except FileNotFoundError:
            self.skipTest("no unshare")
        if not os.path.exists(self.path("listing")):
            self.skipTest(f"no file systems of our own here: {done.stderr.strip()}")
        with open(self.path("listing")) as f:
            return Result(done.returncode, done.stdout, done.stderr), f.read()

    def test_full_disk(self):
        mounts = "mount -t tmpfs -o size=4m none place && head -c 100 /dev/zero > place/mine"
        result, listing = self.run_in_namespace(mounts, ["demo/model", "place/out", "q8_0", "--quiet"])
        self.assertEqual((result.code, result.out), (1, ""))
        self.assertRegex(result.err, r"\Allava-quantize: place/out/model-Q8_0\.gguf: needs [\d.]+ MiB, but only [\d.]+ "
                         r"[KM]iB are free there; free some space or choose another folder\n\Z")
        self.assertEqual(listing, "place/mine\n")

    def test_disk_with_just_enough_space(self):
        result, listing = self.run_in_namespace("mount -t tmpfs -o size=12m none place",
                                                ["demo/model", "place/out", "q8_0", "--quiet"])
        self.assertEqual((result.code, result.err), (0, ""))
        self.assertEqual(listing, "place/out\nplace/out/mmproj-model-Q8_0.gguf\nplace/out/model-Q8_0.gguf\n")

    def test_read_only_folder(self):
        result, listing = self.run_in_namespace("mount -t tmpfs none place && mount -o remount,ro none place",
                                                ["demo/model", "place/out", "q8_0", "--quiet"])
        self.assertEqual(result, Result(1, "", "llava-quantize: place/out/mmproj-model-Q8_0.gguf: cannot make folder "
                                        "'place/out': Read-only file system; choose a folder that can be written to\n"))
        self.assertEqual(listing, "")

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_folder_without_permission(self):
        os.mkdir(self.path("place"), 0o555)
        self.check_refused(["demo/model", "place", "q8_0", "--quiet"],
                           "place/mmproj-model-Q8_0.gguf: cannot write into folder 'place': Permission denied; choose "
                           "a folder that you may write to")

    def test_limit_on_file_sizes(self):
        result = self.run_cli(["demo/model", "out", "q8_0", "--quiet"],
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
        self.assertEqual((result.code, result.out), (1, ""))
        self.assertRegex(result.err, r"\Allava-quantize: out/mmproj-model-Q8_0\.gguf: needs [\d.]+ MiB, but this "
                         r"process may write files of at most 1 MiB; raise the limit \(ulimit -f\)\n\Z")
        self.assertFalse(os.path.exists(self.path("out")))

    # Two runs at once

    def test_two_runs_on_one_output(self):
        process = self.start_slow("demo/model", "out")
        self.check_refused(["demo/model", "out", "q8_0", "--quiet"],
                           "out: another run is writing there; wait for it to end or choose another output")
        self.write_pair("beside")
        process.terminate()
        process.communicate()
        self.write_pair()
        first = visible(snapshot(self.path("out")))
        self.assertEqual(first, visible(snapshot(self.path("beside"))))

    def test_two_runs_in_one_folder(self):
        self.write_pair()
        process = self.start_slow("demo/model", "out")
        self.check_refused(["demo/model", "out", "iq3_s", "--quiet", "--force"],
                           "out/mmproj-model-IQ3_S.gguf: another run is writing there; wait for it to end or choose "
                           "another output")
        self.write_pair(kind="q4_0")
        process.kill()
        process.communicate()
        self.assertEqual(sorted(os.listdir(self.path("out"))), [f"{half}model-{kind}.gguf" for half in ("mmproj-", "")
                                                                 for kind in ("Q4_0", "Q8_0")])

    def test_the_same_run_twice_gives_the_same_bytes(self):
        self.write_pair("one")
        self.write_pair("two", "q8_0", "--threads", "1")
        self.assertEqual(visible(snapshot(self.path("one"))), visible(snapshot(self.path("two"))))


if __name__ == "__main__":
    unittest.main()
