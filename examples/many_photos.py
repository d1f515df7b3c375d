"""Many photos, one loaded model, in your own loop; `pconv batch PHOTOS MASKS -o OUT` does more for whole folders."""

from pathlib import Path
from time import perf_counter

from pconv import ImageFileError, Inpainter, InputError, read_photo, write_photo
from pconv.masks.reader import MaskFile
from pconv.masks.sources import hole_of

fill = Inpainter()  # once: loading takes longer than a small photo
out = Path("filled")
out.mkdir(exist_ok=True)

for path in sorted((Path(__file__).parent / "photos").glob("*.jpg")):
    start = perf_counter()
    try:
        photo = read_photo(path)
        hole = hole_of(photo, [MaskFile(path.with_name(f"{path.stem}-mask.png"))])
        write_photo(fill(photo, hole), out / path.name)
    except (ImageFileError, InputError) as error:  # a bad file costs only itself
        print(f"{path.name}: {error}")
    else:
        print(f"{path.name}: {hole.mean():.1%} in {perf_counter() - start:.2f} s")
