"""Reports say what the records say: one section each, the right best run, honest about what is missing."""

from __future__ import annotations

import gc
import json
import random
import re
import weakref
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from qpipe_assets.reports import facts
from qpipe_assets.reports.document import Document, Facts, Grade, Note, Picture, Section, Table, Verdict
from qpipe_assets.reports.html import to_html
from qpipe_assets.reports.molecule_report import molecule_report
from qpipe_assets.reports.pdf import to_pdf
from qpipe_assets.reports.run_report import run_report
from simulation.record import ActiveSpace, VQEDecoratedResult
from tests.reports.conftest import FCI, HF, made, sampled
from tests.synthetic import plain_record

HOSTILE = "<script>alert('1')</script> $x_2$ & \"quoted\""
_VOID = {"meta", "link", "br", "img", "path", "use"}


class Page(HTMLParser):
    """Elements of a page with their attributes, and whether every opened one is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag


def blocks(document: Document, kind: type) -> list[Any]:
    return [block for section in document.sections for block in section.blocks if isinstance(block, kind)]


def values(document: Document) -> dict[str, str]:
    return {name: value for block in blocks(document, Facts) for name, value in block.rows}


def titles(document: Document) -> list[str]:
    return [section.title for section in document.sections]


def rows(document: Document) -> list[tuple[str, ...]]:
    return [row for table in blocks(document, Table) if "experiment" in table.columns for row in table.rows]


def test_a_run_is_reported_with_its_figures(record: VQEDecoratedResult) -> None:
    document = run_report(record)
    found = values(document)
    assert document.name == f"H2-{record.experiment_id[:16]}"  # type: ignore[index]
    assert found["VQE total energy"] == f"{record.total_energy:.8f} Ha"
    assert found["Hartree-Fock"] == f"{HF:.8f} Ha"
    assert found["FCI (exact in these orbitals)"] == f"{FCI:.8f} Ha"
    assert found["Error to FCI"] == "+0.5000 mHa"
    assert found["Correlation recovered"] == f"{100 * (1 - 0.0005 / (HF - FCI)):.3f} %"
    assert found["Certified on Qiskit Aer"].startswith("yes")
    assert found["Depth"] == "5"
    assert found["Experiment"] == record.experiment_id
    assert len(set(titles(document))) == len(titles(document))
    (verdict,) = blocks(document, Verdict)
    assert verdict.grade is Grade.GOOD


@pytest.mark.parametrize(
    ("record", "grade", "said"),
    [
        (made(valid=False, invalid_reason="<N> is 3.0"), Grade.BAD, "Not valid: <N> is 3.0"),
        (made(error_mha=20.0), Grade.FAIR, "not chemically accurate: +20.0000 mHa"),
        (made(error_mha=2.2e-12), Grade.GOOD, "+2.2e-12 mHa"),
        (made(fci_energy=None), Grade.UNKNOWN, "accuracy is unknown"),
        (made(valid=None), Grade.UNKNOWN, "No verdict recorded"),
        (sampled(error_mha=-3.0), Grade.FAIR, "-3.00 ± 4.00 mHa"),
    ],
)
def test_the_verdict_says_what_the_energy_is_worth(record: VQEDecoratedResult, grade: Grade, said: str) -> None:
    verdict = facts.verdict(record)
    assert verdict.grade is grade
    assert said in verdict.text


def test_a_record_of_another_writer_is_reported_with_what_it_has() -> None:
    record = VQEDecoratedResult.model_validate(plain_record())
    document = run_report(record)
    assert values(document)["VQE total energy"] == f"{record.vqe_result.minimum + 0.7137539936876182:.8f} Ha"
    notes = " ".join(block.text for block in blocks(document, Note))
    assert "no exact energy" in notes
    assert "declares no qubits" in notes
    assert not any("observables" in block.title.lower() for block in blocks(document, Facts))
    assert to_pdf(document).startswith(b"%PDF")


def test_electronic_energies_are_not_called_total() -> None:
    record = plain_record()
    record["vqe_result"]["nuclear_repulsion_energy"] = None
    document = run_report(VQEDecoratedResult.model_validate(record))
    assert "VQE total energy" not in values(document)
    assert any("electronic energies" in picture.caption for picture in blocks(document, Picture))


def test_resources_come_from_the_snapshots_and_any_other_text_is_left_alone() -> None:
    before, after = (
        json.dumps({"process": {"cpu_seconds": seconds, "peak_rss_bytes": 300 * 2**20}}) for seconds in (1.0, 4.5)
    )
    found = dict(facts.cost(made(performance_start=before, performance_end=after)).rows)
    assert (found["Processor time"], found["Peak memory"]) == ("3.5 s", "300 MiB")
    assert "Processor time" not in dict(facts.cost(made(performance_start="not JSON", performance_end="[1]")).rows)


def test_the_best_run_is_valid_whatever_lies_lower() -> None:
    runs = [
        made(0, error_mha=-162.0, valid=False),
        made(1, error_mha=20.0),
        made(2, error_mha=0.3),
        made(3, error_mha=5.0),
    ]
    for order in range(4):
        random.Random(order).shuffle(runs)
        document = molecule_report(runs)
        assert values(document)["Error to FCI"] == "+0.3000 mHa"
        assert [row[8] for row in rows(document)] == ["+0.3000", "+5.0000", "+20.0000", "-162.0000"]
        assert [row[9] for row in rows(document)] == ["accurate", "not accurate", "not accurate", "not valid"]
    assert document.subtitle == "4 runs, 1 chemically accurate, 1 not valid"


def test_without_a_valid_run_the_report_says_so() -> None:
    assert titles(molecule_report([made(valid=False)]))[0] == "Best run: none is valid"


def test_an_exact_answer_in_a_smaller_space_is_not_better_than_a_good_one_in_the_whole() -> None:
    space = ActiveSpace(electrons=2, orbitals=2)
    small = made(0, error_mha=0.0, active_space=space, fci_energy=FCI + 0.01, total_energy=FCI + 0.01)
    whole = made(1, error_mha=0.4)
    document = molecule_report([small, whole])
    assert values(document)["Error to FCI"] == "+0.4000 mHa"
    tables = [table for table in blocks(document, Table) if "experiment" in table.columns]
    assert [len(table.rows) for table in tables] == [1, 1]
    assert all(table.marked == {0} for table in tables)


def test_an_experiment_counts_once_however_often_it_landed() -> None:
    document = molecule_report([made(0), made(1), made(0)])
    assert len(rows(document)) == 2
    assert len(set(titles(document))) == len(titles(document))


def test_different_molecules_or_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"H2 and of HeH\+"):
        molecule_report([made(), made(1, symbols=["He", "H"], charge=1)])
    with pytest.raises(ValueError, match="no records"):
        molecule_report([])


def test_records_are_read_one_at_a_time() -> None:
    seen: list[weakref.ref[VQEDecoratedResult]] = []

    def stream() -> Iterator[VQEDecoratedResult]:
        for number in range(5):
            record = made(number, error_mha=5.0 - number)
            seen.append(weakref.ref(record))
            yield record
            del record
            gc.collect()
            # The one just read is still in the reader's hands.
            assert sum(reference() is not None for reference in seen) <= 1

    assert len(rows(molecule_report(stream()))) == 5


def test_a_scan_is_one_table_in_order_of_its_values_and_one_curve() -> None:
    runs = [
        made(k, scan_coordinate="bond 0-1", scan_value=value, coords=[[0.0, 0.0, 0.0], [0.0, 0.0, value]])
        for k, value in enumerate((1.2, 0.6, 0.9))
    ]
    document = molecule_report([*runs, made(9)])
    assert "Potential-energy scan" in titles(document)
    scan = next(table for table in blocks(document, Table) if "scan of bond 0-1" in table.title)
    assert [row[2].split(",")[0] for row in scan.rows] == ["bond 0-1 = 0.6", "bond 0-1 = 0.9", "bond 0-1 = 1.2"]
    assert not scan.marked
    assert "Potential-energy scan" not in titles(molecule_report([made(9)]))


def test_samples_are_not_called_certified_but_stand_beside_the_exact_energy_of_their_circuit() -> None:
    exact, drawn = made(), sampled(1, certified_energy=-1.1365)
    found = values(run_report(drawn))
    assert "Certified on Qiskit Aer" not in found
    assert found["Exact energy of the circuit"] == "-1.13650000 Ha (Qiskit Aer)"
    assert "Exact energy of the circuit" not in values(run_report(exact))
    assert values(run_report(made(certified_energy=None)))["Certified on Qiskit Aer"] == "no"
    (table,) = [table for table in blocks(molecule_report([exact, drawn]), Table) if "certified" in table.columns]
    column = table.columns.index("certified")
    assert sorted(row[column] for row in table.rows) == ["", "yes"]


def test_hundreds_of_runs_are_listed_and_the_pictures_stay_bounded() -> None:
    document = molecule_report(made(k, error_mha=0.01 * k, evaluations=3) for k in range(520))
    assert len(rows(document)) == 500
    assert any("20 runs" in note.text for note in blocks(document, Note))
    pictures = {
        section.title: section.blocks[0] for section in document.sections if isinstance(section.blocks[0], Picture)
    }
    assert "best 40 of 520" in pictures["Energies"].caption
    assert "best 24 of 520" in pictures["Convergence"].caption
    assert pictures["Energies"].height < 10


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", pdf))


def test_the_pdf_flows_over_as_many_pages_as_it_needs() -> None:
    short, long = (to_pdf(molecule_report(made(k, evaluations=3) for k in range(count))) for count in (1, 120))
    assert pages(short) < pages(long)
    assert b"CreationDate" not in short


def test_text_of_records_is_text_in_every_form() -> None:
    document = molecule_report(
        [made(valid=False, invalid_reason=HOSTILE, engine_reason=HOSTILE, optimizer=HOSTILE, host=HOSTILE)]
    )
    page = to_html(document)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt; $x_2$ &amp;") >= 2
    assert to_pdf(document).startswith(b"%PDF")


def test_the_page_needs_nothing_but_itself() -> None:
    text = to_html(molecule_report([made(0), sampled(1)]))
    page = Page(text)
    assert not page.open
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    assert not re.search(r"@import|url\((?!#)", text)
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_identifiers_are_unique_and_references_resolve() -> None:
    text = to_html(molecule_report([made(0), sampled(1)]))
    identifiers = [a["id"] for _, a in Page(text).elements if "id" in a]
    references = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    assert references <= set(identifiers)
    shared = {name for name in identifiers if identifiers.count(name) > 1}
    # Only definitions whose name is the digest of their content may occur in two pictures.
    assert all(re.fullmatch(r"[a-z][0-9a-f]{10}", name or "") for name in shared)


def test_pictures_take_the_colour_of_the_text_around_them() -> None:
    text = to_html(run_report(made()))
    assert text.count("currentColor") > 20
    assert "prefers-color-scheme: dark" in text
    svg = text[text.index("<figure>") : text.index("</figure>", text.index("<figure>"))]
    assert "#20242b" not in svg


def test_the_scene_for_turning_holds_every_atom() -> None:
    page = Page(to_html(run_report(made())))
    (scene,) = [json.loads(a["data-scene"] or "") for _, a in page.elements if "data-scene" in a]
    assert [ball["symbol"] for ball in scene["balls"]] == ["H", "H"]
    assert scene["bonds"] == [[0, 1]]


def test_a_section_stands_once_for_each_heading() -> None:
    text = to_html(molecule_report([made(0), made(1)]))
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [section.title for section in molecule_report([made(0), made(1)]).sections]
    assert isinstance(molecule_report([made()]).sections[0], Section)
