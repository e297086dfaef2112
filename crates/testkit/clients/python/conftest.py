"""What every suite here knows of the engine: its socket in DOCKER_HOST, and commands that talk to it."""

import os
import subprocess
import time


class Failed(AssertionError):
    """A command that ended otherwise than it should have."""


def run(*words, code=0, input=None, cwd=None, env=None, timeout=120):
    """Runs a command, expects an exit code (None: any), and gives back what it did."""
    words = [str(word) for word in words]
    done = subprocess.run(
        words,
        input=input if input is not None else "",
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=timeout,
    )
    if code is not None and done.returncode != code:
        raise Failed(
            f"{' '.join(words)}: exit code {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}"
        )
    return done


def eventually(question, limit=60, what="what was waited for"):
    """Asks until the answer is true, every 100 ms; gives it back."""
    deadline = time.monotonic() + limit
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {limit} s: {what}; last answer: {answer!r}"
        time.sleep(0.1)


def docker(*words, **options):
    """Runs the `docker` command; its output without the last line feed."""
    return run("docker", *words, **options).stdout.rstrip("\n")
