"""Which photos `retouch batch` pairs with which masks, and what it refuses before any work. No picture is read."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch.batch import storage
from retouch.batch.pairs import Plan, plan
from retouch.errors import DataError
from retouch.photo import SUFFIXES


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    """Makes empty files: pairing looks at names alone."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def shard(path: str, *names: str) -> None:
    """A tar shard of empty members."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


def triples(found: Plan) -> set[tuple[str, str, str]]:
    return {(job.image.label, job.mask.label, job.output) for job in found.jobs}


def test_by_stem_in_folders_below() -> None:
    touch("p/a.jpg", "p/x/a.jpg", "p/x/y/b.TIFF", "m/a.png", "m/x/a.bmp", "m/x/y/b.png")
    touch("p/notes.txt", "p/.hidden.jpg", "p/.trash/a.jpg", "m/.DS_Store")
    found = plan("p", "m/", "out", "telea")
    assert triples(found) == {
        ("p/a.jpg", "m/a.png", "a.jpg"),
        ("p/x/a.jpg", "m/x/a.bmp", "x/a.jpg"),
        ("p/x/y/b.TIFF", "m/x/y/b.png", "x/y/b.TIFF"),
    }
    assert found.maskless == found.photoless == ()
    assert {job.model for job in found.jobs} == {"telea"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_that_is_read(suffix: str) -> None:
    touch(f"p/a{suffix}", "m/a.png")
    output = "a.png" if suffix in (".avif", ".heic", ".heif", ".hif") else f"a{suffix}"
    assert [job.output for job in plan("p", "m", "out", "").jobs] == [output]


def test_what_is_only_read_has_the_output_of_a_png() -> None:
    touch("p/a.heic", "p/a.jpg", "p/b.avif", "m/a.png", "m/b.png")
    assert triples(plan("p", "m", "out", "")) == {
        ("p/a.heic", "m/a.png", "a.png"),
        ("p/a.jpg", "m/a.png", "a.jpg"),
        ("p/b.avif", "m/b.png", "b.png"),
    }
    Path("jobs.csv").write_text("image,mask\np/a.heic,m/a.png\np/a.jpg,m/a.png\np/b.avif,m/b.png\n")
    assert [job.output for job in plan("jobs.csv", "", "out", "").jobs] == ["p/a.png", "p/a.jpg", "p/b.png"]
    for other in ("a.png", "a.avif"):
        touch(f"p/{other}")
        with pytest.raises(
            DataError,
            match=r"\Aexpected an output for each photo, got a\.png for p/\S* and p/\S* \(a list .*\)\Z",
        ):
            plan("p", "m", "out", "")
        Path(f"p/{other}").unlink()


def test_one_stem_in_two_formats_is_two_photos() -> None:
    touch("p/a.jpg", "p/a.png", "m/a.png")
    assert triples(plan("p", "m", "out", "")) == {
        ("p/a.jpg", "m/a.png", "a.jpg"),
        ("p/a.png", "m/a.png", "a.png"),
    }
    touch("m/a.jpg")  # now each has one of its own
    assert {(job.output, job.mask.label) for job in plan("p", "m", "out", "").jobs} == {
        ("a.jpg", "m/a.jpg"),
        ("a.png", "m/a.png"),
    }
    touch("m/a.jpg.png")  # named after the whole name: meant for no other
    assert ("p/a.jpg", "m/a.jpg.png", "a.jpg") in triples(plan("p", "m", "out", ""))


def test_an_ambiguous_mask_is_refused() -> None:
    touch("p/a.jpg", "m/a.png", "m/a.bmp")
    with pytest.raises(DataError, match=r"\Ap/a.jpg: expected one mask, got m/a.bmp and m/a.png\Z"):
        plan("p", "m", "out", "")


def test_one_mask_for_all_and_one_photo() -> None:
    touch("p/a.jpg", "p/x/b.png", "p/mask.png")
    assert triples(plan("p", "p/mask.png", "out", "")) == {
        ("p/a.jpg", "p/mask.png", "a.jpg"),
        ("p/x/b.png", "p/mask.png", "x/b.png"),
    }
    assert triples(plan("p/a.jpg", "p/mask.png", "out", "")) == {("p/a.jpg", "p/mask.png", "a.jpg")}


def test_masks_in_a_folder_of_the_photos() -> None:
    touch("p/a.jpg", "p/x/b.jpg", "p/masks/a.png", "p/masks/x/b.png")
    both = {("p/a.jpg", "p/masks/a.png", "a.jpg"), ("p/x/b.jpg", "p/masks/x/b.png", "x/b.jpg")}
    assert triples(plan("p", "p/masks", "out", "")) == both


def test_masks_in_a_folder_beside_each_photo() -> None:
    touch("p/a.jpg", "p/x/b.jpg", "p/white/a.png", "p/x/white/b.png", "p/x/white/c.png")
    found = plan("p", "white", "out", "")
    assert triples(found) == {
        ("p/a.jpg", "p/white/a.png", "a.jpg"),
        ("p/x/b.jpg", "p/x/white/b.png", "x/b.jpg"),
    }
    assert found.photoless == ("p/x/white/c.png",)


def test_masks_beside_the_photos() -> None:
    touch("p/a.jpg", "p/a.mask.png", "p/x/b.png", "p/x/b.mask.bmp", "p/c.png")
    found = plan("p", "p", "out", "")
    assert triples(found) == {
        ("p/a.jpg", "p/a.mask.png", "a.jpg"),
        ("p/x/b.png", "p/x/b.mask.bmp", "x/b.png"),
    }
    assert found.maskless == ("p/c.png",)


def test_a_folder_without_masks_beside_its_photos() -> None:
    touch("p/a.jpg", "p/b.jpg")
    with pytest.raises(
        DataError, match=r"\Ap: expected a mask beside each photo, NAME\.mask\.EXT, got none\Z"
    ):
        plan("p", "p", "out", "")


def test_names_pair_however_their_accents_are_written() -> None:
    one, two = "p/\N{LATIN SMALL LETTER E WITH ACUTE}", "pe\N{COMBINING ACUTE ACCENT}"
    mask = f"m/{two[1:]}"
    touch(f"{one}.png", f"{mask}.png", f"q/{mask[2:]}_mask.png")
    assert triples(plan("p", "m", "out", "")) == {(f"{one}.png", f"{mask}.png", f"{one[2:]}.png")}
    assert len(plan("p", "q/*_mask.png", "out", "").jobs) == 1
    touch(f"p/{two[1:]}.png", f"m/{one[2:]}.png")  # a folder may hold both
    pairs = triples(plan("p", "m", "out", ""))
    assert pairs == {(f"p/{name}.png", f"m/{name}.png", f"{name}.png") for name in (one[2:], two[1:])}


def test_lines_of_a_list_whose_files_are_not_there() -> None:
    touch("l/a.png", "l/m.png")
    lines = "image,mask\na.png,m.png\nno.png,m.png\na.png,gone.png\n"
    Path("l/jobs.csv").write_text(lines.replace("a.png,gone", "m.png,gone"))
    found = plan("l/jobs.csv", "", "out", "")
    assert triples(found) == {("l/a.png", "l/m.png", "a.png")}
    assert found.photoless == ("l/jobs.csv, line 3: l/no.png",)
    assert found.maskless == ("l/jobs.csv, line 4: l/gone.png",)


def test_patterns() -> None:
    touch(
        "p/a.jpg", "p/b.png", "p/x/c.jpg", "m/a_mask.png", "m/b_mask.png", "m/x/c_mask.png", "m/a_other.png"
    )
    assert {job.output for job in plan("p/*.jpg", "m/*_mask.png", "out", "").jobs} == {"a.jpg"}
    found = plan("p/**/*.jpg", "m/**/*_mask.png", "out", "")
    assert triples(found) == {
        ("p/a.jpg", "m/a_mask.png", "a.jpg"),
        ("p/x/c.jpg", "m/x/c_mask.png", "x/c.jpg"),
    }
    assert found.photoless == ("m/b_mask.png",)
    assert {job.output for job in plan("p/[a-b].*", "m/*_mask.png", "out", "").jobs} == {"a.jpg", "b.png"}
    assert {job.output for job in plan("p/x*", "m/**/*_mask.png", "out", "").jobs} == {"x/c.jpg"}  # a folder
    assert {job.output for job in plan("*/x/*.jpg", "m/a_mask.png", "out", "").jobs} == {"p/x/c.jpg"}
    touch("p/d_in/e.jpg", "m/d_in/e_mask.png")  # a folder again, whose name ends as the pattern does
    assert {job.output for job in plan("p/*_in", "m/*/*_mask.png", "out", "").jobs} == {"d_in/e.jpg"}


def test_a_name_with_magic_characters_is_a_name() -> None:
    touch("p[1]/a.jpg", "m/a.png")
    assert triples(plan("p[1]", "m", "out", "")) == {("p[1]/a.jpg", "m/a.png", "a.jpg")}


def test_shards() -> None:
    shard("p/one.tar", "a.jpg", "a.json", "x/b.png")
    shard("p/two.tar", "a.jpg")
    shard("m/one.tar", "a.png", "x/b.png")
    shard("m/two.tar", "a.png", "z.png")
    found = plan("p", "m", "out", "")
    assert triples(found) == {
        ("p/one.tar: a.jpg", "m/one.tar: a.png", "one.tar/a.jpg"),
        ("p/one.tar: x/b.png", "m/one.tar: x/b.png", "one.tar/x/b.png"),
        ("p/two.tar: a.jpg", "m/two.tar: a.png", "two.tar/a.jpg"),
    }
    assert {job.shard for job in found.jobs} == {"one.tar", "two.tar"}
    assert found.photoless == ("m/two.tar: z.png",)
    touch("mask.png")
    assert len(plan("p/*.tar", "mask.png", "out", "").jobs) == 3


def test_a_shard_alone() -> None:
    shard("photos.tar", "a.jpg", "b.jpg")
    shard("white.tar", "a.png", "b.png")
    touch("m/a.png", "m/b.png")
    alone = {("photos.tar: a.jpg", "photos.tar/a.jpg"), ("photos.tar: b.jpg", "photos.tar/b.jpg")}
    for masks in ("white.tar", "m"):
        assert {(job.image.label, job.output) for job in plan("photos.tar", masks, "out", "").jobs} == alone


def test_members_of_a_folder_that_was_packed_as_one() -> None:
    """``tar -C folder -cf s.tar .`` gives ./ before every name."""
    shard("p/s.tar", "./a.jpg", "./x/b.jpg")
    touch("m/a.png", "m/x/b.png", "n/s.tar/a.png", "n/s.tar/x/b.png")
    shard("w.tar", "a.png", "x/./b.png")
    for images, masks in (("p/s.tar", "m"), ("p/s.tar", "w.tar"), ("p", "n")):
        outputs = [job.output for job in plan(images, masks, "out", "").jobs]
        assert outputs == ["s.tar/./a.jpg", "s.tar/./x/b.jpg"]


def test_what_a_mac_packs_beside_photos_is_none() -> None:
    shard("photos.tar", "./._a.jpg", "./a.jpg", "x/._b.jpg", "x/.b.jpg")
    touch("mask.png")
    outputs = [job.output for job in plan("photos.tar", "mask.png", "out", "").jobs]
    assert outputs == ["photos.tar/./a.jpg", "photos.tar/x/.b.jpg"]


def test_webdataset_samples_with_masks() -> None:
    shard("p/0.tar", "1.jpg", "1.mask.png", "1.txt", "2.jpg", "2.mask.png")
    assert triples(plan("p", "p", "out", "")) == {
        ("p/0.tar: 1.jpg", "p/0.tar: 1.mask.png", "0.tar/1.jpg"),
        ("p/0.tar: 2.jpg", "p/0.tar: 2.mask.png", "0.tar/2.jpg"),
    }


def test_addresses_pair_as_folders_do(here: Path) -> None:
    touch("p/a.jpg", "p/x/b.png", "m/a.png", "m/x/b.png")
    memory = fsspec.filesystem("memory")
    for name in ("p/a.jpg", "p/x/b.png", "m/a.png", "m/x/b.png"):
        memory.pipe_file(f"/pairs/{name}", b"")
    try:
        local = {(job.output, Path(job.mask.path).name) for job in plan("p", "m", "out", "").jobs}
        for root in (f"file://{here}", "memory://pairs"):
            for spec in (f"{root}/p", f"{root}/p/", f"{root}/p/**/*.*"):
                found = plan(spec, f"{root}/m", f"{root}/out", "")
                assert {(job.output, Path(job.mask.path).name) for job in found.jobs} == local, spec
                assert not found.maskless and not found.photoless
        assert plan("p", "memory://pairs/m", "out", "").jobs[0].mask.path == "memory://pairs/m/a.png"
    finally:
        memory.rm("/pairs", recursive=True)


# ---- lists ------------------------------------------------------------------------------------------------


def write_csv(text: str, name: str = "jobs.csv") -> str:
    touch("lists/p/a.jpg", "lists/p/b.png", "lists/m/a.png", "c.bmp")
    Path("lists", name).write_text(text, encoding="utf-8")
    return f"lists/{name}"


def test_a_csv_list(here: Path) -> None:
    text = (
        f"﻿mask,image,model,output\nm/a.png,p/a.jpg,,\nm/a.png,p/b.png,fsr,new/B.jpg\nm/a.png,{here}/c.bmp,,\n"
    )
    found = plan(write_csv(text), "", "out", "telea")
    assert [(job.output, job.model) for job in found.jobs] == [
        ("p/a.jpg", "telea"),
        ("new/B.jpg", "fsr"),
        ("c.bmp", "telea"),
    ]
    assert found.jobs[0].image.path == "lists/p/a.jpg" and found.jobs[2].image.path == f"{here}/c.bmp"


def test_a_jsonl_list() -> None:
    rows = [
        {"image": "p/a.jpg", "mask": "m/a.png", "model": None},
        {"image": "../c.bmp", "mask": "m/a.png", "output": "c.png"},
        {"image": "memory://no/where.png", "mask": "m/a.png"},
    ]
    text = "\n\n".join(json.dumps(row) for row in rows)
    found = plan(write_csv(text, "jobs.jsonl"), "", "out", "telea")
    assert [job.output for job in found.jobs] == ["p/a.jpg", "c.png", "where.png"]


BAD_LISTS = [
    ("image,mask,outptu\n", r"jobs.csv, line 1: expected the columns .*; got 'outptu'"),
    ("image,output\n", r"jobs.csv, line 1: expected the columns .*; got none for mask"),
    ("", r"jobs.csv, line 1: expected the columns"),
    ("image,mask\n", r"jobs.csv: expected lines with photos and masks, got none"),
    ("image,mask\np/a.jpg,m/a.png\np/b.png\n", r"jobs.csv, line 3: expected text for mask, got None"),
    ("image,mask\n ,m/a.png\n", r"jobs.csv, line 2: expected a path for image, got none"),
    ("image,mask\np/a.jpg,m/a.png,3\n", r"jobs.csv, line 2: expected 2 values, got more"),
    ("image,mask,output\np/a.jpg,m/a.png,../a.jpg\n", r"line 2: expected an output's path inside of OUTPUT"),
    ("image,mask,output\np/a.jpg,m/a.png,/a.jpg\n", r"line 2: expected an output's path inside of OUTPUT"),
    ("image,mask,output\np/a.jpg,m/a.png,a.gif\n", r"line 2: expected an output that ends in"),
    ('image,mask\np/a.jpg,"m/a.png\n', r"jobs.csv, line \d: expected CSV"),
    ("image,mask,image\np/a.jpg,m/a.png,p/b.png\n", r"line 1: .*output, model; got image twice\Z"),
    (
        "image,mask,output\np/a.jpg,m/a.png,o.png\np/b.png,m/a.png,./o.png\n",
        r"line 3: expected an output of its own, got o.png, as on lists/jobs.csv, line 2\Z",
    ),
    ("image,mask\np/b.png,p/b.png\n", r"line 2: expected a photo and its mask, got lists/p/b.png for both"),
    (
        "image,mask,model\np/a.jpg,m/a.png,telae\n",
        r"line 2: expected a model, got 'telae': did you mean telea",
    ),
    ("image,mask,model\np/a.jpg,m/a.png,no.onnx\n", r"line 2: no.onnx: expected the weights of a model"),
    (
        "image,mask,model\np/a.jpg,m/a.png,lists\n",
        r"line 2: lists: expected .* got a folder without checkpoint",
    ),
    (
        "image,mask,model\np/a.jpg,m/a.png,fsr\np/b.png,m/a.png,x\n",
        r"jobs.csv, line 3: expected a model, got 'x'",
    ),
]


@pytest.mark.parametrize(("text", "says"), BAD_LISTS)
def test_bad_csv_lists(text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        plan(write_csv(text), "", "out", "")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2: expected a line of JSON"),
        ("[]", "line 2: expected a JSON object, got list"),
        ('{"image": "p/a.jpg"}', "line 2: .*got none for mask"),
        ('{"image": "p/a.jpg", "mask": 3}', "line 2: expected text for mask, got 3"),
        ('{"image": "p/a.jpg", "mask": "m/a.png", "masks": ""}', "line 2: .*got 'masks'"),
    ],
)
def test_bad_jsonl_lists(line: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        plan(write_csv('{"image": "p/a.jpg", "mask": "m/a.png"}\n' + line, "jobs.jsonl"), "", "out", "")


def test_a_list_that_is_no_text() -> None:
    write_csv("")
    Path("lists/jobs.csv").write_bytes(b"image,mask\n\xff\xfe")
    with pytest.raises(DataError, match="expected text in UTF-8"):
        plan("lists/jobs.csv", "", "out", "")


# ---- what is refused --------------------------------------------------------------------------------------

BAD = [
    (("no", "m", "out"), r"\Ano: expected photos, got no such file or folder\Z"),
    (("p", "x/no", "out"), r"\Ax/no: expected masks, got no such file or folder\Z"),
    (("p", "no", "out"), r"\Ano: expected masks, got no such file or folder, here or beside the photos\Z"),
    (("empty", "m", "out"), r"\Aempty: expected photos \(.png .*\) or .tar shards of them, got none\Z"),
    (("p", "empty", "out"), r"\Aempty: expected masks .* got none\Z"),
    (("p/*.gif", "m", "out"), r"\Ap/\*.gif: expected photos .* got none\Z"),
    (("p", "m", "p"), r"\Aexpected an output outside of p, whose pictures are read; got p\Z"),
    (("p", "m", "p/out"), r"\Aexpected an output outside of p"),
    (
        ("p/**/*.jpg", "m", "p/out"),
        r"\Aexpected an output outside of p/\*\*/\*\.jpg, whose pictures are read",
    ),
    (("**/*.jpg", "m", "out"), r"\Aexpected an output outside of \*\*/\*\.jpg"),
    (("p", "m", "link/out"), r"\Aexpected an output outside of p"),
    (("p/*", "m", "p/out"), r"\Aexpected an output outside of p/\*, whose pictures are read"),
    (("?/[a-z]*", "m", "p/out/x"), r"\Aexpected an output outside of \?/\[a-z\]\*"),
    (("p", "m", "m/out"), r"\Aexpected an output outside of m"),
    (("p[1]", "m", "p[1]/out"), r"\Aexpected an output outside of p\[1\]"),
    (("p/*.jpg", "m", "p"), r"\Aexpected an output apart from what is read, got a.jpg for both\Z"),
    (("p/a.jpg", "m/a.png", "p"), r"\Aexpected an output apart from what is read"),
    (("p/a.jpg", "./p/a.jpg", "out"), r"\Aexpected photos and masks, got p/a.jpg for both\Z"),
    (("bad.tar", "m", "out"), r"\Abad.tar: expected a tar shard of pictures, got"),
    (
        ("cut.tar", "m/a.png", "out"),
        r"\Acut.tar: expected a tar shard of pictures, got no header at byte 512\Z",
    ),
    (
        ("jobs.csv", "m", "out"),
        r"\Aexpected LIST OUTPUT, as jobs.csv names the masks too; got MASKS as well: m\Z",
    ),
    (("no.csv", "", "out"), r"\Ano.csv: expected a list of photos and masks, got no such file\Z"),
    (("up.tar", "m/a.png", "out"), r"\Aup.tar: \.\./a.jpg: expected a name inside of the output"),
    (("twice.tar", "m/a.png", "out"), r"\Aexpected an output for each photo, got twice.tar/a.jpg for "),
    (("nowhere://x", "m", "out"), r"\Anowhere://x: expected an address that fsspec knows, got: "),
]


@pytest.mark.parametrize(("words", "says"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_refused_before_any_work(words: tuple[str, str, str], says: str, here: Path) -> None:
    touch("p/a.jpg", "p[1]/a.jpg", "m/a.png", "jobs.csv", "empty/notes.txt")
    Path("link").symlink_to("p")
    Path("bad.tar").write_bytes(b"no tar" * 200)
    shard("cut.tar", "a.jpg", "b.jpg")
    os.truncate("cut.tar", 700)
    shard("up.tar", "../a.jpg")
    shard("twice.tar", "a.jpg", "a.jpg")
    before = sorted(here.rglob("*"))
    with pytest.raises(DataError, match=says):
        plan(*words, "telea")
    assert sorted(here.rglob("*")) == before


def test_links_are_followed_but_not_round(here: Path) -> None:
    touch("p/a.jpg", "far/deep/b.jpg", "m/a.png", "m/more/deep/b.png", "p/.hidden/c.jpg")
    Path("p/more").symlink_to("../far")
    Path("far/deep/back").symlink_to("../../p")
    assert [job.output for job in plan("p", "m", "out", "telea").jobs] == ["a.jpg", "more/deep/b.jpg"]
    assert plan("p/*.jpg", "m/a.png", "p/out", "telea").jobs  # a pattern that does not find the output


def test_a_mask_among_the_photos_is_none_of_them_however_links_lead_to_it(here: Path) -> None:
    touch("p/a.jpg", "p/m.png", "q/a.jpg", "q/masks/a.png")
    for link, target in (("p2", "p"), ("q2", "q"), ("m.png", "p/m.png")):
        Path(link).symlink_to(target)
    for images, mask in (("p2", "p/m.png"), ("p", "p2/m.png"), ("p2", str(here / "p/m.png")), ("p", "m.png")):
        assert triples(plan(images, mask, "out", "")) == {(f"{images}/a.jpg", mask, "a.jpg")}
    assert triples(plan("q2", "q/masks", "out", "")) == {("q2/a.jpg", "q/masks/a.png", "a.jpg")}
    with pytest.raises(DataError, match=r"\Aexpected photos and masks, got p/m.png for both\Z"):
        plan("p/m.png", "m.png", "out", "")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any) -> None:
        raise ImportError("Install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with pytest.raises(
        DataError, match=r"\Ags://b/p: expected the package .*: Install gcsfs to access Google Storage\Z"
    ):
        plan("gs://b/p", "m", "out", "")


# ---- paths ------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["a", "b.c", "ü", "x y", "a'"]), min_size=1, max_size=4))
def test_joined_paths_lie_inside(parts: list[str]) -> None:
    for root in ("/r", "memory://r", "/r/s t"):
        path = root
        for part in parts:
            path = storage.join(path, part)
        assert storage.is_inside(path, root) and not storage.is_inside(root, path)
        assert not storage.is_inside(f"{root}-other", root)
        assert storage.absolute(path) == path == storage.plain(path + "/")


def test_file_addresses_are_local_paths() -> None:
    assert storage.plain("file:///a%20b/c/") == "/a b/c"
    assert not storage.is_inside("/a", "memory://a")
