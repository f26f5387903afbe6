"""What is found out once."""

from pathlib import Path

from tasks.once import once, unchanged


def test_a_folder_is_looked_at_once_while_nothing_changes(tmp_path: Path) -> None:
    asked: list[Path] = []

    @once
    def names(folder: Path) -> list[str]:
        asked.append(folder)
        return [path.name for path in folder.iterdir()]

    other = tmp_path / "other"
    with unchanged():
        assert names(tmp_path) == []
        other.mkdir()
        assert names(tmp_path) == ["other"], "what is false is not kept"
        (tmp_path / "more").mkdir()
        assert names(tmp_path) == ["other"]
        with unchanged():
            assert len(names(tmp_path)) == 2
        assert names(tmp_path) == ["other"]
        assert names(other) == []
    assert len(names(tmp_path)) == 2
    assert asked == [tmp_path, tmp_path, tmp_path, other, tmp_path]
