"""The command line: what it prints, what it leaves, and how it fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from minisora.data.video_io import read_video


def run(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "minisora.cli", *words], capture_output=True, text=True, cwd=folder, timeout=120
    )


@pytest.mark.parametrize("words", [[], ["data"], ["data", "show"], ["data", "make"], ["data", "check"], ["info"]])
def test_every_command_explains_itself(words: list[str]):
    helped = run(*words, "--help")
    assert helped.returncode == 0 and "usage: minisora" in helped.stdout


def test_info_describes_the_machine():
    told = run("info")
    assert told.returncode == 0 and told.stdout.startswith("minisora") and "torch" in told.stdout


@pytest.mark.parametrize("ending", ["mp4", "gif", "png"])
def test_show_leaves_a_video_and_a_sheet(tmp_path: Path, ending: str):
    size = "1x40x64" if ending == "png" else "5x40x64"
    told = run("data", "show", "craft", "--size", size, "--count", "2", "--out", f"a/b.{ending}", folder=tmp_path)
    assert told.returncode == 0, told.stderr
    assert {path.name for path in (tmp_path / "a").iterdir()} == {f"b.{ending}", "b-sheet.png"}
    clip = read_video(tmp_path / "a" / f"b.{ending}")
    assert clip.size == size and clip.caption in told.stdout


def test_show_answers_a_prompt_and_says_that_no_model_made_it(tmp_path: Path):
    told = run("data", "show", "--prompt", "a red ball drops on the Moon", "--size", "5x32x32", folder=tmp_path)
    assert told.returncode == 0 and "No model is bundled" in told.stdout and "minisora/physics/" in told.stdout


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
        (["show", "--prompt", "one two buckle my shoe"], "no toy world understands"),
        (["show", "--out", "clip.avi"], ".avi"),
        (["check", "--folder", "."], "there is no file"),
        (["make", "--clips", "0"], "not a sample"),
    ],
)
def test_a_mistake_is_one_line_status_2_and_leaves_nothing(tmp_path: Path, words: list[str], complaint: str):
    told = run("data", *words, folder=tmp_path)
    assert told.returncode == 2 and complaint in told.stderr and len(told.stderr.strip().splitlines()) == 1
    assert list(tmp_path.rglob("*.mp4")) == []
