import cv2
import numpy as np
import pytest
from PIL import Image

from pconv.errors import InputError
from pconv.masks.flow import frame_pairs, occlusion_hole, read_frames

SIZE = 320


def texture(seed, height=SIZE, width=SIZE):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8)
    return np.array(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def scene(left):
    """A textured square of 120 px over a textured background."""
    frame = texture(1)
    frame[100:220, left : left + 120] = texture(2, 120, 120)
    return frame


def test_what_a_moving_thing_hides_is_the_hole():
    hole = occlusion_hole(scene(80), scene(92))
    hidden = np.zeros((SIZE, SIZE), bool)
    hidden[100:220, 200:212] = True  # background that the square comes to cover
    assert hole[hidden].mean() > 0.7
    # Motion blurs over the square's outline by a patch of the flow's, 8 px and some; nothing further away is marked.
    near = np.zeros_like(hidden)
    near[88:232, 68:224] = True
    assert hole[~near].mean() < 0.01
    assert hole[116:204, 96:184].mean() < 0.05  # the square itself is still to be seen


def test_a_still_picture_has_no_hole():
    assert not occlusion_hole(scene(40), scene(40)).any()


def test_a_pan_hides_what_leaves_the_frame():
    wide = texture(3, SIZE, SIZE + 48)
    hole = occlusion_hole(wide[:, :SIZE], wide[:, 6 : SIZE + 6])  # the camera moves right by 6 px
    assert hole[:, :6].mean() > 0.9
    assert hole[20:-20, 20:-20].mean() < 0.01


def test_grey_frames_and_frames_of_two_sizes():
    grey = [scene(left)[..., 1] for left in (40, 50)]
    assert occlusion_hole(*grey).any()
    with pytest.raises(InputError, match="frames must be of one size, got 320x320 and 80x320"):
        occlusion_hole(scene(40), scene(40)[:, :80])


def test_frames_of_a_folder_come_in_the_order_of_their_numbers(tmp_path):
    for i in (10, 9, 1, 2):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"frame-{i}.png")
    (tmp_path / "._frame-1.png").write_bytes(b"what macOS leaves beside a file")
    assert [int(frame[0, 0, 0]) for frame in read_frames(tmp_path)] == [1, 2, 9, 10]
    assert [int(frame[0, 0, 0]) for frame in read_frames(tmp_path, every=2)] == [1, 9]
    assert [(a[0, 0, 0], b[0, 0, 0]) for a, b in frame_pairs(read_frames(tmp_path))] == [(1, 2), (2, 9), (9, 10)]


def test_frames_of_a_video_are_rgb(tmp_path):
    path = tmp_path / "video.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        video.write(np.full((48, 64, 3), (0, 0, 250), np.uint8))  # red, in OpenCV's order
    video.release()
    frames = list(read_frames(path))
    assert len(frames) == 3
    assert frames[0].shape == (48, 64, 3)
    assert frames[0][20, 20].tolist() == pytest.approx([250, 0, 0], abs=4)


def test_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / "text.avi").write_text("nothing")
    with pytest.raises(InputError, match=r"text\.avi cannot be read as a video"):
        list(read_frames(tmp_path / "text.avi"))
    with pytest.raises(InputError, match="no video or folder of frames at"):
        list(read_frames(tmp_path / "none.avi"))
    frames = tmp_path / "frames"
    frames.mkdir()
    with pytest.raises(InputError, match="no frames"):
        list(read_frames(frames))
    (frames / "a.png").write_text("nothing")
    with pytest.raises(InputError, match=r"^the frame .*a\.png is"):
        list(read_frames(frames))
    with pytest.raises(InputError, match="optical flow needs two frames, and there is one frame"):
        list(frame_pairs(iter([scene(40)])))
    with pytest.raises(InputError, match="there is no frame"):
        list(frame_pairs(iter([])))
