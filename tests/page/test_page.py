"""What a person does at the page: open, paint, fill, compare, go back, download."""

import io
import json
from base64 import b64decode, b64encode

import cv2
import numpy as np
import pytest
from desk import pixels_of
from PIL import Image, ImageCms, ImageOps

pytestmark = pytest.mark.slow

STROKE = ((30, 30), (60, 40), (90, 80))


def test_paint_fill_and_download(desk, photo):
    desk.open(photo)
    desk.stroke(*STROKE)
    hole = desk.mask()
    assert hole[30, 30]
    assert hole[40, 60]
    assert hole[80, 90]
    assert not hole[100, 20]
    desk.fill()
    assert "Filled" in desk.said()
    assert not desk.mask().any()
    name, data = desk.download()
    before, after = pixels_of(photo), pixels_of(data)
    assert name == "field-filled.png"
    assert np.array_equal(before[~hole], after[~hole])
    assert (before[hole] != after[hole]).any(axis=1).mean() > 0.9


def test_another_fill_of_the_same_hole_has_another_texture(desk, photo):
    """With the bundled model; all else about the button is in test_another.py."""
    desk.open(photo)
    desk.stroke(*STROKE)
    hole = desk.mask()
    desk.fill(1)
    _, first = desk.download()
    desk.page.click("#another-button")
    desk.ready(2)
    before, one, two = pixels_of(photo), pixels_of(first), pixels_of(desk.download()[1])
    assert np.array_equal(two[~hole], before[~hole])
    assert (one[hole] != two[hole]).any(axis=1).mean() > 0.5
    desk.page.keyboard.press("Control+z")
    desk.ready(1)
    assert desk.download()[1] == first


def test_the_stroke_lies_where_it_was_painted_at_any_zoom(desk, photo):
    desk.open(photo)
    desk.size(9)
    desk.page.mouse.move(*desk.at(120, 60))
    for _ in range(4):
        desk.page.mouse.wheel(0, -300)
    desk.page.wait_for_function("() => Number(document.getElementById('stage').dataset.scale) > 20")
    desk.frame()
    desk.stroke((110, 60.2), (130, 60.2))
    rows, columns = np.mgrid[:120, :180]
    along = np.clip(columns + 0.5, 110, 130)
    expected = np.hypot(columns + 0.5 - along, rows + 0.5 - 60.2) <= 4.5
    assert (desk.mask() != expected).sum() < 8  # a mouse's place is rounded to pixels of the screen


def test_moving_and_zooming_paints_nothing(desk, photo):
    desk.open(photo)
    place = desk.at(60, 60)
    desk.page.keyboard.down(" ")
    desk.stroke((60, 60), (90, 80))
    desk.page.keyboard.up(" ")
    moved = desk.at(60, 60)
    assert moved == pytest.approx(tuple(np.add(place, np.subtract(desk.at(90, 80), moved))), abs=1)
    desk.page.mouse.move(*desk.at(100, 50))
    place = desk.at(100, 50)
    desk.page.mouse.wheel(0, -200)
    desk.page.wait_for_function("moved => document.getElementById('stage').dataset.x !== moved", arg=str(moved[0]))
    desk.frame()
    assert desk.at(100, 50) == pytest.approx(place, abs=1)
    desk.page.keyboard.press("0")
    desk.frame()
    fitted = desk.at(90, 60)
    box = desk.page.locator("#stage").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    assert fitted == pytest.approx(middle, abs=1)
    desk.page.keyboard.press("1")
    desk.frame()
    assert desk.page.get_attribute("#stage", "data-scale") == "1"
    assert not desk.mask().any()


def test_the_marking_can_be_seen_through(desk, photo):
    desk.open(photo)
    desk.page.click("#more-button")
    desk.page.locator("#opacity").fill("30")
    assert desk.page.evaluate("getComputedStyle(document.getElementById('mask-canvas')).opacity") == "0.3"


def test_every_step_can_be_undone_and_the_next_fill_goes_on_from_the_last(desk, photo):
    desk.open(photo)
    desk.stroke((30, 30), (50, 30))
    first = desk.mask()
    desk.fill(1)
    desk.stroke((120, 90), (150, 90))
    second = desk.mask()
    desk.fill(2)
    _, both = desk.download()
    desk.page.keyboard.press("Control+z")
    desk.ready(1)
    assert np.array_equal(desk.mask(), second)
    desk.page.keyboard.press("Control+z")
    assert not desk.mask().any()
    _, one = desk.download()
    desk.page.keyboard.press("Control+z")
    desk.ready(0)
    assert np.array_equal(desk.mask(), first)
    assert desk.download() == ("field.png", photo.read_bytes())
    for _ in range(3):
        desk.page.keyboard.press("Control+Shift+z")
    desk.ready(2)
    assert desk.download()[1] == both
    before, once, twice = pixels_of(photo), pixels_of(one), pixels_of(both)
    assert np.array_equal(once[~first], before[~first])
    assert np.array_equal(twice[~second], once[~second])
    assert not np.array_equal(twice[second], once[second])
    assert desk.page.is_disabled("#redo-button")


def test_what_was_undone_is_gone_after_another_stroke(desk, photo):
    desk.open(photo)
    desk.stroke((30, 30))
    desk.fill(1)
    desk.page.keyboard.press("Control+z")
    desk.ready(0)
    desk.stroke((90, 90))
    assert desk.page.is_disabled("#redo-button")
    desk.fill(2)  # no number twice
    desk.reload()
    desk.page.keyboard.press("Control+z")
    desk.ready(0)
    marked = desk.mask()
    assert marked[90, 90]
    assert marked[30, 30]


def test_eraser_right_button_and_alt_take_away(desk, photo):
    desk.open(photo)
    desk.size(20)
    desk.stroke((20, 60), (160, 60))
    whole = desk.mask()
    desk.tool("eraser")
    desk.stroke((40, 60))
    desk.tool("brush")
    desk.stroke((80, 60), button="right")
    desk.page.keyboard.down("Alt")
    desk.stroke((120, 60))
    desk.page.keyboard.up("Alt")
    left = desk.mask()
    assert whole[60, [40, 80, 120]].all()
    assert not left[60, [40, 80, 120]].any()
    assert left[60, [20, 60, 100, 150]].all()


def test_box_and_lasso(desk, photo):
    desk.open(photo)
    desk.tool("rectangle")
    desk.stroke((20, 20), (60, 50))
    rows, columns = np.mgrid[:120, :180] + 0.5
    box = (columns > 20) & (columns < 60) & (rows > 20) & (rows < 50)
    assert (desk.mask() != box).sum() <= 2 * (40 + 30)  # a pixel at each side: half pixels are taken in whole
    desk.page.keyboard.press("Delete")
    assert not desk.mask().any()
    desk.tool("lasso")
    desk.stroke((60, 20), (120, 100), (20, 100))
    slope = (rows - 20) / 80
    triangle = (rows > 20) & (rows < 100) & (columns > 60 - 40 * slope) & (columns < 60 + 60 * slope)
    assert (desk.mask() != triangle).sum() < 0.03 * triangle.sum()
    desk.page.keyboard.press("Control+z")
    desk.page.keyboard.press("Control+z")
    assert (desk.mask() != box).sum() <= 140


def test_brush_size_by_keys_wheel_and_slider(desk, photo):
    desk.open(photo)
    size = lambda: int(desk.page.get_attribute("#size", "aria-valuetext").split()[0])  # noqa: E731
    start = size()
    desk.page.keyboard.press("]")
    larger = size()
    desk.page.keyboard.press("[")
    desk.page.keyboard.press("[")
    assert size() < start < larger
    desk.page.mouse.move(*desk.at(60, 60))
    desk.page.keyboard.down("Alt")
    before = size()
    desk.page.mouse.wheel(0, -100)
    desk.frame()
    desk.page.keyboard.up("Alt")
    assert size() > before
    desk.page.locator("#size").fill("100")
    assert size() == 64
    desk.stroke((90, 60))
    assert abs(desk.mask().sum() - np.pi * 32**2) < 40


def test_grow(desk, photo):
    desk.open(photo)
    desk.size(10)
    desk.stroke((60, 60))
    small = desk.mask()
    desk.page.click("#more-button")
    desk.page.fill("#grow-by", "7")
    desk.page.click("#grow-button")
    desk.expect_said("Grown by 7")
    desk.page.keyboard.press("Escape")
    rows, columns = np.nonzero(small)
    y, x = np.mgrid[:120, :180]
    distance = np.min(np.hypot(y[..., None] - rows, x[..., None] - columns), axis=-1)
    assert np.array_equal(desk.mask(), distance <= 7)
    desk.page.click("#undo-button")
    assert np.array_equal(desk.mask(), small)


def test_the_mask_goes_out_and_comes_back(desk, photo, tmp_path):
    desk.open(photo)
    desk.stroke(*STROKE)
    marked = desk.mask()
    desk.page.click("#more-button")
    name, data = desk.saved("#export-button")
    assert name == "field-mask.png"
    mask = tmp_path / name
    mask.write_bytes(data)
    desk.page.keyboard.press("Escape")
    desk.page.click("#clear-button")
    assert not desk.mask().any()
    desk.page.set_input_files("#mask-input", mask)
    desk.expect_said("field-mask.png marks")
    assert np.array_equal(desk.mask(), marked)
    Image.open(mask).resize((90, 60)).save(tmp_path / "half.png")
    desk.page.set_input_files("#mask-input", tmp_path / "half.png")
    desk.expect_said("scaled")
    assert (desk.mask() != marked).mean() < 0.02
    Image.open(mask).resize((60, 60)).save(tmp_path / "square.png")
    desk.page.set_input_files("#mask-input", tmp_path / "square.png")
    assert "they must be of one shape" in desk.warned()


def test_compare_by_key_and_by_the_line(desk, photo):
    desk.open(photo)
    desk.tool("rectangle")
    desk.stroke((60, 30), (120, 90))
    known, left, right = desk.shown(20, 20), desk.shown(70, 60), desk.shown(110, 60)
    assert desk.page.is_disabled("#compare-button")
    desk.fill()
    assert desk.shown(20, 20) == known
    filled_left, filled_right = desk.shown(70, 60), desk.shown(110, 60)
    assert filled_left != left
    assert filled_right != right
    desk.page.keyboard.down("c")
    desk.page.wait_for_selector("#stage[data-showing=before]")
    assert (desk.shown(70, 60), desk.shown(110, 60)) == (left, right)
    desk.page.keyboard.up("c")
    desk.page.wait_for_selector("#stage[data-showing=after]")
    assert (desk.shown(70, 60), desk.shown(110, 60)) == (filled_left, filled_right)
    desk.page.click("#compare-button")
    assert (desk.shown(70, 60), desk.shown(110, 60)) == (left, filled_right)
    x, y = desk.at(90, 100)
    desk.page.mouse.move(x, y)
    desk.page.mouse.down()
    desk.page.mouse.move(desk.at(150, 0)[0], y, steps=3)
    desk.page.mouse.up()
    assert (desk.shown(70, 60), desk.shown(110, 60)) == (left, right)
    desk.page.keyboard.press("Home")
    assert (desk.shown(70, 60), desk.shown(110, 60)) == (filled_left, filled_right)
    desk.page.click("#compare-button")
    assert not desk.page.is_visible("#wipe")


def test_paste_and_drop(desk, photo):
    give = """([bytes, name, event]) => {
      const data = new DataTransfer();
      const content = Uint8Array.from(atob(bytes), each => each.charCodeAt(0));
      data.items.add(new File([content], name, { type: "image/png" }));
      const init = { bubbles: true, cancelable: true };
      document.body.dispatchEvent(event === "paste" ? new ClipboardEvent(event, { ...init, clipboardData: data })
        : new DragEvent(event, { ...init, dataTransfer: data }));
    }"""
    encoded = b64encode(photo.read_bytes()).decode()
    desk.page.evaluate(give, [encoded, "pasted.png", "paste"])
    desk.expect_said("pasted.png, 180")
    desk.ready()
    desk.stroke((30, 30))
    for event in ("dragenter", "dragover"):
        desk.page.evaluate(give, [encoded, "dropped.png", event])
    assert desk.page.is_visible("#drop-target")
    desk.page.evaluate(give, [encoded, "dropped.png", "drop"])
    desk.expect_said("dropped.png, 180")
    desk.ready()
    assert not desk.page.is_visible("#drop-target")
    assert "replaces pasted.png" in desk.warned()
    desk.page.click("#alert-action")
    desk.expect_said("pasted.png is back")
    desk.ready()
    assert desk.mask()[30, 30]


def test_a_jpeg_comes_back_as_a_jpeg_with_all_that_came_with_it(desk, photo, tmp_path):
    source = tmp_path / "turned.jpeg"
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera", 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    turned = Image.open(photo).transpose(Image.Transpose.ROTATE_90)
    turned.save(source, quality=80, subsampling=2, exif=exif, icc_profile=profile)
    desk.open(source)
    desk.stroke(*STROKE)
    hole = desk.mask()
    assert hole.shape == (120, 180)
    desk.fill(1)
    desk.stroke((150, 100))
    hole |= desk.mask()
    desk.fill(2)
    name, data = desk.download()
    image, original = Image.open(io.BytesIO(data)), Image.open(source)
    assert (name, image.format) == ("turned-filled.jpeg", "JPEG")
    assert image.getexif()[0x010F] == "A camera"
    assert image.info["icc_profile"] == profile
    assert image.quantization == original.quantization
    before, after = (np.asarray(ImageOps.exif_transpose(each)).astype(int) for each in (original, image))
    assert before.shape == after.shape
    assert np.abs(before - after)[~hole].mean() < 3
    assert np.abs(before - after)[hole].mean() > np.abs(before - after)[~hole].mean()


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_16_bits_stay_16_bits(desk, tmp_path, suffix):
    """What a browser could never give back: its pixels have 8 bits, and it does not know TIFF at all."""
    values = (np.arange(120 * 180 * 3).reshape(120, 180, 3) * 1.01).astype(np.uint16)
    source = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(source), values)
    desk.open(source)
    desk.stroke(*STROKE)
    hole = desk.mask()
    desk.fill(1)
    desk.stroke((150, 100))
    hole |= desk.mask()
    desk.fill(2)
    name, data = desk.download()
    assert name == f"deep-filled{suffix}"
    after = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert after.dtype == np.uint16
    assert np.array_equal(after[~hole], values[~hole])
    assert (after[hole] != values[hole]).any(axis=1).mean() > 0.9


def test_a_photo_in_printing_inks_stays_one(desk, photo, tmp_path):
    Image.open(photo).convert("CMYK").save(tmp_path / "inks.jpg", quality=90)
    desk.open(tmp_path / "inks.jpg")
    desk.stroke(*STROKE)
    hole = desk.mask()
    desk.fill()
    name, data = desk.download()
    desk.complaints.clear()  # the server's answer that PNG holds no CMYK
    before, after = (pixels_of(each).astype(int) for each in (tmp_path / "inks.jpg", data))
    assert name == "inks-filled.jpg"
    assert before.shape == after.shape == (120, 180, 4)
    assert np.abs(before - after)[~hole].mean() < 4


def test_an_original_that_nothing_was_done_to_comes_back_byte_for_byte(desk, photo):
    desk.open(photo)
    assert desk.download() == ("field.png", photo.read_bytes())


def test_download_as_png(desk, photo, tmp_path):
    Image.open(photo).save(tmp_path / "lossy.jpg", quality=90)
    desk.open(tmp_path / "lossy.jpg")
    desk.stroke(*STROKE)
    hole = desk.mask()
    desk.fill()
    desk.page.click("#more-button")
    desk.page.select_option("#format", "png")
    desk.page.keyboard.press("Escape")
    name, data = desk.download()
    assert name == "lossy-filled.png"
    assert np.array_equal(pixels_of(tmp_path / "lossy.jpg")[~hole], pixels_of(data)[~hole])


def test_alpha_stays(desk, photo, tmp_path):
    with_alpha = Image.open(photo).convert("RGBA")
    alpha = np.linspace(0, 255, 180).astype(np.uint8)[None].repeat(120, 0)
    with_alpha.putalpha(Image.fromarray(alpha))
    with_alpha.save(tmp_path / "glass.png")
    desk.open(tmp_path / "glass.png")
    desk.stroke(*STROKE)
    hole = desk.mask()
    desk.fill()
    before, after = pixels_of(tmp_path / "glass.png"), pixels_of(desk.download()[1])
    assert np.array_equal(before[~hole], after[~hole])  # a canvas would have rounded the nearly transparent ones
    assert np.array_equal(before[..., 3], after[..., 3])


def test_nothing_marked_and_everything_marked_are_said(desk, photo):
    desk.open(photo)
    desk.page.click("#fill-button")
    desk.expect_said("Paint over what should go first")
    desk.tool("rectangle")
    desk.page.keyboard.press("-")
    desk.frame()
    desk.stroke((-9, -9), (190, 130))
    assert desk.mask().all()
    desk.page.click("#fill-button")
    assert "Everything is marked" in desk.warned()


def test_what_is_no_photo_is_said(desk, photo, tmp_path):
    (tmp_path / "letter.png").write_text("Dear photo,")
    desk.page.set_input_files("#photo-input", tmp_path / "letter.png")
    assert "not a photo that the page knows" in desk.warned()
    assert desk.page.is_visible("#welcome")
    desk.page.click("#alert-close")
    desk.open(photo)


def test_the_request_is_small_and_has_only_what_it_needs(desk, photo):
    desk.open(photo)
    desk.stroke(*STROKE)
    with desk.page.expect_request("**/api/v1/inpaint") as request:
        desk.fill()
    body = request.value.post_data_buffer
    assert body is None or len(body) < photo.stat().st_size + 2000
    info = json.loads(desk.page.evaluate("fetch('api/v1/info').then(answer => answer.text())"))
    assert info["name"] == "pconv"


def test_masks_are_png_of_either_depth(desk):
    y, x = np.mgrid[:259, :301]
    for depth, mode in ((1, "1"), (8, "L")):
        encoded = desk.page.evaluate(
            """async depth => {
              const [{ HoleMap }, { greyPng }] = [await import("/holes.js"), await import("/png.js")];
              const map = new HoleMap(301, 259);
              for (let y = 0; y < 259; y++) map.span(y, y, y + 1 + y % 37, true);
              const bytes = new Uint8Array(await (await greyPng(map, depth)).arrayBuffer());
              return btoa(String.fromCharCode(...bytes));
            }""",
            depth,
        )
        image = Image.open(io.BytesIO(b64decode(encoded)))
        image.load()
        assert image.mode == mode
        assert np.array_equal(np.asarray(image).astype(bool), (x >= y) & (x < y + 1 + y % 37))
