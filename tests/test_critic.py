"""The critic: its loss reaches the critic and nothing else, the VAE's terms reach the VAE and nothing else."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minisora.core.errors import MinisoraError
from minisora.core.recipe import Recipe, Run
from minisora.data.clip import Clip
from minisora.data.datasets import WorldClips
from minisora.models.vae import VAE
from minisora.train import stages
from minisora.train import vae as vae_stage
from minisora.train.critic import Critic, Rivals, Terms, hinge, step_for
from minisora.train.engine import compile_parts
from minisora.zoo.presets import preset

TINY = preset("tiny")
MIXED = WorldClips("shapes", 6, sizes=["9x32x32", "1x32x32", "5x16x48"])
CLIPS = [MIXED[index] for index in range(6)]


def rivals() -> Rivals:
    torch.manual_seed(0)
    return Rivals(VAE(TINY.vae), Critic(width=4, layers=2))


def gradients(model: Rivals, terms: Terms, clips: list[Clip]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    step_for(terms)(model, clips, torch.Generator().manual_seed(1))[0].backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def test_what_is_never_called_itself_is_compiled_in_its_parts() -> None:
    model = rivals()
    compile_parts(model)
    compiled = {name for name, part in model.named_modules() if part._compiled_call_impl is not None}
    assert {"critic", "vae.encoder", "vae.decoder", "vae.to_latent"} <= compiled and "vae" not in compiled


def test_each_rival_is_moved_by_its_own_terms_alone() -> None:
    model = rivals()
    plain, judged = gradients(model, Terms(), CLIPS), gradients(model, Terms(1.0, 1.0), CLIPS)
    for name, gradient in judged.items():
        if name.startswith("critic."):
            torch.testing.assert_close(gradient, plain[name])
    assert any((judged[name] - plain[name]).abs().max() > 1e-4 for name in plain if name.startswith("vae.decoder"))

    model.zero_grad()
    vae_stage.step(model.vae, CLIPS, torch.Generator().manual_seed(1))[0].backward()
    for name, weight in model.vae.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(plain[f"vae.{name}"], weight.grad, msg=name)


def test_the_critic_learns_to_tell_clips_from_blurred_ones() -> None:
    torch.manual_seed(0)
    critic, x = Critic(width=8, layers=2), torch.cat([CLIPS[0].pixels(), CLIPS[3].pixels()])
    blurred = torch.nn.functional.avg_pool3d(x, (1, 5, 5), 1, (0, 2, 2))
    optimiser, losses = torch.optim.AdamW(critic.parameters(), 2e-3), []
    for _ in range(60):
        loss = hinge(critic(x)[0], critic(blurred)[0])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]  # an even background is the same, blurred or not
    assert critic(x)[0].mean() > critic(blurred)[0].mean()


def test_a_vae_with_its_critic_is_trained_killed_and_gone_on_with_as_any_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, terms = WorldClips("shapes", 4, sizes=["5x32x32"]), Terms(0.1, 0.05)
    recipe = Recipe(steps=3, batch=2)
    whole = stages.train_vae(TINY, clips, tmp_path / "whole", recipe=recipe, terms=terms)

    def interrupted(terms: Terms, rough: float) -> Callable:
        """The step function as it is; in its second step somebody presses Ctrl-C."""
        step, calls = step_for(terms, rough), []

        def pressed(*arguments: object) -> object:
            calls.append(arguments)
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return step(*arguments)

        return pressed

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages.critic_stage, "step_for", interrupted)
        stages.train_vae(TINY, clips, tmp_path / "cut", recipe=recipe, terms=terms)
    assert [folder.name for folder in (tmp_path / "cut" / "vae" / "checkpoints").iterdir()] == ["step-000002"]
    resumed = stages.train_vae(TINY, clips, tmp_path / "cut", recipe=recipe, terms=terms, run=Run(resume=True))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    with pytest.raises(MinisoraError, match="terms"):
        stages.train_vae(TINY, clips, tmp_path / "cut", recipe=recipe, run=Run(resume=True))


def test_weights_below_nothing_are_refused() -> None:
    with pytest.raises(MinisoraError, match="0 or more"):
        Terms(adversarial=-1.0)
