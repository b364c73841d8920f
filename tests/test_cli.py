"""The command line: what it prints, what it leaves, and how it fails."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from minisora import cli
from minisora.data.video_io import read_video


class Told(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Told]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> Told:
        monkeypatch.setattr(sys, "argv", ["minisora", *words])
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        return Told(status, *capsys.readouterr())

    return command


def test_the_installed_command_runs():
    told = subprocess.run([Path(sys.executable).with_name("minisora"), "info"], capture_output=True, text=True)
    assert "wan2.1-t2v-1.3b" in told.stdout
    assert told.returncode == 0 and told.stdout.startswith("minisora") and "torch" in told.stdout


@pytest.mark.parametrize("words", [[], ["data"], ["data", "show"], ["data", "make"], ["data", "check"], ["info"]])
def test_every_command_explains_itself(run: Run, words: list[str]):
    helped = run(*words, "--help")
    assert helped.status == 0 and "usage: minisora" in helped.out


@pytest.mark.parametrize("ending", ["mp4", "gif", "png"])
def test_show_leaves_a_video_and_a_sheet(run: Run, tmp_path: Path, ending: str):
    size = "1x40x64" if ending == "png" else "5x40x64"
    told = run("data", "show", "craft", "--size", size, "--count", "2", "--out", f"a/b.{ending}")
    assert told.status == 0, told.err
    assert {path.name for path in (tmp_path / "a").iterdir()} == {f"b.{ending}", "b-sheet.png"}
    clip = read_video(tmp_path / "a" / f"b.{ending}")
    assert clip.size == size and clip.caption in told.out


def test_show_answers_a_prompt_and_says_that_no_model_made_it(run: Run):
    told = run("data", "show", "--prompt", "a red ball drops on the Moon", "--size", "5x32x32")
    assert told.status == 0 and "no network does" in told.out and "minisora/physics/" in told.out


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["show", "chess"], "choose one of shapes"),
        (["show", "--size", "64x64"], "frames x height x width"),
        (["show", "--size", "17x0x64"], "no clip has size"),
        (["show", "--count", "0"], "ask for 1 to 64"),
        (["show", "--fps", "0"], "fps"),
        (["show", "--fps", "nan"], "fps"),
        (["show", "--detail", "poetic"], "descriptive"),
        (["show", "--prompt", "buckle my shoe"], "no toy world understands"),
        (["show", "--out", "clip.avi"], ".avi"),
        (["check", "--folder", "."], "there is no file"),
        (["make", "--clips", "0"], "not a sample"),
    ],
)
def test_a_mistake_is_one_line_status_2_and_leaves_nothing(run: Run, tmp_path: Path, words: list[str], complaint: str):
    told = run("data", *words)
    assert told.status == 2 and complaint in told.err and len(told.err.strip().splitlines()) == 1
    assert list(tmp_path.rglob("*.mp4")) == []
