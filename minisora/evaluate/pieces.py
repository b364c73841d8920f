"""Motion held against a law: a track is cut into lawful pieces, and every frame is foretold from the ones before.

A piece is a stretch of even acceleration; an impact parts two of them. From a piece's position and speed the law
foretells the next two frames, through bounces, walls and collisions, and that is held against what is seen. Lengths are
pixels of a picture whose short side is 64, times are frames, so that errors read the same at any size.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

PIXELS = 64.0  # the short side, as lengths are counted here
NOISE = 0.15  # how well a ball's centre is known
BREAK = 2.0  # what one more piece must save, in squared pixels, to be worth it
SLACK, SHARE = 1.5, 0.15  # lawful: an error within SLACK pixels and SHARE of the way that was foretold
ALIKE = 0.28  # an acceleration this close to the law's is the law's; 1.7 or 1 / 1.7 times as much is not

# From positions (n,) and speeds (n,) at one time to the positions (n, k) at `ahead` (k,) frames later.
Foretell = Callable[[np.ndarray, np.ndarray, Tensor], Tensor]


@dataclass(frozen=True)
class Law:
    """What moves things along one axis."""

    accelerations: tuple[float, ...]  # those that the law knows; its own comes first, and 0 may mean to lie still
    foretell: Foretell
    scale: float  # the acceleration against which an error counts as small
    rest: float = math.inf  # a thing that lies still must lie below this


@dataclass(frozen=True)
class Motion:
    """Movement along one axis, cut into pieces and held against a law."""

    position: np.ndarray  # (n, t) as fitted
    speed: np.ndarray  # (n, t)
    error: np.ndarray  # (t - 1,) how far the next frame is from what was foretold, for the worst of the things
    lawful: bool
    acceleration_error: float


def hold(track: np.ndarray, law: Law, impacts: np.ndarray) -> Motion:
    """Hold a track (n, t) against a law. Pieces may only end where `impacts` (t - 1,) allows it."""
    pieces = cut(track, law.accelerations, impacts)
    position, speed = np.zeros_like(track), np.zeros_like(track)
    for piece, acceleration in pieces:
        position[:, piece], speed[:, piece] = fit(track[:, piece], acceleration)
    steady = law.accelerations[0] == 0
    bend, weight = bending(track, pieces, law)
    lawful = bend < near(law.scale, weight) and all(
        _plausible(position[:, piece], speed[:, piece], acceleration, law) for piece, acceleration in pieces
    )
    error = foretold(track, position, speed, law.foretell)
    way = np.abs(speed).max(0)[:-1, None] * np.array([1, 2])
    if (error > SLACK + SHARE * way).any():  # impacts may come too fast for pieces: follow the whole track at once
        left = shoot(track, np.concatenate([position[:, 0], speed[:, 0]]), law.foretell)
        followed = bool(np.abs(left).max() < SLACK)
        if followed and steady:  # then there is no acceleration, whatever short pieces say
            lawful, bend = True, float(np.abs(2 * np.polyfit(np.arange(left.shape[1]), left.T, 2)[0]).max())
        lawful = lawful and followed
        error = np.abs(np.diff(left, axis=1)).max(0)[:, None] if followed else error
    return Motion(position, speed, error[:, 0], bool(lawful), bend)


def near(acceleration: float, weight: float) -> float:
    """How far an acceleration may be off: by a share of itself, and by what noise does to a fit of this weight."""
    return ALIKE * acceleration + 2 * NOISE * math.sqrt(720 / max(weight, 1))


def bending(track: np.ndarray, pieces: list[tuple[slice, float]], law: Law) -> tuple[float, float]:
    """How far pieces bend from the law's acceleration, and the weight of that: n⁵ for a piece of n frames.

    Frames next to an impact are left out of pieces that are long enough, for they may belong to its other side.
    """
    errors, weights = [], []
    for piece, acceleration in pieces:
        length = piece.stop - piece.start
        start = piece.start + (piece.start > 0 and length > 5)
        stop = piece.stop - (piece.stop < track.shape[1] and length > 4)
        if length >= 3 and abs(acceleration) == abs(law.accelerations[0]):
            bend = 2 * np.polyfit(np.arange(stop - start), track[:, start:stop].T, 2)[0]
            errors.append(float(np.abs(bend - acceleration).max()))
            weights.append((stop - start) ** 5)
    return (float(np.average(errors, weights=weights)), sum(weights)) if errors else (law.scale, 1)


def _plausible(position: np.ndarray, speed: np.ndarray, acceleration: float, law: Law) -> bool:
    """Whether a piece that lies still does so where it may, and friction only ever slows what moves."""
    pace = speed.mean(1)
    if acceleration == 0 and law.accelerations[0] != 0:
        return speed.shape[1] < 3 or bool(np.abs(pace).max() < 1 and position.max() < law.rest)
    both_ways = acceleration != 0 and -acceleration in law.accelerations
    return not both_ways or speed.shape[1] < 6 or bool((pace * acceleration).max() <= 0)


def shoot(track: np.ndarray, start: np.ndarray, foretell: Foretell) -> np.ndarray:
    """(n, t) what is left of a track when the law is followed from the best start, all the way."""
    n, frames = track.shape
    ahead = torch.arange(frames, dtype=torch.float64)

    def left(start: np.ndarray) -> np.ndarray:
        return foretell(start[:n], start[n:], ahead).numpy() - track

    return left(least_squares(lambda start: left(start).ravel(), start, loss="soft_l1", max_nfev=20).x)


def foretold(track: np.ndarray, position: np.ndarray, speed: np.ndarray, foretell: Foretell) -> np.ndarray:
    """(t - 1, 2) how far the next frame and the one after it are from what the law foretells, for the worst thing."""
    frames = track.shape[1]
    error = np.zeros((frames - 1, 2))
    for k in range(frames - 1):
        seen = track[:, k + 1 : k + 3]
        told = foretell(position[:, k], speed[:, k], torch.arange(1.0, 1 + seen.shape[1], dtype=torch.float64))
        error[k, : seen.shape[1]] = np.abs(told.numpy() - seen).max(0)
    return error


def fit(track: np.ndarray, acceleration: float) -> tuple[np.ndarray, np.ndarray]:
    """Position and speed (n, k) of the best x + v k + a k²/2 through a piece of a track."""
    k = np.arange(track.shape[1])
    straight = track - acceleration * k**2 / 2
    slope = np.polyfit(k, straight.T, 1)[0] if len(k) > 1 else np.zeros(len(track))
    position = straight.mean(1)[:, None] + slope[:, None] * (k - k.mean())
    return position + acceleration * k**2 / 2, slope[:, None] + acceleration * k


def impacts_near(distance: np.ndarray, slack: float) -> np.ndarray:
    """(t - 1,) between which frames something may be struck that is as near as `distance` (m, t) says."""
    step = np.abs(np.diff(distance, axis=1))
    before, after = np.concatenate([step[:, :1], step], axis=1), np.concatenate([step, step[:, -1:]], axis=1)
    close = (distance[:, :-1] < before[:, :-1] + slack) | (distance[:, 1:] < after[:, 1:] + slack)
    return np.any(close, axis=0)


def cut(track: np.ndarray, choices: tuple[float, ...], impacts: np.ndarray) -> list[tuple[slice, float]]:
    """The best way to cut a track (n, t) at impacts into pieces x + v k + a k²/2, by dynamic programming."""
    frames = track.shape[1]
    k = np.arange(frames)
    straight = track - np.array(choices)[:, None, None] * k**2 / 2  # (a, n, t)
    count = k[None] - k[:, None] + 1.0
    count[count < 1] = np.nan

    def total(values: np.ndarray) -> np.ndarray:
        """(…, t) → (…, t, t) the sum from one frame to another."""
        upto = np.concatenate([np.zeros_like(values[..., :1]), values.cumsum(-1)], axis=-1)
        return upto[..., None, 1:] - upto[..., :-1, None]

    kk = total(k**2.0) - total(1.0 * k) ** 2 / count
    kx = total(k * straight) - total(1.0 * k) * total(straight) / count
    xx = total(straight**2) - total(straight) ** 2 / count
    spread = (xx - kx**2 / np.maximum(kk, 1e-9)).clip(0).sum(1)  # (a, t, t): what a straight line leaves over
    spread[1:][np.array(choices[1:]) == 0] += BREAK / 4  # to lie still is the last explanation
    cost, which = spread.min(0), spread.argmin(0)
    best, begun = np.zeros(frames + 1), np.zeros(frames + 1, dtype=int)
    price = np.where(np.append(True, impacts), BREAK, np.inf)  # of a piece that starts in a frame
    for stop in range(1, frames + 1):
        totals = best[:stop] + cost[:stop, stop - 1] + price[:stop]
        begun[stop], best[stop] = totals.argmin(), totals.min()
    pieces, stop = [], frames
    while stop:
        start = int(begun[stop])
        pieces.append((slice(start, stop), float(choices[which[start, stop - 1]])))
        stop = start
    return pieces[::-1]
