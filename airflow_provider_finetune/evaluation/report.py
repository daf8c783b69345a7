"""An evaluation for people: markdown with the scores, and a page of HTML with the examples besides."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Examples that are shown for each comparison.
SHOWN = 20
LONGEST_TEXT = 4000


@dataclass(frozen=True)
class Shown:
    """An example on which two models differ."""

    question: str
    reference: str
    ours: str
    theirs: str
    our_grade: float
    their_grade: float


def markdown(result: Mapping[str, Any]) -> str:
    """Return the scores and comparisons as markdown, without a word of any example."""
    dataset, confidence = result["dataset"], f"{result['confidence']:.4g}"
    lines = [
        f"**Evaluation** on {counted(dataset['examples'], 'example')} of {_cell(dataset['source'])}, "
        f"graded by {_cell(result['grader']['name'] or result['grader']['type'])}. "
        f"Best: {_cell(result['best'])}.",
        "",
        f"| Model | Step | Score | {confidence} interval | Errors | Empty | Ungraded | p50, s | p95, s | Cost |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {_cell(row['model'])}{' (baseline)' if row['model'] == result['baseline'] else ''} | {_of(row['step'])} "
        f"| {_of(row['score'])} | {_of(row['score_low'])} to {_of(row['score_high'])} | {row['errors']} "
        f"| {row['empty']} | {row['ungraded']} | {_of(row['latency_p50'])} | {_of(row['latency_p95'])} "
        f"| {_of(row['cost'])} |"
        for row in result["models"]
    ]
    if result["comparisons"]:
        lines += [
            "",
            f"| Against {_cell(result['baseline'])} | Wins | Losses | Ties | Difference | {confidence} interval "
            "| p-value |",
            "|---|---:|---:|---:|---:|---|---:|",
        ]
    lines += [
        f"| {_cell(row['model'])} | {row['wins']} | {row['losses']} | {row['ties']} | {row['difference']:+.4g} "
        f"| {row['difference_low']:+.4g} to {row['difference_high']:+.4g} | {_of(row['p_value'])} ({row['test']}) |"
        for row in result["comparisons"]
    ]
    return "\n".join(lines)


def html(result: Mapping[str, Any], differing: Mapping[str, Sequence[Shown]]) -> str:
    """Return the page: everything in one file, nothing loaded from anywhere, readable on white and on dark.

    :param differing: by model, the examples on which it differs most from the baseline.
    """
    dataset, baseline = result["dataset"], result["baseline"]
    about = (
        f"{counted(dataset['examples'], 'example')} of <code>{escape(dataset['source'])}</code> "
        f"(sha256 <code>{escape(dataset['sha256'][:16])}</code>), graded by "
        f"<code>{escape(str(result['grader']['name'] or result['grader']['type']))}</code>. "
        f"Intervals hold the true value with a confidence of {result['confidence']:.4g}. "
        "A refused request has the lowest grade; an example without a grade is left out."
    )
    scores = _table(
        ("Model", "Step", "Score", "Low", "High", "Errors", "Empty", "Ungraded", "p50, s", "p95, s", "Cost"),
        [
            (
                f"{row['model']}{' (baseline)' if row['model'] == baseline else ''}",
                *(_of(row[name]) for name in ("step", "score", "score_low", "score_high", "errors", "empty")),
                *(_of(row[name]) for name in ("ungraded", "latency_p50", "latency_p95", "cost")),
            )
            for row in result["models"]
        ],
    )
    parts = [
        f"<h1>Evaluation</h1><p>{about}</p><h2>Scores</h2>",
        _figure(
            "Scores and their intervals",
            [(row["model"], row["score"], row["score_low"], row["score_high"]) for row in result["models"]],
        ),
        scores,
    ]
    if result["comparisons"]:
        parts += [
            f"<h2>Against {escape(str(baseline))}</h2>",
            _figure(
                "Differences and their intervals",
                [
                    (row["model"], row["difference"], row["difference_low"], row["difference_high"])
                    for row in result["comparisons"]
                ],
            ),
            _table(
                ("Model", "Examples", "Wins", "Losses", "Ties", "Difference", "Low", "High", "p-value", "Test"),
                [
                    (
                        row["model"],
                        *(_of(row[name]) for name in ("examples", "wins", "losses", "ties", "difference")),
                        *(_of(row[name]) for name in ("difference_low", "difference_high", "p_value")),
                        row["test"],
                    )
                    for row in result["comparisons"]
                ],
            ),
        ]
    for model, examples in differing.items():
        if examples:
            parts.append(f"<h2>Where {escape(model)} differs most</h2>")
            parts += [_example(shown, model, str(baseline)) for shown in examples]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Evaluation of {escape(dataset['source'])}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;"
    "padding:0 1rem}table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #8886;padding:.3rem .6rem;"
    "text-align:right}th:first-child,td:first-child{text-align:left}pre{white-space:pre-wrap;overflow-wrap:anywhere;"
    "margin:0;font:13px/1.4 ui-monospace,monospace}section{border:1px solid #8886;border-radius:6px;padding:.8rem;"
    "margin:1rem 0}.pair{display:grid;grid-template-columns:1fr 1fr;gap:1rem}h3{font-size:.9rem;margin:.5rem 0 .2rem}"
    "svg{max-width:100%;height:auto;display:block}.scroll{overflow-x:auto}"
)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(title: str, rows: Sequence[tuple[str, float | None, float | None, float | None]]) -> str:
    """Return a point with its interval for each row, on one scale; what colour text has, the figure has."""
    known = [
        (name, mean, low, high)
        for name, mean, low, high in rows
        if mean is not None and low is not None and high is not None
    ]
    if not known:
        return ""
    least, most = min(0.0, *(row[2] for row in known)), max(0.0, *(row[3] for row in known))
    span = (most - least) or 1.0

    def x(value: float) -> str:
        return f"{320 + 420 * (value - least) / span:.1f}"

    height = 30 + 26 * len(known)
    lines = [
        f'<line x1="{x(0)}" x2="{x(0)}" y1="10" y2="{height - 14}" stroke="currentColor" stroke-opacity=".35"/>',
        f'<text x="{x(0)}" y="{height - 2}" font-size="11" text-anchor="middle" fill="currentColor">0</text>',
    ]
    for i, (name, mean, low, high) in enumerate(known):
        y = 24 + 26 * i
        short = name if len(name) <= 42 else f"{name[:20]}…{name[-21:]}"
        lines.append(
            f'<text x="310" y="{y + 4}" font-size="12" text-anchor="end" fill="currentColor">{escape(short)}</text>'
            f'<line x1="{x(low)}" x2="{x(high)}" y1="{y}" y2="{y}" stroke="currentColor" stroke-width="2"/>'
            f'<circle cx="{x(mean)}" cy="{y}" r="4" fill="currentColor"><title>{_of(mean)}</title></circle>'
        )
    return (
        f'<svg viewBox="0 0 760 {height}" width="760" height="{height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(lines)}</svg>"
    )


def _example(shown: Shown, model: str, baseline: str) -> str:
    return (
        f"<section><h3>Question</h3>{_text(shown.question)}<h3>Reference</h3>{_text(shown.reference)}"
        f'<div class="pair"><div><h3>{escape(model)}: {_of(shown.our_grade)}</h3>{_text(shown.ours)}</div>'
        f"<div><h3>{escape(baseline)}: {_of(shown.their_grade)}</h3>{_text(shown.theirs)}</div></div></section>"
    )


def _text(text: str) -> str:
    cut = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} …"
    return f"<pre>{escape(cut)}</pre>"


def _of(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(value: object) -> str:
    """Return a name as code that ends neither a cell nor the code."""
    return "-" if value is None else f"`{str(value).replace('`', '').replace('|', '/')}`"
