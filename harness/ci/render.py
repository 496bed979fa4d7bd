"""Pipelines as workflow files, by a Jinja2 template for each service.

Templates, not data dumped as YAML: the files are read and reviewed by people, so they keep comments and literal blocks,
and a Jenkinsfile is no YAML. What goes into one is quoted by filters, and a name that is not defined is an error.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.ci.pipeline import FOLDER, IMAGE_SOURCES, Pipeline
from harness.ci.services import Service

_TEMPLATES = {
    Service.GITHUB: "github.yaml.j2",
    Service.GITLAB: "gitlab.yaml.j2",
    Service.JENKINS: "Jenkinsfile.j2",
}


def render(pipeline: Pipeline, service: Service) -> str:
    """The whole workflow file."""
    environment = Environment(
        # The services have braces of their own.
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
        loader=PackageLoader("harness.ci"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML; each place has the filter that its language needs
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(yaml=_yaml, groovy=_groovy, script=_script, items=_items, shell=_shell)
    template = environment.get_template(_TEMPLATES[service])
    return template.render(p=pipeline, folder=FOLDER, image_sources=IMAGE_SOURCES)


def _yaml(value: object) -> str:
    """A value in YAML's flow style, which JSON is."""
    return json.dumps(value, ensure_ascii=False)


def _groovy(text: str) -> str:
    """A string of Groovy in single quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _script(lines: Iterable[str], indent: int) -> str:
    """Lines of shell as a literal block of YAML, indented by so many spaces; the first by none."""
    return textwrap.indent("\n".join(lines), " " * indent).lstrip(" ")


def _items(lines: Iterable[str], indent: int) -> str:
    """Lines of shell as one item of a list of YAML each."""
    return "\n".join(f"{' ' * indent}- {_yaml(line)}" for line in lines)


def _shell(lines: Iterable[str], indent: int) -> str:
    """Lines of shell inside Groovy's triple quotes, indented by so many spaces; the first by none."""
    text = "\n".join(lines).replace("\\", "\\\\").replace("'''", "\\'\\'\\'")
    return textwrap.indent(text, " " * indent).lstrip(" ")
