"""Checkpoints: what is written comes back, nothing is ever half-written, and nothing hostile gets through."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from minisora.core.checkpoint import load_into, load_json, load_tensors, save_json, save_tensors, sha256, written_beside
from minisora.core.errors import MinisoraError
from tests.hostile import mutate, read_all

TENSORS = {
    "weight": torch.randn(8, 8), "half": torch.randn(5).bfloat16(),
    "count": torch.tensor(3), "empty": torch.zeros(0, 4),
}  # fmt: skip
READ = """
from minisora.core.checkpoint import load_tensors
def read(path):
    tensors, note = load_tensors(path)
    return sum(tensor.numel() for tensor in tensors.values())
"""


def test_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", TENSORS, {"preset": "tiny"})
    tensors, note = load_tensors(tmp_path / "a.safetensors")
    assert note == {"preset": "tiny"} and tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_json_comes_back(tmp_path: Path) -> None:
    content = {"step": 3, "losses": [0.5, 0.25], "name": "ε"}
    save_json(tmp_path / "deep" / "a.json", content)
    assert load_json(tmp_path / "deep" / "a.json") == content


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save_json(path, {"step": 1})
    with pytest.raises(ValueError):
        save_json(path, {"loss": float("nan")})
    with pytest.raises(KeyboardInterrupt), written_beside(path) as draft:
        draft.write_text("{half")
        raise KeyboardInterrupt
    assert load_json(path) == {"step": 1} and os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.05, 0.08])
def test_a_reader_never_sees_half_a_file_when_the_writer_is_killed(tmp_path: Path, delay: float) -> None:
    path = tmp_path / "a.safetensors"
    code = (
        "import sys, torch\nfrom minisora.core.checkpoint import save_tensors\n"
        "for step in range(10**6):\n"
        "    save_tensors(sys.argv[1], {'w': torch.full((300_000,), float(step))}, {'step': str(step)})\n"
        "    print('saved', flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None and writer.stdout.readline() == "saved\n"
    time.sleep(delay)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    tensors, note = load_tensors(path)
    assert tensors["w"].unique().tolist() == [float(note["step"])]


def test_loading_into_a_model_is_strict(tmp_path: Path) -> None:
    model, path = torch.nn.Linear(3, 2), tmp_path / "a.safetensors"
    for tensors, complaint in (
        ({"weight": torch.zeros(2, 3)}, "lacks tensor bias"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "extra": torch.zeros(1)}, "unknown tensor extra"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, r"weight is \(3, 2\) and the model needs \(2, 3\)"),
    ):
        before = model.weight.clone()
        save_tensors(path, tensors)
        with pytest.raises(MinisoraError, match=complaint):
            load_into(model, path)
        assert torch.equal(model.weight, before), "a refused file changes nothing"
    wanted = {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
    save_tensors(path, wanted)
    load_into(model, path)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"\x80\x04\x95\x10",
        b"\xff" * 64,
        json.dumps([[]] * 3).encode(),
        (2**60).to_bytes(8, "little") + b"{}",
    ],
)
def test_a_foreign_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(MinisoraError) as caught:
        load_tensors(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "\x00", "NaN garbage"])
def test_a_broken_json_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(MinisoraError):
        load_json(tmp_path / "a.json")
    with pytest.raises(MinisoraError, match="there is no file"):
        load_json(tmp_path / "b.json")


def test_500_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "sound.safetensors", {**TENSORS, "large": torch.randn(4096)}, {"preset": "tiny"})
    sound = (tmp_path / "sound.safetensors").read_bytes()
    paths = [tmp_path / f"{seed}.safetensors" for seed in range(500)]
    for seed, path in enumerate(paths):
        path.write_bytes(mutate(sound, seed))
    outcomes = read_all(paths, READ)
    bad = {path: outcome for path, outcome in outcomes.items() if not outcome.startswith(("read", "refused"))}
    assert not bad
    assert sum(outcome == "refused" for outcome in outcomes.values()) > 200
    assert not (Path.cwd() / "pwned").exists()


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
