import os
from pathlib import Path

import pytest

from pconv.files import replacing, replacing_folder


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        assert target.read_text() == "old"
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_permissions_and_links_are_kept(tmp_path):
    target, link = tmp_path / "a.txt", tmp_path / "link.txt"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    with replacing(link) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_usual_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "new.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "new.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("existing", "expected"), [(None, 0o640), (0o664, 0o664)])
def test_a_library_that_replaces_the_temporary_file_does_not_change_its_mode(tmp_path, existing, expected):
    target = tmp_path / "model.safetensors"
    if existing is not None:
        target.touch()
        target.chmod(existing)
    before = os.umask(0o027)
    try:
        with replacing(target) as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert target.stat().st_mode & 0o777 == expected


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    target = tmp_path / "site"
    with replacing_folder(target) as new:
        (new / "a").write_text("1")
        assert not target.exists()
    target.chmod(0o750)
    with pytest.raises(NotADirectoryError), replacing_folder(target) as new:
        (new / "a" / "b").write_text((target / "a" / "b").read_text())
    assert [path.name for path in target.iterdir()] == ["a"]
    with replacing_folder(target) as new:
        (new / "b").write_text("2")
    assert [path.name for path in target.iterdir()] == ["b"]
    assert target.stat().st_mode & 0o777 == 0o750
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "site"
    target.mkdir()
    (target / "a").touch()
    rename = Path.rename

    def failing(path, to):
        if path.name.endswith("-new"):
            raise PermissionError(13, "no")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PermissionError), replacing_folder(target) as new:
        (new / "b").touch()
    assert [path.name for path in target.iterdir()] == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
