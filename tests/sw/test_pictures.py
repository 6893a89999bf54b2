"""A picture file of any kind becomes the array that a person would expect from looking at it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residuum.sw.data.pictures import Preparation, as_picture, picture_suffixes, read_picture
from residuum.sw.errors import ResiduumError
from residuum.sw.network.graph import Preprocessing

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (5, 7), np.uint8)
COLOURS = RANDOM.integers(0, 256, (5, 7, 3), np.uint8)
# EXIF's tag of the orientation; 6: the top of the scene is at the right of the stored picture.
ORIENTATION, TURNED = 0x0112, 6


def saved(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


def read(path: Path, channels: str = "RGB") -> np.ndarray:
    return Preparation(channels).file(path)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".webp"])
def test_colours_of_lossless_formats(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(COLOURS), lossless=True)
    assert np.array_equal(read(path), COLOURS.transpose(2, 0, 1))


def test_bgr_is_rgb_in_reverse(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(COLOURS))
    assert np.array_equal(read(path, "BGR"), COLOURS.transpose(2, 0, 1)[::-1])


def test_grey_as_colours_and_back(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(GREY))
    assert np.array_equal(read(path, "grey"), GREY[None])
    assert np.array_equal(read(path, "RGB"), np.stack([GREY] * 3))


def test_colours_as_grey(tmp_path: Path) -> None:
    """Luma of ITU-R BT.601."""
    path = saved(tmp_path / "a.png", Image.fromarray(COLOURS))
    luma = COLOURS @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read(path, "grey")[0] - luma).max() < 1


def test_black_and_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(GREY > 127))
    assert np.array_equal(read(path, "grey")[0], np.where(GREY > 127, 255, 0))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path, suffix: str) -> None:
    values = RANDOM.integers(0, 1 << 16, (5, 7), np.uint16)
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(values))
    assert np.array_equal(read(path, "grey")[0], values >> 8)


def test_transparent_places_are_white(tmp_path: Path) -> None:
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = 0, 51, 255
    path = saved(tmp_path / "a.png", Image.fromarray(pixels))
    assert read(path)[:, 0].tolist() == [[255, 204, 0]] * 3


def test_grey_with_alpha(tmp_path: Path) -> None:
    pixels = np.array([[[10, 255], [10, 0]]], np.uint8)
    path = saved(tmp_path / "a.png", Image.fromarray(pixels, "LA"))
    assert read(path, "grey").tolist() == [[[10, 255]]]


@pytest.mark.parametrize("transparent", [None, 0])
def test_palette(tmp_path: Path, transparent: int | None) -> None:
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    picture.putpalette([9, 8, 7, 1, 2, 3])
    options = {} if transparent is None else {"transparency": transparent}
    path = saved(tmp_path / "a.png", picture, **options)
    first = [9, 8, 7] if transparent is None else [255] * 3
    assert read(path).transpose(1, 2, 0).tolist() == [[first, [1, 2, 3]]]


def test_exif_turns(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    path = saved(tmp_path / "a.png", Image.fromarray(GREY), exif=exif)
    assert np.array_equal(read(path, "grey")[0], np.rot90(GREY, -1))


def test_cmyk(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", Image.new("CMYK", (2, 2), (0, 255, 0, 0)))
    assert read(path)[:, 0, 0].tolist() == [255, 0, 255]


def test_the_first_picture_of_an_animation(tmp_path: Path) -> None:
    black, white = (Image.new("L", (2, 2), value) for value in (0, 255))
    path = saved(tmp_path / "a.gif", black, save_all=True, append_images=[white])
    assert read(path, "grey").max() == 0


def test_stretched_without_crop() -> None:
    picture = Preparation.of((1, 2, 2), None).picture(Image.fromarray(np.zeros((40, 10), np.uint8)))
    assert picture.shape == (1, 2, 2)


def test_crop_keeps_the_proportions() -> None:
    """4 x 12 pixels of three squares: only the middle one is left."""
    squares = np.repeat(np.array([10, 20, 30], np.uint8), 4)[None].repeat(4, axis=0)
    preparation = Preparation.of((1, 4, 4), Preprocessing(crop=(4, 4), channels="grey"))
    assert np.array_equal(preparation.picture(Image.fromarray(squares)), np.full((1, 4, 4), 20))


def test_crop_of_a_larger_size() -> None:
    """As torchvision: the shorter side becomes 8, then 4 x 4 around the centre."""
    rows = np.arange(8, dtype=np.uint8)[:, None].repeat(16, axis=1)
    preparation = Preparation.of((1, 4, 4), Preprocessing(size=(8, 8), crop=(4, 4)))
    assert preparation.picture(Image.fromarray(rows))[0, :, 0].tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_the_interpolation_is_the_wanted_one(interpolation: str) -> None:
    method = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(GREY).resize((4, 3), method))
    found = Preparation("grey", (3, 4), None, interpolation).picture(Image.fromarray(GREY))
    assert np.array_equal(found[0], expected)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("wanted", ["grey", "RGB", "BGR"])
@pytest.mark.parametrize("size", [(5, 7), (3, 4)])
def test_arrays_as_files(tmp_path: Path, channels: int, wanted: str, size: tuple[int, int]) -> None:
    images = RANDOM.integers(0, 256, (2, channels, 5, 7), np.uint8)
    preparation = Preparation(wanted, size)
    files = []
    for image in images:
        picture = Image.fromarray(image[0] if channels == 1 else image.transpose(1, 2, 0))
        files.append(preparation.file(saved(tmp_path / "a.png", picture)))
    found = preparation.arrays(images)
    assert found.dtype == np.uint8
    assert np.array_equal(found, files)


def test_arrays_of_the_right_shape_stay() -> None:
    images = RANDOM.integers(0, 256, (2, 5, 6, 7), np.uint8)
    assert np.array_equal(Preparation.of((5, 6, 7), None).arrays(images), images)


def test_no_images() -> None:
    assert Preparation.of((1, 2, 2), None).arrays(np.zeros((0, 3, 9, 9), np.uint8)).shape == (
        0, 1, 2, 2,
    )  # fmt: skip


def complaint(path: Path) -> str:
    with pytest.raises(ResiduumError) as raised:
        read_picture(path)
    return str(raised.value)


def test_a_broken_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(RANDOM.integers(0, 256, (99, 99), np.uint8)))
    path.write_bytes(path.read_bytes()[:500])
    assert complaint(path).startswith(f"{path} cannot be read: it is damaged")


def test_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("hello")
    assert complaint(path) == f"{path} is no picture of a known format, or it is damaged"


def test_a_missing_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert complaint(path) == f"{path} cannot be read: No such file or directory"


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_32_bits(tmp_path: Path, kind: type) -> None:
    path = saved(tmp_path / "a.tif", Image.fromarray(GREY.astype(kind)))
    assert complaint(path) == (f"{path} has pixels of 32 bits; save the picture with 8 or 16 bits")


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = saved(tmp_path / "a.png", Image.fromarray(GREY))
    assert complaint(path) == f"{path} has too many pixels; make the picture smaller"


def test_pictures_have_one_or_three_channels() -> None:
    with pytest.raises(ResiduumError, match="a picture has one channel or three"):
        Preparation.of((2, 5, 7), None).picture(as_picture(GREY[None]))


def test_suffixes() -> None:
    assert {".png", ".jpg", ".jpeg", ".tif", ".webp", ".gif", ".bmp"} <= picture_suffixes()
    assert not {".txt", ".npz", ".pdf", ".eps"} & picture_suffixes()
