"""docs/alerting-templates.md is true: it names every function, field and default template, and no other."""

import re
from pathlib import Path

from otero.alerting.template import FUNCTIONS, Templates
from tests.alerting.test_template import FIRING, bound, notification

TEXT = (Path(__file__).parents[2] / "docs" / "alerting-templates.md").read_text()


def section(title: str) -> str:
    return next(part for part in TEXT.split("\n## ") if part.startswith(f"{title}\n"))


def test_every_function_is_named() -> None:
    named = {name for cell in re.findall(r"^\| (`[^|]*?) \|", section("Functions"), re.MULTILINE) for name in re.findall(r"`(\w+)", cell)}  # fmt: skip
    assert named == set(FUNCTIONS)


def test_every_field_is_named() -> None:
    data = section("Data")
    fields = set(bound(FIRING).data.fields) | set(bound(FIRING).data.fields["Alerts"].items[0].fields)
    assert {name for name in fields if f"`.{name}`" not in data} == set()


def test_every_default_template_is_named() -> None:
    text = section("Default templates")
    named = set(re.findall(r"`(__\w+)`", text))
    for row in re.findall(r"^\| \S.* \| (`.*) \|$", text, re.MULTILINE):
        prefix = ""
        for name in re.findall(r"`([\w.]+)`", row):
            if not name.startswith("."):
                prefix = name[: name.index(".default.")] + ".default"
            named.add(name if not name.startswith(".") else prefix + name)
    helpers = {name for name in Templates.builtin().names if name.startswith("__")} - named
    assert named | helpers == set(Templates.builtin().names)


def test_the_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```\n(\{\{.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "team.tmpl").write_text(example)
    text = Templates.load([str(tmp_path / "*.tmpl")]).bind(notification(FIRING))
    assert text.text('{{ template "team.text" . }}') == "\n- s (since 13:03)"
