"""Broken, half-copied, misplaced and hostile objects: quarantined with the reason, and all others land."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jobs.pending import pending_work
from qpipe_assets.tables.installation import Installation, open_installation
from tests.tables.protocol import (
    assert_at_rest,
    content,
    h2,
    land,
    record_bytes,
    settings_in,
    undisturbed,
)

FOLDER = "experiments/experiment.vqe/"


def test_broken_objects_are_quarantined_and_all_others_land(installation: Installation) -> None:
    land(installation, [0, 1])
    broken = {
        "empty.json": b"",
        "truncated.json": record_bytes(0)[:-10],
        "text.json": record_bytes(0).replace(b'"molecule_id": 0', b'"molecule_id": "zero"'),
        "unknown.json": record_bytes(0).replace(b'"H"', b'"Qq"'),
        "path.json": record_bytes(0).replace(b'"masses"', b'"name": "../x", "masses"'),
    }
    for name, data in broken.items():
        installation.store.put(f"{FOLDER}molecule=H2/{name}", data)
        installation.store.put(f"{FOLDER}flat-{name}", data)
    report = installation.ingest().run("H2")
    assert report.quarantined == len(broken)
    assert content(installation) == undisturbed(h2(0, 1))
    found = {row["object_key"]: row["error"] for row in installation.ledger.quarantined()}
    assert len(found) == 2 * len(broken) and all(found.values())
    for key in found:
        assert installation.store.get(f"quarantine/{key}").data == installation.store.get(key).data
    assert installation.ingest().run("H2").quarantined == 0
    assert_at_rest(installation)


def test_an_object_that_was_half_copied_heals(installation: Installation) -> None:
    for folder in (f"{FOLDER}molecule=H2/", FOLDER):
        key = f"{folder}copied.json"
        number = len(folder) % 2
        installation.store.put(key, record_bytes(number)[:200])
        installation.ingest().run("H2")
        assert [row["object_key"] for row in installation.ledger.quarantined()] == [key]
        installation.store.put(key, record_bytes(number))
        installation.ingest().run("H2")
        assert installation.ledger.quarantined() == []
    assert_at_rest(installation)


def test_an_object_that_was_moved_away_is_not_counted_any_more(installation: Installation) -> None:
    key = f"{FOLDER}molecule=H2/broken.json"
    installation.store.put(key, b"{")
    installation.ingest().run("H2")
    assert [row["object_key"] for row in installation.discovery.quarantined()] == [key]
    installation.store.delete(key)
    assert installation.discovery.quarantined() == []


def test_an_object_under_the_wrong_molecule_s_folder_is_quarantined(installation: Installation) -> None:
    installation.store.put(f"{FOLDER}molecule=LiH/x.json", record_bytes(0, "H2"))
    assert installation.ingest().run("LiH").quarantined == 1
    (row,) = installation.ledger.quarantined()
    assert "molecule=LiH" in row["error"] and "H2" in row["error"]


def test_folders_whose_names_are_no_partition_keys_stop_nothing(installation: Installation) -> None:
    land(installation, [0])
    names = ["molecule=a b", "molecule=..x..", "molecule=", "molecule=" + "x" * 80, "molecule=ü"]
    for name in names:
        folder = installation.settings.raw_results / FOLDER / name
        folder.mkdir()
        (folder / "x.json").write_bytes(record_bytes(1))
    for _ in range(2):
        assert list(installation.discovery.by_molecule()) == ["H2"]
    quarantined = [row["object_key"] for row in installation.ledger.quarantined()]
    assert quarantined == sorted(f"{FOLDER}{name}/x.json" for name in names)
    installation.ingest().run("H2")
    assert content(installation) == undisturbed(h2(0))


def test_files_with_impossible_names_stop_nothing(installation: Installation) -> None:
    land(installation, [0])
    for folder in (FOLDER, f"{FOLDER}molecule=H2/"):
        for name in (b"a b.json", b"\xff\xfe.json", b"new\nline.json", b"end\n", b"x" * 250, "ü.json".encode()):
            path = os.path.join(os.fsencode(installation.settings.raw_results / folder), name)
            with open(path, "wb") as file:
                file.write(record_bytes(0))
    installation.ingest().run("H2")
    installation.discovery.by_molecule()
    assert len(installation.ledger.quarantined()) == 2 * 5
    assert content(installation) == undisturbed(h2(0))
    assert_at_rest(installation)


def test_a_file_where_a_molecule_s_folder_would_be_stops_nothing(installation: Installation) -> None:
    land(installation, [0], "LiH")
    (installation.settings.raw_results / FOLDER / "molecule=H2").write_bytes(record_bytes(0))
    installation.ingest().run("H2")
    installation.ingest().run("LiH")
    assert content(installation) == undisturbed(h2(0) | {("LiH", 0)})


def test_links_to_folders_are_not_followed(installation: Installation, tmp_path: Path) -> None:
    land(installation, [0])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.json").write_bytes(record_bytes(1))
    raw = installation.settings.raw_results
    (raw / FOLDER / "linked").symlink_to(outside)
    (raw / FOLDER / "molecule=LiH").symlink_to(outside)
    (raw / FOLDER / "molecule=H2" / "loop").symlink_to(raw / "experiments")
    installation.ingest().run("H2")
    assert installation.ingest().run("LiH").quarantined == 0
    assert content(installation) == undisturbed(h2(0))


def test_any_name_of_a_basis_can_be_written_and_read_back(installation: Installation) -> None:
    names = ["6-31g*", "6-311++G(2d,2p)", "a/b", "..", "%2F", "sto 3g", "ü", "#?&=", "", "x" * 200]
    for number, basis in enumerate(names):
        record = json.loads(record_bytes(0)) | {"basis_set": basis}
        installation.store.put(f"{FOLDER}{number}.json", json.dumps(record).encode())
    installation.ingest().run("H2")
    installation.ml_features().run("H2")
    for name in ("vqe_results", "ml_run_summary"):
        assert sorted(installation.lakehouse.arrow(name).column("basis_set").to_pylist()) == sorted(names)
    installation.ingest().run("H2", rebuild=True)
    assert installation.lakehouse.arrow("vqe_iterations").num_rows == 4 * len(names)


def test_quarantine_says_what_to_do_about_an_object_that_is_too_large(tmp_path: Path) -> None:
    installation = open_installation(settings_in(tmp_path, max_object_bytes=1024))
    installation.store.put(f"{FOLDER}molecule=H2/x.json", b"x" * 1025)
    installation.ingest().run("H2")
    (row,) = installation.ledger.quarantined()
    assert "1025 bytes" in row["error"] and "QPIPE_MAX_OBJECT_BYTES" in row["error"]
    assert list(installation.store.list_objects("quarantine/")) == []


@pytest.mark.parametrize("folder", [FOLDER, f"{FOLDER}molecule=H2/"])
def test_an_object_that_was_too_large_is_taken_once_when_the_limit_allows_it(tmp_path: Path, folder: str) -> None:
    size = len(record_bytes(0))

    def limited_to(limit: int) -> Installation:
        return open_installation(settings_in(tmp_path, max_object_bytes=limit))

    def waiting(installation: Installation) -> dict[str, int]:
        return {work.molecule: work.new_objects for work in pending_work(installation)}

    low = limited_to(size - 1)
    low.store.put(f"{folder}x.json", record_bytes(0))
    low.ingest().run("H2")
    assert waiting(low) == {} and low.ingest().run("H2").quarantined == 0
    assert len(low.ledger.quarantined()) == 1
    high = limited_to(size)
    assert waiting(high) == {"H2": 1}
    high.ingest().run("H2")
    for installation in (high, low, high):
        assert waiting(installation) == {"H2": 0}, "the ML tables are not built"
        report = installation.ingest().run("H2")
        assert (report.batches, report.quarantined) == ([], 0)
    assert high.ledger.quarantined() == []
    assert content(high) == undisturbed(h2(0))
    assert_at_rest(high)


@pytest.mark.parametrize("folder", [FOLDER, f"{FOLDER}molecule=H2/"])
def test_an_object_that_was_too_large_and_is_no_record_is_quarantined_for_that(tmp_path: Path, folder: str) -> None:
    low = open_installation(settings_in(tmp_path, max_object_bytes=1024))
    low.store.put(f"{folder}x.json", b"x" * 1025)
    low.ingest().run("H2")
    high = open_installation(settings_in(tmp_path, max_object_bytes=2048))
    for _ in range(2):
        high.ingest().run("H2")
        assert pending_work(high) == []
        (row,) = high.ledger.quarantined()
        assert "JSON" in row["error"] and "QPIPE_MAX_OBJECT_BYTES" not in row["error"]
