# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in an image, out of its own dpkg database: a list for people, and an SBOM for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from appliance.build import package
from appliance.build.identity import uuid_of
from appliance.build.image import Image
from appliance.build.package import Installed
from appliance.build.tools import Tools
from appliance.errors import PairkeepError
from appliance.run import run


def of_image(image: Image, tools: Tools) -> tuple[Installed, ...]:
    """The packages that the root file system of ``image`` has, read from itself."""
    status = read_file(image.root, "/var/lib/dpkg/status", tools)
    return package.installed(status)


def read_file(file_system: Path, path: str, tools: Tools) -> str:
    """A text file out of an ext4 image, without mounting it. Raises PairkeepError when it is not there."""
    done = run([*tools.argv("debugfs"), "-R", f"cat {path}", file_system])
    if "File not found" in done.stderr:
        raise PairkeepError(f"there is no {path} in {file_system}")
    return done.stdout


def listing(packages: tuple[Installed, ...]) -> str:
    """One package a line: name, version, architecture."""
    return "".join(f"{one.name} {one.version} {one.architecture}\n" for one in packages)


def sbom(image: Image, packages: tuple[Installed, ...]) -> str:
    """A CycloneDX document of ``packages``; the same image has the same, to the byte."""
    components = [_component(one) for one in packages]
    system = Component(
        name=f"pairkeep-{image.name}",
        version=image.key,
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref=f"image:{image.name}",
    )
    bom = Bom(
        serial_number=uuid_of(image.key, "sbom"),
        metadata=BomMetaData(
            timestamp=datetime.fromtimestamp(image.epoch, UTC),
            component=system,
        ),
        components=components,
    )
    # All that dpkg tells is that the image has them; what needs what is in the packages' own fields.
    bom.register_dependency(system, components)
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _component(one: Installed) -> Component:
    vendor = "pairkeep" if one.name == package.NAME else "debian"
    qualifiers = {"arch": one.architecture}
    if one.source != one.name:
        qualifiers["upstream"] = one.source
    url = PackageURL("deb", vendor, one.name, one.version, qualifiers)
    return Component(
        name=one.name,
        version=one.version,
        type=ComponentType.LIBRARY,
        supplier=OrganizationalEntity(name=one.maintainer),
        purl=url,
        bom_ref=url.to_string(),
    )
