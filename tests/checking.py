"""How a checker is itself checked: its share of yes on real clips, and of no on clips that must fail."""

from types import ModuleType

Size = tuple[int, int, int]


def agreement(world: ModuleType, checker: ModuleType, clips: int, size: Size, fps: float = 8.0, **constraints) -> float:
    """The share of real clips of the first seeds in which the checker confirms every claim of the caption."""
    seconds = max(0.5, (size[0] - 1) / fps)
    yes = 0
    for seed in range(clips):
        scene = world.sample(seed, seconds, **constraints)
        report = checker.check(world.render(scene, *size, fps), scene, fps)
        yes += report.ok
        if not report.ok:
            print(f"seed {seed}: {report.failed}")
    return yes / clips


def refusal(world: ModuleType, checker: ModuleType, control: str, clips: int, size: Size, fps: float = 8.0) -> float:
    """The share of a control's clips that the checker refuses."""
    seconds = max(0.5, (size[0] - 1) / fps)
    no = 0
    for seed in range(clips):
        scene = world.sample(seed, seconds)
        refused = not checker.check(checker.CONTROLS[control](scene, *size, fps), scene, fps).ok
        no += refused
        if not refused:
            print(f"seed {seed} passed as real")
    return no / clips
