"""Findings as a page that needs nothing but itself."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tasks.findings import SEVERITIES, Finding, count, ordered

ROWS_SHOWN: Final = 200  # of one code; findings.json holds all

_STYLE = """
:root{--ink:#1c2330;--soft:#5c6675;--line:#e3e7ee;--ground:#f6f7f9;--card:#fff;--error:#c0352b;--warning:#a86400;--info:#2563a8}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#2c3442;--ground:#12161d;--card:#1a2029;
--error:#ff7b70;--warning:#f0b14c;--info:#7ab4f5}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}h1{font-size:26px;margin:0 0 4px}p{color:var(--soft);margin:0 0 20px}
.counts{display:flex;gap:12px;margin:0 0 24px;flex-wrap:wrap}.count{background:var(--card);border:1px solid var(--line);
border-radius:10px;padding:12px 18px;min-width:130px}.count b{display:block;font-size:26px;line-height:1.1}
.error{color:var(--error)}.warning{color:var(--warning)}.info{color:var(--info)}.none{color:var(--soft)}
details{background:var(--card);border:1px solid var(--line);border-radius:10px;margin:0 0 12px;overflow:hidden}
summary{cursor:pointer;padding:12px 18px;display:flex;gap:12px;align-items:baseline;flex-wrap:wrap}
summary code{font-weight:600;font-size:15px}summary .n{margin-left:auto;color:var(--soft)}
.tag{font-size:12px;font-weight:600;text-transform:uppercase;letter-spacing:.04em}
.remedy{padding:0 18px 12px;margin:0;color:var(--soft)}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:6px 18px;border-top:1px solid var(--line);vertical-align:top}th{color:var(--soft);font-weight:500}
td.f{font-family:ui-monospace,monospace;font-size:13px;word-break:break-all}
.good{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:24px;text-align:center}
"""


def write_page(findings: Sequence[Finding], path: Path, quarantined: Sequence[str]) -> None:
    """Writes the page.

    Args:
        findings: In any order.
        path: The HTML file.
        quarantined: The image_id of each sample that was set aside.
    """
    path.write_text(_page(ordered(findings), sorted(quarantined)), encoding="utf-8")


def _page(findings: Sequence[Finding], quarantined: Sequence[str]) -> str:
    counts = count(findings)
    cards = "".join(
        f'<div class="count"><b class="{severity if counts[severity] else "none"}">{counts[severity]}</b>'
        f"{severity if severity == 'info' or counts[severity] == 1 else severity + 's'}</div>"
        for severity in SEVERITIES
    )
    if quarantined:
        cards += f'<div class="count"><b class="none">{len(quarantined)}</b>samples set aside</div>'
    groups: dict[str, list[Finding]] = {}
    for item in findings:
        groups.setdefault(item.code, []).append(item)
    body = "".join(_group(code, items) for code, items in groups.items()) or '<div class="good">Nothing was found.</div>'
    if quarantined:
        names = "".join(f'<tr><td class="f">{html.escape(name)}</td></tr>' for name in quarantined)
        summary = f'<summary><code>set aside</code><span class="n">{len(quarantined)}</span></summary>'
        body += f"<details>{summary}<table>{names}</table></details>"
    files = len({item.file for item in findings if item.file})
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Findings</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>Findings</h1>"
        f"<p>{len(findings)} in {files} {'file' if files == 1 else 'files'}. "
        "Errors stop the pipeline; warnings are told, and repaired in the copy where that is said.</p>"
        f'<div class="counts">{cards}</div>{body}</main></body></html>\n'
    )


def _group(code: str, items: Sequence[Finding]) -> str:
    first = items[0]
    rows = "".join(
        f'<tr><td class="f">{html.escape(item.file or "the whole dataset")}{f":{item.line}" if item.line else ""}</td>'
        f"<td>{html.escape(item.got)}</td><td>{html.escape(item.expected)}</td></tr>"
        for item in items[:ROWS_SHOWN]
    )
    more = (
        f'<tr><td colspan="3">and {len(items) - ROWS_SHOWN} more in findings.json</td></tr>' if len(items) > ROWS_SHOWN else ""
    )
    is_open = " open" if first.severity == "error" or len(items) <= 20 else ""
    return (
        f'<details{is_open}><summary><span class="tag {first.severity}">{first.severity}</span>'
        f'<code>{html.escape(code)}</code><span class="n">{len(items)}</span></summary>'
        f'<p class="remedy">{html.escape(first.remedy)}</p><div class="scroll"><table>'
        f"<tr><th>where</th><th>got</th><th>expected</th></tr>{rows}{more}</table></div></details>"
    )
