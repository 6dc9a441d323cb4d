"""A wheel of the very exq that runs here, however it was installed. It needs no network and no build tool."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import reconciler
from reconciler.cli.exits import CliError

NAME = "exq"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_DEPENDENCIES = re.compile(r"^dependencies = \[\n(.*?)^\]", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r'^\s*"([^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Wheel:
    """`members` are the files in it by name, without RECORD."""

    version: str
    members: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """Its file name."""
        return f"{NAME}-{self.version}-py3-none-any.whl"

    @cached_property
    def digest(self) -> str:
        """Of what is in it: two installs of the same source have the same."""
        lines = [f"{name}\0{hashlib.sha256(data).hexdigest()}\n" for name, data in sorted(self.members.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def build(self) -> str:
        """The name of its folder on a host."""
        return f"{self.version}-{self.digest[:12]}"

    def data(self) -> bytes:
        """The file."""
        return zipped(self.members, f"{NAME}-{self.version}.dist-info/RECORD")


def running_wheel() -> Wheel:
    """Of the package that runs. Raises CliError where it cannot be told what it depends on."""
    package = Path(reconciler.__file__).parent
    version = reconciler.__version__
    info = f"{NAME}-{version}.dist-info"
    members = {f"reconciler/{name}": data for name, data in package_files(package).items()}
    members[f"{info}/METADATA"] = metadata(version, _dependencies(package)).encode()
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: exq\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members[f"{info}/entry_points.txt"] = b"[console_scripts]\nexq = reconciler.cli.main:main\n"
    return Wheel(version, members)


def package_files(package: Path) -> dict[str, bytes]:
    """All files of the package, those behind its links to folders too, apart from compiled ones."""
    found = {}
    for path in sorted(_walk(package)):
        if path.suffix not in (".pyc", ".pyo"):
            found[path.relative_to(package).as_posix()] = path.read_bytes()
    return found


def _walk(folder: Path) -> Sequence[Path]:
    found: list[Path] = []
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__" and not entry.name.startswith("."):
            found += _walk(entry)
        elif entry.is_file() and not entry.name.startswith("."):
            found.append(entry)
    return found


def metadata(version: str, dependencies: Sequence[str]) -> str:
    """METADATA as pip reads it."""
    lines = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {version}", "Requires-Python: >=3.10"]
    return "\n".join([*lines, *(f"Requires-Dist: {each}" for each in dependencies)]) + "\n"


def _dependencies(package: Path) -> list[str]:
    """From the metadata of the install; in a checkout that is not installed, from its pyproject.toml."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        named = requires(NAME) or []
    except PackageNotFoundError:
        project = package.parent / "pyproject.toml"
        found = _DEPENDENCIES.search(project.read_text(encoding="utf-8")) if project.is_file() else None
        if found is None:
            raise CliError(
                f"{package} is neither installed nor a checkout of exq, so what it needs is not known",
                "install it: pip install .",
            ) from None
        named = _QUOTED.findall(found[1])
    return sorted(_in_one_way(each) for each in named if "extra" not in each.partition(";")[2])


def _in_one_way(requirement: str) -> str:
    """The same source makes the same wheel, whoever wrote its metadata."""
    wanted, semicolon, marker = requirement.partition(";")
    found = re.match(r"([A-Za-z0-9._\[\]-]+)\s*\(?([^)]*)\)?", wanted.strip())
    assert found is not None, requirement
    bounds = sorted(bound.strip() for bound in found[2].split(",") if bound.strip())
    return f"{found[1]}{','.join(bounds)}{semicolon}{marker}"


def zipped(members: Mapping[str, bytes], record: str) -> bytes:
    """A wheel of these files, with its RECORD. The same files make the same bytes."""
    lines = [f"{name},sha256={_hash(data)},{len(data)}" for name, data in sorted(members.items())]
    whole = {**members, record: "\n".join([*lines, f"{record},,", ""]).encode()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(whole.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return buffer.getvalue()


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
