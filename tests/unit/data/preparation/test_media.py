import numpy as np
import pytest
from trees import CODECS, RATE, colour, cut, write_video, write_wav

from counterpoise.data.preparation import UnreadableError, read_audio, read_frames


def loudest(sound: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(sound * np.hanning(len(sound)))).argmax() * rate / len(sound))


@pytest.mark.parametrize("suffix", CODECS)
def test_every_container_gives_its_picture_and_its_tone(suffix, tmp_path):
    clip = write_video(tmp_path / f"clip{suffix}", label=2, seconds=1.5, tone=800)
    frames = read_frames(clip, fps=2, size=16)
    assert len(frames) == 3
    corner = np.stack([f[0][12:, :4].mean((0, 1)) for f in frames])  # below the white square
    assert np.abs(corner - colour(2)).max() < 25
    sound = read_audio(clip, rate=RATE)
    assert abs(len(sound) / RATE - 1.5) < 0.11
    assert abs(loudest(sound, RATE) - 800) < 5


@pytest.mark.parametrize(("fps", "count"), [(1, 2), (4, 8), (0, 16), (3, 6)])
def test_frames_come_at_the_rate_that_was_asked_for(fps, count, tmp_path):
    clip = write_video(tmp_path / "a.mp4", seconds=2, fps=8)
    assert len(read_frames(clip, fps=fps, size=16)) == count


def test_the_square_moves_right_from_frame_to_frame(tmp_path):
    clip = write_video(tmp_path / "a.mkv", seconds=1, fps=8)
    places = [np.argmax(f[0][12].sum(-1) > 600) for f in read_frames(clip, fps=0, size=32)]
    assert places == sorted(places)
    assert places[-1] - places[0] == pytest.approx(14, abs=2)


def test_pairs_for_flow_are_neighbours_in_the_file(tmp_path):
    clip = write_video(tmp_path / "a.mp4", seconds=2, fps=8)
    every = [f[0] for f in read_frames(clip, fps=0, size=16)]
    pairs = read_frames(clip, fps=2, size=16, following=True)
    for k, (first, second) in enumerate(pairs):
        np.testing.assert_array_equal(first, every[4 * k])
        np.testing.assert_array_equal(second, every[4 * k + 1])


@pytest.mark.parametrize("suffix", CODECS)
def test_a_clip_without_a_track_is_silent(suffix, tmp_path):
    clip = write_video(tmp_path / f"clip{suffix}", sound=False)
    with pytest.raises(UnreadableError, match="no audio track") as info:
        read_audio(clip, rate=RATE)
    assert info.value.kind == "silent"


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".flv"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_a_clip_that_was_cut_off_is_never_taken_for_whole(suffix, share, tmp_path):
    clip = cut(write_video(tmp_path / f"clip{suffix}", seconds=4, fps=16, size=64), share)
    for read in (lambda: read_frames(clip, fps=4, size=16), lambda: read_audio(clip, rate=RATE)):
        with pytest.raises(UnreadableError) as info:
            read()
        assert info.value.kind in ("truncated", "undecodable", "silent")


def test_a_cut_off_mp4_with_its_index_in_front_is_called_truncated(tmp_path):
    clip = cut(write_video(tmp_path / "clip.mp4", seconds=4, fps=16, size=64, faststart=True), 0.5)
    with pytest.raises(UnreadableError, match=r"ends at .* s of 4\.") as info:
        read_frames(clip, fps=4, size=16)
    assert info.value.kind == "truncated"


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda p: p.write_bytes(b""), "truncated"),
        (lambda p: p.write_bytes(b"<html>404</html>" * 90), "undecodable"),
        (lambda p: None, "missing"),
    ],
)
def test_what_is_no_video_is_named_for_what_it_is(make, kind, tmp_path):
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(UnreadableError, match=r"clip\.mp4") as info:
        read_frames(path, fps=1, size=16)
    assert info.value.kind == kind


def test_too_short_is_told_with_its_length(tmp_path):
    with pytest.raises(UnreadableError, match=r"1\.00 s of video, less than 3 s"):
        read_frames(write_video(tmp_path / "a.mp4", seconds=1), fps=1, size=16, shortest=3)


def test_a_wav_is_read_as_it_was_written_and_stereo_is_averaged(tmp_path):
    path = write_wav(tmp_path / "a.wav", label=1, seconds=0.5)
    sound = read_audio(path, rate=RATE)
    assert len(sound) == RATE // 2
    assert abs(loudest(sound, RATE) - 600) < 5
    half = read_audio(path, rate=RATE // 2)
    assert abs(len(half) - RATE // 4) < 20
    assert abs(loudest(half, RATE // 2) - 600) < 5
