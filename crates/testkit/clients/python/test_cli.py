"""Docker's command line: what it prints with us is what it prints with dockerd.

Every file of ../cli is a list of commands in blocks. A block runs on the engine under test and on the
dockerd beside it, in a folder of its own; what the two print is compared line by line, after identifiers, times and
the like are taken out. Of a command that fails, its words on standard error are not compared, and of one behind
`~ ` only the exit code is.
"""

import difflib
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent.parent
BLOCKS = []
for file in sorted((CLIENTS / "cli").glob("*.txt")):
    for block in re.split(r"^## ", file.read_text(), flags=re.M)[1:]:
        title, _, lines = block.partition("\n")
        commands = [line for line in lines.splitlines() if line.strip() and not line.startswith("#")]
        BLOCKS.append(pytest.param(title, commands, id=title.replace(" ", "-")))

# What differs from run to run, and between any two engines.
TAKEN_OUT = [
    (re.compile(r"sha256:[0-9a-f]{64}"), "DIGEST"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)"), "TIME"),
    (re.compile(r"\(\d+\) (\w+ ){1,3}ago"), "AGO"),
    (re.compile(r"unix://\S+/sock"), "SOCKET"),
    (re.compile(r"time [<>=]?[\d.]+ ?ms"), "time MS"),
    (re.compile(r"\b\d+(\.\d+)?( ?[kMG]?B)\b"), "SIZE"),
    (re.compile(r"/tmp/\S*/(dockerd|tested)(config)?/"), "FOLDER/"),
    (re.compile(r" endpoint [a-z]+_[a-z]+\b"), " endpoint NAME"),
    (re.compile(r'container_name="[a-z]+_[a-z]+"'), "NAME"),
    (re.compile(r", \[::\]:[\d-]+->[\d-]+/\w+|^\S+ -> \[::\]:\d+\n", re.M), ""),
    (re.compile(r"[ \t]+"), " "),
]


def plain(text):
    for pattern, word in TAKEN_OUT:
        text = pattern.sub(word, text)
    return text


def perform(commands, host, netns, folder):
    """Runs the commands; what each printed, with its exit code."""
    shutil.copytree(CLIENTS / "cli" / "files", folder)
    config = folder.parent / f"{folder.name}config"
    config.mkdir()
    environment = {**os.environ, "DOCKER_HOST": host, "DOCKER_CONFIG": str(config), "B": "given", "DOCKER_BUILDKIT": "0"}
    told = []
    for command in commands:
        sloppy, command = command.startswith("~ "), command.removeprefix("~ ")
        words = ["nsenter", f"--net={netns}", "--"] if netns else []
        done = subprocess.run([*words, "sh", "-c", command], cwd=folder, env=environment, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True, errors="replace")
        output = "(not compared)\n" if sloppy else plain(done.stdout)
        if done.returncode == 0:
            output += "" if sloppy else plain(done.stderr)
        elif done.stderr:
            # Docker has put most of its errors into other words since.
            output += "(an error)\n"
        told += [f"$ {command}\n", *output.splitlines(keepends=True), f"= {done.returncode}\n"]
    return told


@pytest.mark.parametrize("title,commands", BLOCKS)
def test_the_same_as_with_dockerd(title, commands, tmp_path):
    # Both at once: they share nothing, and most commands wait.
    with ThreadPoolExecutor() as pool:
        theirs = pool.submit(perform, commands, os.environ["REFERENCE_HOST"], os.environ["REFERENCE_NETNS"], tmp_path / "dockerd")
        ours = pool.submit(perform, commands, os.environ["DOCKER_HOST"], None, tmp_path / "tested")
    lines = list(difflib.unified_diff(theirs.result(), ours.result(), "dockerd", "under test", n=2))
    assert not lines, "".join(lines)
