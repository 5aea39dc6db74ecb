"""Packaging: the same bytes anywhere, what the ignore files say, nothing from outside the folder, no secrets."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import JobError, PackageError
from training.extraction import extract, replacing, safe_path
from training.package import collect, collect_data
from training.secret import find_secrets


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def names(folder: Path) -> list[str]:
    return [file.path for file in collect(folder).files]


def archive(folder: Path) -> bytes:
    content = io.BytesIO()
    collect(folder).write_archive(content)
    return content.getvalue()


def test_two_copies_made_at_other_times_in_another_order_give_the_same_bytes(
    tmp_path: Path,
) -> None:
    files = {"train.py": "print(1)", "lib/a.py": "a", "lib/b.py": "b", "é ü.txt": "x"}
    one = tree(tmp_path / "one", files)
    two = tree(tmp_path / "elsewhere" / "two", dict(reversed(files.items())))
    for file in two.rglob("*"):
        os.utime(file, (1, 1))
        if file.is_file():
            file.chmod(0o600)
    assert collect(one).digest == collect(two).digest
    assert archive(one) == archive(two)


def test_the_archive_holds_no_time_no_owner_and_no_name_of_this_machine(tmp_path: Path) -> None:
    content = archive(tree(tmp_path, {"b.py": "b", "a.sh": "a"}))
    assert content[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"[:9] + content[9:10]
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == ["a.sh", "b.py"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert str(tmp_path).encode() not in zlib.decompress(content, 31)


@pytest.mark.parametrize(
    "change",
    [{"a.py": "2"}, {"b.py": "1"}, {"a.py": "1", "c.py": ""}],
    ids=["content", "name", "more"],
)
def test_another_content_has_another_digest(tmp_path: Path, change: dict[str, str]) -> None:
    before = collect(tree(tmp_path / "before", {"a.py": "1"})).digest
    assert collect(tree(tmp_path / "after", change)).digest != before


def test_an_executable_file_stays_one_and_counts_in_the_digest(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"run.sh": "true"})
    before = collect(folder).digest
    (folder / "run.sh").chmod(0o755)
    assert collect(folder).digest != before
    with tarfile.open(fileobj=io.BytesIO(archive(folder))) as tar:
        assert tar.getmember("run.sh").mode == 0o755


def test_nested_ignore_files_of_all_three_names_count_as_in_git(tmp_path: Path) -> None:
    folder = tree(tmp_path, {
        ".gitignore": "*.log\n/build/\n!keep.log\n", ".amlignore": "notes.md\n", ".trainstackignore": "data/\n",
        "train.py": "", "x.log": "", "keep.log": "", "build/x.py": "", "notes.md": "", "data/x.csv": "",
        "src/.gitignore": "!special.log\nlocal.py\n", "src/special.log": "", "src/local.py": "", "src/build/y.py": "",
        "src/other.log": "",
    })  # fmt: skip
    assert names(folder) == ["keep.log", "src/build/y.py", "src/special.log", "train.py"]


def test_what_is_kept_agrees_with_git(tmp_path: Path) -> None:
    rules = "a/**/b\n*.tmp\n!a/keep.tmp\nfoo\n!foo/x\n\\#literal\n"
    files = ("a/c/b/x", "a/b", "a/keep.tmp", "t.tmp", "foo/x", "sub/foo", "#literal", "b/c")
    folder = tree(tmp_path, {".gitignore": rules, **dict.fromkeys(files, "")})
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    listed = subprocess.run(
        ["git", "-C", str(folder), "ls-files", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True,
    ).stdout.split("\n")  # fmt: skip
    assert names(folder) == sorted(name for name in listed if name and name != ".gitignore")


def test_the_repositorys_rules_above_the_folder_count_unless_they_ignore_it(tmp_path: Path) -> None:
    tree(tmp_path, {".gitignore": "*.ckpt\n/generated/\n", ".git/HEAD": "",
                    "job/train.py": "", "job/x.ckpt": "", "generated/train.py": ""})  # fmt: skip
    assert names(tmp_path / "job") == ["train.py"]
    assert names(tmp_path / "generated") == ["train.py"], "it was chosen by name"


def test_virtual_environments_and_caches_are_left_out_and_not_entered(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"train.py": "", "env/pyvenv.cfg": "", "env/lib/x.py": "",
                             "__pycache__/train.pyc": "", ".git/config": "", "node_modules/x.js": ""})  # fmt: skip
    (folder / ".git" / "unreadable").mkdir()
    package = collect(folder)
    assert [file.path for file in package.files] == ["train.py"]
    assert [(item.path, item.reason) for item in package.skipped] == [
        ("env", "a Python virtual environment")
    ]


def test_a_link_is_followed_inside_the_folder_only(tmp_path: Path) -> None:
    folder = tree(tmp_path / "job", {"train.py": "real", "lib/x.py": ""})
    outside = tree(tmp_path / "outside", {"secret.txt": "s"})
    (folder / "copy.py").symlink_to("train.py")
    (folder / "out.txt").symlink_to(outside / "secret.txt")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder)
    (folder / "gone").symlink_to("nothing")
    os.mkfifo(folder / "pipe")
    package = collect(folder)
    assert [file.path for file in package.files] == ["copy.py", "lib/x.py", "train.py"]
    assert {item.path: item.reason for item in package.skipped} == {
        "gone": "a link to nothing", "loop": "a link to a folder", "out.txt": "a link out of the folder",
        "pipe": "no regular file", "up": "a link out of the folder",
    }  # fmt: skip


# Put together here, so that no file of the project holds the shape of a key.
FAKES = {
    "aws id": "AKIA" + "QWERTYUIOPASDFGH",
    "aws secret": "aws_secret_access_key = '" + "wJalrXUtnFEMI7K7MDENGbPxRfiCYzzzzzzzzzz1" + "'",
    "private key": "-----BEGIN RSA PRIVATE " + "KEY-----",
    "account key": "AccountKey=" + "A" * 86 + "==",
    "sas": "https://x.blob.core.windows.net/c?sv=2023-11-03&sp=r&sig=" + "a" * 44,
    "client secret": "abc8Q~" + "x" * 34,
    "github": "ghp_" + "a1" * 18,
    "hugging face": "hf_" + "aB" * 17,
    "url": "postgres://me:" + "hunter2hunter2" + "@db/x",
}


@pytest.mark.parametrize("kind", FAKES)
def test_a_likely_secret_stops_it_and_is_named_by_file_and_line_but_not_shown(
    tmp_path: Path, kind: str
) -> None:
    folder = tree(tmp_path, {"src/config.py": f"x = 1\ny = '{FAKES[kind]}'\n"})
    with pytest.raises(PackageError) as caught:
        collect(folder)
    assert "src/config.py:2:" in str(caught.value)
    assert FAKES[kind] not in str(caught.value)
    assert ".trainstackignore" in str(caught.value)


@pytest.mark.parametrize(
    "name", [".env", "id_rsa", "keys/store.p12", ".aws/credentials", ".env.production"]
)
def test_a_file_that_exists_to_hold_secrets_stops_it_whatever_it_holds(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(PackageError, match=name):
        collect(tree(tmp_path, {name: "x"}))


@pytest.mark.parametrize(
    "line",
    [
        "key = 'AKIAIOSFODNN7" + "EXAMPLE'",
        FAKES["aws id"] + "  # pragma: allowlist secret",
        "https://user:{password}@host/x",
        "sha = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
    ],
)
def test_a_harmless_line_passes(line: str) -> None:
    assert list(find_secrets("a.py", line.encode())) == []


def test_an_ignored_secret_is_no_matter(tmp_path: Path) -> None:
    assert names(tree(tmp_path, {".trainstackignore": ".env\n", ".env": "x", "train.py": ""})) == [
        "train.py"
    ]


@given(st.binary(max_size=300), st.text(max_size=20))
def test_looking_for_secrets_never_fails(content: bytes, name: str) -> None:
    list(find_secrets(name, content))


def test_data_is_packaged_whole_ignore_files_or_not(tmp_path: Path) -> None:
    folder = tree(tmp_path / "data", {".gitignore": "*\n", "a.csv": "1", "deep/b.csv": "2"})
    assert [file.path for file in collect_data(folder).files] == [
        ".gitignore",
        "a.csv",
        "deep/b.csv",
    ]
    assert [file.path for file in collect_data(folder / "a.csv").files] == ["a.csv"]


# What comes back.


def tar_of(members: dict[str, bytes], link: str | None = None) -> io.BytesIO:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, link
            tar.addfile(info)
    content.seek(0)
    return content


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil"])
def test_an_archive_that_would_leave_its_folder_is_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(JobError, match="outside its folder"):
        extract(tar_of({"good.txt": b"1", name: b"2"}), tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(JobError):
        safe_path(tmp_path, name)


def test_links_in_an_archive_are_left_out(tmp_path: Path) -> None:
    written = extract(tar_of({"a/b.txt": b"1"}, link="/etc/passwd"), tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in written] == ["a/b.txt"]
    assert not (tmp_path / "link").exists()


def test_a_broken_archive_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="cannot be read"):
        extract(io.BytesIO(b"no archive"), tmp_path)


def test_a_download_replaces_what_was_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tree(tmp_path / "model", {"old.txt": "old"})

    def interrupted() -> None:
        with replacing(folder) as temporary:
            (temporary / "new.txt").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert [file.name for file in folder.iterdir()] == ["old.txt"]
    with replacing(folder) as temporary:
        (temporary / "new.txt").write_text("new")
    assert [file.name for file in folder.iterdir()] == ["new.txt"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
