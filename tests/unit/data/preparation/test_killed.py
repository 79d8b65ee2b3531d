"""SIGKILL at any moment: a process kills its children before they change a file, and another child resumes."""

import json
import subprocess
import sys

import pytest
import trees

DRIVER = r"""
import json, os, random, shutil, signal, sys, traceback
from pathlib import Path
import datasets, torch  # before the forks
from counterpoise.data.preparation import Settings, prepare_index
from counterpoise.data.preparation._own import own

manifest, folder, changed, points = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def changes(event, arguments):
    "Whether an event of the interpreter is about to change a file below our folder."
    if event == "open":
        writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(arguments[2], int) else False
        return writes and str(arguments[0]).startswith(str(folder))
    return event in EVENTS


def child(out, kill_at=0, report=None):
    pid = os.fork()
    if pid == 0:
        seen = 0

        def hook(event, arguments):
            nonlocal seen
            if changes(event, arguments):
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(hook)
            read = prepare_index(own(manifest, Settings(audio="fbank-small")), out, name="own", recipe={}, jobs=1).read
            os.write(report, json.dumps([read, seen]).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    return os.waitpid(pid, 0)[1]


def run(out, kill_at=0):
    reader, writer = os.pipe()
    status = child(out, kill_at, writer)
    os.close(writer)
    said = os.read(reader, 1000)
    os.close(reader)
    return status, json.loads(said) if said else None


def content(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def saved(out):
    "Samples that need not be read again: those in shards, of what is new; all, where the result is there."
    return 32 * len(list((out.parent / f".{out.name}.partial").glob("*.arrow")))


rng = random.Random(0)
results = {"first": [], "again": []}
status, (read, total) = run(folder / "whole")
assert status == 0
reference = content(folder / "whole")
results["read"] = read
for point in sorted(rng.sample(range(2, total), points)):
    out = folder / f"first{point}"
    killed, _ = run(out, point)
    there, finished = saved(out), out.exists()
    status, (again, _) = run(out)
    partial = (out.parent / f".{out.name}.partial").exists()
    read_again = 0 if finished else read - there
    results["first"].append([killed, status, again, read_again, content(out) == reference, partial])

old, new = changed.read_bytes(), changed.with_name("other.wav").read_bytes()
time = changed.stat().st_mtime_ns


def become(content, time):
    changed.write_bytes(content)
    os.utime(changed, ns=(time, time))


become(new, time + 10**9)
shutil.copytree(folder / "whole", folder / "before")
status, (read_again, total) = run(folder / "whole")
assert (status, read_again) == (0, 1), read_again
reference = content(folder / "whole")
for point in sorted({*rng.sample(range(2, total), points // 2), *(total - k for k in range(1, 9))}):
    out = folder / f"again{point}"
    shutil.copytree(folder / "before", out)
    killed, _ = run(out, point)
    status, (again, _) = run(out)
    partial = (out.parent / f".{out.name}.partial").exists()
    results["again"].append([killed, status, again, content(out) == reference, partial])
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    rows = []
    for k in range(80):  # three shards
        trees.write_wav(folder / "raw" / f"{k}.wav", k % 2, seconds=0.3, seed=k)
        rows.append(f"{k}.wav,{k / 7},{k % 2}")
    trees.write_wav(folder / "raw" / "other.wav", 0, seconds=0.4, seed=99)
    (folder / "raw" / "5.wav").write_bytes(b"")
    manifest = folder / "raw" / "m.csv"
    manifest.write_text("sound,age,label\n" + "\n".join(rows))
    arguments = [manifest, folder, folder / "raw" / "7.wav", 6]
    done = subprocess.run([sys.executable, "-c", DRIVER, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_killed_at_any_point_a_second_run_gives_the_same_and_reads_only_what_is_missing(results):
    assert results["read"] == 80
    assert len(results["first"]) == 6
    for killed, status, again, missing, same, partial in results["first"]:
        assert (killed, status) == (9, 0)
        # What is known about the one unreadable file may have been saved before the kill.
        assert max(missing, 0) - again in (0, 1)
        assert same
        assert not partial
    assert len({again for *_, again, _, _, _ in results["first"]}) > 1, "early and late kills"


def test_killed_while_an_earlier_result_is_replaced_nothing_of_it_is_lost(results):
    for killed, status, again, same, partial in results["again"]:
        assert (killed, status) == (9, 0)
        assert again <= 1, "one file had changed; the others are never read again"
        assert same
        assert not partial
