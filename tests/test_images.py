"""Loading at a size, resizing, checking and saving images."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nst_helpers.control.masks import check_mask, resize_mask
from nst_helpers.engine.results import Result
from nst_helpers.errors import ImageError, MaskError
from nst_helpers.images import check_image, load_image, resize, save_image


def as_image(array: np.ndarray) -> torch.Tensor:
    """(H, W, 3) -> (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).permute(2, 0, 1)[None].contiguous()


def photo(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth colours with some noise, within [0, 1]."""
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([rows / height, columns / width, np.cos(rows / 9) / 2 + 0.5], -1)
    return as_image(0.9 * smooth + 0.1 * np.random.default_rng(seed).random(smooth.shape))


@pytest.fixture
def png(tmp_path) -> Path:
    path = tmp_path / "photo.png"
    array = (photo(45, 60)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    Image.fromarray(array).save(path)
    return path


def refused(call, *args, **options) -> str:
    with pytest.raises(ImageError) as caught:
        call(*args, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# load_image


def test_an_image_is_a_float32_batch_of_one(png):
    image = load_image(png)
    assert image.shape == (1, 3, 45, 60)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    image.requires_grad_().sum().backward()  # a parameter to optimise: its memory is its own
    with Image.open(png) as opened:
        np.testing.assert_allclose(image.detach()[0].permute(1, 2, 0), np.asarray(opened) / np.float64(255), atol=1e-7)


@pytest.mark.parametrize(("size", "crop"), [(20, False), ((20, 50), False), ((20, 50), True), (20, True), (100, False)])
def test_loading_at_a_size_is_loading_and_resizing(png, size, crop):
    assert torch.equal(load_image(png, size=size, crop=crop), resize(load_image(png), size, crop=crop))


def test_cropping_without_a_size_cuts_out_the_centre_square(png):
    assert torch.equal(load_image(png, crop=True), load_image(png)[..., 7:52])


def test_paths_bytes_and_open_files_give_the_same(png):
    expected = load_image(png)
    with png.open("rb") as file:
        for source in (str(png), png.read_bytes(), io.BytesIO(png.read_bytes()), file):
            assert torch.equal(load_image(source), expected)


def test_transparent_parts_are_whitened_before_they_are_mixed_by_resizing(tmp_path):
    rgba = np.zeros((40, 40, 4), np.uint8)  # transparent black ...
    rgba[:, :17] = (255, 0, 0, 255)  # ... beside solid red: red is full in both and in all mixtures
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", size=9)[0, 0].min() > 0.999


def test_what_cannot_be_loaded_is_refused(tmp_path, png):
    assert "there is no file" in refused(load_image, tmp_path / "sea.png")
    assert "can't be loaded" in refused(load_image, torch.rand(1, 3, 4, 4))
    (tmp_path / "cut.png").write_bytes(png.read_bytes()[:-300])
    assert "cut.png" in refused(load_image, tmp_path / "cut.png")
    (tmp_path / "empty.jpg").touch()
    assert "empty" in refused(load_image, tmp_path / "empty.jpg")


# resize


SIDE = st.integers(1, 90)


@settings(deadline=None, max_examples=60)
@given(height=SIDE, width=SIDE, size=SIDE)
def test_the_short_side_is_exact_and_the_aspect_ratio_stays(height, width, size):
    new_height, new_width = resize(torch.zeros(1, 3, height, width), size).shape[-2:]
    assert min(new_height, new_width) == size
    assert abs(new_height - height * size / min(height, width)) <= 0.5
    assert abs(new_width - width * size / min(height, width)) <= 0.5


@settings(deadline=None, max_examples=60)
@given(height=SIDE, width=SIDE, size=st.tuples(SIDE, SIDE), crop=st.booleans(), batch=st.integers(1, 3))
def test_a_pair_is_the_exact_size_and_values_stay_in_range(height, width, size, crop, batch):
    image = torch.rand(batch, 3, height, width).round()
    resized = resize(image, size, crop=crop)
    assert resized.shape == (batch, 3, *size)
    check_image(resized)
    assert resized.min() >= 0
    assert resized.max() <= 1
    assert torch.equal(resized[-1:], resize(image[-1:], size, crop=crop))


@pytest.mark.parametrize("size", [(20, 31), (130, 75), (200, 20)])
def test_resizing_is_pillows_bicubic_clamped(size):
    image = photo(80, 100).round()  # hard edges, so that bicubic overshoots
    planes = [
        np.asarray(Image.fromarray(plane.numpy()).resize(size[::-1], Image.Resampling.BICUBIC)) for plane in image[0]
    ]
    assert max(plane.max() for plane in planes) > 1
    np.testing.assert_allclose(resize(image, size)[0], np.clip(planes, 0, 1), atol=1e-5)


def test_fine_detail_is_averaged_and_not_sampled():
    board = as_image(np.repeat((np.indices((80, 80)).sum(0) % 2)[..., None], 3, -1))
    inside = resize(board, 20)[..., 2:-2, 2:-2]
    assert (inside - 0.5).abs().max() < 0.02


@pytest.mark.parametrize(("shape", "size"), [((60, 100), (40, 40)), ((100, 60), (30, 50)), ((40, 40), (90, 30))])
def test_cropping_keeps_the_proportions_and_the_centre(shape, size):
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    ramp = np.stack([rows - shape[0] / 2 + 0.5, columns - shape[1] / 2 + 0.5, 0 * rows], -1) / 200 + 0.5
    cropped = resize(as_image(ramp), size, crop=True)[0].double()
    down, across = cropped[0].diff(dim=0)[5:-5], cropped[1].diff(dim=1)[:, 5:-5]
    assert abs(down.mean() / across.mean() - 1) < 0.02
    pixel = max(down.mean(), across.mean()).item()
    assert abs(cropped[0].mean() - 0.5) <= 0.51 * pixel
    assert abs(cropped[1].mean() - 0.5) <= 0.51 * pixel
    covering = max(size[0] / shape[0], size[1] / shape[1])
    assert pixel == pytest.approx(1 / 200 / covering, rel=0.02)


def test_a_number_with_crop_is_a_square():
    image = photo(30, 50)
    assert torch.equal(resize(image, 16, crop=True), resize(image, (16, 16), crop=True))


def test_the_result_is_a_new_tensor_of_the_same_kind():
    image = photo(20, 20)
    same = resize(image, 20)
    assert torch.equal(same, image)
    assert same.data_ptr() != image.data_ptr()
    assert resize(image.double(), 7).dtype == torch.float64
    assert resize(photo(8, 20), (8, 8), crop=True).is_contiguous()


def test_gradients_flow_through():
    image = photo(6, 8).double().clamp(0.1, 0.9).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resize(x, (4, 5), crop=True), image)


NO_SIZES = [
    0,
    -3,
    12.5,
    1e400,
    float("nan"),
    True,
    "256",
    None,
    (),
    [5],
    (0, 5),
    (5, -1),
    (True, 5),
    (5, None),
    (1, 2, 3),
    np.array([1, 2, 3]),
    torch.tensor([[8, 8]]),
    torch.tensor(True),
]


@pytest.mark.parametrize("size", NO_SIZES)
def test_impossible_sizes_are_refused_before_anything_is_read(png, size):
    assert "size is" in refused(resize, photo(4, 4), size)
    if size is not None:
        assert "size is" in refused(load_image, "no such file.png", size=size)


def test_sizes_that_memory_would_not_hold_are_refused():
    assert "64 megapixels" in refused(resize, photo(4, 4), 8001)
    assert "64 megapixels" in refused(resize, photo(1, 9000), 512)
    assert "64 megapixels" in refused(resize, photo(1, 9000), (512, 512), crop=True)


SIZES = [
    np.array([8, 8]),
    torch.tensor([8, 8]),
    np.int64(8),
    np.float32(8),
    8.0,
    torch.tensor(8),
    np.array(8),
    [8, 8],
    torch.Size([8, 8]),
    (8, np.float64(8)),
]


@pytest.mark.parametrize("size", SIZES)
def test_whole_numbers_of_other_makes_are_sizes_too(size):
    assert resize(photo(12, 12), size).shape[-2:] == (8, 8)


# check_image


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_image_passes_the_check_as_it_is(dtype):
    image = photo(5, 7).to(dtype).requires_grad_()
    assert check_image(image) is image


def test_the_check_allows_for_rounding_and_no_more():
    check_image(torch.full((1, 3, 2, 2), 1 + 5e-7))
    assert "1.00001" in refused(check_image, torch.full((1, 3, 2, 2), 1.00001))
    assert "-1e-05" in refused(check_image, torch.full((1, 3, 2, 2), -1e-5))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.zeros((1, 3, 4, 4)), "ndarray"),
        ("photo.jpg", "load_image"),
        (torch.rand(3, 4, 4), "style[None]"),
        (torch.rand(1, 4, 4, 3), "permute(0, 3, 1, 2)"),
        (torch.rand(1, 1, 4, 4), "repeat(1, 3, 1, 1)"),
        (torch.rand(1, 4, 4, 4), "(1, 4, 4, 4)"),
        (torch.rand(4, 4), "(4, 4)"),
        (torch.rand(0, 3, 4, 4), "no pixels"),
        (torch.rand(1, 3, 0, 4), "no pixels"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "style.float() / 255"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.bool), "torch.bool"),
        (torch.full((1, 3, 4, 4), float("nan")), "NaN"),
        (torch.full((1, 3, 4, 4), float("inf")), "infinite"),
        (torch.rand(1, 3, 4, 4) + 255, "style.clamp(0, 1)"),
        (torch.rand(1, 3, 4, 4) - 2, "ranges from -"),
        (torch.rand(1, 3, 4, 4) + 0.5, "style.clamp(0, 1)"),
        (torch.rand(1, 3, 4, 4) * 200 + 50, "style / 255"),
    ],
)
def test_what_is_no_image_is_named_in_a_sentence(value, expected):
    text = refused(check_image, value, name="style")
    assert expected in text
    assert text.startswith("style ")


ODDLY_STORED = {
    "sparse": lambda x: x.to_sparse(),
    "mkldnn": lambda x: x.to_mkldnn(),
    "meta": lambda x: x.to("meta"),
    "float8": lambda x: x.to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("kind", ODDLY_STORED)
def test_an_image_or_mask_that_is_stored_oddly_is_named_in_a_sentence(kind, tmp_path):
    odd = ODDLY_STORED[kind](photo(8, 8))
    for reject in (lambda: check_image(odd, name="content"), lambda: save_image(odd, tmp_path / "a.png")):
        assert kind in refused(reject)
    with pytest.raises(MaskError, match=kind):
        check_mask(ODDLY_STORED[kind](torch.ones(1, 1, 8, 8)), like=photo(8, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_images_and_masks_of_16_bits_are_resized(dtype):
    image = photo(12, 12).to(dtype)
    small = resize(image, 8)
    assert small.dtype == dtype
    assert torch.equal(small, resize(image.float(), 8).to(dtype))
    mask = torch.rand(1, 1, 12, 12).to(dtype)
    assert torch.allclose(resize_mask(mask, like=photo(8, 8)), resize_mask(mask.float(), like=photo(8, 8)))


def test_a_result_given_for_its_image_is_told_where_that_is(tmp_path):
    with pytest.raises(ImageError, match=r"image is a Result, expected a tensor \(B, 3, H, W\): use its \.image\."):
        save_image(Result(torch.rand(1, 3, 4, 4)), tmp_path / "a.png")


def test_a_single_nan_is_found():
    image = photo(9, 9)
    image[0, 1, 4, 5] = float("nan")
    assert "NaN" in refused(check_image, image)
    assert "NaN" in refused(resize, image, 4)


# save_image


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 99))
def test_png_keeps_every_value_to_half_a_step(tmp_path_factory, height, width, seed):
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    path = save_image(image, tmp_path_factory.mktemp("save") / "a.png")
    loaded = load_image(path)
    assert (loaded - image).abs().max() <= 1 / 510 + 1e-6
    assert torch.equal(load_image(save_image(loaded, path)), loaded)


def test_values_are_rounded_to_the_nearest(tmp_path):
    levels = torch.arange(256.0)
    for shift in (-0.49, 0, 0.49):
        image = ((levels + shift) / 255).clamp(0, 1).expand(1, 3, 1, 256)
        with Image.open(save_image(image, tmp_path / "a.png")) as opened:
            assert np.array_equal(np.asarray(opened)[0, :, 0], np.arange(256))


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.b.webp", "WEBP")]
)
def test_the_extension_chooses_the_format(tmp_path, name, kind):
    image = photo(40, 50).requires_grad_()
    path = save_image(image, str(tmp_path / name))
    assert path == tmp_path / name
    with Image.open(path) as opened:
        assert opened.format == kind
    assert (load_image(path) - image).abs().mean() < 0.03


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_quality_is_passed_on(tmp_path, name):
    sizes = [save_image(photo(64, 64), tmp_path / name, quality=q).stat().st_size for q in (5, 50, 95)]
    assert sizes == sorted(set(sizes))
    for quality in (0, 101, 50.5, True, "high"):
        assert "quality is" in refused(save_image, photo(4, 4), tmp_path / "b.png", quality=quality)


@pytest.mark.parametrize("quality", [50.0, np.int64(50), torch.tensor(50)])
def test_a_quality_is_a_whole_number_of_any_make(tmp_path, quality):
    image = photo(16, 16)
    plain = save_image(image, tmp_path / "a.jpg", quality=50).read_bytes()
    assert save_image(image, tmp_path / "b.jpg", quality=quality).read_bytes() == plain


@pytest.mark.parametrize(
    "alpha",
    [
        1,
        np.ones((1, 1, 8, 8)),
        torch.full((1, 1, 8, 8), 2.0),
        torch.full((1, 1, 8, 8), torch.nan),
        torch.ones(1, 1, 8, 8).byte(),
    ],
)
def test_transparency_that_is_none_is_refused(tmp_path, alpha):
    assert "alpha" in refused(save_image, photo(8, 8), tmp_path / "a.png", alpha=alpha)
    assert list(tmp_path.iterdir()) == []


def test_jpeg_keeps_the_colour_of_a_thin_stroke(tmp_path):
    image = torch.ones(1, 3, 32, 32)
    image[:, :2, ::4] = 0  # blue lines one pixel thin
    assert (load_image(save_image(image, tmp_path / "a.jpg")) - image).abs().mean() < 0.03


@pytest.mark.parametrize(
    ("image", "name", "expected"),
    [
        (torch.rand(3, 4, 4), "new/a.png", "shape"),
        (torch.rand(2, 3, 4, 4), "new/a.png", "batch of 2"),
        (torch.full((1, 3, 4, 4), float("nan")), "new/a.png", "NaN"),
        (torch.rand(1, 3, 4, 4) + 1, "new/a.png", "clamp"),
        (torch.rand(1, 3, 4, 4), "new/a.tga", ".webp"),
        (torch.rand(1, 3, 4, 4), "new/a", ".webp"),
        (torch.rand(1, 3, 4, 4), "new/.png", "an ending without a name"),
        (torch.rand(1, 3, 1, 17000), "new/a.webp", "can't be written"),
        (torch.rand(1, 3, 1, 66000), "new/a.jpg", "can't be written"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(tmp_path, image, name, expected):
    assert expected in refused(save_image, image, tmp_path / name, parents=True)
    assert list(tmp_path.iterdir()) == []


def test_missing_folders_are_made_on_request_only(tmp_path):
    path = tmp_path / "a" / "b" / "c.png"
    assert "parents=True" in refused(save_image, photo(4, 4), path)
    assert list(tmp_path.iterdir()) == []
    assert save_image(photo(4, 4), path, parents=True).is_file()


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    assert "doesn't exist" in refused(save_image, photo(4, 4), tmp_path / "file" / "a.png")
    assert "can't be written" in refused(save_image, photo(4, 4), tmp_path / "file" / "a.png", parents=True)
    assert "is a folder" in refused(save_image, photo(4, 4), tmp_path / "folder.png")
    assert "path is a" in refused(save_image, photo(4, 4), None)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.parametrize("broken", [(Image.Image, "save"), (Path, "replace"), (Path, "open")])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(png, monkeypatch, broken, error):
    before = png.read_bytes()

    def fail(*args, **options):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(*broken, fail)
        with pytest.raises((ImageError, KeyboardInterrupt)) as caught:
            save_image(photo(4, 4), png)
    if isinstance(error, OSError):
        assert "No space left" in str(caught.value)
    assert png.read_bytes() == before
    assert [entry.name for entry in png.parent.iterdir()] == [png.name]


def test_a_disk_that_fills_up_half_way_leaves_the_old_file(png, monkeypatch):
    before, real = png.read_bytes(), Path.open

    def full(self, *args):
        file = real(self, *args)
        file.write(b"half of it")
        file.close()
        return file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        refused(save_image, photo(4, 4), png)
    assert png.read_bytes() == before
    assert [entry.name for entry in png.parent.iterdir()] == [png.name]


@pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_file_mode_follows_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        path = save_image(photo(4, 4), tmp_path / "a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_a_link_stays_a_link(tmp_path, png):
    (tmp_path / "link.png").symlink_to(png)
    image = load_image(save_image(photo(4, 4), tmp_path / "link.png"))
    assert (tmp_path / "link.png").is_symlink()
    assert torch.equal(load_image(png), image)
