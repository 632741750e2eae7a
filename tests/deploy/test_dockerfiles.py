"""The images: a linter's opinion, pinned bases, no root, and nothing in them but what the sources are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "deploy" / "docker").glob("Dockerfile.*"))
each_file = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert {path.suffix for path in DOCKERFILES} == {".cpu", ".gpu", ".spark", ".kafka-connect"}


@each_file
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    program = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([program, "--no-color", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@each_file
def test_bases_are_pinned(path: Path) -> None:
    for base in re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE):
        assert base == "qpipe-cpu" or re.search(r":(\d+\.\d+\.\d+|\$\{CUDA\}-)", base), base


@each_file
def test_the_container_is_not_root(path: Path) -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", re.findall(r"^USER (\S+)", path.read_text(), re.MULTILINE)[-1])


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_dependencies_are_the_locked_ones_and_every_package_is_in(name: str) -> None:
    text = (ROOT / "deploy" / "docker" / f"Dockerfile.{name}").read_text()
    assert all("--constraint requirements.lock" in line for line in text.splitlines() if "pip install" in line)
    for package in ("simulation", "qpipe_resources", "qpipe_assets", "jobs", "qpipe_cli"):
        assert f"COPY {package} {package}\n" in text


def test_the_gpu_is_chosen_by_an_argument_and_aer_is_built_for_it() -> None:
    text = (ROOT / "deploy" / "docker" / "Dockerfile.gpu").read_text()
    assert re.search(r"^ARG CUDA=12\.6\.\d$", text, re.MULTILINE)
    assert re.search(r"^ARG CUDA_ARCH=8\.6$", text, re.MULTILINE)
    assert "--no-binary qiskit-aer" in text and "-DAER_CUDA_ARCH=${CUDA_ARCH}" in text


def test_no_secret_and_no_data_can_get_into_an_image() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert let_in.isdisjoint({".env", ".git", ".qpipe", ".services"})
    copied = {source for path in DOCKERFILES for source in _copied(path.read_text())}
    assert copied <= let_in


def _copied(text: str) -> list[str]:
    lines = [line.split()[1:-1] for line in re.findall(r"^COPY (?!--from).*$", text, re.MULTILINE)]
    return [source for line in lines for source in line]
