import pytest

from sadpm.config.files import merged, read_config, read_utf8
from sadpm.kinds.section import ConfigError


def test_a_file_that_extends_another_says_only_the_differences(tmp_path):
    (tmp_path / "base.yaml").write_text("experiment: a\nmodels: {x: {label: X}, y: {label: Y}}\nseeds: [0, 1]\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "middle.yaml").write_text("extends: ../base.yaml\nmodels: {y: {batch_multiplier: 2}}\n")
    (tmp_path / "own.yaml").write_text("extends: deep/middle.yaml\nexperiment: b\nseeds: [7]\nmodels: {x: null}\n")
    assert read_config(tmp_path / "own.yaml") == {
        "experiment": "b",
        "models": {"y": {"label": "Y", "batch_multiplier": 2}},
        "seeds": [7],
    }


@pytest.mark.parametrize(
    ("content", "message"), [("extends: no.yaml", r"no\.yaml"), ("- 1", "not a configuration"), ("a: [", "own")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, message):
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "own.yaml: 'a' is given 2 times, in lines 1, 3"),
        ("tables:\n  one: {}\n  one: {}\n", "own.yaml: 'one' is given 2 times, in lines 2, 3"),
        ("x: {a: 1, 'a': 2}\n", "own.yaml: 'a' is given 2 times, in lines 1, 1"),
        ("x: &x {a: 1}\ny: {<<: *x, b: 1, b: 2}\n", "own.yaml: 'b' is given 2 times, in lines 2, 2"),
        ("x: [{a: 1,\n a: 2}]\n", "own.yaml: 'a' is given 2 times, in lines 1, 2"),
    ],
)
def test_a_key_may_be_given_once(tmp_path, content, message):
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(ConfigError) as error:
        read_config(tmp_path / "own.yaml")
    assert str(error.value).startswith(f"{tmp_path}/{message}")


def test_every_key_that_is_given_twice_is_told(tmp_path):
    (tmp_path / "base.yaml").write_text("a: {b: 1, b: 2}\na: 3\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\n")
    with pytest.raises(ConfigError) as error:
        read_config(tmp_path / "own.yaml")
    assert len(str(error.value).splitlines()) == 2


def test_merged_keys_are_no_repetition(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "x: &x {a: 1}\ny: &y {<<: *x, a: 2}\nz: {<<: [*y, *x], b: 3}\nw: {<<: *y, a: 4}\n"
    )
    assert read_config(tmp_path / "own.yaml") == {"x": {"a": 1}, "y": {"a": 2}, "z": {"a": 2, "b": 3}, "w": {"a": 4}}


def test_a_circle_is_told_with_all_its_files(tmp_path):
    for name, other in {"own": "one", "one": "sub/two", "sub/two": "../one"}.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"extends: {other}.yaml\n")
    with pytest.raises(ConfigError) as error:
        read_config(tmp_path / "own.yaml")
    own, one, two, again = str(error.value).removeprefix("extends goes in a circle: ").split(" -> ")
    assert [own, one, two] == [str(tmp_path / name) for name in ("own.yaml", "one.yaml", "sub/two.yaml")]
    assert again.endswith("one.yaml")


def test_two_files_may_extend_one(tmp_path):
    (tmp_path / "base.yaml").write_text("a: {b: 1}\n")
    (tmp_path / "one.yaml").write_text("extends: base.yaml\n")
    (tmp_path / "own.yaml").write_text("extends: one.yaml\na: {c: 2}\n")
    assert merged(read_config(tmp_path / "own.yaml"), read_config(tmp_path / "one.yaml")) == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[a.yaml]", r"own\.yaml: extends must be the path of one file, not \['a\.yaml'\]"),
        ("3", "must be the path of one file, not 3"),
        ("''", "must be the path of one file, not ''"),
        ("folder", r"own\.yaml: extends 'folder', and .*folder is a folder"),
        ("nowhere.yaml", r"own\.yaml: extends 'nowhere\.yaml', and .*nowhere\.yaml does not exist"),
        ("own.yaml", "extends goes in a circle: .*own.yaml -> .*own.yaml"),
    ],
)
def test_what_can_not_be_extended(tmp_path, value, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "own.yaml").write_text(f"extends: {value}\n")
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path / "own.yaml")


def test_a_file_to_extend_may_lie_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base.yaml").write_text("a: 1\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/own.yaml").write_text("extends: ~/base.yaml\n")
    assert read_config(tmp_path / "deep/own.yaml") == {"a": 1}


TEXT = "a: 1\ntitle: Fréchet\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_files_are_utf8_whatever_the_locale(tmp_path, encoding):
    (tmp_path / "own.yaml").write_text(TEXT, encoding)
    assert read_utf8(tmp_path / "own.yaml") == TEXT
    assert read_config(tmp_path / "own.yaml") == {"a": 1, "title": "Fréchet"}


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("cp1252", r"own\.yaml, line 2: byte 15 \(0xe9\) is not UTF-8; save it as UTF-8"),
        ("latin-1", r"own\.yaml, line 2: byte 15 \(0xe9\) is not UTF-8; save it as UTF-8"),
        ("utf-16", r"own\.yaml: is in UTF-16; save it as UTF-8"),
        ("utf-16-be", "not UTF-8"),
    ],
)
def test_another_encoding_is_told_with_its_place(tmp_path, encoding, message):
    (tmp_path / "own.yaml").write_bytes(TEXT.encode(encoding))
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path / "own.yaml")


@pytest.mark.parametrize("content", ["a: 2024-99-99\n", "a: \0\n", "a: b: c\n", "&a {x: *a}\n" * 2, "{" * 5000])
def test_what_is_no_yaml_is_told_with_its_file(tmp_path, content):
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"own\.yaml"):
        read_config(tmp_path / "own.yaml")
