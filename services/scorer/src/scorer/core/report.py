"""The report: one HTML file that loads nothing and runs no script but its own."""

import base64
import hashlib
from importlib.resources import files

from scorer.core import report_latents, report_lineage, report_methods, report_summary
from scorer.core.report_content import Report
from scorer.core.report_markup import Html, el

_SECTIONS = (
    ("distributions", "Distributions"),
    ("scores", "Scores"),
    ("reconstruction", "Reconstruction"),
    ("denominators", "Denominators"),
    ("latents", "Latents"),
    ("methods", "Methods"),
    ("lineage", "Lineage"),
)


def html(report: Report) -> str:
    """Returns the page. The same report gives the same bytes."""
    style, script = _template("report.css"), _template("report.js")
    sections = [
        report_summary.distributions(report),
        report_summary.scores(report.card),
        report_summary.reconstruction(report),
        report_summary.denominators(report.card),
        report_latents.section(report),
        report_methods.section(report.card),
        report_lineage.section(report),
    ]
    made = [name for name, found in zip(_SECTIONS, sections, strict=True) if found is not None]
    links = [el("a", {"href": f"#{anchor}"}, name) for anchor, name in made]
    body = el(
        "body",
        {},
        report_summary.head(report),
        el("nav", {"aria-label": "Sections"}, links),
        el("main", {}, sections),
        el("script", {}, script),
    )
    return f'<!doctype html>\n<html lang="en">{_head(report, style, script)}{body}</html>\n'


def _head(report: Report, style: Html, script: Html) -> Html:
    # Whatever an explanation or a token smuggles in, the browser runs and loads only what is hashed here.
    own = f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    policy = f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"
    return el(
        "head",
        {},
        el("meta", {"charset": "utf-8"}),
        el("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        el("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("meta", {"name": "color-scheme", "content": "light dark"}),
        el("title", {}, f"{report.card.title or 'Trained against control'} \N{MIDDLE DOT} Dragoman scorecard"),
        el("style", {}, style),
    )


def _template(name: str) -> Html:
    return Html(files("scorer").joinpath("templates").joinpath(name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
