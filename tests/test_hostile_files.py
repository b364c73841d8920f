"""Damaged and hostile videos and parquet files: a clip within limits or one line of an error, and never anything else.

Every file is read in a process with bounded memory and time (hostile.py), so that a crash of a decoder fails a test.
"""

import random
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.data.mp4 import encode_mp4
from minisora.data.video_io import read_video, write_video
from minisora.worlds import shapes
from tests.hostile import mutate, read_all

READ = """
import av, datasets, pyarrow.parquet
from pathlib import Path
from minisora.data.hub import HubClips, HubStream
from minisora.data.video_io import probe, read_video
torch.set_num_threads(1)
datasets.config.HF_DATASETS_CACHE = Path({cache!r})
def read(path):
    if not path.endswith("parquet"):
        facts = probe(path)
        return read_video(path).size, facts.frames
    clips = list(HubStream(path, broken="error"))
    rows = HubClips(path, broken="error")
    return [clip.size for clip in clips] + [rows[index].size for index in range(min(3, len(rows)))]
"""
# Names of parts that mp4, PNG and the like keep beside a length or a count.
PARTS = (
    b"stsz stts stsc stco ctts stss mdhd tkhd avc1 avcC mvhd trak moov mdat ftyp elst hdlr udta meta ilst data".split()
)
PARTS += b"IHDR IDAT tEXt GIF8".split()
LIES = (0, 1, 0x7F, 0xFFFF, 0x10000, 100_000, 10_000_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
MEMORY = 3 << 29  # bytes beyond the imports: the limits on a clip, the decoder's own frames, and no more


def lie(data: bytes, seed: int) -> bytes:
    """Another number where a part keeps its length, or its counts and sizes."""
    rng, told = random.Random(f"lie/{seed}"), bytearray(data)
    places = [data.find(name) for name in PARTS if data.find(name) >= 4] or [len(data) - 8]  # parquet's is at the end
    for _ in range(rng.choice((1, 2))):
        place = rng.choice(places) + rng.choice((-4, -4, *range(4, 40, 4)))
        if 0 <= place <= len(data) - 4:
            struct.pack_into(rng.choice((">I", ">I", "<I")), told, place, rng.choice(LIES))
    return bytes(told)


def sound_files(folder: Path) -> dict[str, bytes]:
    clips = [Clip(shapes.render(shapes.sample(seed), 9, 32, 32), 8.0, f"clip {seed}") for seed in range(5)]
    for kind in ("mp4", "gif"):
        write_video(folder / f"sound.{kind}", clips[0])
    write_video(folder / "sound.png", Clip(clips[0].frames[:1]))
    table = pa.table({"mp4": [encode_mp4(clip) for clip in clips], "caption": [clip.caption for clip in clips]})
    pq.write_table(table, folder / "sound.parquet")
    return {kind: (folder / f"sound.{kind}").read_bytes() for kind in ("mp4", "gif", "png", "parquet")}


def damage(folder: Path, counts: dict[str, int], first: int) -> None:
    """Read so many damaged files of each kind, and the sound ones, and hold the outcomes against the rule."""
    sound = sound_files(folder)
    paths = [folder / f"sound.{kind}" for kind in counts]
    for kind, count in counts.items():
        for seed in range(first, first + count):
            paths.append(folder / f"{kind}{seed}.{kind}")
            paths[-1].write_bytes((lie if seed % 3 == 0 else mutate)(sound[kind], seed))
    outcomes = read_all(paths, READ.format(cache=str(folder / "cache")), MEMORY, timeout=600)
    wrong = {path: told for path, told in outcomes.items() if told != "refused" and not told.startswith("read ")}
    assert not wrong, f"{len(wrong)} of {len(outcomes)} files: {dict(list(wrong.items())[:3])}"
    assert all(outcomes[str(folder / f"sound.{kind}")].startswith("read ") for kind in counts)
    assert sum(told == "refused" for told in outcomes.values()) > 0.3 * len(
        outcomes
    )  # the damage does reach the readers


def test_damaged_files_are_read_within_limits_or_refused(tmp_path: Path) -> None:
    damage(tmp_path, {"mp4": 36, "parquet": 14, "gif": 6, "png": 4}, first=0)


@pytest.mark.slow
def test_five_hundred_damaged_files_are_read_within_limits_or_refused(tmp_path: Path) -> None:
    damage(tmp_path, {"mp4": 280, "parquet": 160, "gif": 30, "png": 30}, first=1000)


def test_enormous_claims_and_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    """What claims to be huge is refused before memory is taken; what would open other files or addresses opens none."""
    bait = tmp_path / "bait.mp4"
    bait.write_bytes(sound_files(tmp_path)["mp4"])
    mp4, png, gif = (sound_files(tmp_path)[kind] for kind in ("mp4", "png", "gif"))
    huge = struct.pack(">II", 100_000, 100_000)
    place = png.index(b"IHDR") + 4
    box = mp4.index(b"stsz") + 12
    files = {
        "huge.png": png[:place] + huge + png[place + 8 :],
        "huge.gif": gif[:6] + b"\xff\xff\xff\xff" + gif[10:],
        "many.mp4": mp4[: box - 4] + struct.pack(">II", 0, 0x0FFFFFFF) + mp4[box + 4 :],
        "long.mp4": mp4[: box - 4] + struct.pack(">II", 1, 0x0FFFFFFF) + mp4[box + 4 :],  # samples of one byte each
        "list.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{bait}\n#EXT-X-ENDLIST\n".encode(),
        "web.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile {bait}\n".encode(),
        "plan.mp4": f'<?xml version="1.0"?><MPD><BaseURL>{bait}</BaseURL></MPD>'.encode(),
        "stream.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "words.mp4": b"only words\n" * 1000,
        "pickle.parquet": b"\x80\x04\x95cos\nsystem\n(S'touch pwned'\ntR.",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in files]
    outcomes = read_all(paths, READ.format(cache=str(tmp_path / "cache")), MEMORY, timeout=120)
    assert {Path(path).name: told for path, told in outcomes.items()} == dict.fromkeys(files, "refused")


def test_a_few_bytes_cannot_claim_a_million_samples(tmp_path: Path) -> None:
    """Sixty million samples in a chunk cost a decoder gigabytes and ten seconds: they are refused before it looks."""
    data = bytearray(sound_files(tmp_path)["mp4"])
    struct.pack_into(">II", data, data.index(b"stsz") + 8, 1, 60_000_000)
    struct.pack_into(">I", data, data.index(b"stsc") + 16, 60_000_000)
    with pytest.raises(MinisoraError, match="can hold"):
        read_video(bytes(data))
