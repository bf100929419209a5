"""The deep half of VCM's asymmetric U-Net: from voxels down to the latent's grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution, SpatialAttentionBlock
from monai.networks.nets.diffusion_model_unet import DiffusionUnetDownsample, get_timestep_embedding
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU, convolution, twice, with a skip; time comes in between where there is a time embedding."""

    def __init__(
        self, inputs: int, outputs: int, *, groups: int, eps: float, time_channels: int | None, down: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=eps)
        self.conv1 = Convolution(3, inputs, outputs, kernel_size=3, conv_only=True)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=eps)
        self.conv2 = Convolution(3, outputs, outputs, kernel_size=3, conv_only=True)
        self.time_emb_proj = nn.Linear(time_channels, outputs) if time_channels else None
        self.pool = nn.AvgPool3d(2) if down else nn.Identity()
        self.skip_connection = (
            nn.Identity() if inputs == outputs else Convolution(3, inputs, outputs, kernel_size=1, conv_only=True)
        )

    def forward(self, x: Tensor, emb: Tensor | None) -> Tensor:
        """`[B, inputs, …]` to `[B, outputs, …]`, halved where the block goes down."""
        h = self.conv1(self.pool(nn.functional.silu(self.norm1(x))))
        if self.time_emb_proj is not None and emb is not None:
            h = h + self.time_emb_proj(nn.functional.silu(emb))[:, :, None, None, None]
        h = self.conv2(nn.functional.silu(self.norm2(h)))
        skipped: Tensor = self.skip_connection(self.pool(x)) + h
        return skipped


class EncoderLevel(nn.Module):
    """Residual blocks (with attention where asked for), then a step down by two."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        blocks: int,
        groups: int,
        eps: float,
        time_channels: int | None,
        attention: bool,
        head_channels: int,
        resblock_updown: bool,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResidualBlock(inputs if i == 0 else outputs, outputs, groups=groups, eps=eps, time_channels=time_channels)
            for i in range(blocks)
        )
        self.attentions = nn.ModuleList(
            SpatialAttentionBlock(
                3, outputs, head_channels or outputs, groups, eps, include_fc=False, use_flash_attention=True
            )
            for _ in range(blocks if attention else 0)
        )
        self.downsampler = (
            ResidualBlock(outputs, outputs, groups=groups, eps=eps, time_channels=time_channels, down=True)
            if resblock_updown
            else DiffusionUnetDownsample(3, outputs, use_conv=True, out_channels=outputs)
        )

    def forward(self, h: Tensor, emb: Tensor | None) -> Tensor:
        """Halves `[B, inputs, …]` in each direction."""
        for index, resnet in enumerate(self.resnets):
            h = resnet(h, emb)
            if self.attentions:
                h = self.attentions[index](h)
        lowered: Tensor = self.downsampler(h, emb)
        return lowered


class ConditionEncoder(nn.Module):
    """Levels of residual blocks, each of which halves the grid.

    With `time_embedding` (the paper's variant) every block knows the timestep, so the encoding changes from step to
    step; without it (the released variant) the encoding is the same at all steps and is computed once.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        num_res_blocks: int | Sequence[int] = 2,
        norm_num_groups: int = 16,
        norm_eps: float = 1e-6,
        attention_levels: Sequence[bool] | None = None,
        num_head_channels: int | Sequence[int] = 0,
        resblock_updown: bool = True,
        time_embedding: bool = False,
    ) -> None:
        super().__init__()
        levels = len(channels)
        blocks = [num_res_blocks] * levels if isinstance(num_res_blocks, int) else list(num_res_blocks)
        heads = [num_head_channels] * levels if isinstance(num_head_channels, int) else list(num_head_channels)
        attention = list(attention_levels or [False] * levels)
        time_channels = channels[0] * 4 if time_embedding else None
        self.base = channels[0]
        self.out_channels = channels[-1]
        self.conv_in = Convolution(3, in_channels, channels[0], kernel_size=3, conv_only=True)
        self.time_embed = (
            nn.Sequential(nn.Linear(self.base, time_channels), nn.SiLU(), nn.Linear(time_channels, time_channels))
            if time_channels
            else None
        )
        self.down_blocks = nn.ModuleList(
            EncoderLevel(
                channels[max(i - 1, 0)],
                channels[i],
                blocks=blocks[i],
                groups=norm_num_groups,
                eps=norm_eps,
                time_channels=time_channels,
                attention=attention[i],
                head_channels=heads[i],
                resblock_updown=resblock_updown,
            )
            for i in range(levels)
        )

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """`[B, in_channels, i, j, k]` to `[B, channels[-1], i/2ⁿ, j/2ⁿ, k/2ⁿ]`; `t` `[B]` for the timed variant."""
        emb = None
        if self.time_embed is not None:
            if t is None:
                raise ValueError("a time-conditioned encoder needs the timestep")
            emb = self.time_embed(get_timestep_embedding(t, self.base).to(x.dtype))
        h = self.conv_in(x)
        for level in self.down_blocks:
            h = level(h, emb)
        return torch.as_tensor(h)
