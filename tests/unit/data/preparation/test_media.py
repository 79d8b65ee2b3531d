import struct
from fractions import Fraction

import av
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


def write_sound(path, samples, *, codec, fmt, rate=RATE, layout="mono"):
    """Write ``(channels, T)`` samples, already of the codec's type."""
    planar = fmt.endswith("p")
    with av.open(str(path), "w") as out:
        track = out.add_stream(codec, rate=rate)
        track.layout = layout
        step = 1024
        for start in range(0, samples.shape[1], step):
            piece = samples[:, start : start + step]
            data = piece if planar else piece.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=fmt, layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return path


def sine(rate=RATE, seconds=1.0, frequency=440.0):
    return np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("layout", ["mono", "stereo", "2.1", "4.0", "5.0", "5.1", "7.1"])
@pytest.mark.parametrize("peak", [0.3, 0.9])
def test_equal_channels_average_to_one_of_them(layout, peak, tmp_path):
    channels = av.AudioLayout(layout).nb_channels
    samples = (peak * 32767 * sine()).round().astype(np.int16)[None].repeat(channels, 0)
    sound = read_audio(write_sound(tmp_path / "a.wav", samples, codec="pcm_s16le", fmt="s16", layout=layout), rate=RATE)
    np.testing.assert_allclose(sound[200:-200], (peak * sine())[200:-200], atol=0.005)


def test_a_silent_channel_halves_the_other(tmp_path):
    samples = np.stack([0.8 * sine(), 0 * sine()]).astype(np.float32)
    sound = read_audio(
        write_sound(tmp_path / "a.wav", samples, codec="pcm_f32le", fmt="flt", layout="stereo"), rate=RATE
    )
    np.testing.assert_allclose(np.abs(sound).max(), 0.4, atol=0.005)


@pytest.mark.parametrize(
    ("codec", "fmt", "scale", "dtype"),
    [
        ("pcm_u8", "u8", 127, np.uint8),
        ("pcm_s16le", "s16", 2**15 - 1, np.int16),
        ("pcm_s32le", "s32", 2**31 - 1, np.int32),
        ("pcm_f32le", "flt", 1, np.float32),
        ("pcm_f64le", "dbl", 1, np.float64),
    ],
)
def test_every_sample_format_has_the_same_amplitude(codec, fmt, scale, dtype, tmp_path):
    values = 0.3 * sine() * scale + (128 if fmt == "u8" else 0)
    samples = (values.round() if scale > 1 else values).astype(dtype)[None]
    sound = read_audio(write_sound(tmp_path / "a.wav", samples, codec=codec, fmt=fmt), rate=8000)
    assert np.abs(sound[100:-100]).max() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("peak", [1.5, 5.0, 32767.0])
def test_float_sound_beyond_full_scale_is_scaled_and_reported(peak, tmp_path):
    samples = (peak * sine()).astype(np.float32)[None]
    remarks = []
    path = write_sound(tmp_path / "a.wav", samples, codec="pcm_f32le", fmt="flt")
    sound = read_audio(path, rate=RATE, remark=lambda kind, detail: remarks.append(kind))
    np.testing.assert_allclose(sound[200:-200], sine()[200:-200], atol=0.01)
    assert remarks == ["range"]


def test_a_stream_that_changes_its_rate_and_channels_is_read(tmp_path):
    parts = b""
    for rate, layout in ((16000, "mono"), (44100, "stereo")):
        samples = (0.4 * sine(rate)).astype(np.float32)[None].repeat(1 + (layout == "stereo"), 0)
        path = write_sound(tmp_path / "p.aac", samples, codec="aac", fmt="fltp", rate=rate, layout=layout)
        parts += path.read_bytes()
    (tmp_path / "a.aac").write_bytes(parts)
    sound = read_audio(tmp_path / "a.aac", rate=RATE)
    assert len(sound) / RATE == pytest.approx(2, abs=0.2)
    assert loudest(sound[-RATE // 2 :], RATE) == pytest.approx(440, abs=5)


def two_tracks(path, picture, sound, still=0.0):
    """A clip whose picture and sound have different lengths; ``still`` gives the time of a last frame."""
    codec, voice = CODECS[path.suffix]
    rate = 44100 if path.suffix == ".flv" else 48000
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=10)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        audio = out.add_stream(voice, rate=rate)
        audio.layout = "mono"
        for k in range(round(10 * picture)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 10 + 5 * k, np.uint8), format="rgb24")
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        fifo = av.AudioFifo()
        tone = (0.3 * sine(rate, sound)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="flt" if voice == "libopus" else "fltp", layout="mono")
        frame.sample_rate = rate
        fifo.write(frame)
        while (piece := fifo.read(audio.frame_size or 1024, partial=True)) is not None:
            out.mux(audio.encode(piece))
        out.mux(audio.encode(None))
    return path


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize(("picture", "sound"), [(4, 1), (1, 4)])
def test_tracks_of_different_lengths_are_whole(suffix, picture, sound, tmp_path):
    clip = two_tracks(tmp_path / f"a{suffix}", picture, sound)
    assert len(read_frames(clip, fps=10, size=16)) == pytest.approx(10 * picture, abs=1)
    assert len(read_audio(clip, rate=RATE)) / RATE == pytest.approx(sound, abs=0.2)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".flv"])
def test_a_cut_clip_with_a_short_track_is_found(suffix, tmp_path):
    clip = cut(two_tracks(tmp_path / f"a{suffix}", 4, 4), 0.5)
    with pytest.raises(UnreadableError):
        read_audio(clip, rate=RATE)


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_display_matrix_turns_the_picture(degrees, suffix, tmp_path):
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24], pixels[24:] = (255, 0, 0), (0, 0, 255)
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(10):
            out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(video.encode(None))
    content = path.read_bytes()
    at = content.find(b"tkhd")
    at += 4 + (4 + 8 * 4 if content[at + 4] == 1 else 4 + 4 * 5) + 16  # version and times, then layer, volume, ...
    one = 1 << 16
    matrix = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees]
    turned = struct.pack(">9i", matrix[0], matrix[1], 0, matrix[2], matrix[3], 0, 0, 0, 1 << 30)
    path.write_bytes(content[:at] + turned + content[at + 36 :])
    frame = read_frames(path, fps=1, size=32)[0][0].astype(int)
    clockwise = np.rot90(np.where(np.arange(32)[:, None] < 16, 255, 0) * np.ones((1, 32)), -degrees // 90)
    assert np.abs(frame[..., 0] - clockwise).mean() < 30
    assert np.abs(frame[..., 2] - (255 - clockwise)).mean() < 30
