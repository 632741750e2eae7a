"""Flags of a command, made from the fields of a pydantic model: there is no second list of them.

A flag has no default of its own: what is not given is None, and left to the model or to a loaded file. A part of the
record (an active space, say) is given as its fields' values joined by commas. `none` empties an option that may be
empty. A secret has a flag only to be refused with the variable of the environment where it belongs.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from simulation.annotations import without_none
from simulation.validation import reasons

EMPTY = "none"
_METAVARS = {int: "INTEGER", float: "NUMBER"}


class FlagError(ValueError):
    """What was given on the command line cannot be meant; names the flag and the value."""


@dataclass(frozen=True)
class FlagGroup:
    """The flags for one model.

    Args:
        model: Whose fields they set.
        title: Heading in the help.
        prefix: Before the parameter's name, which must be unique in the command.
        names: Flags of fields whose flag is not just `--` and the field's name.
        hidden: Fields that have no flag.
        secret: Fields that must not be given here, and the variable of the environment behind each.
    """

    model: type[BaseModel]
    title: str
    prefix: str = ""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hidden: Collection[str] = ()
    secret: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> list[inspect.Parameter]:
        """One parameter a field, as typer reads it."""
        usual = [self._parameter(name, self.model.model_fields[name]) for name in self._fields()]
        return usual + [self._refused(name, variable) for name, variable in self.secret.items()]

    def explicit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values that were given, by field.

        Raises:
            FlagError: a value joined by commas does not have the model's form, or a secret was given.
        """
        for name, variable in self.secret.items():
            if given.get(self.prefix + name) is not None:
                raise FlagError(
                    f"{self.flag(name)} is refused: others can read what is on a command line; set {variable} instead"
                )
        values = {name: given.get(self.prefix + name) for name in self._fields()}
        return {name: self._value(name, value) for name, value in values.items() if value is not None}

    def flag(self, name: str) -> str:
        """The flag of a field, or of a field within it (`active_space.electrons`)."""
        first, *inner = name.split(".")
        return ".".join([self._flags(first)[0].split("/")[0], *inner])

    def _fields(self) -> list[str]:
        return [name for name in self.model.model_fields if name not in {*self.hidden, *self.secret}]

    def _flags(self, name: str) -> tuple[str, ...]:
        return self.names.get(name, (f"--{name.replace('_', '-')}",))

    def _parameter(self, name: str, declared: FieldInfo) -> inspect.Parameter:
        kind, nullable = without_none(declared.annotation)
        flags, metavar = list(self._flags(name)), None
        if _is_model(kind):
            kind, metavar = str, _comma_form(kind)
        elif nullable:
            kind, metavar = str, f"{_METAVARS.get(kind, 'TEXT')}|{EMPTY}"
        elif kind is bool and "/" not in flags[0]:
            flags[0] += f"/--no-{flags[0].removeprefix('--')}"
        option = typer.Option(
            *flags,
            help=declared.description,
            metavar=metavar,
            show_default=_text(declared.default),
            rich_help_panel=self.title,
        )
        return inspect.Parameter(
            self.prefix + name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind | None, option],
        )

    def _refused(self, name: str, variable: str) -> inspect.Parameter:
        option = typer.Option(
            *self._flags(name),
            help=f"Refused, since others can read a command line: set {variable} instead.",
            metavar="REFUSED",
            show_default=False,
            rich_help_panel=self.title,
        )
        return inspect.Parameter(
            self.prefix + name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, option],
        )

    def _value(self, name: str, value: Any) -> Any:
        kind, nullable = without_none(self.model.model_fields[name].annotation)
        if nullable and value == EMPTY:
            return None
        return _from_commas(self.flag(name), kind, value) if _is_model(kind) else value


def add_command(app: typer.Typer, name: str, function: Callable[..., None], groups: Sequence[FlagGroup]) -> None:
    """Add a command to the application: the function's own parameters, and the flags of the groups.

    Args:
        app: Gets the command.
        name: The command's.
        function: Called with `given`, the values of the groups' flags by parameter, and with its own parameters.
        groups: What other flags the command has.
    """
    own = {n: p for n, p in inspect.signature(function, eval_str=True).parameters.items() if n != "given"}
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.values()]
    parameters += [parameter for group in groups for parameter in group.parameters()]

    def command(**values: Any) -> None:
        given = {key: value for key, value in values.items() if key not in own}
        function(given, **{key: values[key] for key in own})

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = function.__doc__
    app.command(name=name)(command)


def flag_of(groups: Sequence[FlagGroup], name: str) -> str:
    """The flag of a field (or of a field within it) of any of the groups; the name itself where none has it."""
    found = (group.flag(name) for group in groups if name.split(".")[0] in group.model.model_fields)
    return next(found, name)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _text(default: Any) -> str | bool:
    if default is None or default is False:
        return False
    return str(default.value if isinstance(default, enum.Enum) else default)


def _comma_form(model: Any) -> str:
    required = [name.upper() for name, declared in model.model_fields.items() if declared.is_required()]
    optional = [f"[,{name.upper()}]" for name, declared in model.model_fields.items() if not declared.is_required()]
    return ",".join(required) + "".join(optional)


def _from_commas(flag: str, model: type[BaseModel], text: str) -> BaseModel:
    parts = [part.strip() for part in text.split(",")]
    required = sum(declared.is_required() for declared in model.model_fields.values())
    if not required <= len(parts) <= len(model.model_fields) or "" in parts:
        raise FlagError(f"{flag} is {text!r}, expected {_comma_form(model)}")
    try:
        return model.model_validate_strings(dict(zip(model.model_fields, parts, strict=False)))
    except ValidationError as error:
        raise FlagError(f"{flag} is {text!r}, expected {_comma_form(model)}: {reasons(error)}") from error
