"""The look of the HTML report: its styles and the few lines of script that filter its table. No outside assets."""

from __future__ import annotations

STYLES = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1d1f21; --soft: #62676c; --line: #e3e4e2; --track: #ebecea;
  --completed: #2f8f57; --running: #2673c4; --pending: #9aa0a6; --failed: #c98a12; --stuck: #c4382f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #141618; --card: #1c1f22; --ink: #e7e8e9; --soft: #9aa1a8; --line: #2d3135; --track: #2a2e32;
    --completed: #4fb87c; --running: #5ba3ec; --pending: #7a8087; --failed: #e0ac46; --stuck: #ee6a60;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 17px; margin: 40px 0 12px; }
p.meta { color: var(--soft); margin: 0; }
code, .mono { font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; font-size: 13px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 24px 0 0; padding: 0; list-style: none; }
.tiles li { flex: 1 1 120px; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 10px 14px; }
.tiles b { display: block; white-space: nowrap; font-size: 24px; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); }
.phase { display: grid; grid-template-columns: minmax(120px, 220px) 1fr minmax(90px, auto); gap: 4px 16px;
  align-items: center; margin: 0 0 10px; }
.phase .note { grid-column: 2 / 4; color: var(--soft); font-size: 13px; }
.phase .name { overflow-wrap: anywhere; }
.phase .number { text-align: right; font-variant-numeric: tabular-nums; }
.bar { display: flex; height: 12px; border-radius: 6px; overflow: hidden; background: var(--track); gap: 1px; }
.bar i { display: block; min-width: 2px; }
.completed { --tone: var(--completed); } .running { --tone: var(--running); } .pending { --tone: var(--pending); }
.failed_oom, .failed_other { --tone: var(--failed); } .stuck { --tone: var(--stuck); }
.bar i, .dot { background: var(--tone); }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 7px; }
.bar i.pending { background: transparent; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.lanes { padding: 12px; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 7px 12px; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: 13px; white-space: nowrap; }
td.tight { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.why { min-width: 220px; overflow-wrap: anywhere; }
.filter { display: flex; flex-wrap: wrap; gap: 12px; align-items: center; margin: 0 0 10px; }
.filter input, .filter select { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: 5px 10px; }
.filter input { flex: 0 1 280px; }
.filter output { color: var(--soft); }
:focus-visible { outline: 2px solid var(--running); outline-offset: 2px; }
svg { display: block; width: 100%; min-width: 640px; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg .grid { stroke: var(--line); } svg .attempt { fill: var(--tone); } svg .attempt:hover { opacity: 0.75; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 8px 0 0; padding: 0; list-style: none;
  color: var(--soft); font-size: 13px; }
footer { margin-top: 40px; color: var(--soft); font-size: 13px; }
@media (max-width: 600px) {
  .phase { grid-template-columns: 1fr auto; } .phase .bar, .phase .note { grid-column: 1 / 3; }
  .phase .bar { order: 3; } .phase .note { order: 4; }
}
@media print {
  :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --track: #e5e5e5; }
  body { font-size: 12px; } main { max-width: none; padding: 0; } .filter { display: none; }
  .scroll { overflow: visible; border: 0; } tr, .phase, svg { break-inside: avoid; } h2 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

SCRIPT = """
const words = document.getElementById('words'), status = document.getElementById('status');
const shown = document.getElementById('shown'), rows = [...document.querySelectorAll('#jobs tbody tr')];
const texts = rows.map(row => row.textContent.toLowerCase());
function filter() {
  const wanted = words.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let left = 0;
  rows.forEach((row, i) => {
    row.hidden = !(wanted.every(word => texts[i].includes(word))
      && (!status.value || row.dataset.status === status.value));
    left += !row.hidden;
  });
  shown.textContent = left === rows.length ? `${rows.length} jobs` : `${left} of ${rows.length} jobs`;
}
words.addEventListener('input', filter);
status.addEventListener('change', filter);
document.querySelector('.filter').hidden = false;
filter();
"""


def page(title: str, body: str) -> str:
    """A whole document. `title` and `body` are HTML already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLES}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
