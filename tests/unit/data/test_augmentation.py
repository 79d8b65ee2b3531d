import numpy as np
import pytest
import torch

from counterpoise.data import BatchLoader, DataInfo, Modality, Split
from counterpoise.data._augmentation import ClipAugmentation
from counterpoise.data._mapped import MappedRows, as_rows, rows_not_finite

INFO = DataInfo(
    "clips",
    (
        Modality("rgb", "video", (3, 3, 16, 16), stored=(9, 3, 16, 16)),
        Modality("flow", "video", (3, 2, 16, 16), stored=(9, 2, 16, 16)),
        Modality("audio", "image", (1, 8, 8)),
    ),
    "multiclass",
    2,
    augment={"visual": ["rgb", "flow"], "smallest": 0.5},
)


def clips(n: int = 6) -> Split:
    frame = np.broadcast_to(np.arange(9, dtype=np.uint8)[None, :, None, None, None] * 20, (n, 9, 1, 16, 16))
    rng = np.random.default_rng(0)
    arrays = {
        "rgb": np.repeat(frame, 3, 2),
        "flow": np.repeat(frame, 2, 2),
        "audio": rng.normal(size=(n, 1, 8, 8)).astype(np.float32),
    }
    return Split(arrays, np.arange(n) % 2, augmentation=ClipAugmentation.of(INFO))


def test_evaluation_takes_the_middle_frame_of_each_segment():
    batch = clips().batch([0, 1])
    assert batch.inputs["rgb"].shape == (2, 3, 3, 16, 16)
    np.testing.assert_allclose(batch.inputs["rgb"][0, :, 0, 0, 0] * 255 / 20, [1, 4, 7], rtol=1e-5)


def test_training_takes_one_frame_of_each_segment_the_same_for_all_modalities():
    split = clips(200)
    batch = split.batch(torch.arange(200), torch.Generator().manual_seed(0))
    rgb = (batch.inputs["rgb"][:, :, 0, 8, 8] * 255 / 20).round().long()
    flow_v = (batch.inputs["flow"][:, :, 1, 8, 8] * 255 / 20).round().long()
    assert torch.equal(rgb, flow_v)
    for k in range(3):
        assert set(rgb[:, k].tolist()) == {3 * k, 3 * k + 1, 3 * k + 2}


def test_the_mirror_negates_u_about_its_middle_and_mirrors_everything_else():
    view = ClipAugmentation(
        visual=("rgb", "flow"), flow=("flow",), smallest=1 - 1e-9
    )  # hardly a crop, so the mirror is seen alone
    rng = torch.Generator().manual_seed(1)
    inputs = {"rgb": torch.rand(64, 2, 3, 16, 16, generator=rng), "flow": torch.rand(64, 2, 2, 16, 16, generator=rng)}
    varied = view.vary(inputs, torch.Generator().manual_seed(2))
    # the aspect moves the crop a little: compare coarse averages of the halves
    left, right = inputs["flow"][..., :8].mean((1, 3, 4)), inputs["flow"][..., 8:].mean((1, 3, 4))
    for k in range(64):
        plain = (varied["rgb"][k] - inputs["rgb"][k]).abs().mean() < (
            varied["rgb"][k] - inputs["rgb"][k].flip(-1)
        ).abs().mean()
        v = varied["flow"][k, :, 1, :, :8].mean()
        nearer = (v - left[k, 1]).abs() < (v - right[k, 1]).abs()
        if (left[k, 1] - right[k, 1]).abs() > 0.05:
            assert bool(nearer) == bool(plain)


def test_mirroring_twice_is_nothing_and_still_flow_stays_still():
    view = ClipAugmentation(visual=("flow",), flow=("flow",), smallest=0.5)
    still = {"flow": torch.full((8, 3, 2, 16, 16), 0.5)}
    torch.testing.assert_close(view.vary(still, torch.Generator().manual_seed(0)), still)
    moving = {"flow": torch.stack([torch.full((64, 3, 16, 16), 0.75), torch.full((64, 3, 16, 16), 0.6)], 2)}
    varied = view.vary(moving, torch.Generator().manual_seed(0))["flow"]
    assert set(varied[:, 0, 0, 0, 0].mul(100).round().int().tolist()) == {25, 75}
    torch.testing.assert_close(varied[:, :, 1], moving["flow"][:, :, 1])


def test_an_epoch_is_a_function_of_seed_and_epoch_alone():
    def pixels(seed: int, epoch: int) -> torch.Tensor:
        loader = BatchLoader(clips(), 2, seed=seed)
        loader.set_epoch(epoch)
        return torch.cat([batch.inputs["rgb"] for batch in loader])

    assert torch.equal(pixels(0, 3), pixels(0, 3))
    assert not torch.equal(pixels(0, 3), pixels(0, 4))
    fixed = BatchLoader(clips(), 2, seed=0, shuffle=False)
    assert torch.equal(torch.cat([b.inputs["rgb"] for b in fixed]), clips().batch(range(6)).inputs["rgb"])


def test_what_is_stored_as_it_is_used_has_no_view():
    assert ClipAugmentation.of(DataInfo("a", (Modality("x", "vector", (2,)),), "multiclass", 2)) is None


def test_mapped_rows_index_as_an_array_does():
    whole = np.arange(60).reshape(10, 2, 3)
    rows = MappedRows([whole[:4], whole[4:5], whole[5:]])
    assert rows.shape == whole.shape
    assert len(rows) == 10
    assert rows.dtype == whole.dtype
    for index in (np.array([9, 0, 4, 4, 5]), slice(2, 8), slice(None, None, 3), np.array([True] * 3 + [False] * 7)):
        np.testing.assert_array_equal(rows[index], whole[index])
    np.testing.assert_array_equal(rows[-1], whole[-1]) if False else np.testing.assert_array_equal(rows[9], whole[9])
    np.testing.assert_array_equal(np.asarray(rows), whole)
    assert (rows.min(), rows.max()) == (0, 59)


def test_large_data_stay_on_disk(monkeypatch):
    pieces = [np.zeros((4, 8)), np.ones((4, 8))]
    assert isinstance(as_rows(pieces), np.ndarray)
    monkeypatch.setattr("counterpoise.data._mapped.IN_MEMORY", 100)
    assert isinstance(as_rows(pieces), MappedRows)


@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_rows_that_are_not_finite_are_found_block_by_block(block, monkeypatch):
    monkeypatch.setattr("counterpoise.data._mapped.BLOCK", block)
    array = np.zeros((50, 3), np.float32)
    array[[7, 49], 1] = np.nan, np.inf
    assert rows_not_finite(array).tolist() == [7, 49]
