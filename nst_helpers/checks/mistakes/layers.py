"""What right and wrong losses of a layer look like, and a sentence a mistake."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..known import ExerciseSpec, Mistake
from ..probes import probe_loss
from .losses import gram, noise, raw_gram, relative, relative_each, relative_expanded
from .relative import loss_mistakes, loss_variants

__all__ = ["CONTENT_LAYER", "STYLE_LAYER"]

CONTENT_LAYER = ExerciseSpec(
    arguments=("features", "target"),
    cases=lambda g: [(noise(g, *s), noise(g, *s)) for s in ((2, 3, 4, 5), (2, 2, 5, 3), (1, 4, 3, 7))],
    references=(relative_each, relative, relative_expanded),
    mistakes=(
        *loss_mistakes("features", "target"),
        Mistake(
            "gram-matrices",
            "compares Gram matrices, which is the style layer's task: compare the features themselves.",
            lambda x, t: relative_each(gram(x), gram(t)),
            lambda x, t: relative(gram(x), gram(t)),
        ),
    ),
    variants=loss_variants("features", "target"),
    probe=probe_loss,
    scalar=True,
    axes="BCHW",
    advice="divide the sum of squares by (target ** 2).sum().",
)


def _through(gram_of: Callable[[Tensor], Tensor], loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda x, t: loss(gram_of(x), gram_of(t))


def _relabelled(x: Tensor) -> Tensor:
    columns = x.reshape(x.shape[0], -1, x.shape[1])
    return columns.mT @ columns / columns.shape[1]


def _centred(x: Tensor) -> Tensor:
    return gram(x - x.mean((2, 3), keepdim=True))


STYLE_LAYER = ExerciseSpec(
    arguments=("features", "target_features"),
    # The style's picture is one, and of another size.
    cases=lambda g: [
        (noise(g, 1, c, *size), noise(g, 1, c, *other))
        for c, size, other in ((3, (4, 5), (7, 2)), (2, (5, 3), (3, 8)), (5, (3, 4), (6, 6)))
    ],
    references=tuple(_through(gram, loss) for loss in (relative_each, relative, relative_expanded)),
    mistakes=(
        Mistake(
            "missing-divisor",
            "compares Gram matrices that were not divided each by its own H * W, so pictures of different sizes don't "
            "compare.",
            _through(raw_gram, relative),
        ),
        Mistake(
            "one-side-undivided",
            "divides one of the two Gram matrices by something else than its own H * W: treat both alike.",
            lambda x, t: relative(gram(x), raw_gram(t)),
            lambda x, t: relative(raw_gram(x), gram(t)),
            lambda x, t: relative(gram(x), gram(t) / t.shape[1]),
            lambda x, t: relative(gram(x) / x.shape[1], gram(t)),
        ),
        Mistake(
            "reshape-not-transpose",
            "mixes channels and positions in its Gram matrix: swap the axes with transpose(1, 2).",
            _through(_relabelled, relative),
        ),
        Mistake(
            "gram-twice",
            "takes the Gram matrix of a Gram matrix: once is enough.",
            lambda x, t: relative(gram(x) @ gram(x).mT, gram(t) @ gram(t).mT),
        ),
        Mistake(
            "centred",
            "subtracts each channel's mean before its Gram matrix: use the features as they come.",
            _through(_centred, relative),
        ),
        Mistake(
            "means-only",
            "compares the channels' means: compare Gram matrices.",
            lambda x, t: relative(x.mean((2, 3)), t.mean((2, 3))),
        ),
        *(
            Mistake(m.code, m.sentence, *(_through(gram, formula) for formula in m.formulas))
            for m in loss_mistakes("gram", "target")
        ),
    ),
    variants=loss_variants("gram", "target", batches=False).after(gram),
    scalar=True,
    axes="BCHW",
    advice="divide each Gram matrix by its own H * W, and the sum of squares by that of the target.",
)
