"""How pages are made of templates: everything escaped, nothing undefined, numbers in one style."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from unskew.reports.formatting import MISSING, format_interval, format_value, unit_suffix


def page_environment(*packages: str) -> Environment:
    """An environment with the templates and macros of the report.

    Args:
        *packages: Further packages with a folder `templates`, looked into first.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(p) for p in (*packages, "unskew.reports")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        number=format_value, interval=format_interval, suffix=unit_suffix, missing=MISSING
    )
    return environment
