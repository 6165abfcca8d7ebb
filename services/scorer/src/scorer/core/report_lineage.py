"""From which artifacts, and with which software, the scorecard was made."""

from scorer.core.report_content import Ancestor, Report
from scorer.core.report_markup import Html, el, table


def section(report: Report) -> Html:
    """Returns every ancestor's id, inputs first named by the spec."""
    rows = [_row(ancestor) for ancestor in report.ancestors]
    software = [[name, version] for name, version in sorted(report.software.items())]
    return el(
        "section",
        {"id": "lineage"},
        el("h2", {}, "Lineage"),
        el(
            "p",
            {"class": "lead"},
            "An id is a hash of everything that went in: kind, settings, seeds, and the ids of its inputs.",
        ),
        table(["artifact", "role", "made from", "version"], rows, "lineage"),
        [el("h3", {}, "Software"), table(["package", "version"], software, "lineage")] if software else None,
    )


def _row(ancestor: Ancestor) -> list[Html | str]:
    sources = [el("code", {}, id_) for id_ in ancestor.inputs]
    made_from = el("div", {"class": "ids"}, sources or ["text" if ancestor.kind == "tokens" else ""])
    return [el("code", {}, ancestor.id), ", ".join(ancestor.roles), made_from, str(ancestor.version)]
