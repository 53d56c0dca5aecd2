"""What a stranger hands over runs no code, whatever the workflow, the command line or a bundle make of it."""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from helpers.checkout import STUDY, Checkout

EVIL = {
    "template": '__use_yte__: true\n?if __import__("os").system("touch HACKED"):\n  x: 1\n',
    "tag": "!!python/object/apply:os.system ['touch HACKED']\n",
    "name": "a: !!python/name:os.system\n",
}


@pytest.mark.parametrize("kind", EVIL)
def test_a_study_that_is_named_runs_no_code(checkout: Checkout, kind: str) -> None:
    (checkout.folder / "study.yaml").write_text(EVIL[kind])
    done = checkout.snakemake("-n")
    assert done.returncode != 0
    assert re.search(r"error: study study.yaml, line \d: .*(template's key|is a tag)", done.stdout + done.stderr)
    assert not (checkout.folder / "HACKED").exists()
    checkout.write(STUDY)


def test_a_file_given_to_configfile_is_read_by_us_again(checkout: Checkout) -> None:
    """Snakemake has read it by then, and run what its templates ask for: refused, so that nobody gets used to it."""
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", "study.yaml"]
    (checkout.folder / "study.yaml").write_text("__use_yte__: true\nname: x\n")
    done = subprocess.run(command, cwd=checkout.folder, env=checkout.environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "'__use_yte__' is a template's key" in done.stdout + done.stderr
    checkout.write(STUDY)
    done = subprocess.run(command, cwd=checkout.folder, env=checkout.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_keys_beside_the_study_are_refused(checkout: Checkout) -> None:
    command = [sys.executable, "-m", "snakemake", "-n", "--config", "study=study.yaml", "seed=3"]
    done = subprocess.run(command, cwd=checkout.folder, env=checkout.environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert (
        "error: --config gives seed, but takes study=FILE alone; write seed into that file" in done.stdout + done.stderr
    )


def test_odd_places_and_names(tmp_path: Path) -> None:
    """A checkout, a study and a folder for temporary files whose names hold spaces, braces, quotes; a long TMPDIR."""
    folder = tmp_path / "a{b} c'd"
    folder.mkdir()
    odd = Checkout(folder)
    odd.write({**STUDY, "title": "a {x} $y$ <b>", "models": {"fc": STUDY["models"]["fc"]}})
    (folder / "my studies").mkdir()
    (folder / "study.yaml").rename(folder / "my studies" / "a b.yaml")
    temporary = tmp_path / ("t" * 150)
    temporary.mkdir()
    command = [sys.executable, "-m", "snakemake", "tables", "report", "--config", "study=my studies/a b.yaml"]
    environment = {**odd.environment, "TMPDIR": str(temporary)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = (folder / "results/tiny/report.html").read_text()
    assert "a {x} $y$ &lt;b&gt;" in report
    assert "<b>" not in report.split("</title>")[0]


def mutate(text: str, chooser: random.Random) -> bytes:
    """A study as a person or a program may spoil it: lines lost, doubled, moved, values swapped, bytes of any kind."""
    lines = text.splitlines()
    for _ in range(chooser.randint(1, 3)):
        place = chooser.randrange(len(lines))
        kind = chooser.randrange(9)
        if kind == 0:
            del lines[place]
        elif kind == 1:
            lines.insert(place, lines[chooser.randrange(len(lines))])
        elif kind == 2:
            lines[place] = "  " * chooser.randint(0, 3) + lines[place].strip()
        elif kind == 3:
            lines[place] = re.sub(r": .*", f": {chooser.choice(ODD)}", lines[place])
        elif kind == 4:
            lines[place] = re.sub(r"\w+:", f"{chooser.choice(ODD)}:", lines[place], count=1)
        elif kind == 5:
            cut = chooser.randrange(len(lines[place]) + 1)
            lines[place] = (
                lines[place][:cut] + chooser.choice("\t\0{}[]&*!|>'\"%@`,:#?-\x7f\u2028é") + lines[place][cut:]
            )
        elif kind == 6:
            lines[place] += " " + chooser.choice(ODD)
        elif kind == 7:
            lines.insert(place, f"{chooser.choice(ODD)}: {chooser.choice(ODD)}")
        else:
            lines[place] = lines[place].replace(" ", "\xa0" if chooser.random() < 0.3 else "  ")
        lines = lines or [""]
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    if chooser.random() < 0.1:
        place = chooser.randrange(len(content) or 1)
        content = content[:place] + bytes([chooser.randrange(256)]) + content[place:]
    return content


FUZZED = int(os.environ.get("LOOKALIKE_FUZZED", "100"))  # studies; CI takes fewer
CHARACTERS = "\t\0{}[]&*!|>'\"%@`,:#?-\x7f\u2028\u00e9"
ODD = [
    *(
        "null",
        "true",
        "no",
        "-1",
        "0",
        "1e400",
        ".inf",
        ".nan",
        "9" * 30,
        "[a]",
        "{}",
        "[[]]",
        "{a: {b: c}}",
        "''",
        "~",
    ),
    *("../../x", "/dev/zero", "/", "a b", "'a {x}'", "x" * 300, "2024-01-01", "0x1F", "1:30", "all", "[all, all]"),
    *("nw", "!!python/name:os.system", "&a [*a]", "*a", "<<", "__use_yte__", "data", "[0, 0]", "[linear, linear]"),
    "$(touch H)",
]


def outcome(process: subprocess.CompletedProcess) -> str:
    output = process.stdout + process.stderr
    assert "Traceback" not in output, output[-3000:]
    if process.returncode:
        assert len(re.findall(r"^error: ", output, re.MULTILINE)) >= 1, output[-3000:]
        assert len(output) < 20_000
    return output


LIMITS = """
import re, sys
from lookalike.core.errors import LookalikeError
from lookalike.pipeline.study_file import read_plan
from pathlib import Path
import time
for name in sys.argv[1:]:
    started = time.perf_counter()
    try:
        plan = read_plan(Path(name))
        list(plan.runs())
        answer = "valid"
    except LookalikeError as error:
        answer = f"error: {error}"
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
    print(repr((name, round(time.perf_counter() - started, 2), round(peak), answer)))
"""


@pytest.mark.long
def test_five_hundred_spoilt_studies_are_valid_or_one_sentence(tmp_path: Path) -> None:
    """Read as every command reads them: none takes 5 seconds, none 200 MB, none ends in a traceback."""
    text, chooser = yaml.safe_dump(STUDY, sort_keys=False), random.Random(0)
    names = []
    for number in range(500):
        names.append(str(tmp_path / f"{number}.yaml"))
        Path(names[-1]).write_bytes(mutate(text, chooser))
    done = subprocess.run([sys.executable, "-c", LIMITS, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = [eval(line) for line in done.stdout.splitlines()]
    assert len(answers) == 500
    assert max(seconds for _, seconds, _, _ in answers) < 5
    assert max(peak for _, _, peak, _ in answers) < 200
    for name, _, _, answer in answers:
        assert answer == "valid" or (Path(name).name in answer and len(answer) < 2000), answer
    refused = sum(answer != "valid" for *_, answer in answers)
    assert 250 < refused < 500


@pytest.mark.long
def test_spoilt_studies_under_the_real_snakemake(checkout: Checkout) -> None:
    """A dry run plans it, or says in a sentence what is wrong."""
    text, chooser = yaml.safe_dump(STUDY, sort_keys=False), random.Random(1)
    for _ in range(FUZZED):
        (checkout.folder / "study.yaml").write_bytes(mutate(text, chooser))
        started = time.perf_counter()
        outcome(checkout.snakemake("-n", "--quiet", "all"))
        assert time.perf_counter() - started < 60
        assert not (checkout.folder / "H").exists()
    checkout.write(STUDY)
