"""Hold the style sheet of the page: it fits a phone, a desk and paper."""

STYLE = """
:root { color-scheme: light; --ink: #1f2328; --soft: #57606a; --line: #d0d7de; --ground: #f6f8fa }
* { box-sizing: border-box }
body {
  margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif
}
main { max-width: 64rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 }
h2 { font-size: 1.2rem; margin: 0 0 .5rem }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
p, li { margin: .4rem 0; max-width: 48rem; overflow-wrap: anywhere }
ul { padding-left: 1.2rem; margin: .4rem 0 }
.soft { color: var(--soft) }
section {
  background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 1rem;
  margin: 1rem 0
}
.verdict {
  border-left: 6px solid #1a7f37; background: #dafbe1; border-radius: 6px; padding: .6rem 1rem;
  margin: 1rem 0
}
.verdict.some { border-color: #9a6700; background: #fff8c5 }
.verdict.refused { border-color: #cf222e; background: #ffebe9 }
.verdict p { margin: .2rem 0 }
.verdict p:first-child { font-weight: 600 }
pre {
  background: var(--ground); border: 1px solid var(--line); border-radius: 6px; padding: .75rem;
  margin: .5rem 0; white-space: pre-wrap; overflow-wrap: anywhere; user-select: all;
  -webkit-user-select: all; font: .9rem/1.45 ui-monospace, monospace
}
.wide { overflow-x: auto }
.wide:focus-visible, summary:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px }
table {
  border-collapse: collapse; min-width: min(100%, 24rem); font-size: .9rem;
  font-variant-numeric: tabular-nums
}
caption { text-align: left; font-weight: 600; padding: .5rem 0 .2rem }
th, td {
  padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top
}
td { overflow-wrap: break-word; min-width: 5rem }
td:has(.example) { min-width: 11rem }
td.number { text-align: right; white-space: nowrap; min-width: 0 }
thead th { color: var(--soft); font-weight: 600 }
code {
  font: .9em ui-monospace, monospace; background: var(--ground); border-radius: 4px;
  padding: 0 .25em; white-space: pre-wrap; overflow-wrap: anywhere
}
.example { display: block }
.arrow { color: var(--soft); padding: 0 .3em }
figure { margin: .5rem 0 }
figure svg { width: 100%; height: auto; display: block }
details { margin: .5rem 0 }
summary { cursor: pointer; color: #0550ae; padding: .3rem 0 }
@media (max-width: 40rem) {
  main { padding: .5rem }
  section { padding: .75rem; margin: .75rem 0 }
  table { font-size: .85rem }
  figure svg text { font-size: 22px }
}
@media print {
  body { background: #fff }
  section { break-inside: avoid }
  .wide { overflow: visible }
  pre { user-select: auto }
}
""".strip()
