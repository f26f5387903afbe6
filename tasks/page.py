"""A page that needs nothing but itself: no script, nothing from elsewhere, light and dark."""

import html
from typing import Final

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#566070;--line:#e1e5ec;--ground:#f5f6f8;--card:#fff;--well:#fafbfc;
--error:#b3261e;--warning:#8a5300;--info:#1f5fa8;--good:#1d7044;--error-bg:#fdecea;--warning-bg:#fdf3e1;--info-bg:#e8f1fb;
--good-bg:#e7f5ed}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaf0;--soft:#9aa5b5;--line:#2d3543;--ground:#11151b;--card:#191f28;
--well:#151a22;--error:#ff8a80;--warning:#f3b95b;--info:#84bbf7;--good:#6fd39c;--error-bg:#3a1d1d;--warning-bg:#352813;--info-bg:#16283c;
--good-bg:#14301f}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.55 system-ui,sans-serif}
main{max-width:1040px;margin:0 auto;padding:36px 20px 72px}h1{font-size:28px;line-height:1.2;margin:0 0 6px}
h2{font-size:16px;margin:0;font-weight:600}p{margin:0}.about{color:var(--soft);margin:0 0 20px}
.verdict{border-radius:10px;padding:14px 18px;margin:0 0 16px;font-weight:600}
.verdict span{display:block;font-weight:400}.verdict.error{background:var(--error-bg);color:var(--error)}
.verdict.warning{background:var(--warning-bg);color:var(--warning)}.verdict.good{background:var(--good-bg);color:var(--good)}
.verdict span{color:var(--ink)}.counts{display:flex;gap:12px;margin:0 0 16px;padding:0;flex-wrap:wrap;list-style:none}
.counts li{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 18px;min-width:128px;
color:var(--soft)}.counts b{display:block;font-size:26px;line-height:1.2;color:var(--soft);font-variant-numeric:tabular-nums}
.counts .error b{color:var(--error)}.counts .warning b{color:var(--warning)}.counts .info b{color:var(--info)}
.card,details{background:var(--card);border:1px solid var(--line);border-radius:10px;margin:0 0 14px;overflow:hidden}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:7px 18px;border-top:1px solid var(--line);vertical-align:top}
thead th{border-top:0;color:var(--soft);font-weight:500}details thead th{border-top:1px solid var(--line);
background:var(--well)}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
a{color:inherit;text-underline-offset:3px}
:focus-visible{outline:2px solid var(--info);outline-offset:-2px}code,.file{font:13px/1.5 ui-monospace,monospace}
.file{overflow-wrap:anywhere;min-width:180px;width:44%}.card code{font-weight:600}
.tag{display:inline-block;border-radius:5px;padding:0 8px;font-size:12px;font-weight:600;line-height:20px}
.tag.error{background:var(--error-bg);color:var(--error)}.tag.warning{background:var(--warning-bg);color:var(--warning)}
.tag.info{background:var(--info-bg);color:var(--info)}
summary{cursor:pointer;padding:12px 18px;display:flex;gap:12px;align-items:center;flex-wrap:wrap}
summary:hover{background:var(--well)}summary h2 code{font-size:15px}summary .n{margin-left:auto;color:var(--soft)}
summary::before{content:"";border:solid var(--soft);border-width:0 2px 2px 0;width:8px;height:8px;transform:rotate(-45deg)}
details[open]>summary::before{transform:rotate(45deg)}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;
margin:0;padding:2px 18px 14px}dt{color:var(--soft)}dd{margin:0}
.pictures{display:flex;gap:14px;flex-wrap:wrap;padding:0 18px 16px}figure{margin:0;width:160px}
figure img{display:block;max-width:100%;border-radius:6px;background:var(--well)}
.frame{height:128px;display:flex;align-items:flex-end;justify-content:flex-start}.frame img{max-height:128px}
figcaption{font-size:12px;line-height:1.4;color:var(--soft);word-break:break-word;margin-top:5px}
.more{color:var(--soft)}
.plot{margin:0 0 14px;padding:14px 18px}.caption{padding:12px 18px}.plot h2{margin:0 0 10px}
.plot img{display:block;max-width:100%;border-radius:6px;background:#fff}
@media(max-width:600px){th,td{padding:7px 9px}.counts li{min-width:96px}}
@media print{body{background:none}details,figure{break-inside:avoid}}
"""


def document(title: str, body: str) -> str:
    """The HTML of a page.

    Args:
        title: Plain text, its heading too.
        body: HTML.
    """
    name = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>{name}</h1>{body}</main></body></html>\n"
    )
