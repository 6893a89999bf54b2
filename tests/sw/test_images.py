"""Data of any kind for any network: folders of pictures, .npz files, known data sets."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residuum.sw.data.data_sets import Access, load_dataset
from residuum.sw.data.folders import is_held_out
from residuum.sw.data.held_out import data_of
from residuum.sw.data.images import ALL, HELD_OUT, TRAINING, load_files, load_images
from residuum.sw.errors import ResiduumError
from residuum.sw.network.graph import IMAGE, SPIKES, Preprocessing
from tests.sw.reporter import Lines

RANDOM = np.random.default_rng(0)
# By the digests of their names.
HELD_OUT_CATS = ["cat/0.png", "cat/10.png", "cat/5.png", "cat/7.png", "cat/8.png"]


@dataclass
class Net:
    """What the loader asks of a network."""

    input_shape: tuple[int, int, int] = (3, 4, 5)
    classes: int = 2
    class_names: tuple[str, ...] = ()
    name: str = "net"
    input: str = IMAGE
    preprocessing: Preprocessing | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def pictures(count: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, *(shape or (4, 5, 3))), np.uint8)


def folder(root: Path, *classes: str, each: int = 5, shape: tuple[int, ...] = (4, 5, 3)) -> str:
    """A folder with a sub-folder for each class, of different pictures 0.png, 1.png, ..."""
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(pictures(each, *shape)):
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return str(root)


def archive(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def complaint(source: object, network: Net | None = None, **options: object) -> str:
    with pytest.raises(ResiduumError) as raised:
        load_images(str(source), network, **options)  # type: ignore[arg-type]
    return str(raised.value)


# What is in the images.


def test_a_folder_and_its_npz_and_its_files_give_the_same(tmp_path: Path) -> None:
    """Scaled, from the same pictures: by folder, by (N, H, W, C), by (N, C, H, W), by name."""
    source = folder(tmp_path / "a", "cat", "dog", each=3, shape=(9, 6, 3))
    network = Net(preprocessing=Preprocessing(interpolation="bicubic", channels="BGR"))
    found = load_images(source, network, split=ALL)
    raw = np.array([np.asarray(Image.open(tmp_path / "a" / name)) for name in found.names])
    last = load_images(archive(tmp_path / "b.npz", images=raw), network, split=ALL)
    first = archive(tmp_path / "c.npz", images=raw.transpose(0, 3, 1, 2))
    files = load_files([tmp_path / "a" / name for name in found.names], network)
    assert found.images.shape == (6, 3, 4, 5)
    assert np.array_equal(found.images, last.images)
    assert np.array_equal(found.images, load_images(first, network, split=ALL).images)
    assert np.array_equal(found.images, files.images)


def test_labels_follow_the_names_of_folders(tmp_path: Path) -> None:
    found = load_images(folder(tmp_path, "b", "a", "C"), split=ALL)
    assert found.class_names == ("C", "a", "b")
    assert found.labels is not None
    named = [found.class_names[label] for label in found.labels]
    assert named == [name.split("/")[0] for name in found.names]


def test_pictures_below_the_folder_of_a_class(tmp_path: Path) -> None:
    folder(tmp_path, "cat/young", "cat/old", "dog", each=2)
    found = load_images(str(tmp_path), split=ALL)
    assert (len(found), found.class_names) == (6, ("cat", "dog"))


def test_other_files_and_hidden_folders_are_no_pictures(tmp_path: Path) -> None:
    folder(tmp_path, "cat", ".thumbnails", "__MACOSX", each=2)
    (tmp_path / "cat" / "notes.txt").write_text("")
    (tmp_path / "cat" / "._0.png").write_text("")
    assert load_images(str(tmp_path), split=ALL).images.shape == (2, 3, 4, 5)


def test_a_folder_without_labels(tmp_path: Path) -> None:
    found = load_images(folder(tmp_path, "."), Net(classes=7), split=ALL)
    assert (found.labels, found.class_names, len(found)) == (None, (), 5)


def test_a_picture(tmp_path: Path) -> None:
    folder(tmp_path, ".", each=1)
    assert load_images(str(tmp_path / "0.png"), Net()).names == ["0.png"]


def test_known_data_set_for_another_shape() -> None:
    found = load_images("digits", Net((3, 16, 16), classes=10), count=2)
    raw = load_dataset("digits").test_images[0, 0]
    scaled = Image.fromarray(raw).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(found.images[0], np.stack([np.asarray(scaled)] * 3))


def test_without_a_network_the_first_pictures_tell_the_shape(tmp_path: Path) -> None:
    source = folder(tmp_path / "grey", "a", shape=(4, 5))
    assert load_images(source, split=ALL).images.shape == (5, 1, 4, 5)
    folder(tmp_path / "grey", "b")
    assert load_images(source, split=ALL).images.shape == (10, 3, 4, 5)
    size = Preprocessing(size=(2, 2), channels="grey")
    assert load_images(source, preprocessing=size, split=ALL).images.shape == (10, 1, 2, 2)


def test_spike_trains(tmp_path: Path) -> None:
    trains = RANDOM.random((3, 6, 2, 4, 5)) < 0.5
    source = archive(tmp_path / "a.npz", trains=trains, labels=[1, 0, 1])
    found = load_images(source, Net((2, 4, 5), input=SPIKES), split=ALL)
    assert found.images.dtype == np.uint8
    assert np.array_equal(found.images, trains)
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 1]


# Splits.


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "val")])
def test_folders_of_a_split(tmp_path: Path, names: tuple[str, str]) -> None:
    folder(tmp_path / names[0], "cat", "dog", each=3)
    folder(tmp_path / names[1], "dog", each=2)
    counts = [len(load_images(str(tmp_path), split=s)) for s in (TRAINING, HELD_OUT, ALL)]
    assert counts == [6, 2, 8]
    held_out = load_images(str(tmp_path))
    assert held_out.labels is not None
    assert held_out.class_names == ("cat", "dog")
    assert held_out.labels.tolist() == [1, 1]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert load_images(folder(tmp_path, "train", "ship")).class_names == ("ship", "train")


def test_a_fifth_is_held_out(tmp_path: Path) -> None:
    source = archive(
        tmp_path / "a.npz",
        images=np.arange(200, dtype=np.uint8).reshape(200, 1, 1),
        labels=np.arange(200) % 4,
    )
    held_out, trained, every = (load_images(source, split=s) for s in (HELD_OUT, TRAINING, ALL))
    assert held_out.labels is not None
    assert all(4 < count < 16 for count in np.bincount(held_out.labels))
    parts = [*held_out.images.flat, *trained.images.flat]
    assert sorted(parts) == list(every.images.flat) == list(range(200))


def test_the_split_of_a_folder_is_fixed(tmp_path: Path) -> None:
    """Written down once: another choice would let training pictures into a test."""
    found = load_images(folder(tmp_path, "cat", each=12))
    assert sorted(found.names) == HELD_OUT_CATS


def test_new_pictures_move_no_others(tmp_path: Path) -> None:
    before = set(load_images(folder(tmp_path, "cat", each=20)).names)
    after = load_images(folder(tmp_path, "cat", each=40)).names
    assert before == set(after) & {f"cat/{number}.png" for number in range(20)}


def test_small_classes_are_in_both_splits() -> None:
    for count in range(2, 8):
        for first in range(20):
            held_out = is_held_out([f"{first + number}.png" for number in range(count)])
            assert 0 < held_out.sum() < count


def test_one_picture_is_held_out() -> None:
    assert is_held_out(["a.png"]).tolist() == [True]


def test_composed_and_decomposed_names_are_one() -> None:
    """File systems differ in how they store an umlaut."""
    one = [f"h\u00e4user{number}" for number in range(50)]
    other = [f"ha\u0308user{number}" for number in range(50)]
    assert np.array_equal(is_held_out(one), is_held_out(other))


def test_the_first_pictures_are_of_all_classes(tmp_path: Path) -> None:
    found = load_images(folder(tmp_path, "a", "b", "c", each=20), split=ALL, count=15)
    assert found.labels is not None
    assert set(found.labels) == {0, 1, 2}


def test_training_arrays(tmp_path: Path) -> None:
    images, more = pictures(2), pictures(3)
    source = archive(
        tmp_path / "a.npz", images=images, labels=[0, 1], train_images=more, train_labels=[1, 1, 0]
    )
    held_out, trained = load_images(source), load_images(source, split=TRAINING)
    assert np.array_equal(held_out.images, images.transpose(0, 3, 1, 2))
    assert np.array_equal(trained.images, more.transpose(0, 3, 1, 2))
    assert trained.labels is not None
    assert trained.labels.tolist() == [1, 1, 0]
    assert load_images(source, split=ALL).images.shape == (5, 3, 4, 5)


def test_a_division_by_us_is_told(tmp_path: Path) -> None:
    lines = Lines()
    source = folder(tmp_path / "a", "cat")
    load_images(source, access=Access(reporter=lines))
    assert lines.said == [
        f"{source} is not divided into training and held-out images: a fifth of it is held out, "
        "always the same (--split all takes all)"
    ]


def test_at_most(tmp_path: Path) -> None:
    source = folder(tmp_path, "cat", each=5)
    assert len(load_images(source, split=ALL, at_most=3)) == 3
    assert len(load_images(source, split=ALL, at_most=9)) == 5


# Classes of the source and of the network.


def test_labels_are_told_by_name(tmp_path: Path) -> None:
    source = folder(tmp_path, "cat", "dog", each=1)
    network = Net(classes=3, class_names=("dog", "owl", "cat"))
    found = load_images(source, network, split=ALL)
    assert found.labels is not None
    assert [network.class_names[label] for label in found.labels] == [
        name.split("/")[0] for name in found.names
    ]
    assert found.class_names == network.class_names


def test_other_names_are_taken_in_order(tmp_path: Path) -> None:
    lines = Lines()
    source = archive(
        tmp_path / "a.npz", images=pictures(2), labels=[0, 1], classes=["Katze", "Hund"]
    )
    found = load_images(
        source, Net(class_names=("cat", "dog")), split=ALL, access=Access(reporter=lines)
    )
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]
    assert lines.said == [
        f"the classes of {source} (Katze, Hund) have other names than those of network 'net' "
        "(cat, dog); they are taken in this order"
    ]


def test_the_names_of_a_folder_are_those_of_a_network_without(tmp_path: Path) -> None:
    assert load_images(folder(tmp_path, "cat", "dog"), Net()).class_names == ("cat", "dog")


def test_the_names_of_the_data_set_of_a_network(tmp_path: Path) -> None:
    """For the label 3 of an array without names."""
    source = archive(tmp_path / "a.npz", images=pictures(1, 2, 2), labels=[3])
    network = Net((1, 2, 2), classes=10, metadata={"dataset": "cifar10"})
    assert load_images(source, network).class_name(3) == "cat"


def test_an_unknown_class(tmp_path: Path) -> None:
    source = folder(tmp_path, "cat", "owl")
    assert complaint(source, Net(class_names=("cat", "dog"))) == (
        f"{source} has the class 'owl', which network 'net' does not know; its classes are cat, dog"
    )


def test_another_number_of_classes(tmp_path: Path) -> None:
    source = folder(tmp_path, *"abcdefg", each=2)
    assert complaint(source, Net()) == (
        f"{source} has 7 classes (a, b, c, d, e, ...), but network 'net' tells 2 apart"
    )


def test_labels_beyond_the_network(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.npz", images=pictures(2), labels=[0, 2])
    assert complaint(source, Net(), split=ALL) == (
        f"{source} has the label 2, but network 'net' tells 2 classes apart: 0 .. 1"
    )


# What a user may do wrong.


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    source = folder(tmp_path, "cat", each=3)
    (tmp_path / "cat" / "1.png").write_text("no")
    assert complaint(source, split=ALL) == (
        f"{tmp_path}/cat/1.png is no picture of a known format, or it is damaged"
    )


def test_mixed_sizes(tmp_path: Path) -> None:
    source = folder(tmp_path, "cat", each=1)
    folder(tmp_path, "dog", each=1, shape=(6, 5, 3))
    message = complaint(source, split=ALL)
    assert message.endswith("; say with --size to which size pictures are scaled")
    assert f"{tmp_path}/dog/0.png has 6 x 5" in message
    assert load_images(source, Net(), split=ALL).images.shape == (2, 3, 4, 5)


def test_a_class_without_pictures(tmp_path: Path) -> None:
    source = folder(tmp_path, "cat")
    (tmp_path / "dog").mkdir()
    assert complaint(source) == (
        f"the folder {tmp_path}/dog has no pictures; put some into it, or remove it"
    )


def test_an_empty_folder(tmp_path: Path) -> None:
    assert complaint(tmp_path) == f"the folder {tmp_path} has no pictures"


def test_a_folder_of_other_files(tmp_path: Path) -> None:
    (tmp_path / "1.heic").write_text("")
    assert complaint(tmp_path) == (
        f"the folder {tmp_path} has no pictures of a format that Pillow reads (1.heic is none)"
    )


def test_no_training_folder(tmp_path: Path) -> None:
    source = folder(tmp_path, "test/cat")
    assert complaint(source, split=TRAINING) == (
        f"the folder {tmp_path} has no training pictures, in a folder train or training"
    )


def test_pictures_beside_classes(tmp_path: Path) -> None:
    source = folder(tmp_path, ".", "cat", each=1)
    assert complaint(source) == (
        f"{tmp_path} has pictures, such as 0.png, beside the folder cat; put them into the folders "
        "of their classes"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_locked_folder(tmp_path: Path) -> None:
    locked = tmp_path / "a"
    locked.mkdir(mode=0)
    assert complaint(locked) == f"{locked} cannot be read: Permission denied"


def test_too_few_pictures(tmp_path: Path) -> None:
    source = folder(tmp_path, "cat", each=5)
    assert (
        complaint(source, split=ALL, count=6) == f"6 images are wanted, but {source} has 5 images"
    )


@pytest.mark.parametrize("source", ["cats", ""])
def test_nothing_there(source: str) -> None:
    assert complaint(source) == (
        f"there is no data set, folder or file {source!r}; known sets are digits, mnist, fashion, "
        "cifar10, cifar100"
    )


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("")
    assert complaint(path).startswith(f"{path} is no data: that is a known data set (")


def test_an_unknown_split() -> None:
    assert complaint("digits", split="test") == (
        "there is no split 'test'; there are held-out, training, all"
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": [0]}, "holds no array 'images' (pictures) or 'trains' (spike trains)"),
        ({"images": np.zeros((1, 2, 2))}, "holds float64; it must be uint8, 0 .. 255"),
        ({"images": np.zeros((2, 2), np.uint8)}, "has the shape (2, 2); it must be (N, H, W)"),
        (
            {"images": np.zeros((1, 5, 5, 5), np.uint8)},
            "has the shape (N, 5, 5, 5), in which the channels are not to be recognised",
        ),
        ({"images": np.zeros((0, 2, 2), np.uint8)}, "has no images in its array 'images'"),
        ({"images": pictures(2), "labels": [0]}, "has the shape (1,), but 'images' has 2 images"),
        ({"images": pictures(1), "labels": [0.5]}, "holds float64; it must be whole numbers"),
        ({"images": pictures(1), "labels": [-1]}, "holds -1; labels are 0 .. classes-1"),
        (
            {"images": pictures(1), "labels": [2], "classes": ["a", "b"]},
            "holds 2; labels are 0 .. 1, one for each of 'classes'",
        ),
        ({"images": pictures(1), "classes": [1, 2]}, "must be a list of texts"),
        (
            {"images": pictures(1), "labels": np.array([0], object)},
            "holds Python objects; save arrays of numbers and of text only",
        ),
        (
            {"images": pictures(1), "train_images": pictures(1, 9, 9, 3)},
            "has held-out and training images of different shapes",
        ),
        ({"trains": np.zeros((1, 2, 2, 4, 5))}, "holds float64; it must be bool, or uint8 0 and 1"),
        ({"trains": np.full((1, 2, 2, 4, 5), 3, np.uint8)}, "holds 3; a spike train is 0 and 1"),
        (
            {"trains": np.zeros((1, 2, 4, 5), np.uint8)},
            "has the shape (1, 2, 4, 5); it must be (N, steps, C, H, W)",
        ),
    ],
)
def test_wrong_arrays(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    source = archive(tmp_path / "a.npz", **arrays)
    found = complaint(source, split=ALL)
    assert message in found
    assert source in found


def test_a_damaged_archive(tmp_path: Path) -> None:
    path = Path(archive(tmp_path / "a.npz", images=pictures(9)))
    path.write_bytes(path.read_bytes()[:200])
    assert complaint(path) == f"{path} is no .npz file with arrays, or it is damaged"


def test_a_missing_archive(tmp_path: Path) -> None:
    assert complaint(tmp_path / "a.npz").endswith("a.npz cannot be read: No such file or directory")


def test_pictures_for_spikes(tmp_path: Path) -> None:
    network = Net((2, 4, 5), input=SPIKES)
    source = archive(tmp_path / "a.npz", images=pictures(1))
    assert complaint(source, network) == (
        f"network 'net' reads spike trains, but {source} holds pictures"
    )
    assert complaint("digits", network) == (
        "network 'net' reads spike trains; give an .npz file with an array 'trains', not digits"
    )


def test_spikes_for_pictures(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.npz", trains=np.zeros((1, 8, 3, 4, 5), bool))
    assert complaint(source, Net()) == (
        f"network 'net' reads pictures, but {source} holds spike trains"
    )


def test_spikes_of_another_shape(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.npz", trains=np.zeros((1, 8, 3, 4, 5), bool))
    assert complaint(source, Net((3, 5, 4), input=SPIKES)) == (
        f"the spike trains of {source} have the shape (3, 4, 5) in a step; the network reads "
        "(3, 5, 4)"
    )


def test_arrays_that_are_no_pictures_must_fit(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.npz", images=np.zeros((1, 6, 4, 4), np.uint8))
    assert load_images(source, Net((6, 4, 4))).images.shape == (1, 6, 4, 4)
    assert complaint(source, Net((6, 5, 5))) == (
        f"the images of {source} have the shape (6, 4, 4); the network reads (6, 5, 5)"
    )


def test_labels_are_needed(tmp_path: Path) -> None:
    found = load_images(folder(tmp_path, "."), split=ALL)
    with pytest.raises(ResiduumError, match=f"a test needs labels, and {tmp_path} has none: "):
        found.need_labels("a test")


def test_a_network_without_data() -> None:
    with pytest.raises(ResiduumError) as raised:
        data_of(Net(), "my.npz")
    assert str(raised.value) == (
        "my.npz does not say which data set it is for; name one with --data"
    )
