"""The lessons' own functions, against torchvision, the encoder, brute force and the package's layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_helpers import ContentLoss, Normalization, StyleLoss, gram_matrix, lessons
from nst_helpers.encoders import HED, VGG19, Encoder, Spec
from nst_helpers.images import load_image, save_image

from .conftest import noise
