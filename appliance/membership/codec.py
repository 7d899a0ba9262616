# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages and the record as JSON: compact, and readable in a capture or on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from cattrs import Converter
from cattrs.errors import BaseValidationError

from appliance.config.model import Cluster
from appliance.decide.messages import Message
from appliance.decide.view import ClusterView, Configuration, Record
from appliance.errors import PairkeepError

_converter = Converter(prefer_attrib_converters=False)
_VIEW = get_type_hints(ClusterView)
_TYPES: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Message)}


def prepare() -> None:
    """Make now what reading any of it for the first time would make: code, which takes a while."""
    for kind in (*_TYPES.values(), Record, Configuration):
        _converter.get_structure_hook(kind)


class CodecError(PairkeepError):
    """Bytes that are not what this version of Pairkeep writes."""


def encode(message: Message) -> bytes:
    return json.dumps([type(message).__name__, asdict(message)], separators=(",", ":")).encode()


def decode(data: bytes) -> Message:
    """Raises CodecError; a newer version's message is no reason to end."""
    try:
        name, fields = json.loads(data)
        message: Message = _converter.structure(fields, _TYPES[name])
    except (ValueError, KeyError, TypeError, BaseValidationError) as error:
        raise CodecError(f"a message that cannot be read: {error}") from error
    return message


def record_to_json(record: Record) -> str:
    return json.dumps(asdict(record), indent=1, sort_keys=True)


def record_from_json(text: str) -> Record:
    """Raises CodecError."""
    try:
        return _converter.structure(json.loads(text), Record)
    except (ValueError, KeyError, TypeError, BaseValidationError) as error:
        raise CodecError(f"a record that cannot be read: {error}") from error


def config_from_value(value: Any) -> Configuration:
    """Raises CodecError."""
    try:
        return _converter.structure(value, Configuration)
    except (ValueError, KeyError, TypeError, BaseValidationError) as error:
        raise CodecError(f"a configuration that cannot be read: {error}") from error


def view_to_value(view: ClusterView) -> dict[str, Any]:
    """All but the configuration, which is text of its own."""
    return {f.name: _converter.unstructure(getattr(view, f.name)) for f in fields(view) if f.name != "cluster"}


def view_from_value(value: Mapping[str, Any], cluster: Cluster) -> ClusterView:
    """Raises CodecError."""
    try:
        parts = {f.name: _converter.structure(value[f.name], _VIEW[f.name]) for f in fields(ClusterView)[1:]}
        return ClusterView(cluster, **parts)
    except (ValueError, KeyError, TypeError, BaseValidationError) as error:
        raise CodecError(f"a view that cannot be read: {error}") from error


def as_json_value(value: object) -> Any:
    """Dataclasses as JSON objects."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
