"""HTML pages from the templates in this folder: single files that need no other file and no network."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

from pconv.files import replacing


def write_page(template: str, path: Path, **values: Any) -> None:
    """Render ``template`` with ``values`` and write it to ``path``, part by part.

    Args:
        template: a file name in ``report/templates``. Values are escaped.
        path: of the page; it appears as a whole or not at all.
        values: what the template shows; iterators are read while the page is written.
    """
    import jinja2

    environment = jinja2.Environment(loader=jinja2.PackageLoader("pconv.report"), autoescape=True, trim_blocks=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as page:
        page.writelines(environment.get_template(template).generate(**values))


def data_url(image: Image.Image, form: str, **options: Any) -> str:
    """The address of an image that needs no file; ``form`` and ``options`` are Pillow's."""
    content = io.BytesIO()
    image.save(content, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
