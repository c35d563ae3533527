"""The exercises' texts in a release, which has nothing of a lesson but its exercises: what a text leans on is added.

A lesson's sentence that points at a table, a formula or a name further up gives way to one that says it. Where a lesson
no longer has the sentence, the build stops, so that this file follows the lessons.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

from ..encoders import IMAGENET_MEAN, IMAGENET_STD
from .questions import ClassroomError, Question

__all__ = ["checkpoint_cell", "given_cell", "lesson_link", "standalone"]

_NORMALIZED = r"$z = (x - \mu) / \sigma$"
_MEAN, _STD = (r",\ ".join(map(str, numbers)) for numbers in (IMAGENET_MEAN, IMAGENET_STD))

# By question: what the lesson says, and what the release says.
_INSTEAD: dict[str, tuple[tuple[str, str], ...]] = {
    "to_tensor": (
        (
            "It takes the array of a picture and makes all four changes of the table.",
            "It takes the array of a picture and makes four changes: the numbers become `float32`, their range becomes "
            "0 to 1, the channels come first, and one axis for the batch stands in front of them.",
        ),
    ),
    "to_array": (
        (
            "Avoid both traps.",
            "Clamp to [0, 1] before anything else, since a byte holds nothing below 0 or above 255; and round, since a "
            "conversion to integers cuts off.",
        ),
    ),
    "normalize": (
        (
            "with ImageNet's mean and standard deviation.",
            f"with ImageNet's mean and standard deviation by channel: {_NORMALIZED}, with "
            rf"$\mu = ({_MEAN})$ and $\sigma = ({_STD})$ for red, green and blue.",
        ),
    ),
    "denormalize": (
        (
            "Write the inverse. Solve the formula for $x$ first.",
            f"Write the inverse of `normalize`. Solve {_NORMALIZED} for $x$ first.",
        ),
    ),
    "receptive_field": (
        (
            "Turn the table into code, in the next cell.",
            "One position of a feature map depends on a square of the image, its **receptive field**. With $r$ for its "
            "width and $s$ for the distance of two neighbouring positions, both in pixels, and $r = s = 1$ at the "
            "image:\n\n| layer | what happens |\n|---|---|\n| convolution 3 × 3 | $r$ grows by $2s$ |\n| ReLU | "
            "nothing |\n| pooling 2 × 2 | $r$ grows by $s$, then $s$ doubles |\n\nWrite this as code.",
        ),
        ("Their names tell you which row of the table applies.", "Their names tell you which of the three applies."),
    ),
    "content_loss": (
        (
            "Write the relative content loss for a batch.",
            "$F$ are the features of an image and $P$ those of the photo, the target. For one image the relative "
            r"content loss is $\sum (F - P)^2 / \sum P^2$. Write it for a batch.",
        ),
    ),
    "gram_matrix": (
        (
            "Write `gram_matrix` for real feature maps: a tensor `(B, C, H, W)`, with",
            "The Gram matrix of a picture says for each pair of feature maps how strongly they occur together: the "
            "products of the two at each position, averaged over the positions. Write "
            "`gram_matrix` for feature maps: a tensor `(B, C, H, W)`, with",
        ),
    ),
    "style_loss": (
        ("of one layer, the distance that you have been using.", "of one layer."),
        (
            "0 means the same table. 1 is the distance of an image whose table is all zeros.",
            "0 means the same Gram matrix. 1 is the distance of an image whose Gram matrix is all zeros.",
        ),
    ),
    "content_loss_layer": (
        (
            "(Failure one shows what happens otherwise.)",
            "(Otherwise `backward` goes into the network that made it.)",
        ),
    ),
    "style_loss_layer": (("Now the same for the style.", "The same as `ContentLossLayer`, for the style."),),
    "total_loss": (
        (
            "Write the formula as a function of one line.",
            "The optimiser needs one number. Gatys et al. (equation 7) weigh the two losses against each other:\n\n"
            r"$$L = \alpha\, L_{\text{content}} + \beta\, L_{\text{style}} \qquad "
            r"L_{\text{style}} = \frac{1}{n}\sum_{l=1}^{n} L_{\text{style}}^{(l)}$$"
            "\n\nHere $\\alpha$ is the content weight, $\\beta$ the style weight and $n$ the number of style layers. "
            "Write the formula as a function of one line.",
        ),
    ),
    "make_closure": (
        (
            "Write the function that makes such a closure for any loss: six lines in place of `raise`. The closure\n"
            "does the four things above, in that order.",
            "An optimiser wants the loss and its gradient on demand, so it gets a **closure**: a function without "
            "arguments that it may call as often as it likes. Write the function that makes a closure for any loss: "
            "six lines in place of `raise`. The closure does four things, in this order: it sets the old gradient to "
            "zero, computes the loss of the image as it is now, fills in the gradient with `backward()`, and returns "
            "the loss.",
        ),
    ),
    "total_variation": (
        (
            "This form is called L1. The loss of\nthese lessons squares the differences: L2.",
            "This form is called L1.",
        ),
    ),
    "weight_ladder": (
        (
            "Write a function that gives `count` weights",
            "Weights act by factors: 1, 10 and 100 are neighbours. Write a function that gives `count` weights",
        ),
    ),
    "best_trades": (
        (
            "One point **beats** another",
            "A picture has two distances, from the photo and from the style, and is a point with these two numbers. "
            "One point **beats** another",
        ),
    ),
    "match_color": (
        (
            "and covariances, build $A$, and return",
            "and 3 × 3 covariances $\\Sigma_s$ and $\\Sigma_c$ (the means of the products of deviations), build "
            "$A = \\Sigma_c^{1/2}\\,\\Sigma_s^{-1/2}$ from powers $V D^p V^{\\mathsf T}$ of the parts that "
            "`torch.linalg.eigh` gives, and return",
        ),
    ),
    "masked_gram": (
        (
            "Write the formula as a function. Shrink the mask to the size of the feature maps first; then weight, "
            "multiply and divide.",
            "A mask (1, 1, H, W) says of each pixel how far it belongs to a region. With $m_k$ for the mask at "
            "position $k$ of the layer, the region's Gram matrix is\n\n"
            r"$$G_{ij} = \frac{\sum_k m_k\, F_{ik}\, F_{jk}}{\sum_k m_k} .$$"
            "\n\nThe mask has the picture's size: a position gets the mean of the mask over the pixels that it stands "
            "for, with `F.adaptive_avg_pool2d(mask, (h, w))`. Write the formula as a function.",
        ),
    ),
}

# Names of the lesson that an example uses.
_GIVEN = {"to_tensor": ("tiny",), "content_loss": ("F_tiny", "P_tiny")}


def standalone(question: Question, text: str) -> str:
    """An exercise's text that leans on nothing outside it; raises ClassroomError where the lesson has changed."""
    for old, new in _INSTEAD.get(question.name, ()):
        if old not in text:
            raise ClassroomError(
                f"Lesson {question.lesson} no longer says {old!r} in the exercise {question.name}: "
                "put what it says now into nst_helpers/classroom/texts.py."
            )
        text = text.replace(old, new)
    return text


def given_cell(question: Question, lesson: Iterable[str]) -> str:
    """The lines of the lesson's code cells that define what the exercise's example uses; "" where it uses nothing."""
    wanted, lines = list(_GIVEN.get(question.name, ())), []
    for source in lesson:
        if not any(f"{name} = " in source for name in wanted):
            continue
        for node in ast.parse(source).body:
            named = node.targets[0].id if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) else ""
            if named in wanted:
                wanted.remove(named)
                lines.append(ast.get_source_segment(source, node) or "")
    if wanted:
        raise ClassroomError(f"Lesson {question.lesson} no longer defines {', '.join(wanted)}: see texts.py.")
    return "\n".join(lines)


def checkpoint_cell(questions: Sequence[Question], cell: str) -> str:
    """Lines that put the package's own in place of those answers a cell needs and which are not right yet."""
    needed = [q for q in questions if not q.written and re.search(rf"\b{q.symbol}\b(?<!nst\.{q.symbol})", cell)]
    return "\n".join(f'{q.symbol} = checks.checkpoint({q.symbol}, "{q.name}")' for q in needed)


def lesson_link(question: Question, setup: str) -> str:
    """Where the lesson is: a link to the published course, whose address its setup cell has, or the file's name."""
    address, tag = re.search(r'"(https://github\.com/[^"]+)"', setup), re.search(r"--branch ([^\s\"]+)", setup)
    path = f"notebooks/{question.notebook}.ipynb"
    if address is None or tag is None or "YOUR_ACCOUNT" in address[1]:
        return f"Lesson {question.lesson}, `{path}` of the course, leads up to this."
    return f"[Lesson {question.lesson}]({address[1]}/blob/{tag[1]}/{path}) leads up to this."
