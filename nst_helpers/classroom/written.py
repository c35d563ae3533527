"""The written question of each lesson: numbers from the student's own pair, the question, an answer, and a scheme.

The numbers come from the student's own functions, seed and pictures, and a good answer explains them.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["WRITTEN", "Written", "numbers_in"]


@dataclass(frozen=True)
class Written:
    """One written question; `scheme` has one line a point, and `cell` prints the numbers that the answer quotes."""

    cell: str
    question: str
    answer: str
    scheme: tuple[str, ...]

    def marking(self, points: float) -> str:
        """The scheme as a list, each line worth its share of the points."""
        share = points / len(self.scheme)
        return "\n".join(f"- {share:g} point{'s' if share != 1 else ''}: {line}" for line in self.scheme)

    def expected(self, seed: int, content: str, style: str) -> str:
        """What the cell prints for right functions."""
        import torch

        import nst_helpers as nst

        from .. import checks, conventions

        space: dict[str, Any] = {"torch": torch, "nst": nst, "conventions": conventions}
        space |= {name: own for name, (_, own) in checks.CHECKS.items()}
        space |= {"SEED": seed, "CONTENT": content, "STYLE": style}
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), torch.random.fork_rng(devices=[]):
            exec(self.cell, space)
        return printed.getvalue().strip()


def numbers_in(text: str) -> set[str]:
    """The numbers of a text that have at least two decimals: what one quotes rather than makes up."""
    return set(re.findall(r"\d+\.\d{2,}", text))


WRITTEN = {
    "00": Written(
        "photo, painting = (nst.load_sample(name, size=(48, 64), crop=True) for name in (CONTENT, STYLE))\n"
        "mixed = blend(photo, painting, 0.25)\n"
        "for name, image in ((CONTENT, photo), (STYLE, painting), ('mixed', mixed)):\n"
        '    print(f"{name}: {image.mean():.4f}, spread {image.std():.4f}")',
        "The cell above mixed three parts of your photo with one part of your painting, and printed the mean and the "
        "spread (the standard deviation) of three pictures. Quote the numbers. How does the mixture's mean follow from "
        "the other two means, and why does its spread not follow in the same way? And what does style transfer at a "
        "low style weight do that such a mixture can't?",
        "The mean of the mixture is three quarters of the photo's mean plus a quarter of the painting's, since every "
        "pixel is. The spread is smaller than the same mixture of the two spreads: light pixels of one picture meet "
        "dark ones of the other and cancel each other out, which is why a mixture looks pale. Style transfer changes "
        "one picture until a network finds the photo's content and the painting's style in it; the edges of the two "
        "agree in place of lying over each other.",
        (
            "quotes the numbers of the own pair",
            "the mean is mixed by the shares, because every pixel is",
            "light and dark meet and cancel, so the spread shrinks",
            "style transfer makes one picture with one set of edges, a mixture shows two",
        ),
    ),
    "01": Written(
        'z = normalize(nst.load_sample(CONTENT, size=64))\nprint(f"{CONTENT}: from {z.min():.4f} to {z.max():.4f}")',
        "Quote the two numbers that the cell above printed for your photo. Why does `normalize` not give values "
        "between 0 and 1, why does the network want it so, and what would you see if you left it out?",
        "My photo goes from about -2 to 2.6: the mean of ImageNet is subtracted, so an average pixel becomes 0 and "
        "dark ones are negative; dividing by a standard deviation of about 0.23 makes the range about four times as "
        "wide. The network learnt its filters on such inputs; on others the same filters answer too weakly and with "
        "shifted values. Nothing raises an error: the features are off, and the pictures turn pale or odd in colour.",
        (
            "quotes both numbers of the own photo",
            "explains the negative values by the mean, and the width by the standard deviation",
            "says that the network was trained on inputs of that scale",
            "knows that no error is raised, and names a symptom (weak features, wrong colours)",
        ),
    ),
    "02": Written(
        'encoder, photo = nst.load_encoder("mini"), nst.load_sample(CONTENT, size=64)\n'
        "noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(SEED))\n"
        "noisy = (photo + 0.1 * noise).clamp(0, 1)\n"
        'for name in ("relu1_1", "relu4_1"):\n'
        "    loss = content_loss(encoder(noisy, [name])[name], encoder(photo, [name])[name])\n"
        '    print(f"{name}: {loss:.4f}")',
        "Your photo got noise. Quote the two content losses that the cell above printed. What does a deep layer keep "
        "of a photo, what does a shallow one, and which would you choose as content layer, and why?",
        "The two losses say how much the layers mind the noise. A shallow layer keeps every pixel's edge and colour; "
        "a deep one sees a large square and keeps what is where, not each pixel. For style transfer I take a deep "
        "one, relu4_2, since it leaves small strokes free to change.",
        (
            "quotes both losses",
            "shallow layers keep pixels and edges, deep ones arrangement and parts",
            "connects this with the receptive field or with pooling",
            "chooses a deep layer and says what freedom it gives the style",
        ),
    ),
    "03": Written(
        'encoder = nst.load_encoder("mini")\n'
        "pair = [nst.load_sample(name, size=64) for name in (CONTENT, STYLE)]\n"
        'photo, painting = [gram_matrix(encoder(x, ["relu2_1"])["relu2_1"]) for x in pair]\n'
        'print(f"{CONTENT} to {STYLE}: {style_loss(photo, painting):.4f}")\n'
        'print(f"{STYLE} to {CONTENT}: {style_loss(painting, photo):.4f}")',
        "Quote the two style losses that the cell above printed for your pair. Why are they not the same? And why "
        "does a Gram matrix describe a style though it has forgotten where everything is?",
        "The loss divides by the squares of the target, so exchanging the two changes the divisor while the "
        "difference stays the same. A Gram matrix sums over all positions: it keeps which features are strong and "
        "which occur together, such as blue with diagonal strokes, and forgets where. Style is just that: what goes "
        "with what, all over the picture.",
        (
            "quotes both losses of the own pair",
            "the denominator is the target's, so the order matters",
            "the sum over positions forgets where",
            "what remains is which features occur together, and that is texture or style",
        ),
    ),
    "04": Written(
        "generator = torch.Generator().manual_seed(SEED)\n"
        "for channels in (8, 16):\n"
        "    gram, target = torch.rand(2, 1, channels, channels, generator=generator)\n"
        '    two = [nst.style_loss(gram, target, convention=c) for c in ("gatys", "pytorch")]\n'
        '    print(f"{channels} channels: {1000 * two[0]:.3f} and {1000 * two[1]:.3f}")',
        "The cell above printed a layer's style loss, times 1000, as the paper and as the PyTorch tutorial compute it. "
        "Quote the numbers. By what factor do the two differ at each width, and what follows from that for a style "
        "weight that you find on the web? And why must a loss layer give back its input unchanged?",
        "The paper divides the squared distance by 4 C^2 and the tutorial by C^4, so they differ by C^2 / 4: 16 "
        "for 8 channels and 64 for 16. The factor depends on the layer's width: no single number converts the settings "
        "of a network with layers of several widths, and a style weight means nothing without its convention. A loss "
        "layer sits in the middle of the network; if it changed its input, all later layers would see something else "
        "and their losses would be of another picture.",
        (
            "quotes the numbers",
            "the conventions differ by C^2 / 4 (16 and 64), so the factor depends on the layer",
            "a weight without its convention says nothing, or: no single factor for all layers",
            "the layers behind would see changed features",
        ),
    ),
    "05": Written(
        "photo = nst.load_sample(CONTENT, size=64)\n"
        "noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(SEED))\n"
        'print(f"{CONTENT}: {total_variation(photo):.4f}")\n'
        'print(f"with noise: {total_variation((photo + 0.1 * noise).clamp(0, 1)):.4f}")',
        "Quote the two total variations that the cell above printed. Why does noise raise it, and what does a picture "
        "lose when its weight is too large? And why does L-BFGS need a closure that Adam could do without?",
        "Noise makes neighbours differ everywhere, and total variation is the mean of these differences. Too large a "
        "weight flattens the strokes and edges, too, which are differences as well. L-BFGS evaluates the loss several "
        "times within one step, so it needs something that it can call; Adam evaluates once.",
        (
            "quotes both numbers",
            "noise means differences between neighbours all over",
            "edges and strokes are flattened as well",
            "L-BFGS evaluates loss and gradient several times a step",
        ),
    ),
    "06": Written(
        'encoder = nst.load_encoder("mini")\n'
        "photo, painting = (nst.load_sample(name, size=(64, 80), crop=True) for name in (CONTENT, STYLE))\n"
        "model = nst.build_model(encoder, photo, painting)\n"
        "plain, rows = painting.mean((2, 3), keepdim=True).expand_as(photo), []\n"
        "for share in weight_ladder(0.1, 0.8, 4).tolist():\n"
        "    for name, other in ((STYLE, painting), ('plain', plain)):\n"
        "        with torch.no_grad():\n"
        "            model((1 - share) * photo + share * other)\n"
        "        rows.append([float(model.content_loss()), float(model.style_loss())])\n"
        "        print(f'{share:.2f} {name}: content {rows[-1][0]:.3f}, style {rows[-1][1]:.3f}')\n"
        "print('best trades:', best_trades(torch.tensor(rows)).tolist())",
        "The cell above mixed more and more of your painting into your photo, or of a plain colour, and measured both "
        "distances of the eight pictures. Quote the first and the last with the painting. Choose one picture that is "
        "beaten and name one that beats it, or say why there is none. What are the best trades good for, and why can't "
        "the lowest total loss tell you the best weight?",
        "With the painting, the content distance grows and the style distance falls from the first to the last: each "
        "is a trade. A picture is beaten if another is at least as near in both distances and nearer in one: where "
        "little is mixed in, a plain colour costs less content for as much style. The best trades are those among "
        "which taste has to choose: all others can be thrown away. A total loss is measured with its own weight, "
        "so the smallest weight gives the smallest total, whatever the picture looks like.",
        (
            "quotes both distances of the first and of the last picture with the painting",
            "compares two rows in both columns, and not by their sum",
            "the best trades leave a choice to the eye, and rule out the others",
            "totals with different weights are different rulers",
        ),
    ),
    "07": Written(
        "photo, painting = nst.load_sample(CONTENT, size=64), nst.load_sample(STYLE, size=64)\n"
        "features = nst.load_encoder()(photo, ['relu2_1'])['relu2_1']\n"
        "upper = torch.cat([torch.ones(1, 1, 16, 64), torch.zeros(1, 1, 48, 64)], -2)\n"
        "whole, part = nst.gram_matrix(features), masked_gram(features, upper)\n"
        'print(f"upper quarter and whole photo: {nst.style_loss(part, whole):.3f}")\n'
        "moved = match_color(painting, photo)\n"
        'print(f"outside [0, 1]: {((moved < 0) | (moved > 1)).float().mean():.1%}")',
        "Quote the two numbers that the cell above printed. What does the first say about the upper part of your "
        "photo, and why must its Gram matrix be divided by the sum of the mask and not by H * W? What does the second "
        "say, and why may match_color not clamp before it is done?",
        "The first is how far the table of the upper quarter lies from that of the whole: 0 would mean the same style "
        "up there. Divided by H * W, a small region would look weak, since most positions add nothing; divided by the "
        "sum of the mask it is a mean over the region, whatever its size. The second is the share of values that no "
        "screen can show. Clamping changes mean and covariance, so what comes after would work with wrong ones, and "
        "the result would no longer have the photo's colours.",
        (
            "quotes both numbers",
            "reads the first as a distance between the part and the whole",
            "a mean over the region does not depend on its size",
            "clamping changes the mean and the covariance",
        ),
    ),
}
