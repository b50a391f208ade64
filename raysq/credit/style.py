"""How the page looks: light and dark as the reader's system is, and on paper. No script, nothing fetched.

Orange and blue (Okabe and Ito 2008) are told apart with every kind of colour vision; the stronger the colour,
the further from 0.
"""

STYLE = """
:root { color-scheme: light dark; --paper: #f6f5f2; --card: #fff; --ink: #1d1d1f; --soft: #65656b;
  --line: #e2e0da; --high: 0 114 178; --low: 213 94 0; --bar: 0 0 0; }
@media (prefers-color-scheme: dark) { :root { --paper: #141518; --card: #1d1f23; --ink: #ececea;
  --soft: #a0a0a6; --line: #33353b; --high: 64 156 226; --low: 226 112 32; --bar: 255 255 255; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.5rem 20rem; background: var(--paper);
  color: var(--ink); font: 15px/1.45 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; }
h1 { font-size: 1.6rem; font-weight: 650; margin: 0 0 .2rem; letter-spacing: -.01em; }
h2 { font-size: 1rem; font-weight: 650; margin: 0; }
sub { line-height: 0; }
p { margin: .5rem 0; max-width: 52rem; }
.soft, figcaption, th, dt, .label { color: var(--soft); }
.facts { font-size: .85rem; color: var(--soft); }
section, header { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1.1rem 1.3rem; margin: 0 0 1.1rem; }
.pair { display: grid; grid-template-columns: 6rem 1fr; gap: .1rem .8rem; margin: .3rem 0 .6rem; }
.pair dt { font-size: .85rem; } dd { margin: 0; }
.sequence { display: grid; grid-template-columns: 8.5rem 1fr auto; gap: .2rem 1rem; align-items: start;
  border-top: 1px solid var(--line); padding: .55rem 0 .35rem; break-inside: avoid; }
.label { font-size: .85rem; padding-top: .3rem; }
.sums { font-size: .85rem; font-variant-numeric: tabular-nums; text-align: right; padding-top: .3rem;
  display: grid; grid-template-columns: auto auto; gap: 0 .7rem; margin: 0; }
.sums dt { text-align: left; }
.token { display: inline-block; margin: 0 1px 3px 0; border-radius: 5px; padding: .18rem .38rem .1rem;
  text-align: center; cursor: default; outline-offset: 1px; }
.token.high { background: rgb(var(--high) / var(--a)); }
.token.low { background: rgb(var(--low) / var(--a)); }
.token small { display: block; font-size: .68rem; line-height: 1.25; opacity: .75;
  font-variant-numeric: tabular-nums; }
.token:hover, .token:focus { outline: 2px solid var(--ink); }
.card { display: none; position: fixed; left: 0; right: 0; bottom: 0; z-index: 1; pointer-events: none;
  background: var(--card); border-top: 2px solid var(--ink); padding: .9rem 1.5rem 1rem; text-align: left;
  box-shadow: 0 -8px 30px rgb(0 0 0 / .18); font-size: .85rem; }
.token:hover > .card, .token:focus > .card { display: flex; gap: 1rem 3rem; flex-wrap: wrap;
  justify-content: center; align-items: start; }
body:has(.token:hover) .token:focus:not(:hover) > .card { display: none; }
.card b { font-size: 1.1rem; }
.card dl { display: grid; grid-template-columns: auto auto; gap: 0 1.2rem; margin: .3rem 0 0; }
.card dd { text-align: right; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { font-weight: 500; text-align: right; padding: 0 .45rem .15rem; white-space: nowrap; }
td { text-align: right; padding: .08rem .45rem; }
td.word, th.word { text-align: left; }
details td.word { min-width: 5rem; }
caption { text-align: left; font-weight: 600; padding: 0 .45rem .2rem; }
td.share { background: linear-gradient(to right, rgb(var(--bar) / .12) var(--p), transparent var(--p)); }
tr.chosen td { font-weight: 650; }
details { grid-column: 1 / -1; font-size: .82rem; }
summary { color: var(--soft); cursor: pointer; font-size: .78rem; }
details > div { overflow-x: auto; padding: .3rem 0 .5rem; }
details tbody tr { border-top: 1px solid var(--line); vertical-align: top; }
.legend { display: flex; align-items: center; gap: .8rem; margin: .9rem 0 .4rem; flex-wrap: wrap; }
.scale { display: grid; grid-template-columns: repeat(3, 1fr); width: 20rem; font-size: .78rem;
  font-variant-numeric: tabular-nums; }
.scale i { grid-column: 1 / -1; height: .9rem; border-radius: 4px; border: 1px solid var(--line);
  background: linear-gradient(to right, rgb(var(--low) / .72), rgb(var(--low) / 0) 50%,
  rgb(var(--high) / 0) 50%, rgb(var(--high) / .72)); }
.scale :nth-child(3) { text-align: center; } .scale :nth-child(4) { text-align: right; }
.terms { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .88rem;
  margin: .4rem 0 0; } .terms dt { color: var(--ink); font-weight: 600; white-space: nowrap; }
@media (max-width: 46rem) { .sequence { grid-template-columns: 1fr; } .sums { justify-content: start; }
  .pair { grid-template-columns: 1fr; } }
@media print { :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000; --soft: #444;
  --line: #ccc; --high: 0 114 178; --low: 213 94 0; --bar: 0 0 0; } @page { margin: 14mm; }
  body { padding: 0; max-width: none; font-size: 10pt; } section, header { border: 0; padding: 0; }
  .token, .scale i, td.share { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .card, .hint { display: none !important; } details:not([open]) { display: none; } }
"""
