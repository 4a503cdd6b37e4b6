"""Archives that were packed to do harm."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data.imagefolder import ImageFolder
from limbeck.data.source import check
from limbeck.errors import UnreadableImagesError
from limbeck_server.trust.archives import ArchiveLimits, unpack
from limbeck_server.trust.errors import ArchiveError

WAYS_OUT = [
    "../out.png",
    "a/../../out.png",
    "/tmp/limbeck-out.png",
    "//tmp/limbeck-out.png",
    "C:/out.png",
    "C:out.png",
    "..\\out.png",
    "a\\..\\..\\out.png",
    "a/..",
    "..",
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


def zipped(path, entries):
    """A zip file of (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            file.writestr(name, content)
    return path


def member(name, content=b"", **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def tarred(path, entries, mode="w"):
    with tarfile.open(path, mode) as file:
        for info, content in entries:
            file.addfile(info, io.BytesIO(content))
    return path


def refused(archive, folder, match, limits=None):
    """It is refused with these words, and nothing lies outside the folder."""
    before = sorted(folder.parent.iterdir())
    with pytest.raises(ArchiveError, match=match):
        unpack(archive, folder, limits)
    assert sorted(folder.parent.iterdir()) == before


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2"])
def test_a_tar_file_is_unpacked_whole(tmp_path, folder, mode):
    entries = [member("cat", type=tarfile.DIRTYPE), member("./cat/1.png", b"one"), member("dog/ä b.png", b"two" * 999)]
    found = unpack(tarred(tmp_path / "set.tar", entries, mode), folder)
    assert (found.num_files, found.nbytes) == (2, 3000)
    assert (folder / "cat" / "1.png").read_bytes() == b"one"
    assert (folder / "dog" / "ä b.png").read_bytes() == b"two" * 999


def test_a_zip_file_is_unpacked_whole(tmp_path, folder):
    archive = zipped(tmp_path / "set.zip", [("cat/", b""), ("cat/1.png", b"one"), ("dog/ä b.png", b"two" * 999)])
    found = unpack(archive, folder)
    assert (found.num_files, found.nbytes) == (2, 3000)
    assert (folder / "dog" / "ä b.png").read_bytes() == b"two" * 999


def test_owners_and_permissions_are_not_taken_over(tmp_path, folder):
    unpack(tarred(tmp_path / "set.tar", [member("x", b"1", mode=0o6777, uid=12345)]), folder)
    status = (folder / "x").stat()
    assert (stat.S_IMODE(status.st_mode) & 0o6111, status.st_uid) == (0, os.getuid())


@pytest.mark.parametrize("name", WAYS_OUT)
def test_a_zip_entry_that_leads_out_is_refused(tmp_path, folder, name):
    refused(zipped(tmp_path / "x.zip", [("good.png", b"1"), (name, b"2")]), folder, "leads out|absolute|backslash")


@pytest.mark.parametrize("name", WAYS_OUT)
def test_a_tar_entry_that_leads_out_is_refused(tmp_path, folder, name):
    archive = tarred(tmp_path / "x.tar", [member("good.png", b"1"), member(name, b"2")])
    refused(archive, folder, "leads out|absolute|backslash")


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc"),
        (tarfile.SYMTYPE, ".."),
        (tarfile.SYMTYPE, "good.png"),
        (tarfile.LNKTYPE, "../secret"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "good.png"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_in_a_tar_file_are_refused(tmp_path, folder, kind, target):
    entries = [member("good.png", b"1"), member("way", type=kind, linkname=target), member("way/out.png", b"2")]
    refused(tarred(tmp_path / "x.tar", entries), folder, "link, a device")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_file_are_refused(tmp_path, folder, kind):
    info = zipfile.ZipInfo("way")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    refused(zipped(tmp_path / "x.zip", [(info, b"..")]), folder, "link, a device")


def test_a_sparse_tar_entry_that_costs_its_sender_nothing_is_refused(tmp_path, folder):
    header = tarfile.TarInfo("huge.png")
    header.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (0, 0)
    block[483:495] = b"%011o\0" % (2**33 - 1)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "x.tar").write_bytes(bytes(block) + bytes(1024))
    refused(tmp_path / "x.tar", folder, "sparse")


def test_a_zip_bomb_ends_at_the_ratio_and_leaves_little_on_the_disk(tmp_path, folder):
    archive = zipped(tmp_path / "x.zip", [("bomb.png", bytes(64 * 2**20))])
    refused(archive, folder, "come out of the archive", ArchiveLimits(max_ratio=20))
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 8 * 2**20


def test_a_bomb_of_many_small_files_is_noticed_too(tmp_path, folder):
    archive = zipped(tmp_path / "x.zip", [(f"{i}.png", bytes(2**20)) for i in range(64)])
    refused(archive, folder, "come out of the archive", ArchiveLimits(max_ratio=20))


def test_a_bomb_whose_parts_overlap_is_refused(tmp_path, folder):
    archive = zipped(tmp_path / "x.zip", [("a.png", bytes(2**20))])
    content = archive.read_bytes()
    start = content.index(b"PK\1\2")
    end = content.index(b"PK\5\6")
    entry = content[start:end]
    many = b"".join(entry.replace(b"a.png", b"%05d" % i) for i in range(500))
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 500, 500, len(many), start, 0)
    archive.write_bytes(content[:start] + many + tail)
    refused(archive, folder, "damaged|come out")


def test_a_tar_bomb_ends_at_the_ratio(tmp_path, folder):
    archive = tarred(tmp_path / "x.tar.gz", [member("bomb.png", bytes(64 * 2**20))], "w:gz")
    refused(archive, folder, "come out of the archive", ArchiveLimits(max_ratio=20))


def comments(path, num, nbytes):
    """A packed tar file that begins with many headers, each a comment on the next."""
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    header.size = nbytes
    record = b"comment=" + bytes(nbytes - 9 - len(str(nbytes)) - 1) + b"\n"
    with gzip.open(path, "wb") as file:
        for _ in range(num):
            file.write(header.tobuf() + f"{nbytes} ".encode() + record + bytes(-nbytes % 512))
    return path


def test_a_bomb_in_headers_that_no_file_is_made_of_is_noticed_too(tmp_path, folder):
    refused(comments(tmp_path / "x.tar.gz", 64, 2**20), folder, "far more than", ArchiveLimits(max_ratio=20))


def test_headers_that_comment_on_headers_without_end_are_damage(tmp_path, folder):
    refused(comments(tmp_path / "x.tar.gz", 5000, 64), folder, "damaged")


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path, folder):
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    info.size = 8 * 2**30 - 1
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(tmp_path / "x.tar", folder, "a header of")


def test_a_zip_directory_that_claims_gigabytes_is_not_read(tmp_path, folder):
    archive = tmp_path / "x.zip"
    with archive.open("wb") as file:
        file.write(b"PK\3\4")
        file.seek(3 * 2**30)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**31, 2**30, 0))
    refused(archive, folder, "a header of")


def test_more_entries_than_allowed_are_refused(tmp_path, folder):
    archive = zipped(tmp_path / "x.zip", [(f"{i}/", b"") for i in range(11)])
    refused(archive, folder, "more than 10 entries", ArchiveLimits(max_entries=10))


def test_more_bytes_than_allowed_are_refused(tmp_path, folder):
    archive = zipped(tmp_path / "x.zip", [("x.png", os.urandom(3 * 2**20))])
    refused(archive, folder, "over 2,097,152", ArchiveLimits(max_nbytes=2 * 2**20))


@pytest.mark.parametrize("name", ["a/" * 20 + "x", "x" * 300, "y/" * 600, "x\udcff"])
def test_a_name_that_no_disk_or_log_takes_is_refused(tmp_path, folder, name):
    refused(tarred(tmp_path / "x.tar", [member(name, b"1")]), folder, "nested|too long|not UTF-8")


def test_a_zip_name_with_a_nul_is_refused(tmp_path, folder):
    info = zipfile.ZipInfo("harmless.png")
    archive = zipped(tmp_path / "x.zip", [(info, b"1")])
    archive.write_bytes(archive.read_bytes().replace(b"harmless.png", b"harm\0ess.png"))
    refused(archive, folder, "NUL")


@pytest.mark.parametrize("names", [("x", "x"), ("x", "x/y"), ("x/y", "x"), ("x", "./x")])
def test_an_entry_never_replaces_an_earlier_one(tmp_path, folder, names):
    refused(tarred(tmp_path / "x.tar", [member(name, b"1") for name in names]), folder, "twice")


def test_an_encrypted_zip_entry_is_named(tmp_path, folder):
    archive = zipped(tmp_path / "x.zip", [("x.png", b"1")])
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(content)
    refused(archive, folder, r"x\.png' is encrypted")


def test_a_zip_entry_packed_with_lzma_is_refused(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("x.png", b"1")
    refused(tmp_path / "x.zip", folder, "unusual way")


def test_a_wrong_checksum_is_noticed(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("x.png", b"content")
    (tmp_path / "x.zip").write_bytes((tmp_path / "x.zip").read_bytes().replace(b"content", b"CONTENT"))
    refused(tmp_path / "x.zip", folder, "damaged")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_an_archive_that_was_cut_is_damaged(tmp_path, folder, kind, part):
    archive = tmp_path / f"x.{kind}"
    content = os.urandom(100_000)
    if kind == "zip":
        zipped(archive, [("a.png", content)])
    else:
        tarred(archive, [member("a.png", content)], "w:" + kind[4:])
    archive.write_bytes(archive.read_bytes()[: int(part * archive.stat().st_size)])
    refused(archive, folder, "damaged")


@given(start=st.sampled_from([b"", b"PK\3\4", b"\x1f\x8b\x08\0", b"BZh9"]), rest=st.binary(max_size=2000))
def test_any_bytes_at_all_are_unpacked_or_refused(tmp_path_factory, start, rest):
    folder = tmp_path_factory.mktemp("any")
    (folder / "x").write_bytes(start + rest)
    (folder / "inside").mkdir()
    with contextlib.suppress(ArchiveError):
        unpack(folder / "x", folder / "inside")


def test_a_picture_of_a_billion_pixels_is_refused_undecoded(tmp_path):
    """What an archive cannot be asked for, its images can: 60 bytes that become 4 GB."""
    header = b"IHDR" + struct.pack(">2I5B", 40_000, 25_000, 8, 6, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"")
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, body, b"IEND")]
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(UnreadableImagesError, match="1000000000 pixels"):
        check(ImageFolder(tmp_path))
